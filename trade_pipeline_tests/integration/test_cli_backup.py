"""Backups, as they are typed."""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.defs.instance import dagster_instance
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.backup.kept import Kept, store_in
from trade_pipeline_tests.integration.typed import run_in


def typed(kept: Kept, dagster_url: str | None = None) -> dict[str, str]:
    return {
        "TRADE_PIPELINE_HOME": str(kept.settings.home),
        "TRADE_PIPELINE_DATABASE_URL": kept.url,
        "TRADE_PIPELINE_DAGSTER_URL": dagster_url or kept.url,
        "TRADE_PIPELINE_ARTIFACTS_URL": str(kept.settings.artifacts_url),
    }


def test_a_store_is_backed_up_listed_and_brought_back_by_commands(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "place")
    with store_in(server, tmp_path / "store", "trade_pipeline") as store:
        store.write("s0", b"settings")
        run = run_in(monkeypatch, typed(store))
        assert "none" in run("backups", place).out
        assert run("backup", place, "--dry-run", "--json").facts["new_artifacts"] == 1
        assert "none" in run("backups", place).out
        first = run("backup", place, "--json")
        assert (first.code, first.facts["manifest"]["artifacts"]) == (0, 1)
        (lost,) = store.write("s1", b"lost")
        store.artifacts.remove(lost)
        second = run("backup", place)
        assert (second.code, f"artifact {lost} is missing" in second.out) == (1, True)
        name = first.facts["manifest"]["name"]
        oldest, _ = run("backups", place, "--json").facts["backups"]
        assert oldest["name"] == name
        assert run("backups", place, "--verify").code == 0
        full = run("restore", place, "--backup", name)
        assert (full.code, "holds data" in full.err) == (2, True)

        with psycopg.connect(store.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA trade CASCADE")
        assert run("restore", place, "--backup", "20010101T000000.000Z").code == 2
        planned = run("restore", place, "--backup", name, "--dry-run", "--json").facts
        assert (planned["database"], planned["report"]) == (True, None)
        older = run("restore", place, "--backup", name)
        assert (older.code, "older than its heads" in older.out) == (1, True)
        aside = run("ledger", "set-aside", "--reason", "restored", "--json").facts
        assert (aside["first"], aside["last"]) == (1, 1)
        assert run("restore", place, "--backup", name).code == 0
        assert "untouched" in run("verify", "--artifacts").out
        assert run("db", "migrate", "--backup", place, "--json").facts == {"applied": []}
        assert len(run("backups", place, "--json").facts["backups"]) == 3
        Path(place, "backups", name, "database.dump").unlink()
        damaged = run("backups", place, "--verify")
        assert (damaged.code, "database.dump is missing" in damaged.out) == (1, True)


def test_the_runs_of_dagster_come_back_where_they_are_wanted(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    def something() -> None: ...

    names = [f"dagster_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE DATABASE "{name}" OWNER dagster'.encode())
    there, here = (server.url("dagster", name, "postgresql+psycopg2") for name in names)
    place = str(tmp_path / "place")
    with store_in(server, tmp_path / "store", "trade_pipeline") as store:
        store.write("s0")
        settings = Settings(
            _env_file=None,
            home=tmp_path / "store",
            dagster_url=there,  # type: ignore[call-arg]
        )
        with dagster_instance(settings, None) as instance:
            ran = dg.materialize([something], instance=instance)
        run = run_in(monkeypatch, typed(store, there))
        without = run("backup", place, "--json").facts["manifest"]
        made = run("backup", place, "--with-dagster", "--json").facts["manifest"]
        assert made["dagster"]["runs"] == 1
    with store_in(server, tmp_path / "other") as other:
        run = run_in(monkeypatch, typed(other, here))
        refused = run("restore", place, "--backup", without["name"], "--with-dagster")
        assert (refused.code, "no storage of Dagster" in refused.err) == (2, True)
        done = run("restore", place, "--with-dagster", "--json")
        assert (done.code, done.facts["dagster"]) == (0, True), done.err
        again = run("restore", place, "--with-dagster", "--json")
        assert (again.code, again.facts["dagster"]) == (0, False), again.err
        settings = Settings(
            _env_file=None,
            home=tmp_path / "other",
            dagster_url=here,  # type: ignore[call-arg]
        )
        with dagster_instance(settings, None) as instance:
            assert instance.get_run_by_id(ran.run_id) is not None
            assert instance.get_latest_materialization_event(something.key) is not None
