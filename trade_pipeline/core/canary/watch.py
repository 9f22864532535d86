"""What is deployed, kept fresh for a session that runs."""

from __future__ import annotations

import psycopg

from trade_pipeline.core.canary.deployments import Active, deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.store.listening import Listening
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.opinion import DecidingModel, Models
from trade_pipeline.core.training.register import load_model
from trade_pipeline.core.training.registry import read_model

# A notification that was missed is made up for within this time.
POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0


class DeploymentWatch(Listening):
    """The models on duty in a scope, while the block lasts.

    A thread listens to the history of deployments; `models` is an attribute read.  While the
    database cannot be reached the last known models stay on duty and ``lost`` tells why.  A canary
    that cannot be loaded is none; a production model that cannot leaves the one before on duty.

    Attributes:
        lost: why the newest state is not known, or None.

    Raises:
        StoreUnavailable, BadConfig, ArtifactDamaged: at the beginning.
    """

    def __init__(self, store: Store, scope: Scope) -> None:
        super().__init__(
            store.database, "trade_deployments", f"watch {scope}",
            poll_seconds=POLL_SECONDS, retry_seconds=_RETRY_SECONDS,
        )  # fmt: skip
        self._store = store
        self._scope = scope
        self._known: dict[str, DecidingModel] = {}
        self.lost: str | None = None
        self._models = Models()

    def models(self) -> Models:
        """The models on duty now."""
        return self._models

    def _failed(self, error: Exception) -> None:
        # A model that was taken back may be on duty still.
        self.lost = f"{type(error).__name__}: {error}"

    def _read(self, connection: psycopg.Connection) -> None:
        now, lost = deployed(connection, self._scope), None
        production = self._model(connection, now.production) or DecidingModel()
        try:
            canary = self._model(connection, now.canary)
        except (TradePipelineError, OSError, ValueError) as error:
            lost, canary = f"canary: {type(error).__name__}: {error}", None
        self.lost = lost
        self._models = Models(production, canary, now.fund_share)

    def _model(self, connection: psycopg.Connection, active: Active | None) -> DecidingModel | None:
        if active is None:
            return None
        version = active.model_version
        if version not in self._known:
            model = load_model(self._store, read_model(connection, version))
            self._known[version] = DecidingModel(version, model)
        return self._known[version]
