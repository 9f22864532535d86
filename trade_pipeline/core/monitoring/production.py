"""A look at the production model of a scope, and the rollback where something is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from trade_pipeline.core.canary.deployments import Event, NotDeployed, deployed, event_of
from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.canary.paired import decisions_since, newest_decision
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.dataset.rows import DatasetRows, read_rows
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.monitoring.calibration import calibration
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions, judge
from trade_pipeline.core.monitoring.drift import Columns, feature_drift, prediction_drift
from trade_pipeline.core.monitoring.expectation import Expectation, expectation, yardstick
from trade_pipeline.core.monitoring.freshness import freshness, newest_market
from trade_pipeline.core.monitoring.missing import missing_features
from trade_pipeline.core.monitoring.performance import performance_estimate
from trade_pipeline.core.monitoring.record import LINES, MonitoringReport, line_of, plain
from trade_pipeline.core.monitoring.reports import act_on, record_report
from trade_pipeline.core.monitoring.verdict import not_judged, verdict
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.opinion import error_text
from trade_pipeline.core.training.evaluate import importances
from trade_pipeline.core.training.judgement import strategy_of
from trade_pipeline.core.training.register import load_model
from trade_pipeline.core.training.registry import read_model

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = ("confidence", "expected_return")
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a model says: of what was decided with it, and of what it was tried on ``before``.

    Attributes:
        learned: its inputs in the rows that it learned from.
    """

    decisions: JudgedDecisions
    before: JudgedDecisions
    learned: Columns
    importance: Mapping[str, float]
    inputs: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Findings:
    """What is found of a model, plain enough for the record; see `MonitoringReport`."""

    lines: Sequence[Guardrail]
    drift: Sequence[dict[str, Any]]
    sequence: dict[str, Any]
    calibration: Sequence[dict[str, Any]]


def monitor_production(
    store: Store,
    scope: Scope,
    now: datetime | None = None,
    config: MonitoringConfig | None = None,
    *,
    act: bool = True,
    by: str = "monitoring",
) -> MonitoringReport:
    """Look at the production model of a scope, and store what is found.

    Only what was decided since its deployment counts.  Where a line is broken that rolls back, the
    model before decides again, or else the heuristic with a smaller fund: in the same transaction.

    Args:
        now: market time; None: that of the newest look at the market, as for replayed markets.
        act: whether a breach rolls back; the report is stored either way.

    Raises:
        NotDeployed: no model is in production.
    """
    config = config or MonitoringConfig()
    with store.database.connect() as connection:
        production = deployed(connection, scope).production
        if production is None:
            raise NotDeployed(f"{scope}: no model is in production, the heuristic decides")
        event = event_of(connection, production)
        report = _report(store, connection, scope, event, now, config)
        record_report(connection, report)
        if act and report.rolls_back:
            act_on(connection, report, by=by)
        connection.commit()
    return report


def clock_of(scope: Scope, clock: datetime) -> datetime | None:
    """Market time of a look: the clock's, but on replayed markets as far as they are known."""
    return None if scope.account == "backtest" else clock


def _report(
    store: Store,
    connection: psycopg.Connection,
    scope: Scope,
    event: Event,
    now: datetime | None,
    config: MonitoringConfig,
) -> MonitoringReport:
    deployment = event.deployment
    decision, market = newest_decision(connection, scope), newest_market(connection, scope)
    starts_at = _starts_at(event)
    now = now or market or deployment.deployed_at
    rows = decisions_since(connection, scope, starts_at or _BEGINNING)
    record = read_model(connection, deployment.model_version)
    dataset = read_rows(connection, record.dataset_version)
    signal = strategy_of(store, connection, dataset.record.session_ids).signal
    try:
        asked = _ask(load_model(store, record), rows, dataset, signal, micros(now))
    except Exception as error:  # noqa: BLE001
        # Whatever is wrong with it, it cannot decide; the reason is stored.
        found = _broken(error)
    else:
        found = _judge(asked, micros(now), config)
    lines = [line_of(one) for one in (*found.lines, freshness(decision, market, now, config))]
    return MonitoringReport(
        report_id="",
        model_version=deployment.model_version,
        model=event.short_name,
        market=scope.market,
        venue=scope.venue,
        account=scope.account,
        deployment=event.deployment_id,
        starts_at=starts_at,
        looked_at=now,
        monitored_at=datetime.now(UTC),
        broken=any(not line["passed"] for line in lines),
        rolls_back=any(not line["passed"] and line["rolls_back"] for line in lines),
        fund_share=config.fund_share,
        lines=lines,
        drift=found.drift,
        sequence=found.sequence,
        calibration=found.calibration,
    ).addressed()


def _starts_at(event: Event) -> datetime | None:
    """Market time of a deployment; one that does not tell it began at the clock's time."""
    deployment = event.deployment
    told = deployment.evidence.get("starts_at", deployment.deployed_at.isoformat())
    return None if told is None else datetime.fromisoformat(told)


def _ask(
    model: TradeModel, rows: pd.DataFrame, dataset: DatasetRows, signal: SignalConfig, until: int
) -> _Asked:
    learned = dataset.split("train")
    later = dataset.rows[dataset.rows["split"] != "train"].sort_values("decided_at", kind="stable")
    later = later.assign(shadow_return=later["target_return"], shadow_end=later["label_end"])
    return _Asked(
        decisions=judge(model, rows, signal, until),
        before=judge(model, later, signal, int(micros_of(later["label_end"]).max())),
        learned=Columns(micros_of(learned["decided_at"]), model.inputs_of(learned)),
        importance=importances(model, dataset.split("validation")),
        inputs=model.inputs,
    )


def _judge(asked: _Asked, until: int, config: MonitoringConfig) -> _Findings:
    decisions, before = asked.decisions, asked.before
    expected = expectation(decisions, yardstick(before, config), until, config)
    calibrated = calibration(decisions, until, config)
    features = feature_drift(
        asked.inputs, asked.learned, Columns(decisions.at, decisions.inputs), until,
        asked.importance, config,
    )  # fmt: skip
    predictions = prediction_drift(
        PREDICTIONS, _predictions(before), _predictions(decisions), until, config
    )
    return _Findings(
        lines=(
            verdict("works", True, "", {"decisions": len(decisions)}),
            expected.guardrail,
            calibrated.guardrail,
            features.guardrail,
            predictions.guardrail,
            performance_estimate(decisions, until, config),
            missing_features(decisions, asked.learned.values, until, config),
        ),
        drift=[plain(asdict(one)) for one in (*predictions.columns, *features.columns)],
        sequence=_sequence(expected, config),
        calibration=[asdict(one) for one in calibrated.tenths],
    )


def _broken(error: Exception) -> _Findings:
    why = "the model cannot be asked"
    broken = verdict("works", False, error_text(error), {})
    others = [name for name in LINES if name not in ("works", "freshness")]
    return _Findings((broken, *(not_judged(name, why, {}) for name in others)), (), {}, ())


def _predictions(decisions: JudgedDecisions) -> Columns:
    both: Floats = np.stack([decisions.confidence, decisions.predicted], axis=1)
    return Columns(decisions.at, both)


def _sequence(expected: Expectation, config: MonitoringConfig) -> dict[str, Any]:
    found = expected.sequence
    ends = {"means": found.mean, "lows": found.low, "highs": found.high, "uppers": expected.upper}
    return {
        name: [float(one) if np.isfinite(one) else None for one in values]
        for name, values in ends.items()
    } | {"tolerance": config.tolerance}
