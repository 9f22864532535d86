"""Dagster's storage keeps its connections, and makes new ones where the server has ended them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from dagster_postgres.auth import PgTokenProvider

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.defs.dagster_storage import PooledPostgresStorage
from trade_pipeline.defs.instance import dagster_instance
from trade_pipeline.settings import Settings


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("dagster") / "postgres") as server:
        yield server


@pytest.fixture(scope="module")
def instance(
    embedded: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dg.DagsterInstance]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), _env_file=None)
    with dagster_instance(settings, embedded) as opened:
        yield opened


@pytest.fixture
def server(embedded: EmbeddedPostgres) -> Iterator[psycopg.Connection[tuple[int]]]:
    """A connection of somebody else."""
    with psycopg.connect(embedded.url("dagster", "dagster"), autocommit=True) as connection:
        yield connection


def number(server: psycopg.Connection[tuple[int]], query: str) -> int:
    row = server.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def report(instance: dg.DagsterInstance, times: int) -> None:
    """Materialisations, whose events Dagster's own class stores over several connections each."""
    for _ in range(times):
        instance.report_runless_asset_event(dg.AssetMaterialization("kept", tags={"a": "b"}))


OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_events_are_stored_over_connections_that_stay_open(
    instance: dg.DagsterInstance, server: psycopg.Connection[tuple[int]]
) -> None:
    report(instance, 1)
    pids = server.execute(f"SELECT pid {OTHERS} ORDER BY pid".encode()).fetchall()
    report(instance, 5)
    assert server.execute(f"SELECT pid {OTHERS} ORDER BY pid".encode()).fetchall() == pids
    assert 1 <= len(pids) <= 2


def test_events_are_stored_after_the_server_has_ended_every_connection(
    instance: dg.DagsterInstance, server: psycopg.Connection[tuple[int]]
) -> None:
    report(instance, 1)
    ended = number(server, f"SELECT count(pg_terminate_backend(pid, 5000)) {OTHERS}")
    assert ended >= 1
    before = number(server, "SELECT count(*) FROM event_logs")
    report(instance, 2)
    assert number(server, "SELECT count(*) FROM event_logs") == before + 2


def test_a_statement_without_transaction_is_stored_at_once(
    instance: dg.DagsterInstance, server: psycopg.Connection[tuple[int]]
) -> None:
    report(instance, 1)
    instance.add_dynamic_partitions("kept", ["one"])
    assert number(server, "SELECT count(*) FROM dynamic_partitions") == 1
    assert number(server, f"SELECT count(*) {OTHERS} AND state LIKE 'idle in transaction%'") == 0


class TokenOfTheServer(PgTokenProvider):
    """Stands for a cloud's identities: what it hands out is the login's password."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def _fetch_token(self) -> tuple[str, float]:
        return self._token, time.time() + 3_600


def test_a_cloud_identity_that_dagster_yaml_names_logs_in_by_its_tokens(
    embedded: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlalchemy.make_url(embedded.url("dagster", "dagster"))
    provider = TokenOfTheServer(url.password or "")
    monkeypatch.setattr("dagster_postgres.auth.create_token_provider", lambda *_: provider)
    login = {
        "username": url.username,
        "password": "none",
        "port": url.port or 5432,
        "hostname": url.host or "",
        "db_name": url.database,
        "params": dict(url.query),
    }
    storage = PooledPostgresStorage.from_config_value(
        None, {"postgres_db": login, "auth_provider": {"gcp_wif": {}}}
    )
    assert storage.run_storage.get_runs_count() == 0
    assert len(storage.event_log_storage.get_dynamic_partitions("unheard of")) == 0
