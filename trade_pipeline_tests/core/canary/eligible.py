"""Stored models of which nothing matters but whether they may be deployed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from trade_pipeline.core.dataset.guards import GUARDS, GuardVerdict
from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.training.registry import (
    read_model,
    record_eligible,
    record_evaluation,
    record_model,
    use_holdout,
)
from trade_pipeline.core.training.verdict import GateResult
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START

MARKET = "uniswap-v2"
_STEP = timedelta(minutes=45)


def store_decisions(connection: psycopg.Connection) -> None:
    """As many decisions on as many days as the smallest dataset of a model needs."""
    decided = [(n, START + n * _STEP) for n in range(1000)]
    append_bulk(
        connection,
        "s",
        [
            samples.session(),
            *(
                samples.candidate(
                    n, decided_at=at, uuid=trade_uuid("s", "PEPE/USDT", n, micros(at))
                )
                for n, at in decided
            ),
        ],
    )


def store_model(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    number: int,
    kind: str = "recorded",
    *,
    eligible: bool = True,
) -> str:
    """The version of a model that learned from `store_decisions`, judged on a time of its own."""
    dataset = "sha256:" + f"{number:064x}"
    record = DatasetRecord(
        dataset_version=dataset, name=f"data{number}", market=MARKET, kind=kind, feature_set="f",
        feature_versions={}, config={}, labels={}, data_hash="", preparation={}, counts={},
        bounds={}, session_ids=["s"],
    )  # fmt: skip
    append_now(connection, read_chain(connection, dataset), record)
    connection.execute(
        "INSERT INTO trade.dataset_members SELECT %s, uuid, 'train' FROM trade.candidates",
        (dataset,),
    )
    guards = [GuardVerdict(dataset, 0, guard, True, [], {}, []) for guard in GUARDS]
    append_bulk(connection, dataset, guards)
    version = record_model(
        connection, artifacts, b"{}", name=f"model{number}", market=MARKET, kind=kind,
        dataset_version=dataset, feature_set="f", code_version="1", environment="e", seed=number,
        params={}, config={}, metrics={}, inputs=["momentum"], trials=1,
    ).model_version  # fmt: skip
    if eligible:
        held_out = START + timedelta(days=1000 + number)
        use_holdout(connection, read_model(connection, version), held_out, held_out)
        required = connection.execute(
            "SELECT name FROM trade.required_verdicts WHERE kind = 'gate'"
        )
        said = [GateResult(gate, True, (), {}) for (gate,) in required]
        record_evaluation(connection, version, said, datetime(2026, 5, 1, tzinfo=UTC))
        record_eligible(connection, version, 0)
    return version
