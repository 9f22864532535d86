"""The benchmark of lineage, with few trades: what it loads is valid, and it measures everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from provenance import load, measure, run

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.samples import assert_whole_chain

# Of what was loaded without triggers: each finds rows that these would have refused.
ORPHANS = (
    "SELECT count(*) FROM trade.{0} r WHERE NOT EXISTS "
    "(SELECT FROM trade.candidates c WHERE c.uuid = r.uuid)"
)
UNFILLED = (
    "SELECT count(*) FROM trade.outcomes o WHERE kind = 'realised' AND NOT EXISTS "
    "(SELECT FROM trade.executions e WHERE e.uuid = o.uuid AND e.event = 'filled')"
)


def test_valid_trades_are_loaded_and_every_figure_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    with server, Store.in_folder(tmp_path) as store:
        loaded = load(server, store, 4_000, 0)
        assert loaded.trades == 4_000
        with store.database.connect("trade_reader") as connection:
            for spec in (loaded.specs[0], loaded.specs[-1]):
                assert assert_whole_chain(connection, spec.session_id) > 3 * spec.trades
            for query in (
                *(ORPHANS.format(name) for name in ("research_docs", "feature_rows", "outcomes")),
                ORPHANS.format("executions"),
                UNFILLED,
            ):
                assert connection.execute(query.encode()).fetchone() == (0,)
        told = measure(server, store, loaded, 40, 200)
    server.stop()
    assert set(told) == {
        *(f"trace_{s}_{p}_ms" for s in ("cold", "warm", "again") for p in ("p50", "p99")),
        *(f"dataset_{way}_{state}_s" for way in ("up", "down") for state in ("cold", "warm")),
        "append", "journal", "COPY", "keyed COPY", "bare COPY",
    }  # fmt: skip
    assert all(figure > 0 for figure in told.values())
    assert "of what is asked for" in capsys.readouterr().out


def test_it_stops_where_the_disk_has_less_than_the_floor_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "own"
    with pytest.raises(SystemExit, match="no room for this benchmark"):
        run(folder, 4_000, floor=1 << 60, traces=1, ingest=1)
    assert "the floor is" in capsys.readouterr().out
    assert not folder.exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SystemExit, match="is not empty"):
        run(tmp_path, 4_000, floor=0, traces=1, ingest=1)
    assert (tmp_path / "mine").read_text() == "mine"
