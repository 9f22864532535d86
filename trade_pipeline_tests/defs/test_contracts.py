"""The contracts as checks of the job: shown rule by rule; a broken one stops what comes after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from trade_pipeline.core.report.contract_samples import Sample
from trade_pipeline.core.report.expectations import (
    Between,
    Contract,
    Severity,
    check_contract,
)
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.contracts import CHECK, contract_check, session_contracts
from trade_pipeline.defs.instance import JobRun, run_backtest_job
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.settings import Settings

ASSETS = {"research_documents", "trade_candidates", "trade_executions", "trade_outcomes"}


def run_job(home: Path, instance: dg.DagsterInstance) -> JobRun:
    return run_backtest_job(
        Settings(home=home, _env_file=None),
        first=date(2026, 1, 5),
        last=date(2026, 1, 7),
        config={"simulator": {"burn_in_days": 4}},
        seed=31,
        instance=instance,
    )


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def clean(home: Path, store: Store, instance: dg.DagsterInstance) -> JobRun:
    """A run that breaks no contract."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        return run_job(home, instance)


def told(
    instance: dg.DagsterInstance, run: JobRun
) -> tuple[Mapping[str, dg.AssetCheckEvaluation], set[str]]:
    """The contracts' results by asset, and the assets that were materialised."""
    found, made = {}, set()
    for entry in instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            one = event.asset_check_evaluation_data
            if one.check_name == CHECK:
                found[one.asset_key.to_user_string()] = one
        elif event and event.is_step_materialization and event.asset_key:
            made.add(event.asset_key.to_user_string())
    return found, made


def test_a_clean_run_shows_every_rule_of_its_session(
    clean: JobRun, instance: dg.DagsterInstance
) -> None:
    found, made = told(instance, clean)
    assert set(found) == ASSETS
    assert "performance_report" in made
    for check in found.values():
        assert check.passed
        assert check.metadata["rows_of"].value == f"session {clean.session_id}"
        assert check.metadata["rows_checked"].value == check.metadata["rows"].value > 0
    rules = str(found["trade_executions"].metadata["rules"].value)
    assert "| price | expect_column_values_to_be_between | finite, &gt; 0 |" in rules
    assert "| NO |" not in rules


# What no constraint of the database refuses, and the rule that does.
BROKEN = {
    "research_documents": ("UPDATE trade.research_docs SET price_usd = NULL", "price_usd"),
    "trade_candidates": ("UPDATE trade.candidates SET params_ptr = 'lost'", "params_ptr"),
    "trade_executions": ("UPDATE trade.executions SET slippage = 'Infinity'", "slippage"),
    "trade_outcomes": ("UPDATE trade.outcomes SET worst_percent = 999", "worst_percent"),
}


@pytest.mark.parametrize("asset", BROKEN)
def test_a_broken_contract_stops_the_report_and_names_column_and_value(
    home: Path, clean: JobRun, instance: dg.DagsterInstance, asset: str
) -> None:
    change, column = BROKEN[asset]
    table = change.split()[1]
    server = EmbeddedPostgres(home / "postgres")
    with server, psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table}")
        connection.execute(f"{change} WHERE chain_id = %s", (clean.session_id,))
        run = run_job(home, instance)
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
    found, made = told(instance, run)
    assert not run.success
    assert "performance_report" not in made
    assert {name for name, check in found.items() if not check.passed} == {asset}
    check = found[asset]
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert f"{column}: " in str(check.description)
    # Failures come first, below the head of the table.
    first = str(check.metadata["rules"].value).splitlines()[2]
    assert first.startswith(f"| {column} |")
    assert first.endswith("| critical | NO |")


@pytest.mark.usefixtures("clean")
def test_one_contract_can_be_asked_without_a_session(instance: dg.DagsterInstance) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("trade_outcomes"), CHECK)
    asked = dg.materialize(
        [session_contracts],
        selection=dg.AssetSelection.checks(key),
        instance=instance,
        resources={"store": TradeStore()},
    )
    assert [
        (found.asset_check_key, found.passed) for found in asked.get_asset_check_evaluations()
    ] == [(key, True)]


@pytest.mark.parametrize(
    ("severity", "passed", "shown"),
    [
        (Severity.WARNING, True, dg.AssetCheckSeverity.WARN),
        (Severity.CRITICAL, False, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_a_warning_passes_and_is_named(
    severity: Severity, passed: bool, shown: dg.AssetCheckSeverity
) -> None:
    import pandas as pd

    frame = pd.DataFrame({"uuid": ["some-uuid"], "size": [-1.0]})
    contract = Contract("trade_executions", (Between("size", 0, severity=severity),))
    check = contract_check(check_contract(contract, frame), Sample(frame, 1, "session s"), 0.0)
    assert (check.passed, check.severity) == (passed, shown)
    assert "size: finite, >= 0; found -1.0 (uuid some-uuid)" in str(check.description)
