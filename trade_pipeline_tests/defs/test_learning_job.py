"""The learning job as a user launches it: labels, features, a dataset, and guards that block."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import psycopg
import pytest

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.report import feature_pictures
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.instance import run_backtest_job
from trade_pipeline.settings import Settings

FIRST, LAST = date(2026, 1, 5), date(2026, 1, 18)
SMALL = {
    "simulator": {"burn_in_days": 4, "pools_per_day": 20},
    "strategy": {"universe": {"min_volume_24h_usd": 20_000}},
}
# Other tests of this process store sessions of other kinds and years.
DATASET = {
    "training_dataset": {
        "config": {
            "dataset": {
                "embargo_hours": 6,
                "name": "small",
                "start": "2026-01-05T00:00:00Z",
            }
        }
    }
}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def session_id(home: Path, store: Store, instance: dg.DagsterInstance) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        run = run_backtest_job(
            Settings(home=home, _env_file=None),
            instance=instance,
            first=FIRST,
            last=LAST,
            seed=11,
            config=SMALL,
        )
    assert run.failures == ()
    assert run.session_id is not None
    return run.session_id


def learn(instance: dg.DagsterInstance, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("learning_job").execute_in_process(
        instance=instance,
        run_config={
            "ops": config,
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags={
            "dagster/asset_partition_range_start": FIRST.isoformat(),
            "dagster/asset_partition_range_end": LAST.isoformat(),
        },
        raise_on_error=False,
    )


def failures(result: dg.ExecuteInProcessResult) -> list[Any]:
    """Why steps failed."""
    return [event.event_specific_data for event in result.filter_events(lambda e: e.is_failure)]


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        f"{check.asset_key.to_user_string()}.{check.check_name}": check
        for check in result.get_asset_check_evaluations()
    }


@pytest.fixture(scope="module")
def learned(home: Path, session_id: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        return learn(instance, DATASET)


def test_the_job_labels_and_tabulates_and_makes_a_dataset_that_passes_its_guards(
    learned: dg.ExecuteInProcessResult, store: Store
) -> None:
    result = learned
    assert failures(result) == []
    checks = checks_of(result)
    assert {name: check.passed for name, check in checks.items() if not check.passed} == {}
    assert {
        "shadow_outcomes.contract",
        "trade_features.contract",
        "trade_features.vectors_equal_their_recomputation",
        "training_dataset.contract",
        *(f"training_dataset.{guard}" for guard in GUARDS),
    } == set(checks)
    (made,) = [
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("training_dataset")
    ]
    for picture in ("missing_rates", "drift", "distributions"):
        assert "data:image/png;base64" in str(made.metadata[picture].value)
    # Other tests of this process may have stored datasets here, too.
    version = str(made.metadata["version"].value)
    with store.database.connect("trade_reader") as connection:
        splits = connection.execute(
            "SELECT DISTINCT split FROM trade.dataset_members WHERE dataset_version = %s",
            (version,),
        ).fetchall()
        verdicts = connection.execute(
            "SELECT guard, passed FROM trade.dataset_guards WHERE dataset_version = %s", (version,)
        ).fetchall()
    assert len(splits) == 3
    assert len(verdicts) == len(GUARDS)
    assert all(passed for _, passed in verdicts)


def test_a_second_run_adds_nothing(
    learned: dg.ExecuteInProcessResult,
    store: Store,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The slowest picture; the first run has shown it.
    monkeypatch.setattr(feature_pictures, "distributions_png", lambda rows, known: b"")

    def counts() -> list[Any]:
        with store.database.connect("trade_reader") as connection:
            return [
                connection.execute(f"SELECT count(*) FROM trade.{table}").fetchone()
                for table in ("outcomes", "feature_rows", "datasets", "dataset_members")
            ]

    before = counts()
    assert failures(learn(instance, DATASET)) == []
    assert counts() == before


def test_a_stored_vector_that_was_changed_stops_the_run_before_the_dataset(
    home: Path, session_id: str, store: Store, instance: dg.DagsterInstance
) -> None:
    server = EmbeddedPostgres(home / "postgres")
    with server, psycopg.connect(server.url("postgres")) as connection:
        connection.execute("SET session_replication_role = replica")
        (uuid, content), *_ = connection.execute(
            "SELECT uuid, content FROM trade.feature_rows WHERE chain_id = %s "
            "ORDER BY chain_seq LIMIT 1",
            (session_id,),
        ).fetchall()
        row = orjson.loads(content)
        row["vector"][0] = 1e-9
        edited = canonical_bytes(row).decode()
        change = (
            "UPDATE trade.feature_rows SET content = %s, "
            "content_hash = sha256(convert_to(%s, 'UTF8')) WHERE uuid = %s"
        )
        connection.execute(change, (edited, edited, uuid))
        connection.commit()
        try:
            result = learn(instance, DATASET)
        finally:
            connection.execute(change, (content, content, uuid))
            connection.commit()
    assert not result.success
    check = checks_of(result)["trade_features.vectors_equal_their_recomputation"]
    assert not check.passed
    assert str(uuid) in str(check.description)
    assert "return_1h" in str(check.description)
    assert not [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("training_dataset")
    ]


def test_an_unknown_setting_of_the_dataset_is_named(
    session_id: str, store: Store, instance: dg.DagsterInstance
) -> None:
    wrong = {"training_dataset": {"config": {"dataset": {"embargo_hour": 6}}}}
    result = learn(instance, wrong)
    assert not result.success
    failures = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    assert any("embargo_hour" in str(f.user_failure_data or f.error) for f in failures)


def test_days_without_a_session_are_refused_with_what_to_do(
    session_id: str, store: Store, instance: dg.DagsterInstance
) -> None:
    result = defs.resolve_job_def("learning_job").execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={
            "dagster/asset_partition_range_start": "2023-01-05",
            "dagster/asset_partition_range_end": "2023-01-06",
        },
        raise_on_error=False,
    )
    failures = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    assert any("trade_candidates" in str(f.user_failure_data) for f in failures)
