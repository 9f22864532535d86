"""A small ledger with records of every kind, covered by several heads."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg

from trade_pipeline.core.canary.record import CanaryEvaluation, Deployment
from trade_pipeline.core.dataset.guards import GuardVerdict
from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.live.records import LiveDecision, OrderIntent, Reconciliation
from trade_pipeline.core.monitoring.record import MonitoringReport
from trade_pipeline.core.records import (
    Experiment,
    ExperimentSession,
    FeatureRow,
    Record,
    SessionEnd,
)
from trade_pipeline.core.retention.records import Tombstone
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline.core.training.record import (
    EligibleModel,
    GateVerdict,
    HoldoutWindow,
    ModelEvaluation,
    ModelRecord,
)
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import ADDRESS, END, START

VERSION = "sha256:" + "b" * 64
SESSIONS = 4
TRADES = 6


def session_records(name: str, first: int) -> list[Record]:
    """A session's records, with vectors and an end."""
    records = samples.records_of_a_session(TRADES, name)
    vectors: list[Record] = [
        FeatureRow(record.uuid, "f1", record.decided_at, [0.5, float("nan")], "ab" * 32)
        for record in records
        if hasattr(record, "decided_at")
    ]
    return [*records, *vectors, SessionEnd(name, 1_000 + first, TRADES, 10_000.25)]


def learning_records(name: str) -> list[Record]:
    """What is said of a model from its dataset to its place, and what a live session writes."""
    version = f"{VERSION[:-4]}{name:>4}".replace(" ", "0")
    uuid = samples.candidate(0, name).uuid
    deployment = Deployment(
        version, "simulated", "default", "backtest", "canary", "canary", START, "test", "to look",
        evidence={"power": {"n": 3}},
    )  # fmt: skip
    return [
        DatasetRecord(
            version, "d", "simulated", "simulated", "f1", {"f": "1"}, {}, {}, "ab" * 32, {}, {},
            {}, [name],
        ),
        GuardVerdict(version, 0, "stored_values", True, [], {"n": 1}, []),
        ModelRecord(
            version, "m", "simulated", "simulated", version, "f1", ADDRESS, "1", "e", 7,
            {"depth": 3}, {}, {"auc": 0.7}, ["f"], 2,
        ),
        HoldoutWindow(version, f"market-{name}", START, END),
        ModelEvaluation(version, 0, True, END),
        GateVerdict(version, 0, "sanity", True, ["fine"], {"n": 1.5}),
        EligibleModel(version, 0),
        deployment,
        CanaryEvaluation(version, version, 1, START, END, "extend", ["too few"], {"n": 2}),
        MonitoringReport(
            version, version, "m", "simulated", "default", "backtest", 1, None, START, END, False,
            False, 1.0, [], [], {}, [],
        ),
        Experiment(f"e-{name}", "a batch"),
        ExperimentSession(f"e-{name}", name),
        LiveDecision("paper", 1, name, micros(START), uuid),
        OrderIntent(
            f"o-{name}", uuid, "paper", 1, "entry", 0, "PEPE/USDT", 25.5, None, 0.001, START
        ),
        Reconciliation("paper", 1, int(name[1:]), "start", True, facts={"open": 1}),
        Tombstone(version, 0, END, 9, "expired", "its year was over", "test"),
    ]  # fmt: skip


def fill_ledger(superuser: psycopg.Connection, files: HeadFiles, now: datetime) -> int:
    """Fill a database, a head for each step on two days; gives how many records there are.

    Args:
        superuser: in autocommit mode; what records need of each other is not asked for.
    """
    superuser.execute("SET session_replication_role = replica")
    stored = 0
    for number in range(SESSIONS):
        name = f"s{number}"
        records = session_records(name, number)
        half = len(records) // 2
        at = now + timedelta(hours=9 * number)
        stored += append_bulk(superuser, name, records[:half])
        write_heads(superuser, files, at)
        stored += append_bulk(superuser, name, records[half:])
        stored += append_bulk(superuser, f"learning-{name}", learning_records(name))
        write_heads(superuser, files, at + timedelta(minutes=1))
    return stored
