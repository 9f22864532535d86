"""The simulated market: reproducible, consistent, and informative without giving the fate away."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import fields
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch, TokenFacts
from trade_pipeline.core.market.simulator import (
    GENERATOR_VERSION,
    Fate,
    SimulatedMarket,
    SimulatorConfig,
)
from trade_pipeline.core.market.simulator.pool import TRADE
from trade_pipeline_tests.core.samples import facts_of

START = 1_640_995_200_000_000  # 2022-01-01
END = START + 3 * DAY
SMALL = SimulatorConfig(pools_per_day=20, burn_in_days=3, trades_median=60, trades_max=2_000)
# Generator version, events and traded USD of `small_market()`.
PINNED_SAMPLE = (1, 13355, 25628200.0)
ONLY = {f"{fate.value}_share": 0.0 for fate in Fate}


def whole(market: SimulatedMarket, start: int = 0, end: int = END) -> MarketBatch:
    batches = list(market.batches(start, end))
    return MarketBatch(
        *(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(MarketBatch))
    )


def digest(market: SimulatedMarket) -> str:
    batch = whole(market)
    data = b"".join(np.ascontiguousarray(getattr(batch, f.name)).tobytes() for f in fields(batch))
    return hashlib.sha256(data).hexdigest()


@lru_cache
def small_market(seed: int = 1) -> SimulatedMarket:
    return SimulatedMarket(SMALL, seed, START, END)


@lru_cache
def market_of(fate: Fate, seed: int = 1) -> SimulatedMarket:
    config = SMALL.model_copy(update=ONLY | {f"{fate.value}_share": 1.0})
    return SimulatedMarket(config, seed, START, END)


def test_the_same_seed_gives_the_same_bytes_in_a_second_process() -> None:
    program = (
        "from trade_pipeline_tests.core.market.test_simulator import digest, small_market;"
        "print(digest(small_market()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == digest(SimulatedMarket(SMALL, 1, START, END))


def test_another_seed_gives_another_market_and_another_address() -> None:
    assert digest(small_market(1)) != digest(small_market(2))
    assert small_market(1).content_address() != small_market(2).content_address()


def test_the_content_address_depends_on_config_and_range_and_on_nothing_else() -> None:
    address = small_market().content_address()
    assert is_address(address)
    assert SimulatedMarket(SMALL, 1, START, END).content_address() == address
    other = SMALL.model_copy(update={"tax_share": 0.1})
    for market in (
        SimulatedMarket(other, 1, START, END),
        SimulatedMarket(SMALL, 1, START + 1, END),
        SimulatedMarket(SMALL, 1, START, END + 1),
    ):
        assert market.content_address() != address


def test_a_pinned_sample_changes_only_together_with_the_generator_version() -> None:
    events = whole(small_market())
    sample = (GENERATOR_VERSION, len(events), float(f"{events.volume_usd.sum():.6g}"))
    assert sample == PINNED_SAMPLE


def test_a_longer_end_leaves_the_common_range_unchanged() -> None:
    short, long = small_market(), SimulatedMarket(SMALL, 1, START, END + 2 * DAY)
    one, other = whole(short), whole(long)
    for f in fields(MarketBatch):
        assert getattr(one, f.name).tobytes() == getattr(other, f.name).tobytes(), f.name
    assert list(short.instruments) == list(long.instruments)[: len(short.instruments)]
    assert len(long.instruments) > len(short.instruments)
    assert len(whole(long, END, END + 2 * DAY)) > 0


@given(st.integers(-4 * 24, 3 * 24), st.integers(0, 60))
@settings(max_examples=15, deadline=None)
def test_a_part_is_the_same_whether_the_rest_was_read_or_not(first: int, hours: int) -> None:
    start, end = START + first * HOUR, START + (first + hours) * HOUR
    config = SMALL.model_copy(update={"life_days_max": 0.5})
    everything = whole(SimulatedMarket(config, 1, START, END))
    inside = (everything.known_at >= start) & (everything.known_at < end)
    part = SimulatedMarket(config, 1, START, END)
    batches = list(part.batches(start, end))
    assert sum(len(batch) for batch in batches) == inside.sum()
    if batches:
        read = whole(part, start, end)
        for f in fields(MarketBatch):
            expected = getattr(everything, f.name)[inside]
            assert getattr(read, f.name).tobytes() == expected.tobytes(), f.name


def test_only_the_pools_that_live_in_a_range_are_made() -> None:
    config = SMALL.model_copy(update={"life_days_max": 0.5})
    market = SimulatedMarket(config, 1, START, END)
    list(market.batches(START + DAY, START + DAY + HOUR))
    assert 0 < len(market._histories) < len(market.instruments) / 4


def test_facts_and_rules_never_change_when_the_future_does() -> None:
    short, long = SimulatedMarket(SMALL, 1, START, END), SimulatedMarket(SMALL, 1, START, END + DAY)
    for token, instrument in enumerate(short.instruments):
        assert instrument.created_at is not None
        assert short.rules(token) == long.rules(token)
        for moment in range(instrument.created_at, END, 7 * HOUR):
            assert facts_of(short, token, moment) == facts_of(long, token, moment)


@pytest.mark.parametrize("fate", [Fate.HONEYPOT, Fate.SLOW_RUG, Fate.PUMP_AND_DUMP])
def test_facts_use_only_what_happened_before(fate: Fate) -> None:
    """Cutting a history off must not change what scans before the cut said."""
    from trade_pipeline.core.market.simulator.pool import PoolHistory
    from trade_pipeline.core.market.simulator.traits import COLUMNS, TokenTraits

    market = market_of(fate)
    for token in range(30):
        history = market._history(token)
        cut = history.plan.created_at + history.plan.life // 2
        rows = history.time <= cut
        past = PoolHistory(
            history.plan,
            history.time[rows],
            history.action[rows],
            history.reserve_quote[rows],
            history.reserve_token[rows],
            history.failed_sells[history.failed_sells <= cut],
        )
        traits = TokenTraits(market.config, past, market._rng(token, 1))
        moments = np.arange(history.plan.created_at, cut, 5 * HOUR)
        known = market.facts_at(np.full(len(moments), token, np.int32), moments)
        for name, values in zip(COLUMNS, traits.at(moments), strict=True):
            assert values.tobytes() == known[name].tobytes(), name


def test_a_market_that_ends_right_after_a_birth_has_the_newborn() -> None:
    market = small_market()
    for newborn in market.instruments:
        if newborn.created_at >= START:
            known = {one.name for one in market.until(newborn.created_at).instruments}
            assert newborn.name in known


def test_the_market_is_alive_before_its_start_and_silent_after_its_end() -> None:
    market = small_market()
    assert len(whole(market, START - DAY, START)) > 50
    assert list(market.batches(END, END + DAY)) == []


def test_batches_are_ordered_bounded_and_cover_exactly_the_range() -> None:
    market = SimulatedMarket(SimulatorConfig(pools_per_day=60), 3, START, END)
    batches = list(market.batches(START - 5 * DAY, END))
    assert len(batches) > 1
    assert max(len(batch) for batch in batches) <= 65_536
    events = whole(market, START - 5 * DAY, END)
    assert (np.diff(events.known_at) >= 0).all()
    assert (events.event_time == events.known_at).all()
    assert (events.known_at % 13_000_000 == 0).all()
    same_block = np.diff(events.known_at) == 0
    assert (np.diff(events.token)[same_block] >= 0).all()
    cut = int(events.known_at[len(events) // 3])
    parts = len(whole(market, START - 5 * DAY, cut)), len(whole(market, cut, END))
    assert sum(parts) == len(events)
    assert whole(market, cut, END).known_at[0] == cut


def test_reserves_are_positive_and_columns_agree_with_each_other() -> None:
    market = small_market()
    events = whole(market)
    for name in ("reserve_quote", "reserve_token", "price_usd", "liquidity_usd", "quote_usd"):
        column = getattr(events, name)
        assert np.isfinite(column).all(), name
        assert (column > 0).all(), name
    price = events.reserve_quote / events.reserve_token * events.quote_usd
    assert np.allclose(events.price_usd, price, rtol=1e-12)
    assert np.array_equal(np.abs(events.flow_usd), events.volume_usd)
    assert not ((events.volume_usd > 0) & (events.liquidity_change_usd != 0)).any()
    assert np.isnan(events.open_usd).all()
    _, first = np.unique(events.token, return_index=True)
    assert np.array_equal(events.liquidity_change_usd[first], events.liquidity_usd[first])
    assert 0.5 < np.median(events.liquidity_usd[first]) / SMALL.liquidity_usd_median < 2.5
    created = [market.instruments[token].created_at for token in events.token[first]]
    assert created == events.known_at[first].tolist()


@pytest.mark.parametrize("fate", Fate)
def test_a_pool_never_holds_more_tokens_than_there_are(fate: Fate) -> None:
    market = market_of(fate)
    for token in range(len(market.instruments)):
        plan, tokens = market.plan(token), market._history(token).reserve_token
        total = plan.token_reserve + plan.developer_tokens + plan.outside_tokens
        assert total == pytest.approx(plan.supply)
        assert tokens.max() <= plan.supply * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), fate=st.sampled_from(Fate))
def test_the_constant_product_never_falls_over_a_swap(seed: int, fate: Fate) -> None:
    config = SMALL.model_copy(update=ONLY | {f"{fate.value}_share": 1.0})
    market = SimulatedMarket(config, seed, START, START + HOUR)
    events = whole(market, 0, START + HOUR)
    for token in range(min(20, len(market.instruments))):
        rows = events.token == token
        x, y = events.reserve_quote[rows], events.reserve_token[rows]
        swap = (events.volume_usd[rows] > 0)[1:]
        growth = (x * y)[1:] / (x * y)[:-1]
        assert (growth[swap] >= 1 - 1e-12).all()
        # The fee stays in the pool: at most 0.3 % of what was paid in.
        paid_in = np.maximum(x[1:] / x[:-1], y[1:] / y[:-1])
        assert np.allclose(
            growth[swap], (paid_in / (1 + 0.997 * (paid_in - 1)))[swap], rtol=1e-9, atol=0
        )
        both = (x[1:] / x[:-1])[~swap], (y[1:] / y[:-1])[~swap]
        assert np.allclose(*both, rtol=1e-9, atol=0)


def test_a_hard_rug_removes_the_liquidity_in_one_event_and_ends_the_pool() -> None:
    market = market_of(Fate.HARD_RUG)
    ended = 0
    for token in range(len(market.instruments)):
        history = market._history(token)
        x, y = history.reserve_quote, history.reserve_token
        assert x[-1] < 0.1 * x[-2]
        assert y[-1] / y[-2] == pytest.approx(x[-1] / x[-2])
        ended += history.time[-1] < END
    assert ended > 50
    events = whole(market)
    drop = events.liquidity_change_usd < -9 * events.liquidity_usd
    assert drop.sum() == ended


def test_slow_rugs_are_drained_in_steps() -> None:
    market = market_of(Fate.SLOW_RUG)
    left, steps = [], []
    for token in range(len(market.instruments)):
        history = market._history(token)
        x = history.reserve_quote
        left.append(x[-1] / x.max())
        steps.append((x[1:] / x[:-1]).min())
    assert np.median(left) < 0.2
    assert np.median(steps) > 0.1


def test_a_honeypot_shows_no_outside_sells_after_the_block_and_its_rules_say_so() -> None:
    market = market_of(Fate.HONEYPOT)
    outside, failed = 0, 0
    for token in range(len(market.instruments)):
        history = market._history(token)
        blocked = market.rules(token).sells_blocked_from
        assert blocked is not None
        sells = (history.action == TRADE) & (np.diff(history.reserve_quote, prepend=0) < 0)
        assert not (sells & (history.time >= blocked)).any()
        assert (history.failed_sells >= blocked).all()
        outside += int(sells.sum())
        failed += len(history.failed_sells)
    assert outside > 0, "before the block there are sells"
    assert failed > 0
    honest = market_of(Fate.HONEST)
    assert all(honest.rules(t).sells_blocked_from is None for t in range(len(honest.instruments)))


def test_pumped_tokens_rise_and_then_lose_most_of_it() -> None:
    market = market_of(Fate.PUMP_AND_DUMP)
    rise, kept = [], []
    for token in range(len(market.instruments)):
        price = market._history(token).reserve_quote / market._history(token).reserve_token
        rise.append(price.max() / price[0])
        kept.append(price[-1] / price.max())
    assert np.median(rise) > 2
    assert np.median(kept) < 0.3


def test_an_unknown_supply_gives_no_market_cap() -> None:
    market, events = small_market(), whole(small_market())
    known = np.array([market.plan(t).supply_known for t in range(len(market.instruments))])
    assert 0.3 < known.mean() < 0.7
    assert np.array_equal(np.isnan(events.market_cap_usd), ~known[events.token])
    supply = np.array([market.plan(t).supply for t in range(len(market.instruments))])
    cap = events.price_usd * supply[events.token]
    assert np.allclose(events.market_cap_usd[known[events.token]], cap[known[events.token]])
    unknown = int(np.flatnonzero(~known)[0])
    assert facts_of(market, unknown, END).developer_share is None


def test_traits_tell_of_the_fate_but_not_all_of_it() -> None:
    from sklearn.metrics import roc_auc_score

    def skill(trait: str, noise: float) -> float:
        """How well a trait tells pools that are drained from others, two hours after birth."""
        config = SimulatorConfig(
            pools_per_day=100, burn_in_days=5, trades_max=300, trait_noise=noise
        )
        market = SimulatedMarket(config, 5, START, START + DAY)
        scores, drained = [], []
        for token, instrument in enumerate(market.instruments):
            assert instrument.created_at is not None
            facts = facts_of(market, token, instrument.created_at + 2 * HOUR).as_dict()
            if trait in facts:
                scores.append(float(facts[trait]))
                drained.append(market.fate(token) not in (Fate.HONEST, Fate.PUMP_AND_DUMP))
        assert len(scores) > 300
        return float(roc_auc_score(drained, scores))

    usual = SimulatorConfig().trait_noise
    assert 0.6 < skill("top_holders_share", usual) < 0.95
    assert 0.6 < 1 - skill("lp_locked_share", usual) < 0.95
    assert 0.52 < 1 - skill("contract_verified", usual) < 0.9
    assert skill("top_holders_share", 0.0) > skill("top_holders_share", usual) + 0.02
    assert 0.44 < skill("lp_locked_share", 1.0) < 0.56


def test_failed_sells_point_to_honeypots() -> None:
    def shares(fate: Fate) -> list[float]:
        market = market_of(fate)
        facts = [facts_of(market, token, END) for token in range(len(market.instruments))]
        return [f.failed_sell_share for f in facts if f.failed_sell_share is not None]

    assert np.mean(shares(Fate.HONEYPOT)) > 3 * np.mean(shares(Fate.HONEST))


def test_facts_stay_within_their_units_and_some_are_missing() -> None:
    market = small_market()
    missing: dict[str, int] = {}
    for token, instrument in enumerate(market.instruments):
        assert instrument.created_at is not None
        assert facts_of(market, token, instrument.created_at - 1) == TokenFacts()
        facts = facts_of(market, token, instrument.created_at + 6 * HOUR)
        for f in fields(TokenFacts):
            value = getattr(facts, f.name)
            missing[f.name] = missing.get(f.name, 0) + (value is None)
            if isinstance(value, float):
                assert 0 <= value <= 1, f.name
        shares = (facts.lp_creator_share, facts.lp_locked_share, facts.lp_burned_share)
        assert sum(share or 0 for share in shares) <= 1 + 1e-9
        assert set(facts.sentiment) <= {"twitter", "telegram", "reddit"}
        assert all(0 <= level <= 1 for level in facts.sentiment.values())
        missing["sentiment"] += len(facts.sentiment) < 3
    assert all(0 < count < len(market.instruments) for count in missing.values()), missing


def test_holders_grow_with_trades() -> None:
    market = market_of(Fate.HONEST)
    growth = []
    for token in range(len(market.instruments)):
        plan = market.plan(token)
        early = facts_of(market, token, plan.created_at).holders
        late = facts_of(market, token, plan.created_at + plan.life).holders
        if early is not None and late is not None and plan.trades > 50:
            growth.append(late / early)
    assert np.median(growth) > 1.3


def test_sentiment_rises_with_the_promotion() -> None:
    market = market_of(Fate.PUMP_AND_DUMP)
    during, after = [], []
    for token in range(len(market.instruments)):
        plan = market.plan(token)
        during += facts_of(market, token, plan.created_at + plan.promotion // 2).sentiment.values()
        after += facts_of(market, token, plan.created_at + plan.life).sentiment.values()
    assert np.mean(during) > np.mean(after) + 0.15


def test_the_config_refuses_an_unknown_field_and_names_it() -> None:
    with pytest.raises(ValidationError, match="pools_per_hour"):
        SimulatorConfig.model_validate({"pools_per_hour": 3})


def test_the_config_refuses_impossible_values_and_names_the_field() -> None:
    with pytest.raises(ValidationError, match="trait_noise"):
        SimulatorConfig(trait_noise=1.5)
    with pytest.raises(ValidationError, match=r"honeypot_share.*sum of 1"):
        SimulatorConfig(honeypot_share=0.9)


def test_every_setting_says_what_it_is_and_in_which_unit() -> None:
    for name, setting in SimulatorConfig.model_json_schema()["properties"].items():
        assert setting["description"], name
        assert setting["unit"], name
        if setting["unit"] != "moment":
            assert "minimum" in setting, name
            assert "maximum" in setting, name


def test_an_empty_range_and_a_negative_seed_are_refused() -> None:
    with pytest.raises(BadConfig, match="seed=-1"):
        SimulatedMarket(SMALL, -1, START, END)
    with pytest.raises(BadConfig, match="range"):
        SimulatedMarket(SMALL, 1, START, START)
    with pytest.raises(BadConfig, match="burn_in_days=3"):
        SimulatedMarket(SMALL, 1, DAY, END)


def test_a_market_without_pools_has_no_events() -> None:
    config = SMALL.model_copy(update={"pools_per_day": 1e-9})
    market = SimulatedMarket(config, 1, START, END)
    assert list(market.instruments) == []
    assert list(market.batches(0, END)) == []
