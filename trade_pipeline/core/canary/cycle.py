"""The life of a canary: the report before it starts, the looks at it, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import psycopg

from trade_pipeline.core.canary.blocks import PairedDecisions, stake_per_block
from trade_pipeline.core.canary.config import CanaryConfig
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
from trade_pipeline.core.canary.evaluation import (
    Evaluation,
    Health,
    Terms,
    broken_canary,
    evaluate_canary,
)
from trade_pipeline.core.canary.paired import (
    compared_since,
    judged_anew,
    newest_decision,
    production_version,
    sessions_of,
)
from trade_pipeline.core.canary.power import PowerReport, power_report
from trade_pipeline.core.canary.record import CanaryEvaluation, Scope
from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.dataset.rows import read_rows
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.guard import require_intact
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.judgement import make_eligible, strategy_of
from trade_pipeline.core.training.register import load_model
from trade_pipeline.core.training.registry import read_model

Act = Literal["all", "protect", "none"]
# A block that is shorter than a day has to hold this share of the labels' lives.
_ENDED = 0.95


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
        BadConfig: no such model, too few days, blocks that are too short, or production stakes
            nothing there.
    """
    config = config or CanaryConfig()
    with store.database.connect("trade_reader") as connection:
        return _before(store, connection, model, scope, config)[0]


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
        report, terms = _before(store, connection, version, scope, config)
        if not report.enough and override is None:
            better = report.expected[-1]
            raise NotDeployed(
                f"{scope}: a model better by {better.effect:.4f} per unit stake would be promoted "
                f"in {better.promoted:.0%} of canaries, needs {config.min_power:.0%}: give an "
                "override with your reason"
            )
        active = begin_canary(
            connection, scope, version, by=by, reason=reason, override=override,
            evidence={"terms": terms.to_dict(), "power": asdict(report)},
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
        LedgerBroken: it would be promoted, on records that were touched.
    """
    with store.database.connect() as connection:
        canary = deployed(connection, scope).canary
        if canary is None:
            raise NotDeployed(f"{scope}: no canary is there")
        terms = terms_of(connection, scope, canary)
        now = newest_decision(connection, scope) or terms.starts_at
        evaluation = _evaluate(store, connection, scope, canary, terms, now)
        look = _record(canary, evaluation, now)
        decision, reason = evaluation.decision.verdict, "; ".join(look.reasons)
        promoted = False
        if act == "none":
            pass
        elif decision in ("rollback", "expired"):
            retire_canary(connection, scope, by=by, reason=reason, look=look)
        elif decision == "promote" and act == "all":
            # The evidence is worth what the records are worth.
            require_intact(store)
            promote(connection, scope, canary.model_version, by=by, reason=reason, look=look)
            promoted = True
        else:
            record_look(connection, scope, look)
        connection.commit()
        short = read_model(connection, canary.model_version).short_name
    return Look(short, decision, look.reasons, look.numbers, promoted)


def terms_of(connection: psycopg.Connection, scope: Scope, canary: Active) -> Terms:
    """What was fixed when the canary of a scope began."""
    (evidence,) = (
        event.deployment.evidence
        for event in history(connection, scope)
        if event.deployment_id == canary.deployment_id
    )
    return Terms.from_dict(evidence["terms"])


def _evaluate(
    store: Store,
    connection: psycopg.Connection,
    scope: Scope,
    canary: Active,
    terms: Terms,
    now: datetime,
) -> Evaluation:
    compared = compared_since(
        connection, scope, terms.starts_at, now, canary.model_version, terms.production
    )
    strategy = strategy_of(store, connection, sessions_of(connection, scope))
    try:
        model = load_model(store, read_model(connection, canary.model_version))
        health = Health.of(model, compared.rows)
    except Exception as error:  # noqa: BLE001
        # Whatever is wrong with it, it cannot decide; the reason is stored.
        return broken_canary(error, terms, now)
    return evaluate_canary(compared, terms, strategy, health, now)


def _record(canary: Active, evaluation: Evaluation, now: datetime) -> CanaryEvaluation:
    decision = evaluation.decision
    look = CanaryEvaluation(
        evaluation_id="",
        model_version=canary.model_version,
        canary=canary.deployment_id,
        looked_at=now,
        evaluated_at=datetime.now(UTC),
        decision=decision.verdict,
        reasons=decision.reasons,
        numbers=_plain(
            {
                **decision.numbers,
                "means": decision.sequence.mean,
                "lows": decision.sequence.low,
                "highs": decision.sequence.high,
                "guardrails": [asdict(one) for one in evaluation.guardrails],
                "books": dict(zip(("canary", "production"), evaluation.books, strict=True)),
                "secondary": asdict(evaluation.secondary),
            }
        ),
    )
    # The same look at the same facts is the same evaluation, whenever it is made.
    content = {k: v for k, v in asdict(look).items() if k not in ("evaluation_id", "evaluated_at")}
    return replace(look, evaluation_id=address_of(canonical_bytes(content)))


def _plain(value: Any) -> Any:
    """As JSON can tell it: what is not a finite number is null."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _before(
    store: Store, connection: psycopg.Connection, model: str, scope: Scope, config: CanaryConfig
) -> tuple[PowerReport, Terms]:
    """What the rows that a model did not learn from tell of its canary, and what that fixes."""
    record = read_model(connection, model)
    production = deployed(connection, scope).production
    dataset = read_rows(connection, record.dataset_version)
    later = dataset.rows[dataset.rows["split"] != "train"].sort_values("decided_at", kind="stable")
    own, other = load_model(store, record), _production_model(store, connection, production)
    strategy = strategy_of(store, connection, dataset.record.session_ids)
    decisions = judged_anew(own, other, later, strategy)
    _require_long_blocks(decisions, config)
    stake = stake_per_block(decisions, config.block_hours)
    report = power_report(decisions, stake, config)
    start = newest_decision(connection, scope) or datetime.now(UTC)
    terms = Terms(
        config=config,
        starts_at=start,
        production=production_version(None if production is None else production.model_version),
        production_stake=stake,
        variance_ratio=report.variance_ratio,
        missing_share=float(np.isnan(own.inputs_of(later)).mean()),
        salt=f"{record.short_name} from {start.isoformat()}",
    )
    return report, terms


def _require_long_blocks(decisions: PairedDecisions, config: CanaryConfig) -> None:
    lives = (decisions.ended_at - decisions.at) / HOUR
    needed = float(np.quantile(lives, _ENDED)) if len(lives) else 0.0
    if config.block_hours < min(24.0, needed):
        raise BadConfig(
            f"block_hours={config.block_hours}: {_ENDED:.0%} of the labels end within "
            f"{needed:.1f} hours; a block shorter than a day must not be shorter than that"
        )


def _production_model(
    store: Store, connection: psycopg.Connection, production: Active | None
) -> TradeModel | None:
    if production is None:
        return None
    return load_model(store, read_model(connection, production.model_version))
