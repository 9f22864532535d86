"""Sessions at the local exchange lose and double nothing, whatever happens to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.record import counted, measured

from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.live.chaos.run import report, run_all

# All that can happen: kills of the session, the database and the exchange, a session that sleeps, a
# clock that jumps, a full disk and a read-only database.
SHORT = (3, 6, 15, 26)
FULL = 1_000
AT_ONCE = 4


@pytest.mark.reliability
def test_nothing_is_lost_doubled_or_left_open_under_random_faults(tmp_path: Path) -> None:
    full = KILLS >= 50
    seeds = range(FULL) if full else SHORT
    # Most of a run is waiting.
    totals = run_all(tmp_path, seeds, AT_ONCE if full else 1)
    report(totals)
    counted("live.chaos_right", totals.runs - totals.runs_wrong, totals.runs)
    for name in ("orders", "trades", "sessions"):
        measured(f"live.chaos_{name}", [getattr(totals, name)], size=f"{totals.runs:,} runs")
    assert not totals.wrong, totals.examples
    assert totals.trades > 10 * len(seeds)
