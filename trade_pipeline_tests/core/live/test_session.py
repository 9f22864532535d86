"""A live session decides as a backtest does, obeys its kill switch, and works with slow venues."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.execution.venue import Fill
from trade_pipeline.core.execution.venue_errors import (
    InsufficientFunds,
    OrderUnknown,
    VenueUnavailable,
)
from trade_pipeline.core.ids import micros
from trade_pipeline.core.live.feed import ReplayFeed, nothing
from trade_pipeline.core.live.halts import newest_halt, order_halt
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease, LeaseLost
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import LiveBatch, OrderState, VenueFill
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.live.requests import end_sessions, order_session
from trade_pipeline.core.live.run import replay_feed
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.session.stored import START


@pytest.fixture
def store(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, artifacts)


def ask(store: Store, query: str) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_paper_session_decides_and_fills_as_a_backtest_of_the_same_market(store: Store) -> None:
    # No order fails by chance: that is drawn from its id.
    plain = stored.CONFIG.model_dump() | {"amm": {"failure_rate": 0}}
    config = stored.CONFIG.parse(plain)
    stored.run(store.database, store.artifacts, days=paper.DAYS, config=config)
    # Within a cell exits come first; here a cell is one moment.
    settings = paper.settings(ACCOUNT, trading=plain, cell_seconds=1)
    done = paper.run_with(store, settings)
    shown: dict[str, list[Any]] = {}
    for mode in ("backtest", "paper"):
        shown[mode] = ask(
            store,
            "SELECT c.instrument, c.decided_at, c.decision, c.reason, c.stake_usd, c.confidence, "
            "c.feature_hash, (SELECT array_agg((event, leg, occurred_at, price, e.size, value_usd) "
            "ORDER BY e.occurred_at, leg, event) FROM trade.executions e WHERE e.uuid = c.uuid "
            "AND (e.leg = 'entry' OR NOT EXISTS (SELECT FROM trade.outcomes o "
            "WHERE o.uuid = c.uuid AND termination_reason = 'session_end')))::text "
            f"FROM trade.candidates c JOIN trade.sessions USING (session_id) WHERE mode = '{mode}' "
            "ORDER BY c.decided_at, c.instrument",
        )
    assert len(shown["paper"]) == done.decisions > 50
    assert shown["paper"] == shown["backtest"]


def test_a_session_without_anything_to_record_reads_on_for_its_successor_all_the_same(
    store: Store,
) -> None:
    for seconds in (21_600, 21_610):
        paper.run(store, ACCOUNT, days=seconds / 86_400)
        assert ask(store, "SELECT reached FROM trade.live_progress") == [
            (START + seconds * 1_000_000,)
        ]


class HaltedVenue(PaperVenue):
    """Somebody reaches for the switch when the third order arrives."""

    action = "halt"
    orders = 0

    async def submit(self, intent: OrderIntent) -> OrderState:
        state = await super().submit(intent)
        type(self).orders += 1
        if type(self).orders == 3:
            order_halt(self._connection, ACCOUNT, self.action, reason="test", by="me")  # type: ignore[arg-type]
            # The watch looks many times in this time, and the session waits for nothing else.
            await asyncio.sleep(0.3)
        return state


def switched(store: Store, action: str) -> LiveRun:
    HaltedVenue.action, HaltedVenue.orders = action, 0
    return paper.run_with(store, paper.settings(ACCOUNT), HaltedVenue)


def test_after_a_halt_the_very_next_decision_enters_nothing_and_exits_go_on(store: Store) -> None:
    switched(store, "halt")
    legs = Counter(leg for (leg,) in ask(store, "SELECT leg FROM trade.order_intents"))
    assert legs["entry"] <= 3
    assert legs["exit"] > 0
    reasons = dict(ask(store, "SELECT reason, count(*) FROM trade.candidates GROUP BY 1"))
    assert reasons["halted"] > 0


def test_a_halt_holds_over_restarts_until_somebody_resumes(store: Store) -> None:
    with store.database.connect(autocommit=True) as connection:
        with Lease(store.database, ACCOUNT, holder="x", mode="paper"):
            order_halt(connection, ACCOUNT, "halt", reason="before it starts", by="me")
        half = paper.settings(ACCOUNT, days=paper.DAYS / 2)
        paper.run_with(store, half)
        assert ask(store, "SELECT count(*) FROM trade.order_intents") == [(0,)]
        order_halt(connection, ACCOUNT, "resume", reason="all is well", by="me")
        paper.run(store, ACCOUNT)
        assert ask(store, "SELECT count(*) > 0 FROM trade.order_intents") == [(True,)]
        halt = newest_halt(connection, ACCOUNT)
    assert halt is not None
    assert (halt.action, halt.reason) == ("resume", "all is well")


def test_flatten_sells_what_is_open_and_nothing_is_bought_again(store: Store) -> None:
    done = switched(store, "flatten")
    assert done.open_positions == 0
    last = ask(
        store,
        "SELECT DISTINCT termination_reason FROM trade.outcomes "
        "WHERE closed_at = (SELECT max(closed_at) FROM trade.outcomes)",
    )
    assert last == [("manual",)]
    assert ask(store, "SELECT count(*) <= 3 FROM trade.order_intents WHERE leg = 'entry'") == [
        (True,)
    ]


def test_limits_bound_stakes_and_exposure(store: Store) -> None:
    limits = {"max_token_usd": 60, "max_exposure_usd": 130}
    paper.run(store, ACCOUNT, limits=limits)
    stakes = ask(store, "SELECT stake_usd FROM trade.order_intents WHERE leg = 'entry'")
    assert max(stakes) == (60,)
    # What is open at once: an entry that would exceed it is cut, and then too small to be made.
    reasons = dict(ask(store, "SELECT reason, count(*) FROM trade.candidates GROUP BY 1"))
    assert reasons["stake_too_small"] > 0
    assert reasons.get("no_free_slot", 0) == 0


def test_nothing_is_sent_when_the_lease_ran_out_between_the_commit_and_the_sending(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = LiveJournal.commit

    def slowly(self: LiveJournal, *given: Any) -> list[OrderIntent]:
        intents = commit(self, *given)
        if intents:
            # As a process sees it that was stopped here.
            lease._deadline = 0.0
        return intents

    monkeypatch.setattr(LiveJournal, "commit", slowly)
    config = paper.settings(ACCOUNT)
    feed = replay_feed(config)
    with (
        store.database.connect(autocommit=True) as connection,
        Lease(store.database, ACCOUNT, holder="x", mode="paper") as lease,
    ):
        venue = PaperVenue(connection, ACCOUNT, config.trading.venue(feed.kind))
        session = LiveSession(store, config, feed, venue, MarketClock(0), lease)
        with pytest.raises(LeaseLost):
            asyncio.run(session.run())
    assert ask(store, "SELECT count(*) FROM trade.order_intents") == [(1,)]
    assert ask(store, "SELECT count(*) FROM trade.paper_orders") == [(0,)]


class SlowVenue:
    """A venue elsewhere: answers take time, some are lost, and some orders never arrive."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderState] = {}
        self.sent: Counter[str] = Counter()

    async def submit(self, intent: OrderIntent) -> OrderState:
        self.sent[intent.client_order_id] += 1
        await asyncio.sleep(0.001)
        number = len(self.sent)
        if number % 4 == 3 and self.sent[intent.client_order_id] == 1:
            raise VenueUnavailable("it never arrived")
        if intent.client_order_id not in self.orders:
            held = (await self.balances()).get(intent.instrument, 0.0)
            if intent.tokens is not None and intent.tokens > held * 1.0001:
                raise InsufficientFunds(intent.instrument)
            at, price = micros(intent.submitted_at), intent.decision_price
            tokens = intent.tokens or (intent.stake_usd or 0.0) / price
            fill = Fill(at, price, tokens, tokens * price, {"fee": 0.1}, {}, 0.0, True)
            self.orders[intent.client_order_id] = OrderState(
                intent.client_order_id, intent.instrument, intent.leg, "filled", at, (fill,)
            )
        if number % 4 == 1 and self.sent[intent.client_order_id] == 1:
            raise VenueUnavailable("the answer was lost")
        return self.orders[intent.client_order_id]

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        return self.orders.get(intent.client_order_id)

    async def fetch(self, client_order_id: str, instrument: str) -> OrderState:
        if client_order_id not in self.orders:
            raise OrderUnknown(client_order_id)
        return self.orders[client_order_id]

    async def open_orders(self) -> Sequence[OrderState]:
        return []

    async def fills_since(self, moment: int, instruments: Iterable[str]) -> Sequence[VenueFill]:
        return [
            VenueFill(name, name, order.instrument, order.leg, fill)
            for name, order in self.orders.items()
            for fill in order.fills
            if fill.at >= moment
        ]

    async def balances(self) -> Mapping[str, float]:
        held: Counter[str] = Counter()
        for order in self.orders.values():
            for fill in order.fills:
                held[order.instrument] += fill.tokens if order.leg == "entry" else -fill.tokens  # type: ignore[assignment]
        return held

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        order = await self.fetch(client_order_id, instrument)
        return order if order.has_ended else replace(order, status="cancelled")


def test_orders_to_a_slow_venue_that_loses_some_are_each_sent_for_one_intent(store: Store) -> None:
    # So slowly that answers come between batches.
    config = paper.settings(ACCOUNT, reconcile_seconds=0.02, speed=20_000)
    venue, feed = SlowVenue(), replay_feed(config)
    with Lease(store.database, ACCOUNT, holder="x", mode="paper") as lease:
        session = LiveSession(store, config, feed, venue, MarketClock(0), lease)
        done = asyncio.run(session.run())
    intents = {name for (name,) in ask(store, "SELECT client_order_id FROM trade.order_intents")}
    assert set(venue.sent) <= intents
    assert len(venue.orders) > 4
    booked = dict(
        ask(
            store,
            "SELECT order_id, count(*) FROM trade.executions "
            "WHERE event = 'filled' GROUP BY order_id",
        )
    )
    assert len(booked) > 4
    assert set(booked) <= set(venue.orders)
    assert set(booked.values()) == {1}
    assert {one.kind for one in done.findings} <= {
        "start", "never_arrived", "lapsed", "sent_again", "filled_while_away"
    }  # fmt: skip
    assert [one for one in done.findings if not one.explained] == []


class BrokenVenue(SlowVenue):
    """Its client has a mistake."""

    async def submit(self, intent: OrderIntent) -> OrderState:
        raise RuntimeError("a mistake in the client")


def test_a_mistake_in_a_venues_client_ends_the_session_and_is_not_swallowed(store: Store) -> None:
    config = paper.settings(ACCOUNT)
    with Lease(store.database, ACCOUNT, holder="x", mode="paper") as lease:
        feed = replay_feed(config)
        session = LiveSession(store, config, feed, BrokenVenue(), MarketClock(0), lease)
        with pytest.raises(RuntimeError, match="a mistake in the client"):
            asyncio.run(session.run())


class SilentFeed(ReplayFeed):
    """A market that cannot be read."""

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        await asyncio.sleep(60)
        yield LiveBatch(resume, nothing())


@pytest.mark.parametrize("why", ["window", "stopped"])
def test_a_session_whose_market_never_comes_ends_all_the_same_and_changes_nothing(
    store: Store, why: str
) -> None:
    half = paper.settings(ACCOUNT, days=paper.DAYS / 2)
    first = paper.run_with(store, half)
    assert first.open_positions > 0
    before = ask(store, "SELECT started_at, reached, state FROM trade.live_progress")
    config = paper.settings(ACCOUNT, window_hours=1 / 3600 if why == "window" else 1)
    with store.database.connect(autocommit=True) as connection:
        if why == "stopped":
            order_session(connection, config, by="me")
            end_sessions(connection, ACCOUNT, by="me")
        with Lease(store.database, ACCOUNT, holder="test", mode="paper") as lease:
            feed = SilentFeed(replay_feed(half)._market, start=START, end=START + DAY)
            venue = PaperVenue(connection, ACCOUNT, config.trading.venue(feed.kind))
            session = LiveSession(store, config, feed, venue, MarketClock(0), lease)
            done = asyncio.run(asyncio.wait_for(session.run(), 30))
    assert done.why == why
    assert done.open_positions == first.open_positions
    assert done.cash_usd == pytest.approx(first.cash_usd)
    assert ask(store, "SELECT started_at, reached, state FROM trade.live_progress") == before
