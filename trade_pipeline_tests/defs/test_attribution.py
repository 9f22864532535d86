"""The attribution as the UI shows it, its check, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
from typer.testing import CliRunner

from trade_pipeline.cli import app
from trade_pipeline.core.attribution.groups import NAMES
from trade_pipeline.core.attribution.report import attribution_report
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.defs.report import (
    attribution_metadata,
    parts_sum_to_results,
    performance_attribution,
)
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.attribution.test_view import KNOWN, SETTINGS, exchange_trade


@pytest.fixture
def environment(
    server: EmbeddedPostgres,
    fresh_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Database:
    """A store with a session of one trade, whose settings are an artifact only."""
    with fresh_database.connect("trade_writer") as connection:
        name = connection.info.dbname
        records = [samples.session(params_ptr=KNOWN), *exchange_trade(0)]
        append_bulk(connection, "s", records)
    assert ArtifactStore(str(tmp_path / "artifacts")).put(SETTINGS) == KNOWN
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("TRADE_PIPELINE_DATABASE_URL", server.url("postgres", name))
    monkeypatch.setenv("TRADE_PIPELINE_ARTIFACTS_URL", str(tmp_path / "artifacts"))
    return fresh_database


def materialized() -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [performance_attribution, parts_sum_to_results],
        resources={"store": TradeStore()},
        raise_on_error=False,
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("performance_attribution")
    return {name: value.value for name, value in event.metadata.items()}


def test_the_asset_shows_parts_and_groups_and_says_what_they_prove(environment: Database) -> None:
    result = materialized()
    metadata = shown(result)
    assert metadata["result_usd"] == 19.78
    assert metadata["without_settings"] == 0
    assert "data:image/png;base64" in metadata["waterfall"]
    for name in NAMES:
        assert metadata[f"by_{name}"].startswith("Association, not cause")
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert check.metadata["closed_trades"].value == 1


def test_groups_are_drawn_where_two_of_them_have_an_interval(environment: Database) -> None:
    with environment.connect("trade_reader") as connection:
        report = attribution_report(connection, by=["hour"])
    (unknown,) = report["by"]["hour"]
    known = unknown | {"low_usd": 10.0, "high_usd": 30.0}
    metadata = attribution_metadata(report | {"by": {"hour": [known, known, unknown]}})
    assert "data:image/png;base64" in str(metadata["by_hour_picture"].value)
    for rows in ([unknown, unknown], [known, unknown]):
        assert "by_hour_picture" not in attribution_metadata(report | {"by": {"hour": rows}})


def test_a_trade_that_is_not_explained_blocks_and_is_named(environment: Database) -> None:
    with environment.connect("trade_writer") as connection:
        append_bulk(connection, "s", exchange_trade(1, pnl=19.7))
    (check,) = materialized().get_asset_check_evaluations()
    assert not check.passed
    assert check.blocking
    assert str(samples.candidate(1).uuid) in str(check.metadata["wrong"].value)


def test_the_command_tells_the_same(environment: Database) -> None:
    asked = CliRunner().invoke(app, ["attribution", "--by", "hour", "--by", "token", "--json"])
    assert asked.exit_code == 0, asked.output
    told = orjson.loads(asked.stdout)
    assert told["result_usd"] == 19.78
    assert [row["group"] for row in told["by"]["hour"]] == ["12:00"]
    assert [row["group"] for row in told["by"]["token"]] == ["PEPE/USDT"]
    assert "not cause" in told["association"]
    printed = CliRunner().invoke(app, ["attribution", "--session", "s"])
    assert printed.exit_code == 0, printed.output
    assert "market_move" in printed.output
    assert "not cause" in " ".join(printed.output.split())
