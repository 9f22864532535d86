"""A shadow is the trade that the session itself would have made, to the bit."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.execution.amm import AmmConfig, AmmVenue
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.market.event import DAY, HOUR, MarketEvent
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.outcome.events import read_events
from trade_pipeline.core.outcome.replay import Shadow, ShadowMarket, longest_life
from trade_pipeline.core.records import Session, TerminationReason, TradeCandidate, TradeOutcome
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline_tests.core.session.test_session import (
    BLOCK,
    EAGER,
    MINUTE,
    SECOND,
    START,
    Run,
    bar,
    config_of,
    flat,
    market,
    run,
    simulated,
    simulated_run,
    swap,
)

UUID = trade_uuid("s", "token-0", 0, START)
STAKE = 200.0


def shadows_of(
    feed: Any, config: TradingConfig, decided: dict[int, tuple[int, int]], **given: Any
) -> ShadowMarket:
    """The replays of a market; ``decided`` has the first and last decision by token."""
    life = longest_life(config.strategy.exits)
    events, quotes = read_events(feed, {t: (a, b + life) for t, (a, b) in decided.items()})
    given = {"stake_usd": STAKE, "data_end": feed.span()[1]} | given
    return ShadowMarket(config.strategy, config.venue(feed.kind), feed, events, quotes, **given)


def shadow_of(
    *rows: MarketEvent, config: TradingConfig | None = None, kind: str = "simulated", **given: Any
) -> Shadow:
    """The shadow of a decision about token 0 at the start."""
    config = config or config_of()
    feed = market(*rows, kind=kind, **given)
    return shadows_of(feed, config, {0: (START, START)}).shadow(UUID, 0, START)


def outcome_of(*rows: MarketEvent, **given: Any) -> TradeOutcome:
    found = shadow_of(*rows, **given).outcome
    assert found is not None
    return found


def assert_the_shadows_of_trades_are_the_trades(
    feed: Any, config: TradingConfig, found: Run
) -> Counter[str]:
    """Every trade that closed before the session did; returns how many by their reason."""
    tokens = {instrument.name: n for n, instrument in enumerate(feed.instruments)}
    (session,) = found.of(Session)
    outcomes = {o.uuid: o for o in found.of(TradeOutcome)}
    candidates = [
        (c.uuid, tokens[c.instrument], micros(c.decided_at), c.stake_usd)
        for c in found.of(TradeCandidate)
    ]
    first = min((at for *_, at, _ in candidates), default=START)
    decided = {token: (first, START + 90 * DAY) for _, token, _, _ in candidates}
    screened = shadows_of(feed, config, decided)
    plain = shadows_of(feed, config, decided, screen=False)
    compared: Counter[str] = Counter()
    for uuid, token, at, stake in candidates:
        shadow = screened.shadow(uuid, token, at, stake)
        assert shadow == plain.shadow(uuid, token, at, stake)
        outcome = outcomes.get(uuid)
        if outcome is None or outcome.closed_at == session.range_end:
            # What was open then was liquidated, its sale on the way or not.
            continue
        assert outcome.closed_at is not None
        if shadow.outcome is None:
            # The session's clock ran on after the market's last event.
            assert micros(outcome.closed_at) > feed.span()[1]
            continue
        assert canonical_bytes(shadow.outcome) == canonical_bytes(replace(outcome, kind="shadow"))
        compared[outcome.termination_reason] += 1
        compared["written off"] += outcome.written_off
    return compared


# The invariant


def test_the_shadow_of_every_trade_of_simulated_sessions_is_that_trade() -> None:
    compared: Counter[str] = Counter()
    for seed in range(3):
        compared += assert_the_shadows_of_trades_are_the_trades(
            simulated(seed), EAGER, simulated_run(seed)
        )
    for reason in ("stop_loss", "profit_target", "max_hold", "rugpull_exit", "written off"):
        assert compared[reason] > 0


@st.composite
def pools(draw: st.DrawFn) -> list[MarketEvent]:
    """Two pools over three days, with jumps, ties, removals and a quote token that moves."""
    rows, removed, at = [swap(0, 0.1)], [0.0, 0.0], 0
    price, quote = [0.1, 0.2], 1_000.0
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0, 1, 5 * SECOND, BLOCK, 10 * MINUTE, HOUR, 7 * HOUR]))
        token = draw(st.integers(0, 1))
        price[token] *= draw(st.sampled_from([0.85, 0.95, 0.995, 1.0, 1.005, 1.05, 1.2]))
        if draw(st.integers(0, 9)) == 0:
            removed[token] += draw(st.sampled_from([5_000.0, 20_000.0, 60_000.0]))
            removed[token] = min(removed[token], 190_000.0)
        # At one moment the quote token has one price.
        if rows[-1].known_at != START + at:
            quote *= draw(st.sampled_from([0.9, 1.0, 1.0, 1.05]))
        rows.append(swap(at, price[token], token=token, removed=removed[token], quote_usd=quote))
    return rows


@settings(deadline=None, max_examples=60)
@given(pools(), st.sampled_from([1, 60, 100_000]), st.booleans())
def test_the_shadow_of_every_trade_on_any_pools_is_that_trade(
    rows: list[MarketEvent], minutes: int, blocked: bool
) -> None:
    config = config_of(
        universe={"pool_interval_minutes": minutes, "min_liquidity_usd": 0},
        exits={"max_hold_hours": 12, "sell_attempts": 2},
        protections={"daily_loss_limit": 1, "max_drawdown": 1},
    )
    feed = market(*rows, blocked_from=START + DAY if blocked else None)
    assert_the_shadows_of_trades_are_the_trades(feed, config, run(feed, config, hours=400))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([0.9, 0.99, 1.0, 1.01, 1.1]),
            st.sampled_from([1.0, 1.0, 1.02, 1.3]),
            st.sampled_from([1.0, 1.0, 1.02, 1.2]),
            st.sampled_from([0.0, 50.0, 1e4, 1e6]),
        ),
        max_size=60,
    )
)
def test_the_shadow_of_every_trade_on_any_bars_is_that_trade(
    moves: list[tuple[int, float, float, float, float]],
) -> None:
    """Partial fills, entries that run out of patience, and targets and stops in one bar."""
    price = [0.1, 0.2]
    rows = [flat(0, 0.1), flat(0, 0.2, token=1)]
    for hour, (token, move, up, down, volume) in enumerate(moves, 1):
        open_, price[token] = price[token], price[token] * move
        high, low = max(open_, price[token]) * up, min(open_, price[token]) / down
        rows.append(bar(hour, open_, high, low, price[token], volume=volume, token=token))
    config = config_of(
        universe={"bar_interval_minutes": 360, "min_volume_24h_usd": 0},
        exits={"max_hold_hours": 3},
        protections={"daily_loss_limit": 1, "max_drawdown": 1},
    )
    feed = market(*rows, kind="spot-1h")
    assert_the_shadows_of_trades_are_the_trades(feed, config, run(feed, config, hours=100))


RESERVE = st.sampled_from([0.0, 1e-9, 3.0, 1e6]) | st.floats(0, 1e12)


@given(
    st.floats(1e-6, 1e12),
    st.lists(st.tuples(RESERVE, RESERVE, st.floats(0.01, 1e5)), min_size=1),
)
def test_values_at_many_states_are_those_of_each_to_the_bit(
    tokens: float, states: list[tuple[float, float, float]]
) -> None:
    venue = AmmVenue(AmmConfig(expected_tax=0.1))
    found = venue.values_usd(tokens, *np.array(states).T)
    for value, (reserve_token, reserve_quote, quote_usd) in zip(found, states, strict=True):
        unknown = [math.nan] * 8
        state = TokenState(0, 0, quote_usd, *unknown, math.nan, reserve_quote, reserve_token)
        assert value == venue.value_usd(tokens, state)


# What a label is


def test_a_shadow_buys_the_reference_stake_and_less_where_its_impact_would_be_too_large() -> None:
    config = config_of(sizing={"max_impact": 0.001, "min_stake_usd": 20})
    rows = [swap(0, 0.1), swap(HOUR, 0.05), swap(2 * HOUR, 0.05)]
    small = [
        replace(row, reserve_quote=row.reserve_quote / 10, reserve_token=row.reserve_token / 10)
        for row in rows
    ]
    deep, shallow = outcome_of(*rows), outcome_of(*rows, config=config)
    shallower = outcome_of(*small, config=config)
    for found, stake in ((deep, 200.0), (shallow, 100.0), (shallower, 20.0)):
        assert found.pnl_usd is not None
        assert found.pnl_usd == pytest.approx(found.realized_pnl_percent / 100 * (stake + 1))


def test_a_shadow_of_an_entry_that_the_venue_refuses_says_so_and_what_it_cost() -> None:
    found = shadow_of(swap(0, 0.1), swap(SECOND, 0.12), swap(HOUR, 0.1))
    assert found.refused == "the price left the slippage limit"
    outcome = found.outcome
    assert outcome is not None
    assert outcome.termination_reason is TerminationReason.NOT_FILLED
    assert outcome.realized_pnl_percent == -0.5
    assert (outcome.pnl_usd, outcome.fees_usd, outcome.time_in_market_seconds) == (-1.0, 1.0, 0.0)
    assert outcome.closed_at is not None
    assert micros(outcome.closed_at) == START + BLOCK


def test_a_shadow_on_an_exchange_without_volume_is_not_filled_and_free() -> None:
    rows = [flat(0, 0.1), *(flat(hour, 0.1, volume=0) for hour in range(1, 6))]
    outcome = outcome_of(*rows, kind="spot-1h")
    assert outcome.termination_reason is TerminationReason.NOT_FILLED
    assert (str(outcome.realized_pnl_percent), outcome.fees_usd) == ("0.0", 0.0)


def test_a_shadow_that_cannot_sell_loses_everything() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.2), swap(2 * HOUR, 0.2)]
    outcome = outcome_of(*rows, blocked_from=START + MINUTE)
    assert outcome.written_off
    assert outcome.realized_pnl_percent == pytest.approx(-100 * 206 / 201)


@pytest.mark.parametrize(
    ("end", "ended"), [(48 * HOUR + 2 * BLOCK - 1, False), (48 * HOUR + 2 * BLOCK, True)]
)
def test_a_shadow_has_no_outcome_until_the_market_shows_its_end(end: int, ended: bool) -> None:
    found = shadow_of(swap(0, 0.1), swap(end, 0.5, token=1))
    assert (found.outcome is not None) is ended


def test_a_sale_without_a_buyer_for_a_week_is_no_outcome() -> None:
    """However long a later decision about the token lets the market be read."""
    rows = [flat(hour, 0.1) for hour in range(10)]
    feed = market(*rows, flat(24 * 60, 0.1), kind="spot-1h")
    shadows = shadows_of(feed, config_of(), {0: (START, START + 60 * DAY)})
    assert shadows.shadow(UUID, 0, START).outcome is None


def test_events_that_are_known_at_the_decision_itself_are_no_news() -> None:
    """What was removed by then had been seen: the decision was about what is left."""
    rows = [swap(0, 0.1), swap(0, 0.1, removed=60_000.0), swap(HOUR, 0.1, removed=60_000.0)]
    rows[2] = replace(rows[2], liquidity_change_usd=0.0)
    outcome = outcome_of(*rows, swap(50 * HOUR, 0.1, token=1))
    assert outcome.termination_reason is TerminationReason.MAX_HOLD


def test_a_decision_without_its_event_is_refused_by_token_and_moment() -> None:
    feed = market(swap(0, 0.1), swap(HOUR, 0.1))
    shadows = shadows_of(feed, config_of(), {0: (START, START)})
    for token, at in ((0, START + 1), (0, START - 1), (1, START)):
        with pytest.raises(BadMarketData, match=f"token-{token}: no event at 202"):
            shadows.shadow(UUID, token, at)
