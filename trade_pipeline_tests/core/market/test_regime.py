"""A change of regime: what tokens look like turns, what becomes of them does not."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, Floats, MarketBatch
from trade_pipeline.core.market.simulator import Fate, SimulatedMarket, SimulatorConfig

START = 1_640_995_200_000_000  # 2022-01-01
CHANGE = START + DAY
END = START + 2 * DAY
USUAL = SimulatorConfig(
    pools_per_day=250,
    burn_in_days=1,
    trades_max=40,
    trait_noise=0,
    missing_share=0,
    honest_share=0.5,
    hard_rug_share=0.5,
    honeypot_share=0,
    slow_rug_share=0,
    pump_and_dump_share=0,
)
# What looks the worse the higher, and the better.
SIGNS = {"top_holders_share": 1, "lp_locked_share": -1, "contract_verified": -1, "mintable": 1}


def market(change: int | None, strength: float = 1.0) -> SimulatedMarket:
    update = {"regime_change_at": moment_of(change), "regime_strength": strength} if change else {}
    return SimulatedMarket(USUAL.model_copy(update=update), 3, START, END)


def events(feed: SimulatedMarket) -> MarketBatch:
    batches = list(feed.batches(0, END))
    return MarketBatch(
        *(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(MarketBatch))
    )


def born(feed: SimulatedMarket) -> np.ndarray:
    return np.array([instrument.created_at for instrument in feed.instruments])


def facts(feed: SimulatedMarket, tokens: np.ndarray) -> dict[str, Floats]:
    """What was known of tokens four hours after their birth."""
    return feed.facts_at(tokens.astype(np.int32), born(feed)[tokens] + 4 * HOUR)


def looks_worse(feed: SimulatedMarket, tokens: np.ndarray, name: str) -> float:
    """How often a drained token looks worse than an honest one: area under the ROC curve."""
    value = facts(feed, tokens)[name] * SIGNS[name]
    fates = np.array([feed.fate(int(token)) for token in tokens])
    bad, good = value[fates == Fate.HARD_RUG][:, None], value[fates == Fate.HONEST][None, :]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))


@given(strength=st.floats(0, 1), hours=st.integers(-30, 60))
@settings(max_examples=5, deadline=None)
def test_prices_and_rules_never_depend_on_it(strength: float, hours: int) -> None:
    usual, changed = market(None), market(START + hours * HOUR, strength)
    one, other = events(usual), events(changed)
    for f in fields(MarketBatch):
        assert getattr(one, f.name).tobytes() == getattr(other, f.name).tobytes(), f.name
    assert list(usual.instruments) == list(changed.instruments)
    for token in range(len(usual.instruments)):
        assert usual.plan(token) == changed.plan(token)
        assert usual.rules(token) == changed.rules(token)


def test_a_token_born_before_looks_as_ever_also_afterwards() -> None:
    usual, changed = market(None), market(CHANGE)
    tokens = np.flatnonzero(born(usual) < CHANGE)
    assert len(tokens) > 100
    at = np.full(len(tokens), END)
    one, other = (feed.facts_at(tokens.astype(np.int32), at) for feed in (usual, changed))
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def test_a_token_born_at_the_very_moment_belongs_to_the_new_regime() -> None:
    usual = market(None)
    tokens = np.flatnonzero(born(usual) >= CHANGE)
    change = int(born(usual)[tokens[0]])
    one, other = (facts(feed, tokens[:1])["top_holders_share"] for feed in (usual, market(change)))
    assert one != other


@pytest.mark.parametrize("name", SIGNS)
def test_afterwards_what_traits_tell_of_the_fate_is_the_opposite(name: str) -> None:
    feed = market(CHANGE)
    before, after = np.flatnonzero(born(feed) < CHANGE), np.flatnonzero(born(feed) >= CHANGE)
    assert looks_worse(feed, before, name) > 0.6
    assert looks_worse(feed, after, name) < 0.4


def test_half_the_strength_tells_nothing_and_none_changes_nothing() -> None:
    half, none = market(CHANGE, 0.5), market(CHANGE, 0.0)
    after = np.flatnonzero(born(half) >= CHANGE)
    assert 0.4 < looks_worse(half, after, "top_holders_share") < 0.6
    one, other = facts(none, after), facts(market(None), after)
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def test_two_regimes_are_two_markets() -> None:
    addresses = {
        feed.content_address()
        for feed in (market(None), market(CHANGE), market(CHANGE + 1), market(CHANGE, 0.5))
    }
    assert len(addresses) == 4
