"""The session on small markets made by hand: what is filled, when, at which price, and why."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, TypeVar, cast
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.execution.amm import AmmVenue
from trade_pipeline.core.execution.book import to_micros
from trade_pipeline.core.execution.venue import Fill, Order, Refusal
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import client_order_id, micros, moment_of
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Instrument,
    MarketBatch,
    MarketEvent,
    TradeRules,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    FeatureRow,
    OrderEvent,
    Record,
    ResearchDocument,
    Scan,
    Session,
    SessionEnd,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.session import engine
from trade_pipeline.core.session.backtest import backtest_session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.counts import SessionCounts
from trade_pipeline.core.session.engine import TradingSession

START = micros(moment_of(1_640_995_200_000_000))  # 2022-01-01
SECOND, MINUTE = 1_000_000, 60_000_000
BLOCK = 13_200_000
NAN = math.nan
SUPPLY = 10_000_000.0

R = TypeVar("R", bound=Record)


@dataclass
class HandMadeFeed(EventsOnly):
    """A market of a few rows, in batches of any size."""

    rows: Sequence[MarketEvent]
    kind: str = "simulated"
    batch_rows: int = 1_000
    blocked_from: int | None = None
    sell_tax: float = 0.0
    away: Sequence[tuple[int, int]] = ()

    @property
    def instruments(self) -> Sequence[Instrument]:
        return [Instrument(f"token-{n}", created_at=START - 90 * DAY) for n in range(8)]

    def content_address(self) -> str:
        return address_of(b"made by hand")

    def span(self) -> tuple[int, int]:
        return self.rows[0].known_at, self.rows[-1].known_at

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        rows = [row for row in self.rows if start <= row.known_at < end]
        for first in range(0, len(rows), self.batch_rows):
            part = rows[first : first + self.batch_rows]
            yield MarketBatch(
                *(
                    np.array(
                        [getattr(row, f.name) for row in part],
                        {"token": np.int32, "event_time": np.int64, "known_at": np.int64}.get(
                            f.name, np.float64
                        ),
                    )
                    for f in fields(MarketEvent)
                )
            )

    def rules(self, token: int) -> TradeRules:
        return TradeRules(sell_tax=self.sell_tax, sells_blocked_from=self.blocked_from)


def swap(
    after: int, price: float, *, token: int = 0, removed: float = 0.0, quote_usd: float = 1_000.0
) -> MarketEvent:
    """A pool's event some time after the start; it holds 200,000 USD less what was removed."""
    liquidity = 200_000.0 - removed
    reserve_quote = liquidity / 2 / quote_usd
    at = START + after
    return MarketEvent(
        token=token,
        event_time=at,
        known_at=at,
        price_usd=price,
        open_usd=NAN,
        high_usd=NAN,
        low_usd=NAN,
        volume_usd=0.0 if removed else 150_000.0,
        flow_usd=0.0 if removed else 150_000.0,
        liquidity_usd=liquidity,
        liquidity_change_usd=-removed,
        market_cap_usd=price * SUPPLY,
        reserve_quote=reserve_quote,
        reserve_token=reserve_quote * quote_usd / price,
        quote_usd=quote_usd,
    )


def bar(
    hours: int,
    open_: float,
    high: float,
    low: float,
    close: float,
    *,
    volume: float = 1e6,
    token: int = 0,
) -> MarketEvent:
    """A bar that closed some hours after the start."""
    at = START + hours * HOUR
    return MarketEvent(
        *(token, at, at, close, open_, high, low, volume),
        *(NAN, NAN, NAN, close * SUPPLY, NAN, NAN, NAN),
    )


def flat(hours: int, price: float, **given: Any) -> MarketEvent:
    return bar(hours, price, price, price, price, **given)


def config_of(**strategy: dict[str, Any]) -> TradingConfig:
    """Everybody is entered at once and once; nothing fails by chance; gas is 1 USD."""
    given: dict[str, dict[str, Any]] = {
        "universe": {"pool_interval_minutes": 100_000, "bar_interval_minutes": 100_000},
        "signal": {"min_confidence": 0, "max_rug_risk": 1, "min_move_24h": 0},
        "protections": {"cooldown_hours": 0},
    }
    for part, values in strategy.items():
        given[part] = given.get(part, {}) | values
    return TradingConfig.parse(
        {
            "strategy": given,
            "amm": {"failure_rate": 0, "gas_usd": 1},
            "bars": {"fee": 0, "spread": 0, "impact_at_full_volume": 0},
        }
    )


@dataclass
class Run:
    """What a session made."""

    counts: SessionCounts
    records: list[Record]

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def outcome(self) -> TradeOutcome:
        (only,) = self.of(TradeOutcome)
        return only

    def events(self, leg: str) -> list[ExecutionRecord]:
        return [record for record in self.of(ExecutionRecord) if record.leg == leg]

    def fill(self, leg: str) -> ExecutionRecord:
        (only,) = [record for record in self.events(leg) if record.event in FILLS]
        return only


def run(
    feed: Any, config: TradingConfig | None = None, *, hours: float = 72, start: int = START
) -> Run:
    config = config or config_of()
    end = start + int(hours * HOUR)
    params = address_of(config.canonical())
    session = backtest_session(feed, moment_of(start), moment_of(end), 1, config, params)
    records: list[Record] = []
    trading = TradingSession(
        session,
        config,
        feed=feed,
        venue=config.venue(feed.kind),
        clock=MarketClock(start),
        journal=cast(Journal, records),
    )
    return Run(trading.run(), records)


def market(*rows: MarketEvent, **given: Any) -> HandMadeFeed:
    return HandMadeFeed(sorted(rows, key=lambda row: row.known_at), **given)


def seconds(record: ExecutionRecord) -> float:
    """When it happened, after the start."""
    assert record.occurred_at is not None
    return (micros(record.occurred_at) - START) / SECOND


def bought_price(spot: float, stake: float, quote: float = 100_000.0) -> float:
    """What a token costs when a stake is put into a pool with so many USD of quote tokens."""
    taken = stake * 0.997
    return stake / (quote / spot * taken / (quote + taken))


# Entries


def test_an_entry_gets_the_reserves_of_a_block_later_and_not_of_its_decision() -> None:
    found = run(market(swap(0, 0.1), swap(10 * SECOND, 0.102), swap(20 * SECOND, 0.2)))
    submitted, filled = found.events("entry")
    assert submitted.event is OrderEvent.SUBMITTED
    assert (seconds(submitted), seconds(filled)) == (0.0, 13.2)
    assert filled.value_usd is not None
    assert filled.entry_price is not None
    assert filled.entry_price == pytest.approx(bought_price(0.102, filled.value_usd))
    assert filled.slippage == pytest.approx(filled.entry_price / 0.1 - 1)
    assert filled.latency_metrics == {"latency_ms": 13_200.0}
    assert filled.costs_usd == {"gas": 1.0}


def test_an_entry_whose_price_ran_away_costs_gas_and_leaves_the_slot_free() -> None:
    found = run(market(swap(0, 0.1), swap(SECOND, 0.12), swap(HOUR, 0.1, token=1)))
    assert [event.event for event in found.events("entry")][:2] == ["submitted", "rejected"]
    assert found.counts.candidates == {("enter", "signal"): 2}
    assert len(found.of(TradeOutcome)) == 1


def test_an_order_still_on_its_way_at_the_end_is_cancelled_without_an_outcome() -> None:
    found = run(market(swap(0, 0.1)), hours=13.2 / 3600)
    assert [event.event for event in found.events("entry")] == ["submitted", "cancelled"]
    assert found.of(TradeOutcome) == []
    assert found.counts.final_cash_usd == 1_000.0


def test_the_quote_price_of_the_fill_is_the_newest_one_known() -> None:
    """The pool stood still, but its quote token got dearer before the order arrived."""
    found = run(market(swap(0, 0.1), swap(5 * SECOND, 0.5, token=1, quote_usd=1_030.0)), hours=1)
    fill = found.events("entry")[2]
    assert fill.uuid == found.of(TradeCandidate)[0].uuid
    assert fill.event is OrderEvent.FILLED
    assert fill.value_usd is not None
    assert fill.entry_price == pytest.approx(bought_price(0.103, fill.value_usd, 103_000.0))


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_a_quote_price_from_after_the_fill_is_not_used(batch_rows: int) -> None:
    rows = [swap(0, 0.1), swap(20 * SECOND, 0.5, token=1, quote_usd=2_000.0)]
    found = run(market(*rows, batch_rows=batch_rows), hours=1)
    fill = next(e for e in found.events("entry") if e.event in FILLS)
    assert fill.value_usd is not None
    assert fill.entry_price == pytest.approx(bought_price(0.1, fill.value_usd))


# While nobody watched


def away(since: int, until: int) -> list[tuple[int, int]]:
    return [(START + since, START + until)]


def test_nobody_decides_while_the_session_was_away() -> None:
    rows = [swap(HOUR, 0.1), swap(2 * HOUR, 0.1, token=1), swap(3 * HOUR, 0.1, token=2)]
    found = run(market(*rows, away=away(2 * HOUR, 3 * HOUR)))
    assert [one.instrument for one in found.of(TradeCandidate)] == ["token-0", "token-2"]
    assert found.counts.events == 3


def test_a_position_is_closed_by_the_market_after_the_time_away_and_not_by_the_one_meanwhile() -> (
    None
):
    rows = [swap(0, 0.1), swap(HOUR, 0.05), swap(2 * HOUR, 0.11), swap(5 * HOUR, 0.14)]
    rows.append(swap(5 * HOUR + SECOND, 0.14))
    found = run(market(*rows, away=away(HOUR, 5 * HOUR)))
    assert found.outcome.termination_reason is TerminationReason.PROFIT_TARGET
    # How bad it was meanwhile is known all the same.
    assert found.outcome.worst_percent is not None
    assert found.outcome.worst_percent < -49


def test_liquidity_that_was_removed_while_away_counts_afterwards() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.1, removed=60_000.0), swap(3 * HOUR, 0.1)]
    found = run(market(*rows, away=away(HOUR, 2 * HOUR)))
    assert found.outcome.termination_reason is TerminationReason.RUGPULL_EXIT
    assert seconds(found.fill("exit")) == pytest.approx(3 * 3600 + 13.2)


def test_an_order_that_is_due_while_away_gets_the_market_after_it() -> None:
    rows = [swap(0, 0.1), swap(10 * SECOND, 0.102), swap(HOUR, 0.103), swap(2 * HOUR, 0.1)]
    found = run(market(*rows, away=away(5 * SECOND, 2 * HOUR)), hours=3)
    fill = found.fill("entry")
    assert fill.value_usd is not None
    assert fill.entry_price == pytest.approx(bought_price(0.103, fill.value_usd))


def test_an_order_that_was_due_before_the_time_away_had_been_filled_by_then() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.102), swap(2 * HOUR, 0.1)]
    found = run(market(*rows, away=away(HOUR, 2 * HOUR)), hours=3)
    fill = found.fill("entry")
    assert fill.value_usd is not None
    assert fill.entry_price == pytest.approx(bought_price(0.1, fill.value_usd))


# Exits


def test_a_stop_on_a_pool_gets_what_the_reserves_pay_and_not_its_barrier() -> None:
    found = run(market(swap(0, 0.1), swap(HOUR, 0.084), swap(HOUR + SECOND, 0.05)))
    assert found.outcome.termination_reason is TerminationReason.STOP_LOSS
    fill = found.fill("exit")
    assert seconds(fill) == pytest.approx(3613.2)
    assert fill.exit_price == pytest.approx(0.05, rel=0.01)
    assert found.outcome.realized_pnl_percent < -50


def test_a_target_is_taken_when_a_sale_would_reach_it() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.1301), swap(2 * HOUR, 0.14)]
    found = run(market(*rows))
    assert found.outcome.termination_reason is TerminationReason.PROFIT_TARGET
    # At 0.1301 the fees and the own impact still stood between the price and the target.
    assert seconds(found.fill("exit")) == pytest.approx(7213.2)
    assert 30 < found.outcome.realized_pnl_percent < 40


def test_the_longest_hold_ends_a_trade_without_any_event_in_its_pool() -> None:
    found = run(market(swap(0, 0.1), swap(60 * HOUR, 0.5, token=1)))
    outcome = found.of(TradeOutcome)[0]
    assert outcome.termination_reason is TerminationReason.MAX_HOLD
    assert outcome.time_in_market_seconds == pytest.approx(48 * 3600 + 13.2)
    assert found.events("exit")[1].exit_price == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("between", [HOUR, 5 * SECOND], ids=["later", "before the fill"])
def test_removed_liquidity_is_an_emergency_at_an_unchanged_price(between: int) -> None:
    rows = [swap(0, 0.1), swap(between, 0.1, removed=60_000.0), swap(2 * HOUR, 0.1)]
    found = run(market(*rows))
    assert found.outcome.termination_reason is TerminationReason.RUGPULL_EXIT
    assert seconds(found.fill("exit")) < 2 * 3600 + 14


def test_liquidity_removed_in_small_steps_adds_up() -> None:
    steps = [swap(hour * HOUR, 0.1, removed=20_000.0) for hour in (1, 2, 3)]
    found = run(market(swap(0, 0.1), *steps))
    assert found.outcome.termination_reason is TerminationReason.RUGPULL_EXIT
    assert seconds(found.fill("exit")) == pytest.approx(3 * 3600 + 13.2)


def test_a_honeypot_is_written_off_after_the_configured_attempts_with_every_gas_paid() -> None:
    config = config_of(exits={"sell_attempts": 4, "retry_minutes": 10})
    feed = market(swap(0, 0.1), swap(HOUR, 0.2), blocked_from=START + MINUTE)
    found = run(feed, config)
    assert found.outcome.written_off
    assert found.outcome.termination_reason is TerminationReason.PROFIT_TARGET
    rejected = [e for e in found.events("exit") if e.event is OrderEvent.REJECTED]
    first = 3600 + 13.2
    assert [seconds(e) for e in rejected] == pytest.approx(
        [first + n * (600 + 13.2) for n in range(4)]
    )
    assert len({e.order_id for e in rejected}) == 4
    assert all(e.costs_usd == {"gas": 1.0} for e in rejected)
    stake = found.fill("entry").value_usd
    assert stake is not None
    assert found.outcome.pnl_usd == pytest.approx(-stake - 5.0)
    assert found.outcome.fees_usd == 5.0
    assert found.counts.final_cash_usd == pytest.approx(1_000 - stake - 5.0)


def test_a_failed_sale_waits_its_time_also_when_another_timer_of_the_token_comes() -> None:
    """The longest hold falls into the wait between two attempts."""
    config = config_of(exits={"sell_attempts": 3, "retry_minutes": 10, "max_hold_hours": 1})
    at_stop = 3600 - 60
    feed = market(swap(0, 0.1), swap(at_stop * SECOND, 0.2), blocked_from=START + MINUTE)
    found = run(feed, config)
    submitted = [seconds(e) for e in found.events("exit") if e.event is OrderEvent.SUBMITTED]
    assert submitted == pytest.approx([at_stop + n * 613.2 for n in range(3)])


class Halves(AmmVenue):
    """Sells half of each order and cancels the rest, as exchanges do where few want to buy."""

    def due_at(self, submitted_at: int) -> int | None:
        return None

    def execute(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal | None:
        if order.leg == "entry":
            return super().execute(order, state, at, rules)
        if order.fills:
            return Refusal(at, "the rest was cancelled")
        result = super().execute(replace(order, tokens=order.tokens / 2), state, at, rules)
        return replace(result, complete=False) if isinstance(result, Fill) else result


@pytest.mark.parametrize("blocked_from", [None, START + 3 * HOUR])
def test_a_sale_in_parts_is_no_failed_one(blocked_from: int | None) -> None:
    config = config_of(exits={"sell_attempts": 2, "retry_minutes": 10})
    rises = [swap(HOUR + n * MINUTE, 0.2) for n in range(240)]
    rows = [swap(0, 0.1), swap(MINUTE, 0.1), *rises]
    with mock.patch.object(TradingConfig, "venue", lambda self, kind: Halves(self.amm)):
        found = run(market(*rows, blocked_from=blocked_from), config, hours=5)
    sold = [e for e in found.events("exit") if e.event is OrderEvent.PARTLY_FILLED]
    assert len(sold) > 5
    assert found.outcome.termination_reason is TerminationReason.PROFIT_TARGET
    assert found.outcome.written_off == (blocked_from is not None)
    if blocked_from is not None:
        last = [e.event for e in found.events("exit")][-4:]
        assert last == ["submitted", "rejected"] * 2


def emptied(after: int) -> MarketEvent:
    """The pool after somebody took everything out."""
    return replace(
        swap(after, 0.1, removed=200_000.0), price_usd=NAN, reserve_token=0.0, market_cap_usd=NAN
    )


def test_a_sale_that_failed_is_tried_again_under_another_order_id() -> None:
    found = run(market(swap(0, 0.1), emptied(HOUR), swap(HOUR + MINUTE, 0.09)))
    exits = found.events("exit")
    assert [e.event for e in exits] == ["submitted", "rejected", "submitted", "filled"]
    assert exits[2].order_id == client_order_id(exits[0].uuid, "exit", 1) != exits[0].order_id
    assert seconds(exits[2]) == pytest.approx(3613.2 + 600)
    assert not found.outcome.written_off
    assert found.outcome.fees_usd == 3.0


def test_an_exit_decided_while_the_pool_was_empty_is_filled_when_it_is_refilled() -> None:
    found = run(market(swap(0, 0.1), emptied(HOUR), swap(HOUR + SECOND, 0.09)))
    fill = found.fill("exit")
    assert found.outcome.termination_reason is TerminationReason.RUGPULL_EXIT
    assert fill.exit_price == pytest.approx(0.09, rel=0.01)
    assert fill.slippage is None


def test_the_end_of_a_session_closes_every_position_at_its_last_reserves() -> None:
    rows = [swap(n * MINUTE, 0.1, token=n) for n in range(3)]
    found = run(market(*rows, swap(30 * MINUTE, 0.11, token=1)), hours=1)
    outcomes = found.of(TradeOutcome)
    assert [o.termination_reason for o in outcomes] == [TerminationReason.SESSION_END] * 3
    assert {o.closed_at for o in outcomes} == {moment_of(START + HOUR)}
    assert outcomes[1].realized_pnl_percent > 5 > outcomes[0].realized_pnl_percent


def test_the_end_of_a_session_writes_off_what_cannot_be_sold() -> None:
    found = run(market(swap(0, 0.1), blocked_from=START + MINUTE), hours=1)
    assert found.outcome.written_off
    assert found.outcome.termination_reason is TerminationReason.SESSION_END
    assert found.outcome.realized_pnl_percent < -100


def test_the_end_of_a_session_keeps_the_reason_of_an_exit_that_had_begun() -> None:
    rows = [swap(0, 0.1), swap(HOUR - SECOND, 0.05)]
    found = run(market(*rows), hours=1)
    assert found.outcome.termination_reason is TerminationReason.STOP_LOSS
    assert [e.event for e in found.events("exit")] == ["submitted", "filled"]
    waiting = run(market(*rows[:1], swap(MINUTE * 55, 0.2), blocked_from=START + MINUTE), hours=1)
    assert waiting.outcome.termination_reason is TerminationReason.PROFIT_TARGET
    assert waiting.outcome.written_off
    events = [e.event for e in waiting.events("exit")]
    assert events == ["submitted", "rejected", "submitted", "rejected"]


def test_excursions_are_of_the_executable_value_after_the_entry() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.12), swap(2 * HOUR, 0.09)]
    found = run(market(*rows), hours=3)
    assert found.outcome.best_percent == pytest.approx(19, abs=1)
    assert found.outcome.worst_percent == pytest.approx(-11, abs=1)


# Exchanges


def test_an_entry_on_bars_gets_the_next_open() -> None:
    found = run(market(flat(0, 0.1), bar(1, 0.101, 0.105, 0.1, 0.104), kind="spot-1h"), hours=3)
    assert found.fill("entry").entry_price == pytest.approx(0.101)
    assert seconds(found.fill("entry")) == 0.0
    assert found.fill("exit").exit_price == pytest.approx(0.104)


def test_one_bar_that_touches_both_barriers_is_a_stop() -> None:
    rows = [flat(0, 0.1), flat(1, 0.1), bar(2, 0.1, 0.14, 0.08, 0.13)]
    found = run(market(*rows, kind="spot-1h"))
    assert found.outcome.termination_reason is TerminationReason.STOP_LOSS
    assert found.fill("exit").exit_price == pytest.approx(0.085)
    assert seconds(found.fill("exit")) == 7200


def test_a_gap_through_the_stop_fills_at_the_open() -> None:
    rows = [flat(0, 0.1), flat(1, 0.1), bar(2, 0.06, 0.07, 0.05, 0.07)]
    found = run(market(*rows, kind="spot-1h"))
    assert found.fill("exit").exit_price == pytest.approx(0.06)
    assert found.outcome.realized_pnl_percent == pytest.approx(-40)


def test_a_stop_in_the_bar_of_the_entry_counts() -> None:
    found = run(market(flat(0, 0.1), bar(1, 0.1, 0.101, 0.08, 0.09), kind="spot-1h"))
    assert found.outcome.termination_reason is TerminationReason.STOP_LOSS
    assert found.outcome.time_in_market_seconds == 3600


def test_a_position_bought_only_in_part_is_sold_in_part_and_the_rest_is_cancelled() -> None:
    thin = flat(1, 0.1, volume=200.0)
    stop = bar(2, 0.1, 0.1, 0.05, 0.06, volume=0.0)
    found = run(market(flat(0, 0.1), thin, stop, flat(3, 0.04), kind="spot-1h"))
    entries = [e.event for e in found.events("entry")]
    assert entries == ["submitted", "partly_filled", "cancelled"]
    bought, sold = found.fill("entry"), found.fill("exit")
    assert bought.value_usd == pytest.approx(10.0)
    assert sold.size == pytest.approx(bought.size)
    # Nobody traded in the bar that touched the stop: the next open it is, not the stop.
    assert sold.exit_price == pytest.approx(0.04)
    assert found.outcome.realized_pnl_percent == pytest.approx(-60)


def test_a_position_bought_only_in_part_stays_open_when_the_rest_is_cancelled() -> None:
    rows = [flat(0, 0.1), *(flat(hour, 0.1, volume=200.0) for hour in range(1, 9))]
    found = run(market(*rows, kind="spot-1h"), hours=10)
    entries = [e.event for e in found.events("entry")]
    assert entries == ["submitted", *["partly_filled"] * 3, "cancelled"]
    assert found.outcome.termination_reason is TerminationReason.SESSION_END
    spent = sum(e.value_usd or 0 for e in found.events("entry") if e.event in FILLS)
    assert spent == pytest.approx(30.0)
    assert found.counts.final_cash_usd == pytest.approx(1_000.0)


def test_an_entry_without_volume_is_given_up_and_costs_nothing() -> None:
    rows = [flat(0, 0.1), *(flat(hour, 0.1, volume=0.0) for hour in range(1, 9))]
    found = run(market(*rows, kind="spot-1h"), hours=10)
    assert [e.event for e in found.events("entry")] == ["submitted", "rejected"]
    assert found.of(TradeOutcome) == []
    assert found.counts.final_cash_usd == 1_000.0


def test_a_large_position_is_sold_over_several_bars() -> None:
    thin = [flat(hour, 0.05, volume=200.0) for hour in range(3, 30)]
    rows = [flat(0, 0.1), flat(1, 0.1), bar(2, 0.1, 0.1, 0.08, 0.08, volume=200.0), *thin]
    found = run(market(*rows, kind="spot-1h"))
    fills = [e for e in found.events("exit") if e.event in FILLS]
    assert len(fills) > 3
    assert [e.sequence for e in fills] == list(range(len(fills)))
    assert [e.exit_price for e in fills] == pytest.approx([0.085] + [0.05] * (len(fills) - 1))
    assert sum(e.size for e in fills) == pytest.approx(found.fill("entry").size)
    assert found.outcome.closed_at == fills[-1].occurred_at


@pytest.mark.parametrize("max_hold", [5, 5.5])
def test_no_bar_fills_an_order_at_an_open_from_before_the_order(max_hold: float) -> None:
    rows = [flat(hour, 0.1 + hour / 1e4) for hour in range(12)]
    found = run(market(*rows, kind="spot-1h"), config_of(exits={"max_hold_hours": max_hold}))
    assert found.outcome.termination_reason is TerminationReason.MAX_HOLD
    submitted, filled = found.events("exit")
    assert seconds(submitted) == max_hold * 3600
    assert seconds(filled) == math.ceil(max_hold) * 3600
    assert found.outcome.time_in_market_seconds == math.ceil(max_hold) * 3600


# The fund and the scans


def test_at_most_five_positions_are_open_and_one_for_a_token() -> None:
    rows = [swap(n * MINUTE, 0.1, token=n) for n in range(7)]
    again = [swap(HOUR + n * MINUTE, 0.1, token=n) for n in range(7)]
    config = config_of(universe={"pool_interval_minutes": 60})
    found = run(market(*rows, *again), config, hours=2)
    assert found.counts.candidates == {
        ("enter", "signal"): 5,
        ("skip", "no_free_slot"): 4,
        ("skip", "position_open"): 5,
    }
    assert len(found.of(TradeOutcome)) == 5


def test_orders_on_their_way_cannot_spend_the_same_cash_twice() -> None:
    sizing = {"max_fraction": 1.0, "max_impact": 0.5, "target_volatility": 1.0}
    rows = [swap(n * SECOND, 0.1, token=n) for n in range(4)]
    found = run(market(*rows), config_of(sizing=sizing), hours=1)
    stakes = [c.stake_usd for c in found.of(TradeCandidate) if c.stake_usd]
    assert len(stakes) >= 2
    assert stakes[0] > 400
    assert sum(stakes) <= 1_000.0


@pytest.mark.parametrize("part_rows", [1, 7, engine.PART_ROWS])
def test_a_token_is_a_candidate_at_most_once_in_a_slot(
    monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    monkeypatch.setattr(engine, "PART_ROWS", part_rows)
    rows = [swap(n * MINUTE, 0.1) for n in range(95)]
    found = run(market(*rows), config_of(universe={"pool_interval_minutes": 30}), hours=2)
    moments = [micros(c.decided_at) - START for c in found.of(TradeCandidate)]
    assert moments == [0, 30 * MINUTE, 60 * MINUTE, 90 * MINUTE]


def test_tokens_that_fail_the_filter_are_counted_by_scan_and_reason() -> None:
    rows = [
        swap(0, 0.1),
        replace(swap(1, 0.1, token=1), market_cap_usd=NAN),
        replace(swap(2, 0.1, token=2), market_cap_usd=9e7),
        replace(swap(3, 0.1, token=3), liquidity_usd=5.0),
        replace(swap(4, 0.1, token=4), volume_usd=5.0),
        replace(swap(5, 0.1, token=5), price_usd=NAN),
        replace(swap(45 * MINUTE, 0.1, token=1), market_cap_usd=NAN),
    ]
    found = run(market(*rows), config_of(universe={"pool_interval_minutes": 30}), hours=1)
    first, second = found.of(Scan)
    assert (first.slot, first.evaluated, first.passed) == (moment_of(START), 6, 1)
    assert first.failed == dict.fromkeys(
        ("market_cap_unknown", "market_cap", "liquidity", "volume", "price_unknown"), 1
    )
    assert second.slot == moment_of(START + 30 * MINUTE)
    assert (second.evaluated, second.passed) == (1, 0)
    assert found.counts.evaluated == 7
    assert found.counts.failed["market_cap_unknown"] == 2
    assert len(found.of(TradeCandidate)) == 1


def test_entries_are_decided_from_the_start_on_and_before_the_end() -> None:
    rows = [swap(-1, 0.1, token=0), swap(0, 0.1, token=1), swap(HOUR - 1, 0.1, token=2)]
    found = run(market(*rows, swap(HOUR, 0.1, token=3)), hours=1)
    assert [c.instrument for c in found.of(TradeCandidate)] == ["token-1", "token-2"]
    assert found.counts.events == 3


def test_the_day_before_the_start_is_used_but_decides_nothing() -> None:
    quiet = replace(swap(0, 0.12), volume_usd=1.0)
    assert run(market(quiet)).counts.failed == {"volume": 1}
    found = run(market(swap(-DAY, 0.1), quiet))
    # It falls out of the window of exactly 24 h, but its price is the one of 24 h ago.
    assert found.counts.failed == {"volume": 1}
    found = run(market(swap(-DAY, 0.1), swap(-HOUR, 0.11), quiet))
    (research,) = found.of(ResearchDocument)
    assert research.volume_24h_usd == 150_001.0
    assert research.market["return_24h"] == pytest.approx(0.2)
    assert found.counts.events == 3
    assert len(found.of(TradeCandidate)) == 1


def test_a_candidate_has_its_research_and_features_right_behind_it_under_its_uuid() -> None:
    found = run(market(swap(0, 0.1), swap(HOUR, 0.1, token=1)))
    assert isinstance(found.records[0], Session)
    candidates = [n for n, r in enumerate(found.records) if isinstance(r, TradeCandidate)]
    assert len(candidates) == 2
    for number in candidates:
        candidate, research, features = found.records[number : number + 3]
        assert isinstance(candidate, TradeCandidate)
        assert isinstance(research, ResearchDocument)
        assert isinstance(features, FeatureRow)
        assert research.uuid == features.uuid == candidate.uuid
        assert research.known_at == features.known_at == candidate.decided_at
        assert research.trade_rationale == f"enter: {candidate.reason}"
        assert features.vector_hash == candidate.feature_hash


def features_of(found: Run) -> list[dict[str, float]]:
    """The known features of each candidate."""
    return [
        {name: value for name, value in zip(NAMES, row.vector, strict=True) if value == value}
        for row in found.of(FeatureRow)
    ]


def test_a_token_is_looked_at_after_all_events_of_the_first_moment_at_which_it_moves() -> None:
    rows = [swap(0, 0.1), swap(1, 0.5, token=1), swap(0, 0.2), swap(0, 0.3), swap(1, 0.4)]
    for batch_rows in (1, 2, 100):
        found = run(market(*rows, batch_rows=batch_rows))
        assert [c.instrument for c in found.of(TradeCandidate)] == ["token-0", "token-1"]
        first, second = found.of(ResearchDocument)
        assert (first.price_usd, second.price_usd) == (0.3, 0.5)
        assert first.volume_24h_usd == 450_000.0


def test_the_features_tell_the_own_records_that_stand_before_the_decision() -> None:
    """One trade is stopped, one entry fails, and one is open when the last decision is made."""
    rows = [
        swap(0, 0.1),
        swap(HOUR, 0.05),
        swap(2 * HOUR, 0.1, token=1),
        swap(2 * HOUR + SECOND, 0.2, token=1),
        swap(3 * HOUR, 0.1, token=2),
        swap(4 * HOUR, 0.1, token=3),
    ]
    found = run(market(*rows), hours=5)
    first, failing, third, last = features_of(found)
    assert first["open_positions"] == 0
    assert not {"recent_slippage", "recent_win_rate", "hours_since_last_close"} & set(first)
    assert (failing["recent_stops"], failing["recent_win_rate"]) == (1.0, 0.0)
    assert (failing["recent_failed_orders"], failing["open_positions"]) == (0.0, 0.0)
    closed_after = seconds(found.events("exit")[1]) / 3600
    assert failing["hours_since_last_close"] == pytest.approx(2 - closed_after)
    assert third["recent_failed_orders"] == pytest.approx(1 / 3)
    assert (third["open_positions"], last["open_positions"]) == (0.0, 1.0)
    assert last["recent_mean_return"] == pytest.approx(
        found.of(TradeOutcome)[0].realized_pnl_percent / 100
    )
    slippages = [e.slippage for e in found.of(ExecutionRecord) if e.event in FILLS][:3]
    assert last["recent_slippage"] == pytest.approx(np.mean(np.array(slippages, np.float64)))


def test_a_stop_keeps_its_token_out_for_the_cooldown() -> None:
    rows = [swap(0, 0.1), swap(HOUR, 0.05), *(swap(HOUR * n, 0.05) for n in range(2, 10))]
    config = config_of(universe={"pool_interval_minutes": 60}, protections={"cooldown_hours": 6})
    found = run(market(*rows), config)
    reasons = [c.reason for c in found.of(TradeCandidate)]
    assert reasons == ["signal", "position_open", *["cooldown"] * 6, "signal", "position_open"]


def test_events_of_the_same_microsecond_are_all_seen_by_an_order_that_is_due_then() -> None:
    rows = [swap(0, 0.1), swap(BLOCK, 0.101), swap(BLOCK, 0.102), swap(BLOCK + 1, 0.2)]
    fill = run(market(*rows)).fill("entry")
    assert fill.value_usd is not None
    assert fill.entry_price == pytest.approx(bought_price(0.102, fill.value_usd))


# Over whole simulated markets

TINY = SimulatorConfig(
    pools_per_day=30, burn_in_days=2, trades_max=800, unknown_supply_share=0.1, honeypot_share=0.19
)
EAGER = TradingConfig.parse(
    {
        "strategy": {
            "universe": {"min_volume_24h_usd": 2_000, "min_liquidity_usd": 5_000},
            "signal": {"min_confidence": 0.2, "max_rug_risk": 0.95, "min_move_24h": 0},
            "protections": {"daily_loss_limit": 1, "max_drawdown": 1},
        },
        "amm": {"failure_rate": 0.1},
    }
)


@lru_cache(maxsize=4)
def simulated(seed: int, days: int = 3) -> SimulatedMarket:
    return SimulatedMarket(TINY, seed, START, START + days * DAY)


@lru_cache(maxsize=4)
def simulated_run(seed: int) -> Run:
    return run(simulated(seed), EAGER)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_cash_adds_up_exactly_to_the_records(seed: int) -> None:
    found = simulated_run(seed)
    cash = to_micros(1_000.0)
    profit: defaultdict[Any, int] = defaultdict(int)
    for record in found.of(ExecutionRecord):
        moved = -sum(to_micros(cost) for cost in record.costs_usd.values())
        if record.event in FILLS:
            assert record.value_usd is not None
            moved += to_micros(record.value_usd) * (1 if record.leg == "exit" else -1)
        cash += moved
        profit[record.uuid] += moved
    assert to_micros(found.counts.final_cash_usd) == cash
    outcomes = {outcome.uuid: outcome for outcome in found.of(TradeOutcome)}
    for uuid, outcome in outcomes.items():
        assert outcome.pnl_usd is not None
        assert to_micros(outcome.pnl_usd) == profit[uuid]
    # What has no outcome was never bought: at most the gas of the try is gone.
    bought = {e.uuid for e in found.of(ExecutionRecord) if e.event in FILLS}
    assert bought == set(outcomes)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_trade_is_told_from_candidate_to_outcome_in_the_order_of_time(seed: int) -> None:
    found = simulated_run(seed)
    candidates = {c.uuid: c for c in found.of(TradeCandidate)}
    open_at_once: set[Any] = set()
    last: dict[Any, Any] = {}
    for record in found.records:
        if isinstance(record, ExecutionRecord):
            candidate = candidates[record.uuid]
            assert candidate.decision == "enter"
            assert record.occurred_at is not None
            assert record.occurred_at >= last.get(record.uuid, candidate.decided_at)
            last[record.uuid] = record.occurred_at
            open_at_once.add(record.uuid)
            if record.leg == "entry" and record.event in (OrderEvent.REJECTED, "cancelled"):
                open_at_once.discard(record.uuid)
        elif isinstance(record, TradeOutcome):
            assert record.closed_at == last[record.uuid]
            open_at_once.discard(record.uuid)
        assert len(open_at_once) <= 5
        tokens = [candidates[uuid].instrument for uuid in open_at_once]
        assert len(tokens) == len(set(tokens))
    assert not open_at_once
    orders = Counter((e.order_id, e.event, e.sequence) for e in found.of(ExecutionRecord))
    assert set(orders.values()) <= {1}


def dated(record: Record) -> int | None:
    """When a record was made, in market time; None for the session and its scans."""
    for name in ("decided_at", "occurred_at", "closed_at"):
        if (moment := getattr(record, name, None)) is not None:
            return micros(moment)
    return None


def before(found: Run, moment: int) -> list[bytes]:
    """All records of before a moment; research and features are dated by their candidate."""
    kept, previous = [], START
    for record in found.records[1:]:
        if isinstance(record, SessionEnd):
            continue
        if isinstance(record, Scan):
            if micros(record.slot) + HOUR // 2 <= moment:
                kept.append(canonical_bytes(record))
            continue
        at = previous if isinstance(record, (ResearchDocument, FeatureRow)) else dated(record)
        assert at is not None
        previous = at
        if at < moment:
            kept.append(canonical_bytes(record))
    return kept


class ChangedFuture:
    """A market whose events from a moment on are made up, or missing."""

    def __init__(self, feed: SimulatedMarket, moment: int, factor: float | None) -> None:
        self._feed = feed
        self._moment = moment
        self._factor = factor
        self.kind = feed.kind
        self.instruments, self.away = feed.instruments, feed.away
        self.content_address = feed.content_address
        self.facts_at, self.mentions_at = feed.facts_at, feed.mentions_at
        self.rules, self.raw_answers_at = feed.rules, feed.raw_answers_at

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        yield from self._feed.batches(start, min(end, self._moment))
        if self._factor is None or end <= self._moment:
            return
        for batch in self._feed.batches(max(start, self._moment), end):
            other = {
                name: getattr(batch, name) * self._factor
                for name in ("price_usd", "reserve_quote", "quote_usd", "market_cap_usd")
            }
            yield replace(batch, token=batch.token[::-1].copy(), **other)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 20),
    pick=st.integers(0, 10_000),
    after=st.integers(0, 20) | st.integers(0, 40_000),
    factor=st.none() | st.floats(0.2, 5),
)
def test_nothing_before_a_moment_changes_when_the_future_after_it_does(
    seed: int, pick: int, after: int, factor: float | None
) -> None:
    """The moment is often shortly after a record, while an order is on its way."""
    moments = [at for record in simulated_run(seed).records if (at := dated(record)) is not None]
    moment = moments[pick % len(moments)] + after * SECOND
    feed = ChangedFuture(simulated(seed), moment, factor)
    expected = before(simulated_run(seed), moment)
    assert before(run(feed, EAGER), moment) == expected


def test_the_markets_of_these_tests_are_traded_in_all_kinds_of_ways() -> None:
    """What the properties above speak of does happen."""
    reasons: Counter[str] = Counter()
    events: Counter[str] = Counter()
    written_off = 0
    for seed in range(12):
        found = simulated_run(seed)
        reasons.update(o.termination_reason for o in found.of(TradeOutcome))
        events.update(f"{e.leg} {e.event}" for e in found.of(ExecutionRecord))
        written_off += sum(o.written_off for o in found.of(TradeOutcome))
    never = {
        TerminationReason.MANUAL,
        TerminationReason.NOT_FILLED,
        TerminationReason.STRATEGY_EXIT,
    }
    assert set(reasons) == set(TerminationReason) - never
    assert {"entry filled", "entry rejected", "exit filled", "exit rejected"} <= set(events)
    assert written_off


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 5), size=st.integers(1, 400), part=st.integers(900, 9_000))
def test_neither_the_size_of_batches_nor_that_of_parts_makes_a_difference(
    seed: int, size: int, part: int
) -> None:
    feed = simulated(seed)

    class Rebatched(ChangedFuture):
        def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
            for batch in feed.batches(start, end):
                for row in range(0, len(batch), size):
                    yield batch.rows(row, min(row + size, len(batch)))

    with mock.patch.object(engine, "PART_ROWS", part):
        rebatched = run(Rebatched(feed, START, None), EAGER)
    assert list(map(canonical_bytes, rebatched.records)) == list(
        map(canonical_bytes, simulated_run(seed).records)
    )
