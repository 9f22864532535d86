"""Stored records cannot be changed: not by a login, not on a partition, not by a mistake in code.

Tables and partitions are read from the catalogue, so that a new table is asked the same questions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, get_args
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from trade_pipeline.core.canonical import address_of, sha256
from trade_pipeline.core.ids import uuid7_floor
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.records import Scan, SessionEnd
from trade_pipeline.core.store.database import Database, Role
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START

LOGINS: tuple[Role, ...] = get_args(Role)
CHAIN = "append-only"
# Records without a chain of their own.
UNCHAINED = {
    "artifacts", "artifact_aliases", "artifact_renewals", "dataset_members", "session_runs",
    "halts", "incidents", "live_requests", "settings", "ledger_heads",
}  # fmt: skip
VECTOR = bytes(32)


@pytest.fixture(scope="module")
def filled(database: Database) -> Database:
    """A database with a row in every table of records."""
    with database.connect("trade_writer", autocommit=True) as connection:
        fill(connection)
    return database


@pytest.fixture
def owner(filled: Database, server: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the filled database."""
    with filled.connect() as connection:
        name = connection.info.dbname
    with psycopg.connect(server.url("postgres", name), autocommit=True) as connection:
        yield connection


def insert(connection: psycopg.Connection, table: str, seq: int, **columns: Any) -> None:
    """A row of a ledger table as raw SQL, with a content hash that fits."""
    content = json.dumps(columns, default=str)
    ledger = {
        "chain_id": CHAIN,
        "chain_seq": seq,
        "content": content,
        "content_hash": sha256(content.encode()),
        "chain_hash": VECTOR,
    }
    raw_insert(connection, table, **(ledger | columns))


def raw_insert(connection: psycopg.Connection, table: str, **columns: Any) -> None:
    connection.execute(
        sql.SQL("INSERT INTO trade.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        ),
        list(columns.values()),
    )


def fill(connection: psycopg.Connection) -> None:
    connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
    trade = samples.candidate(0, CHAIN)
    append_now(
        connection,
        Chain(CHAIN),
        samples.session(CHAIN),
        trade,
        samples.research(trade.uuid),
        samples.fill(trade.uuid),
        samples.outcome(trade.uuid),
        Scan(CHAIN, START, 1, 1, {}),
        SessionEnd(CHAIN, 1, 1, 0.0),
    )
    link_experiment(connection, CHAIN, CHAIN)
    raw_insert(connection, "session_runs", session_id=CHAIN, dagster_run_id="run")
    artifact = "sha256:" + "0" * 64
    raw_insert(connection, "artifacts", address=artifact, uri="", size_bytes=0, media_type="")
    raw_insert(connection, "settings", address=address_of(b"{}"), content="{}")
    raw_insert(connection, "artifact_aliases", alias=CHAIN, address=artifact)
    raw_insert(connection, "artifact_renewals", address=artifact, removals=0, expires_at=START)
    insert(connection, "artifact_tombstones", 89, address=artifact, removal=0, removed_at=START,
           size_bytes=0, kind="expired", reason="r", by_whom="t")  # fmt: skip
    insert(connection, "feature_rows", 90, uuid=trade.uuid, feature_set="f", known_at=START,
           vector_hash=VECTOR)  # fmt: skip
    insert(connection, "datasets", 91, dataset_version="d", name="d", market="m", kind="k",
           feature_set="f")  # fmt: skip
    # A deployed model needs a dataset of enough size.
    append_bulk(connection, "members", [samples.candidate(n, CHAIN) for n in range(1, 1000)])
    connection.execute("INSERT INTO trade.dataset_members SELECT 'd', uuid, 'train' "
                       "FROM trade.candidates WHERE session_id = %s", (CHAIN,))  # fmt: skip
    required = connection.execute("SELECT kind, name FROM trade.required_verdicts").fetchall()
    for guard in (name for kind, name in required if kind == "guard"):
        insert(connection, "dataset_guards", 96, dataset_version="d", evaluation=0, guard=guard,
               passed=True)  # fmt: skip
    for number, version in enumerate(("v1", "v2")):
        insert(connection, "models", 92 + number, model_version=version, name="n", market="m",
               kind="k", feature_set="f", dataset_version="d", artifact=artifact)  # fmt: skip
        held_out = START + timedelta(days=number)
        insert(connection, "holdout_windows", 96, model_version=version, market="m",
               first_at=held_out, last_at=held_out)  # fmt: skip
        with connection.transaction():
            insert(connection, "model_evaluations", 96, model_version=version, evaluation=0,
                   passed=True, evaluated_at=START)  # fmt: skip
            for gate in (name for kind, name in required if kind == "gate"):
                insert(connection, "gate_verdicts", 96, model_version=version, evaluation=0,
                       gate=gate, passed=True)  # fmt: skip
        insert(connection, "eligible_models", 96, model_version=version, evaluation=0,
               passed=True)  # fmt: skip
    deploy(connection, 93, "canary", "v1", None, None)
    for number, verdict in enumerate(("extend", "rollback", "expired", "promote")):
        insert(connection, "canary_evaluations", 94 + number, evaluation_id=verdict, canary=1,
               model_version="v1", looked_at=START, evaluated_at=START,
               decision=verdict)  # fmt: skip
    deploy(connection, 98, "production", "v1", "promote", "promote")
    insert(connection, "monitoring_reports", 99, report_id="r", model_version="v1", deployment=2,
           looked_at=START, monitored_at=START, broken=False, rolls_back=False)  # fmt: skip
    connection.execute("SELECT trade.take_lease('a', 'test', 'paper', 600, false)")
    with connection.transaction():
        insert(connection, "live_decisions", 99, account="a", epoch=1, instrument="i", slot=0,
               uuid=trade.uuid)  # fmt: skip
    insert(connection, "order_intents", 99, client_order_id="c", uuid=trade.uuid, account="a",
           epoch=1, leg="entry", attempt=0, instrument="i", stake_usd=1.0, decision_price=1.0,
           submitted_at=START)  # fmt: skip
    insert(connection, "reconciliations", 99, account="a", epoch=1, number=0, kind="start",
           explained=True)  # fmt: skip
    raw_insert(connection, "halts", account="a", action="halt", reason="r", by_whom="t")
    raw_insert(connection, "incidents", subject="job a", state="begins", reason="r")
    raw_insert(connection, "live_requests", account="a", wanted=True, settings="{}", by_whom="t")
    raw_insert(connection, "ledger_heads", number=0, head_hash=VECTOR)


def deploy(
    connection: psycopg.Connection,
    seq: int,
    stage: str,
    model: str,
    evaluation: str | None,
    verdict: str | None,
) -> None:
    slot = "canary" if stage == "canary" else "production"
    insert(connection, "deployments", seq, model_version=model, stage=stage, slot=slot, market="m",
           venue="v", account="paper", deployed_at=START, deployed_by="t", reason="t",
           evaluation_id=evaluation, verdict=verdict)  # fmt: skip


def protected_tables(connection: psycopg.Connection) -> list[str]:
    """Every table of records with each of its partitions."""
    named = sorted({*samples.ledger_tables(connection), *UNCHAINED})
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
        "LEFT JOIN pg_class p ON p.oid = i.inhparent "
        "WHERE c.relnamespace = 'trade'::regnamespace AND c.relkind IN ('r', 'p') "
        "AND (c.relname = ANY(%s) OR p.relname = ANY(%s)) ORDER BY 1",
        (named, named),
    )
    return [name for (name,) in rows]


def changes_of(connection: psycopg.Connection, table: str) -> dict[str, sql.Composed]:
    """Statements that would each change a table's records, were they allowed."""
    column = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = ('trade.' || %s)::regclass "
        "AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1",
        (table,),
    ).fetchone()
    assert column is not None
    name, field = sql.Identifier("trade", table), sql.Identifier(column[0])
    return {
        "UPDATE": sql.SQL("UPDATE {} SET {} = {}").format(name, field, field),
        "DELETE": sql.SQL("DELETE FROM {}").format(name),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE").format(name),
    }


def allowed(connection: psycopg.Connection, statement: sql.Composed) -> bool:
    """Whether a statement went through (and was then taken back)."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_can_change_a_record_of_any_table_or_partition(
    filled: Database, login: Role
) -> None:
    with filled.connect(login, autocommit=True) as connection:
        tables = protected_tables(connection)
        assert len([t for t in tables if t.endswith("_202603")]) >= 5
        possible = [
            f"{verb} {table}"
            for table in tables
            for verb, statement in changes_of(connection, table).items()
            if allowed(connection, statement)
        ]
    assert possible == []


def test_even_the_superuser_is_refused_by_the_triggers(owner: psycopg.Connection) -> None:
    tables = protected_tables(owner)
    empty = [t for t in tables if owner.execute(_any_row(t)).fetchone() is None]
    # A row trigger needs a row: a new table of records wants one in `fill`.
    assert [t for t in empty if not re.search(r"_\d{6}$", t)] == []
    for table in tables:
        for verb, statement in changes_of(owner, table).items():
            if table in empty and verb != "TRUNCATE":
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                owner.execute(statement)


def _any_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier("trade", table))


def test_every_record_table_and_partition_carries_both_triggers(owner: psycopg.Connection) -> None:
    # 8 + 16 + 2 + 1: UPDATE, DELETE, BEFORE, for each row; 32 + 2: TRUNCATE, BEFORE.
    for table in protected_tables(owner):
        found = owner.execute(
            "SELECT tgtype FROM pg_trigger WHERE tgrelid = ('trade.' || %s)::regclass "
            "AND tgfoid = 'trade.refuse_change'::regproc AND tgenabled IN ('O', 'A') ORDER BY 1",
            (table,),
        ).fetchall()
        assert found == [(27,), (34,)], table


def test_every_table_is_a_table_of_records_or_known_not_to_be(owner: psycopg.Connection) -> None:
    rows = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'trade'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition"
    ).fetchall()
    others = {name for (name,) in rows} - set(protected_tables(owner))
    assert others == {
        "chain_heads", "ledger_columns", "market_series", "migrations",
        "leases", "live_progress", "paper_orders", "paper_fills",
        "alert_channels", "alert_positions", "alert_halts", "alert_incidents",
        "market_facts", "market_instruments", "market_recordings",
    }  # fmt: skip


def test_only_the_writer_inserts_and_only_into_the_tables_themselves(filled: Database) -> None:
    with filled.connect("trade_reader", autocommit=True) as reader:
        tables = protected_tables(reader)
        known = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
        if reader.info.server_version >= 170_000:
            known.append("MAINTAIN")
        rights = reader.execute(
            "SELECT r, t, p, has_table_privilege(r, 'trade.' || t, p) "
            "FROM unnest(%s::text[]) t, unnest(%s::text[]) r, unnest(%s::text[]) p",
            (tables, list(LOGINS), known),
        ).fetchall()
    partition = re.compile(r"_\d{6}$")
    expected = {(r, t, "SELECT") for r in LOGINS for t in tables if not partition.search(t)} | {
        ("trade_writer", t, "INSERT") for t in tables if not partition.search(t)
    }
    # A verification reads the parts themselves.
    expected |= {("trade_reader", t, "SELECT") for t in tables}
    assert {(r, t, p) for r, t, p, has in rights if has} == expected


@pytest.mark.parametrize("login", ["trade_reader", "trade_admin"])
def test_who_reads_cannot_insert(filled: Database, login: Role) -> None:
    with filled.connect(login, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            append_now(connection, Chain("reader"), samples.session("reader"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE trade.chain_heads SET chain_seq = 0")
        assert read_chain(connection, "reader").seq == 0


ESCAPES: list[LiteralString] = [
    "SET ROLE trade_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION trade_owner",
    "SET session_replication_role = replica",
    "ALTER TABLE trade.outcomes DISABLE TRIGGER ALL",
    "ALTER TABLE trade.outcomes DISABLE TRIGGER refuse_change",
    "ALTER TABLE trade.outcomes_202603 DISABLE TRIGGER refuse_change",
    "ALTER TABLE trade.outcomes DETACH PARTITION trade.outcomes_202603",
    "ALTER TABLE trade.outcomes ALTER COLUMN pnl_usd DROP NOT NULL",
    "ALTER TABLE trade.outcomes OWNER TO trade_writer",
    "DROP TRIGGER refuse_change ON trade.outcomes",
    "DROP TABLE trade.outcomes",
    "DROP TABLE trade.outcomes_202603",
    "DROP SCHEMA trade CASCADE",
    "GRANT trade_owner TO trade_writer, trade_reader, trade_admin",
    "ALTER ROLE trade_writer SUPERUSER",
    "ALTER ROLE trade_owner LOGIN",
    "CREATE OR REPLACE FUNCTION trade.refuse_change() RETURNS trigger LANGUAGE plpgsql "
    "AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE trade.mine (x integer)",
    "CREATE TABLE public.mine (x integer)",
    "CREATE TABLE trade.outcomes_209901 PARTITION OF trade.outcomes DEFAULT",
    "CREATE RULE mine AS ON INSERT TO trade.outcomes DO INSTEAD NOTHING",
    "CREATE TRIGGER mine BEFORE INSERT ON trade.outcomes FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SELECT trade.protect('trade.migrations')",
    "UPDATE trade.migrations SET checksum = ''",
    "DELETE FROM trade.migrations",
    "DELETE FROM trade.chain_heads",
    "TRUNCATE trade.chain_heads",
    "UPDATE trade.market_series SET price_usd = 1",
    "DELETE FROM trade.market_series",
    "UPDATE trade.market_facts SET told = '{}'",
    "DELETE FROM trade.market_recordings",
    "COPY trade.outcomes FROM PROGRAM 'true'",
]


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("statement", ESCAPES)
def test_no_login_can_take_the_protection_away(
    filled: Database, login: Role, statement: LiteralString
) -> None:
    with (
        filled.connect(login) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_can_grant_itself_a_right(filled: Database, login: Role) -> None:
    # PostgreSQL answers some of these with a warning only: what counts is what may be done after.
    with filled.connect(login, autocommit=True) as connection:
        for right in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "ALL"):
            try:
                connection.execute(f"GRANT {right} ON trade.outcomes TO {login}".encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
        for statement in changes_of(connection, "outcomes").values():
            assert not allowed(connection, statement)


def test_no_login_belongs_to_a_stronger_role(owner: psycopg.Connection) -> None:
    assert (
        owner.execute(
            "SELECT r.rolname FROM pg_roles r WHERE r.rolname = ANY(%s) AND (r.rolsuper "
            "OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls OR r.rolreplication "
            "OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))",
            (list(LOGINS),),
        ).fetchall()
        == []
    )
    assert owner.execute(
        "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'trade_owner'"
    ).fetchone() == (False,)


@pytest.mark.parametrize(
    "change",
    [
        {"content": '{"other": 1}'},
        {"content_hash": bytes(32)},
        {"content_hash": b""},
        {"chain_hash": bytes(31)},
        {"chain_seq": -1},
    ],
)
def test_a_record_whose_hash_does_not_fit_its_content_is_refused(
    filled: Database, change: dict[str, Any]
) -> None:
    content = "{}"
    row = {
        "chain_id": "forged",
        "chain_seq": 0,
        "content": content,
        "content_hash": sha256(content.encode()),
        "chain_hash": bytes(32),
        "experiment": "forged",
        "description": "",
    }
    with filled.connect() as connection, pytest.raises(psycopg.errors.CheckViolation):
        raw_insert(connection, "experiments", **(row | change))


def uuid_of_fixture() -> UUID:
    return samples.candidate(0, CHAIN).uuid


def test_a_realised_outcome_without_a_fill_is_refused_when_it_is_committed(
    fresh_database: Database,
) -> None:
    trade = samples.candidate(1, "raw")
    outcome: dict[str, Any] = {
        "uuid": trade.uuid,
        "realized_pnl_percent": 1.0,
        "time_in_market_seconds": 1.0,
        "termination_reason": "manual",
        "revision": 0,
    }
    with fresh_database.connect(autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        append_now(connection, Chain("raw"), samples.session("raw"), trade)
        insert(connection, "outcomes", 50, kind="shadow", **outcome)
        before = samples.count_rows(connection)

        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="no fill is stored"):
            insert(connection, "outcomes", 51, kind="realised", **outcome)
        order: dict[str, Any] = {
            "uuid": trade.uuid, "order_id": "o", "sequence": 0, "leg": "entry", "size": 1,
        }  # fmt: skip
        for event in ("submitted", "acknowledged", "cancelled", "rejected"):
            connection.execute("BEGIN")
            insert(connection, "executions", 52, event=event, **order)
            insert(connection, "outcomes", 53, kind="realised", **outcome)
            with pytest.raises(psycopg.errors.ForeignKeyViolation, match="no fill is stored"):
                connection.execute("COMMIT")
        assert samples.count_rows(connection) == before

        # In one transaction the order of the two does not matter.
        with connection.transaction():
            insert(connection, "outcomes", 54, kind="realised", **outcome)
            insert(connection, "executions", 55, event="partly_filled", **order)
        after = samples.count_rows(connection)
        assert after["outcomes"] == before["outcomes"] + 1


def test_the_fill_of_another_trade_does_not_do(fresh_database: Database) -> None:
    bought, other = samples.candidate(1, "raw"), samples.candidate(2, "raw")
    with fresh_database.connect(autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        chain = Chain("raw")
        append_now(connection, chain, samples.session("raw"), bought, other)
        append_now(connection, chain, samples.fill(bought.uuid))
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match=str(other.uuid)):
            append_now(connection, chain, samples.outcome(other.uuid))


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("executions", "price", 0.0),
        ("executions", "price", -1.0),
        ("executions", "size", -1.0),
        ("executions", "event", "sold"),
        ("executions", "leg", "both"),
        ("executions", "value_usd", -0.01),
    ],
)
def test_the_database_itself_refuses_impossible_values(
    filled: Database, table: str, column: str, value: object
) -> None:
    row: dict[str, Any] = {
        "uuid": uuid_of_fixture(), "order_id": "impossible", "event": "filled", "sequence": 0,
        "leg": "entry", "size": 1.0,
    }  # fmt: skip
    with filled.connect() as connection, pytest.raises(psycopg.errors.CheckViolation):
        insert(connection, table, 60, **(row | {column: value}))


@pytest.mark.parametrize(
    ("model", "evaluation", "verdict"),
    [
        ("v1", None, None),
        ("v1", "extend", "extend"),
        ("v1", "rollback", "rollback"),
        ("v1", "expired", "expired"),
        ("v1", "extend", "promote"),
        ("v2", "promote", "promote"),
        ("v1", None, "promote"),
        ("v1", "promote", None),
        ("v1", "never made", "promote"),
        ("v3", "promote", "promote"),
    ],
)
def test_no_model_reaches_production_without_its_own_promotion(
    filled: Database, model: str, evaluation: str | None, verdict: str | None
) -> None:
    with (
        filled.connect() as connection,
        pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.ForeignKeyViolation)),
    ):
        deploy(connection, 70, "production", model, evaluation, verdict)


def test_other_stages_need_no_promotion(filled: Database) -> None:
    with filled.connect() as connection:
        deploy(connection, 70, "canary", "v2", None, None)
        deploy(connection, 71, "retired", "v1", "rollback", "rollback")
        connection.rollback()


def partitions(connection: psycopg.Connection, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = ('trade.' || %s)::regclass ORDER BY 1",
        (table,),
    )
    return [name for (name,) in rows]


def partitioned(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'trade'::regnamespace "
        "AND relkind = 'p' ORDER BY 1"
    )
    return [name for (name,) in rows]


RANGES = [
    ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", ["202603"]),
    ("2025-03-31T23:59:59.999999Z", "2025-04-01T00:00:00Z", ["202503", "202504"]),
    ("2024-03-31T23:59:59Z", "2024-03-31T23:59:59.999999Z", ["202403"]),
    ("2022-11-30T12:00:00Z", "2023-02-01T00:00:00Z", ["202211", "202212", "202301", "202302"]),
    # Months are those of UTC, wherever the caller is.
    ("2021-04-01T01:00:00+02:00", "2021-04-01T01:30:00+02:00", ["202103"]),
    ("2020-01-31T00:00:00Z", "2020-03-01T00:00:00Z", ["202001", "202002", "202003"]),
]


@pytest.mark.parametrize("login", ["trade_writer", "trade_admin"])
def test_partitions_cover_exactly_the_months_asked_for_in_every_table(
    fresh_database: Database, login: Role
) -> None:
    ask = "SELECT trade.ensure_partitions(%s::timestamptz, %s::timestamptz)"
    asked: list[str] = []
    with fresh_database.connect(login, autocommit=True) as connection:
        connection.execute("SET timezone = 'Asia/Tokyo'")
        tables = partitioned(connection)
        for first, last, months in RANGES:
            made = connection.execute(ask, (first, last)).fetchone()
            assert made == (len(tables) * len(months),), first
            asked = sorted([*asked, *months])
            for table in tables:
                assert partitions(connection, table) == [f"{table}_{month}" for month in asked]
            assert connection.execute(ask, (first, last)).fetchone() == (0,)


def test_neighbouring_months_leave_no_gap_and_do_not_overlap(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        # Asked for out of order, as sessions do.
        for month in (5, 3, 4):
            moment = datetime(2026, month, 15, tzinfo=UTC)
            connection.execute("SELECT trade.ensure_partitions(%s, %s)", (moment, moment))
        edge = datetime(2026, 4, 1, tzinfo=UTC)
        chain = Chain("edge")
        append_now(connection, chain, samples.session("edge"))
        for number, (moment, name) in enumerate(
            [(edge - timedelta(milliseconds=1), "202603"), (edge, "202604")]
        ):
            uuid = UUID(int=uuid7_floor(moment).int | 7 << 76 | 2 << 62)
            append_now(connection, chain, samples.candidate(number, "edge", uuid=uuid))
            assert connection.execute(
                "SELECT tableoid::regclass::text FROM trade.candidates WHERE uuid = %s", (uuid,)
            ).fetchone() == (f"trade.candidates_{name}",)


ABSURD = [
    ("2026-03-02", "2026-03-01"),
    ("2026-03-01", "2046-03-02"),
    ("1970-01-01", "9999-01-01"),
    ("2026-03-01", None),
    (None, "2026-03-01"),
    (None, None),
    ("2026-03-01", "infinity"),
    ("-infinity", "2026-03-01"),
    ("infinity", "infinity"),
    ("-infinity", "-infinity"),
]


def test_absurd_ranges_of_partitions_are_refused(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        for absurd in ABSURD:
            with pytest.raises(psycopg.DatabaseError):
                connection.execute(
                    "SELECT trade.ensure_partitions(%s::timestamptz, %s::timestamptz)", absurd
                )
        assert {table: partitions(connection, table) for table in partitioned(connection)} == {
            table: [] for table in partitioned(connection)
        }


def test_a_reader_cannot_make_partitions(filled: Database) -> None:
    with (
        filled.connect("trade_reader") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT trade.ensure_partitions(now(), now())")


def test_a_trade_is_looked_up_in_one_partition(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        connection.execute(
            "SELECT trade.ensure_partitions(%s, %s)", (START, START + timedelta(days=150))
        )
        uuid = uuid_of_fixture()
        for table in ("candidates", "research_docs", "executions", "outcomes", "feature_rows"):
            plan = connection.execute(
                sql.SQL("EXPLAIN SELECT * FROM trade.{} WHERE uuid = {}").format(
                    sql.Identifier(table), sql.Literal(uuid)
                )
            ).fetchall()
            assert set(re.findall(rf"{table}_\d{{6}}\b", str(plan))) == {f"{table}_202603"}


def test_a_range_of_time_reads_only_its_own_months(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        connection.execute(
            "SELECT trade.ensure_partitions(%s, %s)", (START, START + timedelta(days=150))
        )
        plan = connection.execute(
            "EXPLAIN SELECT * FROM trade.candidates WHERE uuid >= trade.uuid7_floor(%s) "
            "AND uuid < trade.uuid7_floor(%s)",
            (START, START + timedelta(days=40)),
        ).fetchall()
        found = set(re.findall(r"candidates_\d{6}\b", str(plan)))
        assert found == {"candidates_202603", "candidates_202604"}


@pytest.mark.parametrize(
    "moment",
    [START, datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 59, 59, 999_999, UTC)],
)
def test_the_database_and_the_program_agree_on_the_uuids_of_a_moment(
    filled: Database, moment: datetime
) -> None:
    with filled.connect("trade_reader") as connection:
        assert connection.execute("SELECT trade.uuid7_floor(%s)", (moment,)).fetchone() == (
            uuid7_floor(moment),
        )
