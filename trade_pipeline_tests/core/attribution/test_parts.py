"""The parts of results, on small markets made by hand and on any records that there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.attribution.parts import PARTS, Barriers, micros, parts_of
from trade_pipeline.core.market.event import HOUR, MarketEvent
from trade_pipeline.core.records import (
    ExecutionRecord,
    OrderEvent,
    ResearchDocument,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.attribution.any_trade import any_trade
from trade_pipeline_tests.core.session.test_session import (
    MINUTE,
    SECOND,
    START,
    Run,
    bar,
    config_of,
    flat,
    market,
    run,
    swap,
)

UUID = samples.candidate().uuid
DEFAULT = Barriers(0.15, 0.3)


def barriers_of(config: TradingConfig) -> Barriers:
    exits = config.strategy.exits
    return Barriers(exits.stop_loss, exits.profit_target)


def attributed(found: Run, barriers: Barriers | None = DEFAULT) -> dict[str, int]:
    """The parts of the only trade of a session."""
    parts = parts_of_trade(found, found.outcome, barriers)
    assert sum(parts.values()) == micros(found.outcome.pnl_usd)
    return parts


def parts_of_trade(
    found: Run, outcome: TradeOutcome, barriers: Barriers | None = DEFAULT
) -> dict[str, int]:
    (document,) = [one for one in found.of(ResearchDocument) if one.uuid == outcome.uuid]
    executions = [one for one in found.of(ExecutionRecord) if one.uuid == outcome.uuid]
    parts = parts_of(outcome, executions, document.price_usd, barriers)
    assert parts is not None
    return parts


def paid(found: Run, leg: str) -> float:
    value = found.fill(leg).value_usd
    assert value is not None
    return value


# Sessions


def test_what_the_market_did_until_the_entry_was_filled_is_entry_timing() -> None:
    found = run(market(swap(0, 0.1), swap(10 * SECOND, 0.102), swap(60 * HOUR, 0.102)))
    parts = attributed(found)
    # The tokens cost 2 % more than they did at the decision.
    tokens = found.fill("entry").size
    assert parts["entry_timing"] == pytest.approx(-tokens * 0.002 * 1e6, abs=2)
    # From the decision on they gained the same 2 %: without the delay it had been won.
    assert parts["market_move"] == pytest.approx(tokens * 0.002 * 1e6, abs=2)
    assert parts["exit_timing"] == 0
    assert parts["gas"] == -2_000_000
    assert parts["unexplained"] == 0


def test_a_stop_beyond_its_barrier_is_exit_timing_and_no_market_move() -> None:
    found = run(market(swap(0, 0.1), swap(HOUR, 0.084), swap(HOUR + SECOND, 0.05)))
    parts = attributed(found)
    cost = paid(found, "entry")
    assert parts["exit_timing"] == pytest.approx((paid(found, "exit") - 0.85 * cost) * 1e6, abs=2)
    assert parts["exit_timing"] < -0.3 * cost * 1e6
    # To the barrier: 15 %, less what the barrier counts of the sale and the entry's price held.
    assert -0.15 * cost < parts["market_move"] / 1e6 < -0.12 * cost
    assert parts["own_impact"] < 0
    assert parts["pool_fees"] < 0
    assert (parts["rug_loss"], parts["unexplained"]) == (0, 0)


def test_what_an_emptied_pool_took_is_rug_loss_and_not_own_impact() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.1, removed=199_900.0), swap(2 * HOUR, 0.1)]
    found = run(market(*rows))
    assert found.outcome.termination_reason is TerminationReason.RUGPULL_EXIT
    parts, cost = attributed(found), paid(found, "entry")
    assert parts["rug_loss"] == pytest.approx((paid(found, "exit") - 0.85 * cost) * 1e6, abs=2)
    assert parts["rug_loss"] < -0.2 * cost * 1e6
    # Only the entry's: it was small.
    assert -0.01 * cost < parts["own_impact"] / 1e6 < 0
    assert parts["unexplained"] == 0


def test_a_rug_exit_that_came_in_time_lost_nothing_to_the_rug() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.12, removed=60_000.0), swap(2 * HOUR, 0.12)]
    parts = attributed(run(market(*rows)))
    assert parts["rug_loss"] == 0
    assert parts["market_move"] > 0
    assert parts["unexplained"] == 0


def test_a_honeypot_costs_its_value_at_the_barrier_and_every_failed_order() -> None:
    config = config_of(exits={"sell_attempts": 4, "retry_minutes": 10})
    found = run(market(swap(0, 0.1), swap(HOUR, 0.2), blocked_from=START + MINUTE), config)
    parts, cost = attributed(found), paid(found, "entry")
    assert parts["rug_loss"] == pytest.approx(-1.3 * cost * 1e6, abs=1)
    assert parts["market_move"] > 0.29 * cost * 1e6
    assert parts["failed_orders"] == -4_000_000
    assert parts["gas"] == -1_000_000
    assert parts["unexplained"] == 0


def test_without_its_settings_what_a_rug_took_is_not_guessed() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.1, removed=199_900.0), swap(2 * HOUR, 0.1)]
    found = run(market(*rows))
    parts = attributed(found, None)
    assert (parts["rug_loss"], parts["market_move"], parts["exit_timing"]) == (0, 0, 0)
    assert parts["unexplained"] < 0
    assert parts["gas"] == -2_000_000


def test_a_tax_is_slippage() -> None:
    feed = market(swap(0, 0.1), swap(60 * HOUR, 0.1), sell_tax=0.1)
    found = run(feed)
    parts = attributed(found)
    tokens = found.fill("entry").size
    assert parts["slippage"] == pytest.approx(-tokens * 0.1 * 0.1 * 1e6, rel=1e-6)


def costly(config: TradingConfig) -> TradingConfig:
    return config.model_copy(
        update={"bars": type(config.bars)(fee=0.001, spread=0.002, impact_at_full_volume=0.02)}
    )


def test_on_bars_spread_impact_and_fee_are_apart_and_a_gap_is_exit_timing() -> None:
    rows = [flat(0, 1.0), flat(1, 1.0), flat(2, 1.0), bar(3, 0.7, 0.7, 0.7, 0.7), flat(4, 0.7)]
    found = run(market(*rows, kind="spot-1h"), costly(config_of()))
    assert found.outcome.termination_reason is TerminationReason.STOP_LOSS
    parts, entry, sale = attributed(found), found.fill("entry"), found.fill("exit")
    assert parts["slippage"] == -sum(micros(e.inside_usd["spread"]) or 0 for e in (entry, sale))
    assert parts["own_impact"] == -sum(micros(e.inside_usd["impact"]) or 0 for e in (entry, sale))
    assert parts["venue_fees"] == -round(
        1e6 * sum(e.costs_usd["exchange_fee"] for e in (entry, sale))
    )
    # It opened at 0.7, the stop stood about 0.85.
    assert parts["exit_timing"] == pytest.approx(-0.15 * sale.size * 1e6, rel=0.02)
    assert parts["unexplained"] == 0


@settings(max_examples=60)
@given(data=st.data())
def test_nothing_is_unexplained_of_any_session_on_pools(data: st.DataObject) -> None:
    rows: list[MarketEvent] = []
    price, removed, at = 0.1, 0.0, 0
    for _ in range(data.draw(st.integers(2, 12))):
        rows.append(swap(at, price, removed=removed))
        at += data.draw(st.sampled_from([SECOND, 5 * SECOND, 5 * MINUTE, HOUR, 20 * HOUR]))
        price *= data.draw(st.floats(0.4, 1.6))
        removed = data.draw(st.sampled_from([0.0, 0.0, 0.0, 40_000.0, 199_990.0]))
    config = config_of(exits={"sell_attempts": 2})
    amm = config.amm.model_copy(
        update={
            "failure_rate": data.draw(st.sampled_from([0.0, 0.4])),
            "gas_usd": data.draw(st.floats(0, 30)),
        }
    )
    config = config.model_copy(update={"amm": amm})
    found = run(
        market(
            *rows,
            sell_tax=data.draw(st.sampled_from([0.0, 0.3])),
            blocked_from=data.draw(st.sampled_from([None, START + HOUR])),
        ),
        config,
    )
    everything_is_explained(found, config)


@settings(max_examples=60)
@given(data=st.data())
def test_nothing_is_unexplained_of_any_session_on_bars(data: st.DataObject) -> None:
    rows: list[MarketEvent] = []
    close = 1.0
    for hour in range(data.draw(st.integers(3, 12))):
        open_ = close * data.draw(st.floats(0.8, 1.2))
        close = open_ * data.draw(st.floats(0.8, 1.2))
        low, high = min(open_, close), max(open_, close)
        # A volume of which an order gets a part, so that entries and exits are filled in several.
        volume = data.draw(st.sampled_from([150_000.0, 3_000.0, 600.0]))
        rows.append(bar(hour, open_, high * 1.01, low * 0.99, close, volume=volume))
    config = costly(config_of(universe={"min_volume_24h_usd": 0}))
    found = run(market(*rows, kind="spot-1h"), config)
    everything_is_explained(found, config)


def everything_is_explained(found: Run, config: TradingConfig) -> None:
    for outcome in found.of(TradeOutcome):
        parts = parts_of_trade(found, outcome, barriers_of(config))
        assert sum(parts.values()) == micros(outcome.pnl_usd)
        assert parts["unexplained"] == 0
        assert parts["rug_loss"] <= 0
        # To the millionth that a value of nothing is rounded by.
        assert max(parts["own_impact"], parts["slippage"], parts["pool_fees"]) <= 1


# Records from elsewhere


@settings(max_examples=300)
@given(any_trade())
def test_the_parts_of_any_records_sum_to_the_result(trade: tuple[Any, ...]) -> None:
    outcome, executions, price, barriers = trade
    parts = parts_of(outcome, executions, price, barriers)
    if parts is not None and outcome.pnl_usd is not None:
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == micros(outcome.pnl_usd)


def exchange_trade(**outcome: Any) -> tuple[TradeOutcome, list[ExecutionRecord]]:
    """100 tokens at 1 USD and back at 1.2, as an exchange tells it: no impact, no spread."""
    bought = samples.fill(UUID, entry_price=1.0, size=100.0, slippage=0.01, value_usd=100.0,
                          costs_usd={"exchange_fee": 0.1})  # fmt: skip
    sold = samples.sale(UUID, exit_price=1.2, size=100.0, slippage=0.02, value_usd=120.0,
                        costs_usd={"exchange_fee": 0.12})  # fmt: skip
    given = {"pnl_usd": 19.78, "termination_reason": TerminationReason.MAX_HOLD} | outcome
    return samples.outcome(UUID, **given), [bought, sold]


def test_what_a_fill_without_own_impact_lost_against_its_decision_is_slippage() -> None:
    parts = parts_of(*exchange_trade())
    assert parts is not None
    decided_in, decided_out = 100 / 1.01, 120 / 0.98
    assert parts["market_move"] == pytest.approx((decided_out - decided_in) * 1e6, abs=1)
    shortfall = (decided_in - 100) + (120 - decided_out)
    assert parts["slippage"] == pytest.approx(shortfall * 1e6, abs=1)
    assert parts["venue_fees"] == -220_000
    assert parts["unexplained"] == 0


def test_a_correction_that_no_record_explains_is_unexplained() -> None:
    parts = parts_of(*exchange_trade(pnl_usd=15.0, revision=1))
    assert parts is not None
    assert parts["unexplained"] == 15_000_000 - 19_780_000


def test_a_trade_of_a_few_fields_has_its_result_and_nothing_is_guessed() -> None:
    bought = ExecutionRecord(UUID, "o", entry_price=0.001, size=1000.0)
    parts = parts_of(samples.outcome(UUID, realized_pnl_percent=15.5), [bought])
    assert parts == dict.fromkeys(PARTS, 0) | {"unexplained": 155_000}


def test_a_trade_whose_cost_nobody_told_has_no_result_in_usd() -> None:
    sold = samples.sale(UUID)
    assert parts_of(samples.outcome(UUID), [sold]) is None


def test_tokens_that_no_sale_accounts_for_are_unexplained() -> None:
    outcome, (bought, sold) = exchange_trade(pnl_usd=-40.22)
    half = replace(sold, size=50.0, value_usd=60.0, costs_usd={"exchange_fee": 0.12})
    parts = parts_of(outcome, [bought, half])
    assert parts is not None
    assert parts["unexplained"] == pytest.approx(-60e6 / 0.98, abs=3)


def test_the_entry_of_a_fill_without_slippage_was_decided_at_the_price_of_its_research() -> None:
    outcome, (bought, sold) = exchange_trade()
    untold = replace(bought, slippage=None)
    parts = parts_of(outcome, [untold, sold], 0.98)
    assert parts is not None
    assert parts["market_move"] == pytest.approx((120 / 0.98 - 98) * 1e6, abs=1)
    assert parts["unexplained"] == 0


def test_orders_that_were_not_filled_cost_by_themselves() -> None:
    outcome, executions = exchange_trade(pnl_usd=17.78)
    failed = samples.sale(UUID, order_id="failed", exit_price=None, event=OrderEvent.REJECTED,
                          costs_usd={"gas": 2.0})  # fmt: skip
    parts = parts_of(outcome, [*executions, failed])
    assert parts is not None
    assert (parts["failed_orders"], parts["gas"], parts["unexplained"]) == (-2_000_000, 0, 0)
