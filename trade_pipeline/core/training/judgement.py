"""The gates on a registered model: verdicts are stored, and nothing else makes it eligible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from trade_pipeline.core.dataset.guards import newest_verdicts
from trade_pipeline.core.dataset.rows import read_rows
from trade_pipeline.core.session.stored import read_session, settings_of
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.training.evaluate import SearchSummary, Standing, evidence_of
from trade_pipeline.core.training.evidence import Evidence
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.gates import evaluate_gates
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.register import learned_rows, load_model
from trade_pipeline.core.training.registry import (
    NotEligible,
    active_model,
    holdout_users,
    read_model,
    record_eligible,
    record_evaluation,
    trials_before,
    use_holdout,
)
from trade_pipeline.core.training.verdict import GateResult


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the gates said of a model."""

    model: ModelRecord
    number: int
    gates: Sequence[GateResult]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def evaluate_model(store: Store, model: str, config: GateConfig | None = None) -> Evaluation:
    """Ask every gate about a registered model, and store the verdicts.

    The holdout window is recorded as used before it is looked at.

    Args:
        model: its version or its short name.

    Raises:
        BadConfig: no such model.
        ArtifactDamaged: the model's file was changed.
    """
    with store.database.connect() as connection:
        record, evidence = evidence_for(store, connection, model)
        gates = evaluate_gates(evidence, config or GateConfig())
        number = record_evaluation(connection, record.model_version, gates, datetime.now(UTC))
        connection.commit()
    return Evaluation(record, number, gates)


def make_eligible(store: Store, model: str, config: GateConfig | None = None) -> Evaluation:
    """Evaluate a model again, and let it decide if every gate passes.

    Nothing that was stored before is believed: the gates are asked anew, whoever calls this.

    Raises:
        NotEligible: a gate did not pass; its evaluation is stored, with the reasons.
        BadConfig, ArtifactDamaged: see `evaluate_model`.
    """
    evaluation = evaluate_model(store, model, config)
    failed = [gate for gate in evaluation.gates if not gate.passed]
    if failed:
        raise NotEligible(
            f"model={evaluation.model.short_name!r}: "
            + "; ".join(f"{gate.name}: {', '.join(gate.reasons)}" for gate in failed)
        )
    with store.database.connect() as connection:
        record_eligible(connection, evaluation.model.model_version, evaluation.number)
        connection.commit()
    return evaluation


def evidence_for(
    store: Store, connection: psycopg.Connection, model: str
) -> tuple[ModelRecord, Evidence]:
    """A model, and what its gates judge.  Its holdout window counts as used from now on.

    Args:
        connection: as ``trade_writer``.
    """
    record = read_model(connection, model)
    dataset = read_rows(connection, record.dataset_version)
    bounds = dataset.record.bounds["test"]
    first, last = (datetime.fromisoformat(bounds[name]) for name in ("first", "label_end"))
    users = holdout_users(connection, record.market, first, last, record.model_version)
    if not users:
        use_holdout(connection, record, first, last)
        connection.commit()
    incumbent = active_model(connection, record.market)
    standing = Standing(
        incumbent=None
        if incumbent is None or incumbent.model_version == record.model_version
        else load_model(store, incumbent),
        earlier_trials=trials_before(connection, record.market, record.model_version),
        guards=newest_verdicts(connection, record.dataset_version) or None,
        holdout_used_by=users,
    )
    return record, evidence_of(
        load_model(store, record),
        SearchSummary.from_dict(record.metrics["cross_validation"]),
        learned_rows(record, dataset),
        dataset,
        standing,
        strategy_of(store, connection, dataset.record.session_ids).signal,
    )


def strategy_of(
    store: Store, connection: psycopg.Connection, session_ids: Sequence[str]
) -> StrategyConfig:
    """The strategy of the newest of a dataset's sessions that has settings, or the defaults."""
    for session_id in reversed(session_ids):
        session = read_session(connection, session_id)
        if session.params_ptr is not None:
            return settings_of(store.artifacts, session).strategy
    return StrategyConfig()
