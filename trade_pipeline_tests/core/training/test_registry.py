"""The model registry, and what the database itself demands of a model before it may trade."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, ExclusionViolation, ForeignKeyViolation

from trade_pipeline.core.dataset.guards import GUARDS, GuardVerdict
from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.errors import BadConfig, InvalidRecord, RecordConflict
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.records import Record, Session, TradeCandidate
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.training.record import (
    EligibleModel,
    GateVerdict,
    HoldoutWindow,
    ModelEvaluation,
    ModelRecord,
)
from trade_pipeline.core.training.registry import (
    NotEligible,
    active_model,
    diff_models,
    holdout_users,
    is_eligible,
    list_models,
    newest_evaluation,
    newest_model,
    read_model,
    record_eligible,
    record_evaluation,
    record_model,
    trials_before,
    use_holdout,
)
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START, assert_whole_chain, count_rows

DATASET = "sha256:" + "d" * 64
MARKET = "uniswap-v2"
GATES = (
    "enough_data", "predictive_power", "fold_stability", "improvement", "fresh_holdout", "no_harm",
    "calibration", "overfitting", "leak_guards", "sanity",
)  # fmt: skip
STEP = timedelta(minutes=45)
LAST = START + 999 * STEP
# The last tenth of the members is the test; its labels live two days longer.
FIRST_TESTED = START + 900 * STEP
WINDOW = (FIRST_TESTED, LAST + timedelta(days=2))
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """A gate's answer."""

    name: str
    passed: bool = True
    reasons: Sequence[str] = ()
    numbers: dict[str, Any] = field(default_factory=lambda: {"value": 0.5, "unknown": None})


def said(*failed: str) -> list[Said]:
    return [Said(name, name not in failed, [f"{name} says so"]) for name in GATES]


def dataset_record(version: str = DATASET, name: str = "pools") -> DatasetRecord:
    return DatasetRecord(
        dataset_version=version, name=name, market=MARKET, kind="recorded", feature_set="set-1",
        feature_versions={}, config={}, labels={}, data_hash="", preparation={}, counts={},
        bounds={}, session_ids=["s"],
    )  # fmt: skip


def candidate(number: int, decided: datetime) -> TradeCandidate:
    uuid = trade_uuid("s", "PEPE/USDT", number, micros(decided))
    return samples.candidate(number, decided_at=decided, uuid=uuid)


@pytest.fixture(scope="module")
def prepared(server: EmbeddedPostgres) -> Iterator[Database]:
    """A database with 1,000 candidates over 31 days, and 100 more on the first of them."""
    name = f"registry_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE trade_pipeline'.encode())
    spread = [candidate(n, START + n * STEP) for n in range(1000)]
    dense = [candidate(n, START + timedelta(seconds=n)) for n in range(1000, 1100)]
    with Database.embedded(server.folder, name) as database:
        with database.connect(autocommit=True) as connection:
            append_bulk(connection, "s", [samples.session(), *spread, *dense])
            put(connection, dataset_record())
        yield database


@pytest.fixture
def writer(prepared: Database) -> Iterator[psycopg.Connection]:
    """A connection as ``trade_writer``; what a test writes is taken back."""
    with (
        prepared.connect("trade_writer") as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection


def put(connection: psycopg.Connection, *records: Record) -> None:
    """INSERT statements around everything that the registry would ask."""
    append_now(connection, read_chain(connection, "raw"), *records)


def put_members(connection: psycopg.Connection, count: int = 1000, until: datetime = LAST) -> None:
    """The first decisions up to a moment as members, the latest as test."""
    connection.execute(
        "INSERT INTO trade.dataset_members SELECT %s, uuid, CASE WHEN decided_at < %s "
        "THEN 'train' ELSE 'test' END FROM trade.candidates WHERE decided_at <= %s "
        "ORDER BY decision_no >= 1000, decision_no LIMIT %s",
        (DATASET, FIRST_TESTED, until, count),
    )


def put_guards(connection: psycopg.Connection, evaluation: int = 0, *failed: str) -> None:
    verdicts = [
        GuardVerdict(DATASET, evaluation, guard, guard not in failed, [], {}, [])
        for guard in GUARDS
    ]
    append_bulk(connection, "guards", verdicts)


def put_model(
    connection: psycopg.Connection, artifacts: ArtifactStore, data: bytes = b"{}", **changes: Any
) -> ModelRecord:
    given: dict[str, Any] = {
        "name": "pools", "market": MARKET, "kind": "recorded", "dataset_version": DATASET,
        "feature_set": "set-1", "code_version": "1", "environment": "sha256:e", "seed": 7,
        "params": {"max_depth": 3}, "config": {"trials": 10},
        "metrics": {"validation": {"r2": 0.01}, "folds": [{"r2": 0.02}, {"r2": float("nan")}]},
        "inputs": ["momentum", "noise"], "trials": 10,
    }  # fmt: skip
    return record_model(connection, artifacts, data, **(given | changes))


@pytest.fixture
def model(writer: psycopg.Connection, artifacts: ArtifactStore) -> ModelRecord:
    """A model that only has to be declared eligible."""
    put_members(writer)
    put_guards(writer)
    judged = put_model(writer, artifacts)
    use_holdout(writer, judged, *WINDOW)
    record_evaluation(writer, judged.model_version, said(), NOW)
    return judged


def deploy(
    connection: psycopg.Connection, model: ModelRecord, stage: str, slot: str | None = None
) -> None:
    """One line of the history; a promotion follows an evaluation of the canary that allows it."""
    evaluation = None
    if stage == "production":
        evaluation = uuid.uuid4().hex
        canary = connection.execute("SELECT max(deployment_id) FROM trade.deployments").fetchone()
        raw_insert(
            connection, "canary_evaluations", model, evaluation_id=evaluation, evaluated_at=NOW,
            looked_at=NOW, canary=canary and canary[0], decision="promote",
        )  # fmt: skip
    raw_insert(
        connection, "deployments", model, stage=stage, slot=slot or stage, market=MARKET,
        venue="pools", account="paper", deployed_at=NOW, deployed_by="t", reason="t",
        evaluation_id=evaluation, verdict=evaluation and "promote",
    )  # fmt: skip


def raw_insert(
    connection: psycopg.Connection, table: str, model: ModelRecord, **columns: Any
) -> None:
    """A row about a model, with the model's own ledger columns."""
    ledger = "chain_id, chain_seq, content, content_hash, chain_hash, model_version"
    values = ", ".join(f"%({name})s" for name in columns)
    connection.execute(
        f"INSERT INTO trade.{table} ({ledger}, {', '.join(columns)}) "
        f"SELECT {ledger}, {values} FROM trade.models WHERE model_version = %(of)s".encode(),
        columns | {"of": model.model_version},
    )


# Models


def test_a_model_is_found_by_its_version_and_by_its_short_name(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    stored = put_model(writer, artifacts, b'{"trees": []}')
    for name in (stored.model_version, stored.short_name):
        assert read_model(writer, name) == stored
    assert artifacts.get(stored.artifact) == b'{"trees": []}'
    assert stored.metrics["folds"] == [{"r2": 0.02}, {"r2": None}]
    assert newest_model(writer) == stored.model_version
    assert assert_whole_chain(writer, f"model:{MARKET}") == 1


def test_the_same_model_is_stored_once(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    stored = put_model(writer, artifacts)
    counts = count_rows(writer)
    assert put_model(writer, artifacts) == stored
    assert count_rows(writer) == counts


@pytest.mark.parametrize(
    "changes",
    [
        {"data": b"[]"},
        {"name": "other"},
        {"code_version": "2"},
        {"environment": "sha256:f"},
        {"seed": 8},
        {"params": {"max_depth": 4}},
        {"config": {"trials": 11}},
        {"metrics": {}},
        {"inputs": ["noise", "momentum"]},
        {"trials": 11},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_that_makes_a_model_makes_its_version(
    writer: psycopg.Connection, artifacts: ArtifactStore, changes: dict[str, Any]
) -> None:
    one, other = put_model(writer, artifacts), put_model(writer, artifacts, **changes)
    assert one.model_version != other.model_version
    child = put_model(writer, artifacts, parent=one.model_version)
    assert child.model_version != one.model_version


def test_a_model_file_that_was_changed_is_refused(
    writer: psycopg.Connection, tmp_path: Path
) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    stored = put_model(writer, artifacts, b'{"leaf": 1}')
    digest = stored.artifact.removeprefix("sha256:")
    (tmp_path / digest[:2] / digest).write_bytes(b'{"leaf": 2}')
    with pytest.raises(ArtifactDamaged, match=stored.artifact):
        artifacts.get(read_model(writer, stored.short_name).artifact)


def test_a_model_under_a_version_that_is_not_its_own_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    stored = put_model(writer, artifacts)
    forged = replace(stored, model_version="sha256:" + "0" * 64)
    put(writer, forged)
    with pytest.raises(RecordConflict, match=forged.model_version):
        read_model(writer, forged.model_version)


@pytest.mark.parametrize("name", ["pools", "pools-00000000", "sha256:" + "1" * 64])
def test_a_model_that_is_not_stored_is_named(writer: psycopg.Connection, name: str) -> None:
    for ask in (
        lambda: read_model(writer, name),
        lambda: record_eligible(writer, name, 0),
        lambda: record_evaluation(writer, name, said(), NOW),
    ):
        with pytest.raises(BadConfig, match=f"model='{name}'"):
            ask()
    with pytest.raises(BadConfig, match="no model is stored"):
        newest_model(writer)
    assert list_models(writer) == []


def test_two_models_of_one_short_name_are_told_apart_by_their_versions(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    stored = put_model(writer, artifacts)
    twin = replace(stored, model_version=stored.model_version[:-1] + "x")
    put(writer, twin)
    with pytest.raises(BadConfig, match=twin.model_version):
        read_model(writer, stored.short_name)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_version": "sha256:" + "0" * 64},
        {"parent": "sha256:" + "0" * 64},
        {"market": "simulated"},
        {"kind": "live"},
        {"feature_set": "set-2"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_model_says_of_itself_only_what_its_dataset_and_parent_bear_out(
    writer: psycopg.Connection, artifacts: ArtifactStore, changes: dict[str, Any]
) -> None:
    with pytest.raises(ForeignKeyViolation):
        put_model(writer, artifacts, **changes)


def test_a_model_of_several_markets_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    mixed = replace(dataset_record("sha256:" + "e" * 64, "mixed"), market=f"{MARKET}+simulated")
    put(writer, mixed)
    with pytest.raises(CheckViolation):
        put_model(writer, artifacts, market=mixed.market, dataset_version=mixed.dataset_version)


def test_models_differ_in_the_fields_that_are_named(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    one = put_model(writer, artifacts)
    other = put_model(
        writer,
        artifacts,
        params={"max_depth": 4, "eta": 0.1},
        metrics={"validation": {"r2": 0.01}, "folds": [{"r2": 0.03}]},
    )
    assert diff_models(one, one) == []
    assert diff_models(one, other) == [
        ("model_version", one.model_version, other.model_version),
        ("params.max_depth", 3, 4),
        ("metrics.folds.0.r2", 0.02, 0.03),
        ("params.eta", None, 0.1),
    ]


def test_trials_are_counted_of_the_models_before_on_the_same_market(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        put(connection, dataset_record())
        elsewhere = replace(dataset_record("sha256:" + "e" * 64), market="simulated")
        put(connection, elsewhere)
        put_model(connection, artifacts, market="simulated", trials=1000,
                  dataset_version=elsewhere.dataset_version)  # fmt: skip
        first, second, third = (put_model(connection, artifacts, trials=n) for n in (1, 20, 300))
        assert trials_before(connection, MARKET, first.model_version) == 0
        assert trials_before(connection, MARKET, second.model_version) == 1
        assert trials_before(connection, MARKET, third.model_version) == 21
        assert trials_before(connection, MARKET, "not stored yet") == 321


def test_each_setting_that_an_experiment_tried_on_the_market_counts_as_a_trial(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        put(connection, dataset_record())
        first = put_model(connection, artifacts, trials=5)
        for number, (market, params) in enumerate(
            [(MARKET, "one"), (MARKET, "one"), (MARKET, "two"), ("simulated", "three")]
        ):
            session = Session(
                session_id=f"s{number}", mode="backtest", market=market, code_version="1",
                params_ptr=params,
            )  # fmt: skip
            put(connection, session)
            link_experiment(connection, "stops", session.session_id)
        put(connection, Session("alone", "backtest", MARKET, "1", params_ptr="four"))
        assert trials_before(connection, MARKET, first.model_version) == 0
        second = put_model(connection, artifacts, trials=7)
        assert trials_before(connection, MARKET, second.model_version) == 5 + 2


# Holdout windows


def test_no_time_is_a_holdout_twice(writer: psycopg.Connection, artifacts: ArtifactStore) -> None:
    one, other = put_model(writer, artifacts), put_model(writer, artifacts, seed=8)
    first, last = WINDOW
    use_holdout(writer, one, first, last)
    counts = count_rows(writer)
    use_holdout(writer, one, first, last)
    assert count_rows(writer) == counts
    hour = timedelta(hours=1)
    for start, end in ((first, last), (last, last + hour), (first - hour, first),
                       (first + hour, first + hour)):  # fmt: skip
        assert holdout_users(writer, MARKET, start, end, other.model_version) == [one.short_name]
        with pytest.raises(BadConfig, match=one.short_name):
            use_holdout(writer, other, start, end)
        with pytest.raises(ExclusionViolation), writer.transaction():
            put(writer, HoldoutWindow(other.model_version, MARKET, start, end))
    with pytest.raises(RecordConflict, match=one.model_version):
        use_holdout(writer, one, first, last + hour)
    assert holdout_users(writer, MARKET, first, last, one.model_version) == []
    assert holdout_users(writer, "simulated", first, last, other.model_version) == []
    use_holdout(writer, other, last + STEP, last + hour)
    assert holdout_users(writer, MARKET, first, last + hour, "") == sorted(
        [one.short_name, other.short_name]
    )


def test_a_window_on_another_market_than_the_models_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    stored = put_model(writer, artifacts)
    with pytest.raises(ForeignKeyViolation):
        put(writer, HoldoutWindow(stored.model_version, "simulated", *WINDOW))


def test_a_window_that_ends_before_it_begins_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    first, last = WINDOW
    with pytest.raises(InvalidRecord, match="last_at"):
        use_holdout(writer, put_model(writer, artifacts), last, first)


# Evaluations


def test_an_evaluation_keeps_what_each_gate_said(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    version = put_model(writer, artifacts).model_version
    assert newest_evaluation(writer, version) is None
    assert record_evaluation(writer, version, said("sanity", "no_harm"), NOW) == 0
    newest = newest_evaluation(writer, version)
    assert newest is not None
    assert newest[:2] == (0, False)
    assert {gate for gate, verdict in newest[2].items() if not verdict.passed} == {
        "sanity", "no_harm",
    }  # fmt: skip
    assert newest[2]["sanity"] == GateVerdict(
        version, 0, "sanity", False, ["sanity says so"], {"value": 0.5, "unknown": None}
    )
    assert record_evaluation(writer, version, said(), NOW) == 1
    newest = newest_evaluation(writer, version)
    assert newest is not None
    assert newest[:2] == (1, True)
    assert list(newest[2]) == list(GATES)


def test_an_evaluation_without_some_gate_is_not_stored(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    version = put_model(writer, artifacts).model_version
    counts = count_rows(writer)
    with pytest.raises(BadConfig, match="missing no_harm, sanity"):
        record_evaluation(
            writer, version, [v for v in said() if v.name not in ("sanity", "no_harm")], NOW
        )
    assert count_rows(writer) == counts


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("how", ["failed", "missing"])
def test_no_evaluation_passes_with_a_gate_that_did_not(
    writer: psycopg.Connection, artifacts: ArtifactStore, gate: str, how: str
) -> None:
    version = put_model(writer, artifacts).model_version
    put(writer, ModelEvaluation(version, 0, True, NOW))
    put(
        writer,
        *(
            GateVerdict(version, 0, name, name != gate, [], {})
            for name in GATES
            if how == "failed" or name != gate
        ),
    )
    with pytest.raises(CheckViolation, match=rf"(?m)cannot have passed.*: {gate}$"):
        writer.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_no_failure_is_added_to_an_evaluation_that_passed(
    writer: psycopg.Connection, model: ModelRecord
) -> None:
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(CheckViolation, match=r"(?m)cannot have passed.*: one more$"):
        put(writer, GateVerdict(model.model_version, 0, "one more", False, [], {}))


def test_the_database_requires_the_gates_and_the_guards_that_there_are(
    writer: psycopg.Connection,
) -> None:
    required = writer.execute("SELECT kind, name FROM trade.required_verdicts").fetchall()
    assert [name for kind, name in required if kind == "gate"] == list(GATES)
    assert [name for kind, name in required if kind == "guard"] == list(GUARDS)
    with pytest.raises(psycopg.Error):
        writer.execute("DELETE FROM trade.required_verdicts")


# Eligibility


def test_a_model_that_has_everything_becomes_eligible_once(
    writer: psycopg.Connection, model: ModelRecord
) -> None:
    version = model.model_version
    assert not is_eligible(writer, version)
    assert record_eligible(writer, version, 0)
    assert not record_eligible(writer, version, 0)
    assert is_eligible(writer, version)
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    # model, window, evaluation with its verdicts, eligibility
    assert assert_whole_chain(writer, f"model:{MARKET}") == 4 + len(GATES)


def test_an_insert_without_the_registry_gets_past_when_everything_is_there(
    writer: psycopg.Connection, model: ModelRecord
) -> None:
    put(writer, EligibleModel(model.model_version, 0))
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert is_eligible(writer, model.model_version)


Spoil = Callable[[psycopg.Connection, ModelRecord], None]


def newer_failure(writer: psycopg.Connection, model: ModelRecord) -> None:
    record_evaluation(writer, model.model_version, said("sanity"), NOW)


def guard_failed_since(writer: psycopg.Connection, model: ModelRecord) -> None:
    put_guards(writer, 1, "stored_values")


def guard_missing_since(writer: psycopg.Connection, model: ModelRecord) -> None:
    put(writer, *(GuardVerdict(DATASET, 1, guard, True, [], {}, []) for guard in GUARDS[1:]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (newer_failure, "evaluation 0 is not its newest, which is 1"),
        (guard_failed_since, "newest verdicts on dataset .*: stored_values$"),
        (guard_missing_since, f"newest verdicts on dataset .*: {GUARDS[0]}$"),
    ],
)
def test_what_became_known_later_counts(
    writer: psycopg.Connection, model: ModelRecord, spoil: Spoil, message: str
) -> None:
    spoil(writer, model)
    assert_refused(writer, model, CheckViolation, message)


def assert_refused(
    writer: psycopg.Connection, model: ModelRecord, error: type[psycopg.Error], message: str
) -> None:
    """Neither an INSERT nor the registry makes the model eligible; both say why."""
    with pytest.raises(error, match=f"(?m){message}"), writer.transaction():
        put(writer, EligibleModel(model.model_version, 0))
    with pytest.raises(NotEligible, match=message):
        record_eligible(writer, model.model_version, 0)
    assert not is_eligible(writer, model.model_version)


@pytest.mark.parametrize("evaluation", [1, -1])
def test_an_evaluation_that_was_never_made_does_not_do(
    writer: psycopg.Connection, model: ModelRecord, evaluation: int
) -> None:
    with pytest.raises(NotEligible, match=f"evaluation {evaluation} is not its newest"):
        record_eligible(writer, model.model_version, evaluation)


def test_a_model_that_was_never_evaluated_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    model = put_model(writer, artifacts)
    assert_refused(writer, model, ForeignKeyViolation, "no evaluation is stored")


@pytest.mark.parametrize("gate", GATES)
def test_a_model_that_failed_one_gate_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore, gate: str
) -> None:
    model = put_model(writer, artifacts)
    record_evaluation(writer, model.model_version, said(gate), NOW)
    message = f"gates failed or missing in evaluation 0: {gate}$"
    assert_refused(writer, model, CheckViolation, message)
    with pytest.raises(psycopg.IntegrityError), writer.transaction():
        put(writer, EligibleModel(model.model_version, 0, passed=False))


def test_an_evaluation_of_another_model_does_not_do(
    writer: psycopg.Connection, artifacts: ArtifactStore, model: ModelRecord
) -> None:
    other = put_model(writer, artifacts, seed=8)
    assert_refused(writer, other, ForeignKeyViolation, "no evaluation is stored")


@pytest.mark.parametrize("guard", GUARDS)
def test_a_model_of_a_dataset_with_a_leak_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore, guard: str
) -> None:
    put_guards(writer, 0, guard)
    model = put_model(writer, artifacts)
    record_evaluation(writer, model.model_version, said(), NOW)
    assert_refused(writer, model, CheckViolation, f"verdicts on dataset {DATASET}: {guard}$")


def test_a_dataset_that_no_guard_was_asked_about_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    model = put_model(writer, artifacts)
    record_evaluation(writer, model.model_version, said(), NOW)
    assert_refused(writer, model, CheckViolation, ", ".join(sorted(GUARDS)))


@pytest.mark.parametrize(
    ("count", "until", "found"),
    [
        (999, LAST, "999 members on 32 UTC days"),
        # In Tokyo, where this connection believes to be, these are thirty days.
        (1000, datetime(2026, 3, 29, 23, 59, tzinfo=UTC), "1000 members on 29 UTC days"),
        (0, LAST, "0 members on 0 UTC days"),
        (1000, datetime(2026, 3, 30, 0, 0, tzinfo=UTC), None),
    ],
)
def test_the_database_counts_the_members_and_their_days_itself(
    writer: psycopg.Connection,
    artifacts: ArtifactStore,
    count: int,
    until: datetime,
    found: str | None,
) -> None:
    writer.execute("SET timezone = 'Asia/Tokyo'")
    put_members(writer, count, until)
    put_guards(writer)
    model = put_model(writer, artifacts)
    use_holdout(writer, model, *WINDOW)
    record_evaluation(writer, model.model_version, said(), NOW)
    if found is None:
        assert record_eligible(writer, model.model_version, 0)
    else:
        assert_refused(writer, model, CheckViolation, found)


def test_a_model_without_a_holdout_window_is_refused(
    writer: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    put_members(writer)
    put_guards(writer)
    model = put_model(writer, artifacts)
    record_evaluation(writer, model.model_version, said(), NOW)
    assert_refused(
        writer, model, ForeignKeyViolation, "no holdout window was recorded before evaluation 0"
    )
    first, last = WINDOW
    after = datetime.now(UTC) + timedelta(hours=1)
    raw_insert(
        writer, "holdout_windows", model, market=MARKET, first_at=first, last_at=last,
        recorded_at=after,
    )  # fmt: skip
    assert_refused(
        writer, model, ForeignKeyViolation, "no holdout window was recorded before evaluation 0"
    )


@pytest.mark.parametrize(
    ("window", "outside"),
    [
        ((FIRST_TESTED + timedelta(seconds=1), LAST), 1),
        ((FIRST_TESTED, LAST - STEP), 1),
        ((START - timedelta(days=2), START - timedelta(days=1)), 100),
    ],
)
def test_a_window_that_is_not_the_datasets_is_refused(
    writer: psycopg.Connection,
    artifacts: ArtifactStore,
    window: tuple[datetime, datetime],
    outside: int,
) -> None:
    put_members(writer)
    put_guards(writer)
    model = put_model(writer, artifacts)
    use_holdout(writer, model, *window)
    record_evaluation(writer, model.model_version, said(), NOW)
    assert_refused(writer, model, CheckViolation, f"{outside} decisions lie outside")


# Deployments


def test_only_an_eligible_model_takes_decisions(
    writer: psycopg.Connection, model: ModelRecord
) -> None:
    with pytest.raises(ForeignKeyViolation, match="eligible_models"), writer.transaction():
        deploy(writer, model, "canary")
    record_eligible(writer, model.model_version, 0)
    deploy(writer, model, "canary")
    deploy(writer, model, "production")


@pytest.fixture
def successor(writer: psycopg.Connection, artifacts: ArtifactStore) -> ModelRecord:
    """A model of another dataset and another time, judged as well."""
    version = "sha256:" + "e" * 64
    put(writer, dataset_record(version, "later"))
    writer.execute(
        "INSERT INTO trade.dataset_members SELECT %s, uuid, 'train' FROM trade.candidates",
        (version,),
    )
    put(writer, *(GuardVerdict(version, 0, guard, True, [], {}, []) for guard in GUARDS))
    later = put_model(writer, artifacts, name="later", dataset_version=version)
    use_holdout(writer, later, WINDOW[1] + STEP, WINDOW[1] + timedelta(days=9))
    record_evaluation(writer, later.model_version, said(), NOW)
    return later


def test_the_active_model_is_the_one_in_production_until_it_retires(
    writer: psycopg.Connection, model: ModelRecord, successor: ModelRecord
) -> None:
    for one in (model, successor):
        record_eligible(writer, one.model_version, 0)
    deploy(writer, model, "canary")
    assert active_model(writer) is None
    deploy(writer, model, "production")
    assert active_model(writer) == active_model(writer, MARKET) == model
    assert active_model(writer, "simulated") is None
    deploy(writer, successor, "canary")
    assert active_model(writer) == model
    deploy(writer, successor, "production")
    assert active_model(writer) == successor
    deploy(writer, successor, "retired", "production")
    assert active_model(writer) is None


def test_a_list_of_models_tells_how_far_each_of_them_came(
    writer: psycopg.Connection,
    artifacts: ArtifactStore,
    model: ModelRecord,
    successor: ModelRecord,
) -> None:
    idle = put_model(writer, artifacts, name="idle")
    record_evaluation(writer, successor.model_version, said("sanity"), NOW)
    record_eligible(writer, model.model_version, 0)
    deploy(writer, model, "canary")
    deploy(writer, model, "retired", "canary")
    listed = list_models(writer)
    assert [(m.version, m.short_name, m.evaluation, m.eligible, m.stage) for m in listed] == [
        (model.model_version, model.short_name, "passed", True, "retired"),
        (successor.model_version, successor.short_name, "failed", False, None),
        (idle.model_version, idle.short_name, "none", False, None),
    ]
    assert [m.dataset for m in listed] == ["pools-dddddddd", "later-eeeeeeee", "pools-dddddddd"]
    assert newest_model(writer) == idle.model_version
