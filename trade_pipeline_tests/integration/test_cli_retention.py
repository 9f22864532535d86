"""Raw artifacts go, by commands and by the daily job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.definitions import defs
from trade_pipeline_tests.integration.typed import Run, run_in


@pytest.fixture
def run(server: EmbeddedPostgres, fresh_database: Database, tmp_path: Path) -> Iterator[Run]:
    with fresh_database.connect() as connection:
        name = connection.info.dbname
    settings = {
        "TRADE_PIPELINE_HOME": str(tmp_path / "home"),
        "TRADE_PIPELINE_DATABASE_URL": server.url("postgres", name),
        "TRADE_PIPELINE_ARTIFACTS_URL": str(tmp_path / "artifacts"),
    }
    with pytest.MonkeyPatch.context() as patch:
        yield run_in(patch, settings)


def expired(database: Database, tmp_path: Path) -> str:
    with database.connect(autocommit=True) as connection:
        return record_artifact(
            connection, ArtifactStore(str(tmp_path / "artifacts")), b"an old answer",
            media_type="application/json", expires_at=datetime.now(UTC) - timedelta(days=1),
        )  # fmt: skip


def test_what_is_over_is_shown_before_it_goes(
    run: Run, fresh_database: Database, tmp_path: Path
) -> None:
    expired(fresh_database, tmp_path)
    assert run("retention", "artifacts", "--dry-run", "--json").facts["expired"] == 1
    assert run("retention", "artifacts", "--json").facts["expired"] == 1
    assert run("retention", "artifacts", "--json").facts["expired"] == 0


def test_an_answer_is_erased_by_its_address_and_a_wrong_one_is_named(
    run: Run, fresh_database: Database, tmp_path: Path
) -> None:
    address = expired(fresh_database, tmp_path)
    assert "is gone" in run("retention", "erase", address, "--reason", "a name").out
    again = run("retention", "erase", address, "--reason", "a name")
    assert (again.code, address in again.err) == (2, True)
    assert run("retention", "erase", "42", "--reason", "a name").code == 2


def test_the_daily_job_removes_what_is_over_and_shows_how_much(
    run: Run, fresh_database: Database, tmp_path: Path
) -> None:
    expired(fresh_database, tmp_path)
    found = []
    for dry_run in (True, False, False):
        config = {"ops": {"remove_expired_artifacts": {"config": {"dry_run": dry_run}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def("retention_job").execute_in_process(
                instance=instance, run_config=config
            )
        (event,) = [one for one in done.all_events if one.event_type_value == "STEP_OUTPUT"]
        found.append(event.step_output_data.metadata["artifacts"].value)
    assert found == [1, 1, 0]
