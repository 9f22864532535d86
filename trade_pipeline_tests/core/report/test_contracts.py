"""Contracts: every rule finds the very row that breaks it, and a clean session breaks none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import feature_row, vector_hash
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.records import FeatureRow
from trade_pipeline.core.report import expectations
from trade_pipeline.core.report.contract_samples import Sample, read_members, read_sample
from trade_pipeline.core.report.contracts import CONTRACTS
from trade_pipeline.core.report.expectations import (
    Between,
    Contract,
    EqualTo,
    HasType,
    Matches,
    NotAbove,
    NotNull,
    OneOf,
    Rule,
    RuleResult,
    Severity,
    Unique,
    check_contract,
    suite,
)
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START
from trade_pipeline_tests.core.session import stored

if TYPE_CHECKING:
    import pandas as pd

OF_SESSIONS = [asset for asset in CONTRACTS if asset != "training_dataset"]


@pytest.fixture(scope="module")
def clean(database: Database, artifacts: ArtifactStore) -> Mapping[str, Sample]:
    """The rows of a stored session for every contract."""
    session = stored.run(database, artifacts).session.session_id
    label_session(database, artifacts, stored.market(), session)
    with database.connect() as connection:
        dataset = store_dataset(connection, session)
        found = {a: read_sample(connection, CONTRACTS[a], session) for a in OF_SESSIONS}
        return found | {"training_dataset": read_members(connection, dataset)}


def store_dataset(connection: psycopg.Connection, session: str) -> str:
    """A dataset of a session's labelled decisions, the later half for testing."""
    record = DatasetRecord(
        **dict.fromkeys(("feature_set", "data_hash"), "x"),
        **{n: {} for n in ("feature_versions", "labels", "preparation", "counts", "bounds")},
        dataset_version="sha256:" + "d" * 64,
        name="contracts",
        market="simulated",
        kind="simulated",
        config={"label": "shadow"},
        session_ids=[session],
    )
    append_now(connection, Chain("dataset:contracts"), record)
    connection.execute(
        "INSERT INTO trade.dataset_members SELECT %s, uuid, "
        "CASE ntile(2) OVER (ORDER BY uuid) WHEN 1 THEN 'train' ELSE 'test' END "
        "FROM trade.outcomes WHERE chain_id = %s",
        (record.dataset_version, f"shadow:{session}"),
    )
    connection.commit()
    return record.dataset_version


@pytest.fixture
def writer(fresh_database: Database) -> psycopg.Connection:
    now = datetime.now(UTC)
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (now - timedelta(9), now))
        yield connection


def judged(connection: psycopg.Connection, asset: str, session: str = "s") -> list[RuleResult]:
    """What fails of a contract."""
    sample = read_sample(connection, CONTRACTS[asset], session)
    found = check_contract(CONTRACTS[asset], sample.frame, sample.rows)
    return [row for row in found.rows if not row.passed]


@pytest.mark.parametrize("asset", CONTRACTS)
def test_a_clean_session_keeps_every_rule(clean: Mapping[str, Sample], asset: str) -> None:
    sample = clean[asset]
    found = check_contract(CONTRACTS[asset], sample.frame, sample.rows)
    assert [row for row in found.rows if not row.passed] == []
    assert found.passed
    assert sample.rows == len(sample.frame) > 20
    assert [row.column for row in found.rows] == [rule.column for rule in CONTRACTS[asset].rules]


def many_rows(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The row that says most, many times over, each time under a key of its own."""
    fullest = frame.isna().sum(axis=1).to_numpy().argmin()
    made = frame.iloc[np.full(rows, fullest)].reset_index(drop=True)
    made["uuid"] = [f"{uuid[:-12]}{row:012x}" for row, uuid in enumerate(made["uuid"])]
    if "decision_no" in made:
        made["decision_no"] = made.index.astype("int64")
    return made


def plant(frame: pd.DataFrame, row: int, rule: Rule) -> None:
    """Break one rule in one row; of two rows that are the same, in the next as well."""
    for name, values in rule.where:
        frame.loc[row, name] = values[0]
    column = rule.column
    match rule:
        case NotNull():
            frame.loc[row, column] = None
        case Between(low=low, above=above) if low is not None:
            frame.loc[row, column] = low if above else low - 1
        case Between(high=high) if high is not None:
            frame.loc[row, column] = high + 1
        case Between():
            frame.loc[row, column] = math.inf
        case OneOf():
            frame.loc[row, column] = "nonsense"
        case Matches() | EqualTo():
            frame.loc[row, column] = " "
        case Unique(columns=columns):
            frame.loc[row + 1, list(columns)] = frame.loc[row, list(columns)]
        case NotAbove(other=other):
            limit = frame.loc[row, other]
            more = 1.0 if isinstance(limit, float) else timedelta(hours=1)
            frame.loc[row, column] = limit + more


def columns_of(rule: Rule) -> set[str]:
    found = {rule.column, *(name for name, _ in rule.where)}
    match rule:
        case Unique(others=others):
            found |= set(others)
        case NotAbove(other=other) | EqualTo(other=other):
            found.add(other)
    return found


@pytest.mark.parametrize("asset", CONTRACTS)
def test_each_rule_names_the_row_that_breaks_it_and_no_row_that_does_not(
    clean: Mapping[str, Sample], asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectations, "EXAMPLES", 1_000)
    rules = [rule for rule in CONTRACTS[asset].rules if not isinstance(rule, HasType)]
    frame = many_rows(clean[asset].frame, 2 * len(rules))
    contract = Contract(asset, tuple(rules))
    assert check_contract(contract, frame).failures(Severity.CRITICAL) == []
    for number, rule in enumerate(rules):
        plant(frame, 2 * number, rule)
    found = check_contract(contract, frame)
    for number, (rule, row) in enumerate(zip(rules, found.rows, strict=True)):
        assert not row.passed
        assert (row.column, row.severity) == (rule.column, rule.severity)
        named = {example.rpartition("(uuid ")[2][:-1] for example in row.examples.split("; ")}
        assert str(frame.loc[2 * number, "uuid"]) in named
        may_break = {
            str(frame.loc[2 * n + twin, "uuid"])
            for n, other in enumerate(rules)
            for twin in (0, 1)
            if columns_of(rule) & columns_of(other)
        }
        assert named <= may_break
        assert row.unexpected is not None
        assert 1 <= row.unexpected <= len(may_break)


@pytest.mark.parametrize("asset", CONTRACTS)
def test_a_column_of_another_type_breaks_its_rule(clean: Mapping[str, Sample], asset: str) -> None:
    rules = tuple(rule for rule in CONTRACTS[asset].rules if isinstance(rule, HasType))
    changed = {rule.column: 0 if rule.kind == "str" else "text" for rule in rules}
    found = check_contract(Contract(asset, rules), clean[asset].frame.assign(**changed))
    for row in found.rows:
        other = "int64" if row.expected == "type str" else "str"
        assert (row.passed, row.examples) == (False, f"type {other}")


@pytest.mark.parametrize("asset", CONTRACTS)
def test_an_empty_table_breaks_nothing(clean: Mapping[str, Sample], asset: str) -> None:
    found = check_contract(CONTRACTS[asset], clean[asset].frame.iloc[:0], 0)
    assert [row for row in found.rows if not row.passed] == []
    assert {row.checked for row in found.rows} == {0}


def test_an_empty_session_is_read_with_the_columns_and_types_of_a_full_one(
    writer: psycopg.Connection, clean: Mapping[str, Sample]
) -> None:
    append_now(writer, Chain("s"), samples.session())
    for asset in OF_SESSIONS:
        empty = read_sample(writer, CONTRACTS[asset], "s")
        assert (empty.rows, len(empty.frame)) == (0, 0)
        full = clean[asset].frame
        assert empty.frame.dtypes.to_dict() == full.dtypes.to_dict()


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_what_is_infinite_is_out_of_every_range_and_what_is_unknown_is_in_none(
    value: float,
) -> None:
    import pandas as pd

    frame = pd.DataFrame({"uuid": ["a", "b"], "x": [value, math.nan]})
    found = check_contract(Contract("t", (Between("x"), NotNull("x"))), frame)
    assert [(row.examples, row.checked) for row in found.rows] == [
        (f"{value} (uuid a)", 1),
        ("nan (uuid b)", 2),
    ]


def test_a_rule_is_critical_unless_it_says_otherwise() -> None:
    import pandas as pd

    frame = pd.DataFrame({"uuid": ["a"], "x": [2.0]})
    said, unsaid = Between("x", 3, severity=Severity.WARNING), Between("x", 4)
    assert unsaid.severity is Severity.CRITICAL
    assert [e.severity.value for e in suite({0: said, 1: unsaid}).expectations] == [
        "warning",
        "critical",
    ]
    warned = check_contract(Contract("t", (said,)), frame)
    assert warned.passed
    assert [row.expected for row in warned.failures(Severity.WARNING)] == ["finite, >= 3"]
    broken = check_contract(Contract("t", (said, unsaid)), frame)
    assert not broken.passed
    assert [row.expected for row in broken.failures(Severity.CRITICAL)] == ["finite, >= 4"]


def test_a_column_that_is_not_there_breaks_its_rules_and_says_so(
    clean: Mapping[str, Sample],
) -> None:
    frame = clean["trade_outcomes"].frame.drop(columns="pnl_usd")
    found = check_contract(CONTRACTS["trade_outcomes"], frame)
    assert {row.column for row in found.failures(Severity.CRITICAL)} == {"pnl_usd"}
    assert any('"pnl_usd"' in row.examples for row in found.failures(Severity.CRITICAL))


def test_the_sample_is_the_newest_rows(database: Database, clean: Mapping[str, Sample]) -> None:
    whole = clean["trade_candidates"].frame
    session = str(whole["session_id"].iloc[0])
    with database.connect("trade_reader") as connection:
        sample = read_sample(connection, CONTRACTS["trade_candidates"], session, limit=10)
    assert sample.rows == len(whole)
    newest = whole.sort_values("decision_no", ascending=False)["uuid"].head(10)
    assert sample.frame["uuid"].tolist() == newest.tolist()


def test_a_key_that_repeats_is_found_among_all_rows_of_the_session(
    server: EmbeddedPostgres, writer: psycopg.Connection
) -> None:
    append_now(writer, Chain("s"), *samples.records_of_a_session(9))
    append_now(writer, Chain("t"), *samples.records_of_a_session(9, "t"))
    with psycopg.connect(server.url("postgres", writer.info.dbname)) as owner:
        owner.execute("ALTER TABLE trade.executions DROP CONSTRAINT executions_pkey")
        owner.execute(
            "INSERT INTO trade.executions SELECT (jsonb_populate_record(e, '{\"chain_seq\": 999}'))"
            ".* FROM trade.executions e WHERE chain_id = 's' ORDER BY chain_seq LIMIT 1"
        )
        owner.commit()
    contract = CONTRACTS["trade_executions"]
    sample = read_sample(writer, contract, "s", limit=2)
    unique = Contract(contract.asset, tuple(r for r in contract.rules if isinstance(r, Unique)))
    [row] = check_contract(unique, sample.frame, sample.rows).rows
    assert (row.passed, row.unexpected, row.checked, sample.rows) == (False, 2, 13, 13)
    assert str(samples.candidate(0).uuid) in row.examples
    sample = read_sample(writer, contract, "t", limit=2)
    assert check_contract(unique, sample.frame, sample.rows).passed
    assert len(sample.frame) == 2


def test_what_the_python_api_may_leave_out_is_no_violation(writer: psycopg.Connection) -> None:
    _, *records = samples.records_of_a_session(6)
    shadow = samples.outcome(samples.candidate(0).uuid, kind="shadow")
    manual = samples.session(mode="manual", market="manual")
    append_now(writer, Chain("s"), manual, *records, shadow)
    for asset in OF_SESSIONS:
        assert judged(writer, asset) == []


@pytest.mark.parametrize(("hours", "stale"), [(47, False), (49, True)])
def test_a_live_session_that_is_silent_for_two_days_is_stale(
    writer: psycopg.Connection, hours: int, stale: bool
) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours)
    chain = Chain("s")
    append_now(writer, chain, samples.session(mode="live", market="uniswap-v2"))
    for number, earlier in enumerate((30, 0)):
        decided_at = at - timedelta(hours=earlier)
        uuid = trade_uuid("s", "PEPE/USDT", number, micros(decided_at))
        append_now(
            writer,
            chain,
            samples.candidate(
                number, uuid=uuid, decided_at=decided_at, stake_usd=9.0, feature_hash="0" * 64
            ),
        )
    found = [(row.column, row.expected) for row in judged(writer, "trade_candidates")]
    assert found == ([("hours_since_newest", "finite, <= 48")] if stale else [])


def test_a_recording_that_knows_the_future_is_found_and_a_simulated_day_may_be_ahead(
    writer: psycopg.Connection,
) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    for name, market in (("s", "simulated"), ("r", "uniswap-v2")):
        uuid = trade_uuid(name, "PEPE/USDT", 0, micros(ahead))
        append_now(
            writer,
            Chain(name),
            samples.session(name, market=market),
            samples.candidate(
                0, name, uuid=uuid, decided_at=ahead, stake_usd=9.0, feature_hash="0" * 64
            ),
        )
    assert judged(writer, "trade_candidates", "s") == []
    [found] = judged(writer, "trade_candidates", "r")
    assert (found.column, found.unexpected) == ("decided_at", 1)
    assert found.expected.startswith("<= recorded_at where kind_of_session is recorded")


def test_a_row_of_another_session_s_decision_is_found(writer: psycopg.Connection) -> None:
    decided = samples.candidate()
    append_now(writer, Chain("s"), samples.session(), decided)
    mixed = samples.session("t", mode="manual", market="manual")
    append_now(writer, Chain("t"), mixed, samples.research(decided.uuid))
    [found] = judged(writer, "research_documents", "t")
    assert (found.column, found.expected) == ("decided_at", "not missing")
    assert str(decided.uuid) in found.examples


def stored_vector(writer: psycopg.Connection, **changes: Any) -> list[RuleResult]:
    """What fails of the features when one decision's row is another than it should be."""
    decided = samples.candidate()
    vector = np.full(len(NAMES), np.nan)
    for name in ("volume_24h_usd", "rug_risk", "hour_of_day", "day_of_week",
                 "heuristic_confidence", "open_positions"):  # fmt: skip
        vector[NAMES.index(name)] = 1.0
    good = feature_row(decided.uuid, micros(decided.decided_at), vector)
    given = {name: getattr(good, name) for name in FeatureRow.__slots__} | changes
    append_now(writer, Chain("s"), samples.session(), decided)
    append_now(writer, Chain(f"features:s:{feature_set()}"), FeatureRow(**given))
    return judged(writer, "trade_features")


def test_a_vector_of_unknowns_but_for_what_is_always_known_is_sound(
    writer: psycopg.Connection,
) -> None:
    assert stored_vector(writer) == []


def test_an_infinite_value_that_is_stored_as_unknown_is_found_by_the_hash(
    writer: psycopg.Connection,
) -> None:
    vector = np.ones(len(NAMES))
    vector[NAMES.index("return_1h")] = math.inf
    found = stored_vector(writer, vector=vector.tolist(), vector_hash=vector_hash(vector))
    assert ("vector_hash", "= hash_of_vector") in [(row.column, row.expected) for row in found]


@pytest.mark.parametrize(
    ("vector", "told"),
    [([1.0, None], "2 values: [1.0,null] ..."), (["x"] * len(NAMES), 'values: ["x","x","x"] ...')],
)
def test_a_vector_that_is_not_one_number_a_feature_is_told(
    writer: psycopg.Connection, vector: list[Any], told: str
) -> None:
    found = {row.column: row for row in stored_vector(writer, vector=vector)}
    assert told in found["vector"].examples
    assert "vector_hash" not in found


def test_vectors_of_another_feature_set_are_judged_by_nobody(writer: psycopg.Connection) -> None:
    assert stored_vector(writer, feature_set="older", vector=[math.inf]) == []
    assert feature_set() != "older"


def test_a_session_that_is_not_stored_has_no_rows_to_judge(writer: psycopg.Connection) -> None:
    with pytest.raises(BadConfig, match="session_id='nothing'"):
        read_sample(writer, CONTRACTS["trade_candidates"], "nothing")
