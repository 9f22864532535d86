"""Who is replaced, and which runs are ghosts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.lease import LeaseRow
from trade_pipeline.core.live.limits import Limits
from trade_pipeline.core.live.supervision import SeenRun, judge
from trade_pipeline.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


def lease(holder: str, alive: bool = True) -> LeaseRow:
    return LeaseRow("a", 1, holder, "paper", NOW, NOW, alive, {})


def running(run_id: str, seconds: float = 5.0) -> SeenRun:
    return SeenRun(run_id, False, seconds)


@pytest.mark.parametrize(
    ("wanted", "held", "connected", "runs", "start", "ghosts"),
    [
        (True, None, False, [], True, ()),
        (False, None, False, [], False, ()),
        (True, lease("x"), True, [running("x", 9e4)], False, ()),
        # Its process is gone before the lease has expired.
        (True, lease("x"), False, [], True, ()),
        (True, lease("x"), False, [running("x", 9e4)], True, ("x",)),
        # It was stopped: connected, and silent for too long.
        (True, lease("x", False), True, [running("x", 9e4)], True, ("x",)),
        # Another is on its way; one that never got the lease is not.
        (True, lease("x"), False, [running("y")], False, ()),
        (True, lease("x"), False, [SeenRun("y", True, 170.0)], False, ()),
        # It was lost on its way to a process.
        (True, lease("x"), False, [SeenRun("y", True, 190.0)], True, ("y",)),
        (True, lease("x"), False, [running("y", 90.0)], True, ("y",)),
        # Two at once: the one without the lease ends by itself, or is a ghost.
        (True, lease("x"), True, [running("x"), running("y")], False, ()),
        (True, lease("x"), True, [running("x"), running("y", 90.0)], False, ("y",)),
        (False, lease("x"), False, [running("x")], False, ("x",)),
    ],
)
def test_an_account_without_a_living_holder_gets_exactly_one_session(
    wanted: bool,
    held: LeaseRow | None,
    connected: bool,
    runs: list[SeenRun],
    start: bool,
    ghosts: tuple[str, ...],
) -> None:
    verdict = judge(wanted, held, connected, runs)
    assert (verdict.start, verdict.ghosts) == (start, ghosts)


def test_a_holder_at_work_whose_lease_cannot_be_renewed_has_no_successor() -> None:
    verdict = judge(True, lease("x", False), True, [running("x", 9e4)], active=True)
    assert (verdict.start, verdict.ghosts) == (False, ())


LIMITS = {"max_token_usd": 50, "max_exposure_usd": 200}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "confirm=None: a live session needs 'real money on main'"),
        ({"confirm": "real money on other"}, "confirm='real money on other'"),
        ({"confirm": "real money on main"}, "limits.max_token_usd=None"),
        (
            {"confirm": "real money on main", "limits": {"max_token_usd": 50}},
            "limits.max_exposure_usd=None",
        ),
        (
            {
                "confirm": "real money on main",
                "limits": LIMITS,
                "replay": {"start": "2026-01-01T00:00Z", "end": "2026-01-02T00:00Z"},
            },
            "a live session trades no recorded market",
        ),
    ],
)
def test_real_money_needs_a_typed_confirmation_and_limits(
    changes: dict[str, object], named: str
) -> None:
    with pytest.raises(BadConfig) as refused:
        LiveConfig.parse({"account": "main", "mode": "live"} | changes)
    assert named in str(refused.value)


def test_real_money_needs_an_installation_that_allows_it() -> None:
    config = LiveConfig.parse(
        {"account": "main", "mode": "live", "confirm": "real money on main", "limits": LIMITS,
         "orders": "exchange"}
    )  # fmt: skip
    with pytest.raises(BadConfig, match="TRADE_PIPELINE_LIVE_TRADING=true"):
        config.require_allowed(Settings())
    config.require_allowed(Settings(live_trading=True))


def limits(**changes: float) -> Limits:
    return Limits(LiveConfig.parse({"limits": changes}).limits)


def test_an_old_event_a_silent_feed_and_an_impossible_price_decide_nothing() -> None:
    some = limits(max_event_age_seconds=10, max_silence_seconds=30, max_price_jump=5)
    some.batch(0)
    assert some.refusal(10 * SECOND, 0, 1.0, 1.0) is None
    assert some.refusal(11 * SECOND, 0, 1.0, 1.0) == "stale_data"
    assert some.refusal(0, 0, 5.0, 1.0) is None
    assert some.refusal(0, 0, 5.1, 1.0) == "price_sanity"
    assert some.refusal(0, 0, 0.19, 1.0) == "price_sanity"
    assert some.refusal(0, 0, 1.0, float("nan")) is None
    some.batch(31 * SECOND)
    assert some.refusal(40 * SECOND, 40 * SECOND, 1.0, 1.0) == "stale_data"
    assert some.refusal(91 * SECOND, 91 * SECOND, 1.0, 1.0) is None


def test_entries_of_a_minute_are_counted_and_those_from_before_a_restart_too() -> None:
    some = Limits(LiveConfig.parse({"limits": {"max_orders_per_minute": 2}}).limits, [0])
    assert some.refusal(SECOND, SECOND, 1.0, 1.0) is None
    some.entered(SECOND)
    assert some.refusal(59 * SECOND, 59 * SECOND, 1.0, 1.0) == "order_rate"
    assert some.refusal(60 * SECOND, 60 * SECOND, 1.0, 1.0) is None
