"""The life of a canary: the report before it starts, the looks at it, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import psycopg

from trade_pipeline.core.canary.blocks import PairedDecisions, block_values, stake_per_block
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.decision import CanaryDecision, decide_canary
from trade_pipeline.core.canary.deployments import (
    Active,
    NotDeployed,
    begin_canary,
    deployed,
    history,
    promote,
    record_look,
    retire_canary,
)
from trade_pipeline.core.canary.guardrails import Guardrail, drawdown, tail_loss
from trade_pipeline.core.canary.paired import Pair, decisions_since, newest_decision
from trade_pipeline.core.canary.power import PowerReport, power_report
from trade_pipeline.core.canary.record import CanaryEvaluation, Scope
from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.dataset.membership import read_dataset
from trade_pipeline.core.dataset.rows import read_rows
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.judgement import make_eligible, signal_of
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.register import load_model
from trade_pipeline.core.training.registry import read_model

Act = Literal["all", "protect", "none"]


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a canary, and what came of it.

    Attributes:
        decision: promote, extend, rollback or expired.
        reasons: why; for ``extend``, what is missing.
        promoted: whether it decides everything from now on.
    """

    model: str
    decision: str
    reasons: Sequence[str]
    numbers: Mapping[str, Any]
    promoted: bool


def report_power(
    store: Store, model: str, scope: Scope, config: CanaryConfig | None = None
) -> PowerReport:
    """What a canary of a model can be expected to show beside what is in production.

    It is told from the later splits of the model's dataset, from which neither learned.

    Raises:
        BadConfig: no such model, too few days, or production stakes nothing there.
    """
    config = config or CanaryConfig()
    with store.database.connect("trade_reader") as connection:
        record = read_model(connection, model)
        production = deployed(connection, scope).production
        decisions = _history(store, connection, record, production)
    return power_report(decisions, stake_per_block(decisions, config.block_hours), config)


def deploy_canary(
    store: Store,
    model: str,
    scope: Scope,
    *,
    by: str,
    reason: str,
    override: str | None = None,
    config: CanaryConfig | None = None,
) -> Active:
    """Put a model beside what is in production, and measure it from the next decision on.

    The gates are asked again, and the power report is stored with the deployment.

    Args:
        override: why it starts although one better by the margin would hardly be promoted.

    Raises:
        NotEligible: a gate refuses.
        NotDeployed: another canary is there, it is in production, or the report shows too little
            power and there is no override.
        BadConfig: see `report_power`.
    """
    config = config or CanaryConfig()
    version = make_eligible(store, model).model.model_version
    with store.database.connect() as connection:
        record = read_model(connection, version)
        production = deployed(connection, scope).production
        decisions = _history(store, connection, record, production)
        stake = stake_per_block(decisions, config.block_hours)
        report = power_report(decisions, stake, config)
        if not report.enough and override is None:
            better = report.expected[-1]
            raise NotDeployed(
                f"{scope}: a model better by {better.effect:.4f} per unit stake would be promoted "
                f"in {better.promoted:.0%} of canaries, needs {config.min_power:.0%}: give an "
                "override with your reason"
            )
        start = newest_decision(connection, scope)
        active = begin_canary(
            connection, scope, version, by=by, reason=reason, override=override,
            evidence={
                "config": config.model_dump(mode="json"),
                "power": asdict(report),
                "production": None if production is None else production.model_version,
                "production_stake": stake,
                # Market time; nothing that was decided before counts.
                "starts_at": (start or datetime.now(UTC)).isoformat(),
            },
        )  # fmt: skip
        connection.commit()
    return active


def look_at_canary(store: Store, scope: Scope, *, by: str, act: Act = "all") -> Look:
    """Evaluate the canary of a scope, and do what the verdict says.

    A model that cannot be loaded or asked is rolled back: it cannot decide.

    Args:
        act: ``all``: store the evaluation, and promote, roll back or end the canary; ``protect``:
            the same, but promote nothing; ``none``: only tell.

    Raises:
        NotDeployed: there is no canary.
    """
    with store.database.connect() as connection:
        active = deployed(connection, scope)
        canary = active.canary
        if canary is None:
            raise NotDeployed(f"{scope}: no canary is there")
        evidence = next(
            event.deployment.evidence
            for event in history(connection, scope)
            if event.deployment_id == canary.deployment_id
        )
        decision, now = _decide(store, connection, scope, active.production, canary, evidence)
        look = _record(canary, decision, now)
        promoted = False
        reason = "; ".join(decision.reasons)
        if act == "none":
            pass
        elif decision.verdict in ("rollback", "expired"):
            retire_canary(connection, scope, by=by, reason=reason, look=look)
        elif decision.verdict == "promote" and act == "all":
            promote(connection, scope, canary.model_version, by=by, reason=reason, look=look)
            promoted = True
        else:
            record_look(connection, scope, look)
        connection.commit()
        short = read_model(connection, canary.model_version).short_name
    return Look(short, decision.verdict, decision.reasons, look.numbers, promoted)


def _decide(
    store: Store,
    connection: psycopg.Connection,
    scope: Scope,
    production: Active | None,
    canary: Active,
    evidence: Mapping[str, Any],
) -> tuple[CanaryDecision, datetime]:
    config = CanaryConfig.parse(dict(evidence["config"]))
    started = datetime.fromisoformat(evidence["starts_at"])
    now = newest_decision(connection, scope) or started
    rows = decisions_since(connection, scope, started)
    record = read_model(connection, canary.model_version)
    beside = _production_model(store, connection, production)
    sessions = read_dataset(connection, record.dataset_version).session_ids
    signal = signal_of(store, connection, sessions)
    try:
        decisions = Pair(load_model(store, record), beside, signal).judge(rows)
    except Exception as error:  # noqa: BLE001
        # Whatever is wrong with it, it cannot decide; the reason is stored.
        broken = Guardrail("works", False, f"{type(error).__name__}: {error}", {})
        return _nothing(started, now, config, [broken]), now
    blocks = block_values(decisions, micros(now), config.block_hours, evidence["production_stake"])
    ended = decisions.ended_at >= 0
    stake = evidence["production_stake"]
    guardrails = [
        tail_loss(
            decisions.returns[ended & (decisions.canary_stake > 0)],
            decisions.returns[ended & (decisions.production_stake > 0)],
        ),
        drawdown(
            _equity(decisions, decisions.canary_stake, stake),
            _equity(decisions, decisions.production_stake, stake),
        ),
    ]
    ratio = evidence["power"]["variance_ratio"]
    return decide_canary(blocks, guardrails, micros(started), micros(now), config, ratio), now


def _nothing(
    started: datetime, now: datetime, config: CanaryConfig, guardrails: Sequence[Guardrail]
) -> CanaryDecision:
    none = PairedDecisions(*(np.array([], dtype) for dtype in ("i8", "f8", "f8", "f8", "i8")))
    return decide_canary(
        block_values(none, micros(now), config.block_hours, 1.0), guardrails, micros(started),
        micros(now), config,
    )  # fmt: skip


def _equity(decisions: PairedDecisions, stake: Floats, unit: float) -> Floats:
    """A book of one unit that stakes a day's production on a day, every slot free."""
    ended = decisions.ended_at >= 0
    day = decisions.ended_at[ended] // DAY
    if not ended.any():
        return np.ones(1)
    _, group = np.unique(day, return_inverse=True)
    gained = np.bincount(group, stake[ended] * decisions.returns[ended]) / unit
    # A tenth of the book works on a day.
    equity: Floats = np.concatenate(([1.0], np.cumprod(1.0 + 0.1 * gained)))
    return equity


def _record(canary: Active, decision: CanaryDecision, now: datetime) -> CanaryEvaluation:
    numbers = dict(decision.numbers) | {
        name: [None if not np.isfinite(one) else float(one) for one in values]
        for name, values in (
            ("means", decision.sequence.mean),
            ("lows", decision.sequence.low),
            ("highs", decision.sequence.high),
        )
    }
    plain = {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in numbers.items()
    }
    look = CanaryEvaluation(
        evaluation_id="",
        model_version=canary.model_version,
        canary=canary.deployment_id,
        looked_at=now,
        evaluated_at=datetime.now(UTC),
        decision=decision.verdict,
        reasons=decision.reasons,
        numbers=plain,
    )
    # The same look at the same facts is the same evaluation, whenever it is made.
    content = {k: v for k, v in asdict(look).items() if k not in ("evaluation_id", "evaluated_at")}
    return replace(look, evaluation_id=address_of(canonical_bytes(content)))


def _history(
    store: Store,
    connection: psycopg.Connection,
    record: ModelRecord,
    production: Active | None,
) -> PairedDecisions:
    dataset = read_rows(connection, record.dataset_version)
    later = dataset.rows[dataset.rows["split"] != "train"].sort_values("decided_at", kind="stable")
    later = later.assign(shadow_return=later["target_return"], shadow_end=later["label_end"])
    pair = Pair(
        load_model(store, record),
        _production_model(store, connection, production),
        signal_of(store, connection, dataset.record.session_ids),
    )
    return pair.judge(later)


def _production_model(
    store: Store, connection: psycopg.Connection, production: Active | None
) -> TradeModel | None:
    if production is None:
        return None
    return load_model(store, read_model(connection, production.model_version))
