"""Safe training from Python: train, judge by the gates, prove as a canary, promote or roll back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from trade_pipeline.core.canary.cycle import Look, deploy_canary, look_at_canary
from trade_pipeline.core.canary.deployments import Active, NotDeployed, deployed, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.dataset.membership import newest_dataset
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.register import ModelMetrics, train_model
from trade_pipeline.core.training.registry import (
    NotEligible,
    active_model,
    is_eligible,
    list_models,
    newest_evaluation,
    read_model,
)
from trade_pipeline.core.training.search import Progress


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model in the registry.

    Attributes:
        version_id: its content address.
        eligible: whether its gates let it decide.
    """

    version_id: str
    short_name: str
    metrics: ModelMetrics
    eligible: bool


class SafeMLPipeline(Closing):
    """Trains models, and lets one decide only after its gates and its time as a canary.

    Args:
        db_path: a folder with a store of its own; None: the store that the settings name.
        store: an open store to use instead; it stays open.

    Raises:
        StoreUnavailable: the database cannot be started or reached.
    """

    def __init__(self, db_path: str | Path | None = None, *, store: Store | None = None) -> None:
        self._owned = store is None
        self.store = Store.of(db_path) if store is None else store

    def train_new_model(
        self,
        dataset: str | None = None,
        config: TrainingConfig | None = None,
        progress: Progress | None = None,
    ) -> RegisteredModel | None:
        """Train, register and judge a model.

        Args:
            dataset: version or short name; None: the one that was stored last.
            progress: called with (trials so far, all trials).

        Returns:
            The model if every gate passed, and None otherwise: `get_model_performance_summary`
            tells why.

        Raises:
            BadConfig: no dataset is stored, or it is too small to learn from.
        """
        with self.store.database.connect("trade_reader") as connection:
            chosen = dataset or newest_dataset(connection)
        record = train_model(self.store, chosen, config or TrainingConfig(), progress)
        try:
            make_eligible(self.store, record.model_version)
        except NotEligible:
            return None
        return _registered(record, eligible=True)

    def deploy_canary(
        self, version_id: str, account: str = "backtest", *, override: str | None = None
    ) -> Active:
        """Put an eligible model beside what is in production on its market.

        Args:
            version_id: its version or short name.
            account: ``backtest``, ``paper`` or ``live``: whose decisions it is measured on.
            override: your reason to start it although it will hardly show anything.

        Raises:
            NotEligible: a gate refuses.
            NotDeployed: another canary is there, it is in production, or the power report shows too
                little and there is no override.
        """
        return deploy_canary(
            self.store, version_id, self._scope(version_id, account), by="python",
            reason="deploy_canary", override=override,
        )  # fmt: skip

    def promote_canary_to_production(self, version_id: str, account: str = "backtest") -> Look:
        """Look at the canary, and promote it if it has shown that it does no harm.

        Too early a call promotes nothing: the decision is ``extend``, with what is missing.  One
        that does harm is rolled back, and one that is too old ends.

        Raises:
            NotDeployed: the model is not the canary.
            LedgerBroken: it would be promoted, on records that were touched.
        """
        scope = self._scope(version_id, account)
        with self.store.database.connect("trade_reader") as connection:
            version = read_model(connection, version_id).model_version
            canary = deployed(connection, scope).canary
        if canary is None or canary.model_version != version:
            raise NotDeployed(f"{scope}: {version_id} is not the canary there")
        return look_at_canary(self.store, scope, by="python")

    def rollback(self, market: str, account: str = "backtest", reason: str = "rollback") -> Active:
        """Take back the canary of a market, or else its production model.

        Raises:
            NotDeployed: neither is there.
        """
        with self.store.database.connect() as connection:
            taken = rollback(connection, Scope(market, account=account), by="python", reason=reason)
            connection.commit()
        return taken

    def get_active_model(self, market: str | None = None) -> RegisteredModel | None:
        """The model in production; None until one was promoted.

        Args:
            market: on this kind of market only.
        """
        with self.store.database.connect("trade_reader") as connection:
            record = active_model(connection, market)
            return (
                None
                if record is None
                else _registered(record, eligible=is_eligible(connection, record.model_version))
            )

    def get_model_performance_summary(self) -> dict[str, Any]:
        """Every model, the newest first: its metrics, and what the gates said of it."""
        with self.store.database.connect("trade_reader") as connection:
            models = [
                _summary(connection, read_model(connection, one.version))
                for one in reversed(list_models(connection))
            ]
            active = active_model(connection)
        return {
            "total_models": len(models),
            "active_model": None if active is None else active.short_name,
            "models": models,
        }

    def _scope(self, version_id: str, account: str) -> Scope:
        with self.store.database.connect("trade_reader") as connection:
            return Scope(read_model(connection, version_id).market, account=account)

    def close(self) -> None:
        """Give the store back, if it was opened here."""
        if self._owned:
            self.store.close()


def _registered(record: ModelRecord, *, eligible: bool) -> RegisteredModel:
    return RegisteredModel(
        version_id=record.model_version,
        short_name=record.short_name,
        metrics=ModelMetrics(**record.metrics["validation"]),
        eligible=eligible,
    )


def _summary(connection: psycopg.Connection, record: ModelRecord) -> dict[str, Any]:
    newest = newest_evaluation(connection, record.model_version)
    return {
        "version_id": record.model_version,
        "short_name": record.short_name,
        "market": record.market,
        "metrics": dict(record.metrics["validation"]),
        "eligible": is_eligible(connection, record.model_version),
        "gates": None if newest is None else newest[2],
    }
