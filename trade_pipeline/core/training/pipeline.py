"""Safe training from Python: train, register, judge; eligible only by the gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

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
    """Trains models, and lets one decide only after its gates.

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
