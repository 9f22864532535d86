"""What is deployed, kept fresh for a session that runs."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psycopg

from trade_pipeline.core.canary.deployments import Active, deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.opinion import DecidingModel, Models
from trade_pipeline.core.training.register import load_model
from trade_pipeline.core.training.registry import read_model

# A notification that was missed is made up for within this time.
POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0


class DeploymentWatch:
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
        self._store = store
        self._scope = scope
        self._known: dict[str, DecidingModel] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {scope}", daemon=True)
        self.lost: str | None = None
        self._models = Models()

    def models(self) -> Models:
        """The models on duty now."""
        return self._models

    def __enter__(self) -> Self:
        with self._store.database.connect("trade_reader") as connection:
            self._read(connection)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with self._store.database.connect("trade_reader", autocommit=True) as connection:
                    connection.execute("LISTEN trade_deployments")
                    while not self._ended.is_set():
                        self._read(connection)
                        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
            except Exception as error:  # noqa: BLE001
                # A watch that ends would leave a model on duty that was taken back.
                self.lost = f"{type(error).__name__}: {error}"
                self._ended.wait(_RETRY_SECONDS)

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
