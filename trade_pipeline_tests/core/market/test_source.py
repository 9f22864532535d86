"""Opening a market: whose range it has, and that settings of before keep their address."""

from __future__ import annotations

from dataclasses import fields

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.simulator import SimulatorConfig
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.session.config import TradingConfig

START = 1_640_995_200_000_000  # 2022-01-01
END = START + 3 * DAY
GIVEN = {"pools_per_day": 20, "burn_in_days": 1, "trades_max": 200}
RANGE = {"start": "2022-01-01T00:00:00Z", "end": "2022-01-04T00:00:00Z"}


def opened(start: int, end: int, settings: dict[str, str] | None = None) -> MarketFeed:
    simulator = TradingConfig.parse({"simulator": GIVEN | (settings or {})}).simulator
    return open_market("simulated", data=None, seed=1, start=start, end=end, simulator=simulator)


def test_sessions_inside_one_range_are_on_the_same_market() -> None:
    early = opened(START, START + 6 * HOUR, RANGE)
    late = opened(START + 2 * DAY, END, RANGE)
    assert early.content_address() == late.content_address()
    assert list(early.instruments) == list(late.instruments)
    assert early.span() == late.span()
    one, other = (next(market.batches(START + DAY, END)) for market in (early, late))
    for f in fields(one):
        assert getattr(one, f.name).tobytes() == getattr(other, f.name).tobytes(), f.name


def test_without_a_range_each_session_has_a_market_of_its_own() -> None:
    market = opened(START, START + 6 * HOUR)
    assert market.span()[1] == START + 6 * HOUR
    assert market.content_address() != opened(START, START + 7 * HOUR).content_address()


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (START - 1, END, r"start=2021-12-31T23:59:59.999999\+00:00: outside of simulator.start"),
        (START, END + 1, r"end=2022-01-04T00:00:00.000001\+00:00: outside of simulator.start"),
    ],
)
def test_a_session_outside_of_the_markets_range_is_refused(start: int, end: int, told: str) -> None:
    opened(START, END, RANGE)
    with pytest.raises(BadConfig, match=told):
        opened(start, end, RANGE)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"start": RANGE["start"]}, "end: expected together with start=2022-01-01"),
        ({"end": RANGE["end"]}, "start: expected together with end=2022-01-04"),
        ({"start": RANGE["end"], "end": RANGE["start"]}, "must be after start=2022-01-04"),
        ({"start": "2022-01-01T00:00:00", "end": RANGE["end"]}, "timezone"),
    ],
)
def test_half_a_range_an_empty_one_and_one_without_zone_are_refused(
    settings: dict[str, str], told: str
) -> None:
    with pytest.raises(BadConfig, match=told):
        opened(START, END, settings)


def test_settings_that_are_not_set_are_no_part_of_what_is_hashed() -> None:
    added = {"start", "end", "regime_change_at", "regime_strength"}
    assert not added & set(SimulatorConfig().model_dump(mode="json"))
    given = RANGE | {"regime_change_at": "2022-01-02T00:00:00Z", "regime_strength": 0.5}
    stored = SimulatorConfig.model_validate(given).model_dump(mode="json")
    assert added <= set(stored)
    assert SimulatorConfig.model_validate(stored) == SimulatorConfig.model_validate(given)


def test_a_moment_is_the_same_in_every_zone() -> None:
    here = opened(START, END, RANGE)
    there = opened(
        START, END, {"start": "2022-01-01T02:00:00+02:00", "end": "2022-01-03T19:00:00-05:00"}
    )
    assert here.content_address() == there.content_address()
    assert here.span()[1] == END == there.span()[1]
