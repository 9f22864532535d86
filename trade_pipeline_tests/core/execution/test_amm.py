"""Swaps against a pool: its product never falls, and every cent of a fill has a name."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.execution.amm import AmmConfig, AmmVenue, swap_output
from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Touch
from trade_pipeline.core.ids import client_order_id
from trade_pipeline.core.market.event import TradeRules
from trade_pipeline.core.market.history import TokenState

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
SURE = AmmConfig(failure_rate=0.0, gas_usd=2.0)
FREE = TradeRules()
AT = 1_000_000_000

reserves = st.floats(0.1, 1e6)
fees = st.floats(0, 0.1)


def pool(
    quote: float = 100.0, token: float = 1_000_000.0, quote_usd: float = 1_000.0
) -> TokenState:
    """A pool; by default 100 quote tokens of 1,000 USD against a million tokens of 0.1 USD."""
    spot = quote / token * quote_usd if token else math.nan
    none = math.nan
    return TokenState(
        *(0, AT, quote_usd, spot, none, none, none, 0.0, 0.0),
        *(2 * quote * quote_usd, 0.0, none, quote, token),
    )


def entry(stake: float, decision_price: float = 0.1, number: int = 0) -> Order:
    order_id = client_order_id(UUID_ONE, "entry", number)
    return Order(UUID_ONE, order_id, 0, "entry", AT, decision_price, stake_usd=stake)


def sale(tokens: float, number: int = 0) -> Order:
    order_id = client_order_id(UUID_ONE, "exit", number)
    return Order(UUID_ONE, order_id, 0, "exit", AT, 0.1, tokens=tokens)


def fill_of(result: Fill | Refusal | None) -> Fill:
    assert isinstance(result, Fill), result
    return result


def execute(
    order: Order, state: TokenState, rules: TradeRules = FREE, config: AmmConfig = SURE
) -> Fill | Refusal | None:
    return AmmVenue(config).execute(order, state, AT, rules)


@given(x=reserves, y=reserves, share=st.floats(1e-6, 10), fee=fees)
def test_the_constant_product_grows_by_the_fee_and_never_falls(
    x: float, y: float, share: float, fee: float
) -> None:
    paid = share * x
    out = swap_output(paid, x, y, fee)
    assert 0 <= out < y
    assert (x + paid * (1 - fee)) * (y - out) == pytest.approx(x * y, rel=1e-9)
    assert (x + paid) * (y - out) >= x * y * (1 - 1e-9)


@given(x=reserves, y=reserves, share=st.floats(1e-4, 1), fee=fees)
def test_buying_and_selling_at_once_loses_at_least_both_fees(
    x: float, y: float, share: float, fee: float
) -> None:
    paid = share * x
    bought = swap_output(paid, x, y, fee)
    back = swap_output(bought, y - bought, x + paid, fee)
    assert back <= paid * (1 - fee) * (1 + 1e-9)
    # In the recorded pool, which the own buy did not move, the way back is dearer still.
    assert swap_output(bought, y, x, fee) <= paid * (1 - fee) ** 2 * (1 + 1e-9)


@given(
    stake=st.floats(1, 3_000),
    quote=st.floats(100, 1e4),
    token=st.floats(1, 1e12),
    quote_usd=st.floats(10, 10_000),
    tax=st.floats(0, 0.9),
)
def test_a_buy_is_worth_its_stake_less_fee_impact_and_tax(
    stake: float, quote: float, token: float, quote_usd: float, tax: float
) -> None:
    state = pool(quote, token, quote_usd)
    config = SURE.model_copy(update={"max_slippage": 0.99})
    order = entry(stake, decision_price=state.price_usd)
    fill = fill_of(execute(order, state, TradeRules(buy_tax=tax), config))
    inside = fill.inside_usd
    spot_value = fill.tokens * state.price_usd
    assert fill.value_usd == stake
    assert spot_value == pytest.approx(
        stake - inside["pool_fee"] - inside["impact"] - inside["tax"], rel=1e-6
    )
    assert all(value >= -1e-6 * stake for value in inside.values())
    assert fill.price * fill.tokens == pytest.approx(stake)
    assert fill.complete


@given(
    share=st.floats(1e-4, 2),
    quote=st.floats(1, 1e4),
    token=st.floats(1, 1e12),
    quote_usd=st.floats(10, 10_000),
    tax=st.floats(0, 0.9),
)
def test_a_sale_fetches_the_spot_value_less_fee_impact_and_tax(
    share: float, quote: float, token: float, quote_usd: float, tax: float
) -> None:
    state = pool(quote, token, quote_usd)
    fill = fill_of(execute(sale(share * token), state, TradeRules(sell_tax=tax)))
    inside = fill.inside_usd
    spot_value = fill.tokens * state.price_usd
    assert fill.value_usd == pytest.approx(
        spot_value - inside["pool_fee"] - inside["impact"] - inside["tax"], rel=1e-6
    )
    assert all(value >= -1e-6 * spot_value for value in inside.values())
    assert fill.value_usd < quote * quote_usd
    assert fill.price * fill.tokens == pytest.approx(fill.value_usd)
    assert fill.impact == pytest.approx(
        1 - fill.value_usd / (spot_value * (1 - tax) * (1 - SURE.pool_fee))
    )


def test_the_own_impact_grows_with_the_size() -> None:
    config = SURE.model_copy(update={"max_slippage": 0.9})
    buys = [fill_of(execute(entry(stake), pool(), config=config)) for stake in (10, 1_000, 50_000)]
    sales = [fill_of(execute(sale(tokens), pool())) for tokens in (100, 10_000, 1_000_000)]
    for fills in (buys, sales):
        impacts = [fill.impact for fill in fills]
        assert impacts == sorted(impacts)
        assert 0 < impacts[0] < 0.001 < impacts[-1] < 1
    assert [f.price for f in buys] == sorted(f.price for f in buys)
    assert [f.price for f in sales] == sorted((f.price for f in sales), reverse=True)


def test_a_deep_own_impact_is_the_share_of_the_reserve_that_arrived() -> None:
    fill = fill_of(execute(sale(1_000_000 / (1 - SURE.pool_fee)), pool()))
    assert fill.impact == pytest.approx(0.5)
    assert fill.value_usd == pytest.approx(50_000.0)


def test_the_impact_capacity_is_the_stake_with_that_impact() -> None:
    venue, state = AmmVenue(SURE), pool()
    capacity = venue.impact_capacity_usd(state, 0.01)
    assert capacity == pytest.approx(1_000.0)
    impact = fill_of(execute(entry(1_000.0), state)).impact
    assert impact <= 0.01
    assert impact == pytest.approx(0.01, rel=0.02)


def test_an_entry_whose_price_ran_away_is_refused_and_costs_gas() -> None:
    # Decided at 0.1; a block later the pool stands 6 % higher, the limit is 5 %.
    refusal = execute(entry(10.0), pool(106.0))
    assert refusal == Refusal(AT, "the price left the slippage limit", {"gas": 2.0})
    fill_of(execute(entry(10.0), pool(105.0)))
    # The own impact counts as well.
    assert isinstance(execute(entry(6_000.0), pool()), Refusal)
    fill_of(execute(entry(4_900.0), pool()))


def test_a_price_that_fell_since_the_decision_gives_more_tokens() -> None:
    cheaper = fill_of(execute(entry(10.0), pool(50.0)))
    assert cheaper.tokens > 1.9 * fill_of(execute(entry(10.0), pool())).tokens


def test_a_sale_has_no_slippage_limit() -> None:
    fill = fill_of(execute(sale(1_000.0), pool(1.0)))
    assert fill.price < 0.0011


def test_gas_is_paid_on_top_of_the_price() -> None:
    assert fill_of(execute(entry(10.0), pool())).costs_usd == {"gas": 2.0}
    assert fill_of(execute(sale(10.0), pool())).costs_usd == {"gas": 2.0}


def test_a_honeypot_lets_buy_and_refuses_every_sale_from_its_moment_on() -> None:
    rules = TradeRules(sells_blocked_from=AT)
    fill_of(execute(entry(10.0), pool(), rules))
    refusal = execute(sale(10.0), pool(), rules)
    assert refusal == Refusal(AT, "the contract refused the sale", {"gas": 2.0})
    assert isinstance(AmmVenue(SURE).liquidate(sale(10.0), pool(), AT, rules), Refusal)
    fill_of(execute(sale(10.0), pool(), TradeRules(sells_blocked_from=AT + 1)))


def test_taxes_take_their_share_of_the_tokens() -> None:
    plain, taxed = (fill_of(execute(entry(10.0), pool(), TradeRules(tax))) for tax in (0.0, 0.1))
    assert taxed.tokens == pytest.approx(0.9 * plain.tokens)
    half = fill_of(execute(sale(10.0), pool(), TradeRules(sell_tax=0.5)))
    assert half.value_usd == pytest.approx(fill_of(execute(sale(5.0), pool())).value_usd)
    assert half.tokens == 10.0


@pytest.mark.parametrize("order", [entry(10.0), sale(10.0)], ids=["entry", "exit"])
def test_a_contract_that_keeps_everything_fills_nothing(order: Order) -> None:
    assert isinstance(execute(order, pool(), TradeRules(buy_tax=1.0, sell_tax=1.0)), Refusal)


@pytest.mark.parametrize("state", [pool(0.0), pool(token=0.0), pool(0.0, 0.0)])
def test_an_empty_pool_refuses_everything_and_is_worth_nothing(state: TokenState) -> None:
    venue = AmmVenue(SURE)
    for order in (entry(10.0), sale(10.0)):
        assert execute(order, state) == Refusal(AT, "the pool is empty", {"gas": 2.0})
    assert isinstance(venue.liquidate(sale(10.0), state, AT, FREE), Refusal)
    assert venue.value_usd(10.0, state) == 0.0
    assert venue.touched(10.0, state, 0.01, 1.0) == Touch("stop")


def test_a_reserve_that_nobody_knows_is_not_traded_against() -> None:
    assert isinstance(execute(sale(10.0), pool(math.nan)), Refusal)
    assert isinstance(execute(sale(10.0), pool(quote_usd=math.nan)), Refusal)


def test_failures_are_drawn_from_the_order_id_and_come_at_the_given_rate() -> None:
    config = AmmConfig(failure_rate=0.1)
    orders = [entry(10.0, number=number) for number in range(4_000)]
    first = [isinstance(execute(order, pool(), config=config), Refusal) for order in orders]
    again = [isinstance(execute(order, pool(90.0), config=config), Refusal) for order in orders]
    assert first == again
    # Four standard deviations around the rate; the draw is fixed, so this never wavers.
    assert 324 < sum(first) < 476
    assert not any(isinstance(execute(order, pool()), Refusal) for order in orders)


def test_a_failed_transaction_costs_its_gas() -> None:
    certain = AmmConfig(failure_rate=0.999999, gas_usd=3.0)
    assert execute(sale(10.0), pool(), config=certain) == Refusal(
        AT, "transaction failed", {"gas": 3.0}
    )


def test_marks_are_what_a_sale_would_fetch() -> None:
    venue, state = AmmVenue(SURE), pool()
    sold = fill_of(execute(sale(50_000.0), state))
    assert venue.value_usd(50_000.0, state) == pytest.approx(sold.value_usd)
    assert venue.range_usd(50_000.0, state) == (sold.value_usd, sold.value_usd)


def test_barriers_are_touched_by_the_executable_price_and_not_by_the_spot() -> None:
    venue, state = AmmVenue(SURE), pool()
    price = venue.value_usd(50_000.0, state) / 50_000.0
    assert price < 0.096 < state.price_usd
    assert venue.touched(50_000.0, state, 0.096, 0.2) == Touch("stop")
    assert venue.touched(50_000.0, state, price * 0.99, 0.0955) is None
    assert venue.touched(50_000.0, state, 0.01, price * 0.99) == Touch("target")


def test_an_order_reaches_the_chain_the_configured_blocks_later() -> None:
    assert AmmVenue(SURE).due_at(AT) == AT + 13_200_000
    slower = AmmConfig(block_delay=3, block_seconds=12.0)
    assert AmmVenue(slower).due_at(AT) == AT + 36_000_000
    assert AmmVenue(AmmConfig(block_delay=0)).due_at(AT) == AT
