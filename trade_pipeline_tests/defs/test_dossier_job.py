"""The dossier of a trade in the UI: the job as a user launches it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.defs.launch import QUIET, failure_of


def launch(uuid: str) -> dg.ExecuteInProcessResult:
    config: dict[str, Any] = {"ops": {"dossier": {"config": {"uuid": uuid}}}, "loggers": QUIET}
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def("trade_dossier").execute_in_process(
            instance=instance, run_config=config, raise_on_error=False
        )


@pytest.fixture(scope="module")
def bought(store: Store) -> str:
    """A trade that was bought and sold on a simulated market."""
    end = stored.START + 86_400_000_000
    done = run_backtest(
        store.database, store.artifacts, stored.market(days=1), start=moment_of(stored.START),
        end=moment_of(end), seed=3, config=stored.CONFIG,
    )  # fmt: skip
    with store.database.connect("trade_reader") as connection:
        row = connection.execute(
            "SELECT uuid FROM trade.outcomes JOIN trade.candidates USING (uuid) "
            "WHERE kind = 'realised' AND session_id = %s LIMIT 1",
            (done.session.session_id,),
        ).fetchone()
    assert row is not None
    return str(row[0])


def test_the_job_shows_each_section_with_the_market_of_the_trade(bought: str) -> None:
    done = launch(bought)
    assert done.success
    (shown,) = done.asset_materializations_for_node("dossier")
    metadata = {name: str(value.value) for name, value in shown.metadata.items()}
    assert metadata["uuid"] == bought
    assert metadata["verdict"].startswith("Bought ")
    assert [name for name in metadata if name[0].isdigit()][:6] == [
        "1 What was known",
        "2 The decision",
        "3 Orders, and the market around them",
        "4 What came of it",
        "5 Where the trade went, and where its decision came from",
        "6 The ledger",
    ]
    assert "data:image/png;base64," in metadata["2 The decision"]
    assert "the simulator, seed 3" in metadata["3 Orders, and the market around them"]
    assert "data:image/png;base64," in metadata["3 Orders, and the market around them"]


def test_an_unknown_trade_ends_the_run_with_its_name() -> None:
    uuid = str(samples.candidate(999).uuid)
    done = launch(uuid)
    assert not done.success
    assert uuid in failure_of(done)
