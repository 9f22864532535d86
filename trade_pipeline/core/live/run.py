"""Opens what a live session needs by its settings, and runs it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.serving import with_deployed
from trade_pipeline.core.clock import Clock, MarketClock, SystemClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.ccxt_client import VenueAccount
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.anchor import anchored
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.exchange_orders import ExchangeOrders
from trade_pipeline.core.live.feed import ReplayFeed
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.open_market import NO_MARKET, market_feed
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import LiveFeed
from trade_pipeline.core.live.recording import RecordingFeed
from trade_pipeline.core.live.requests import asked, end_sessions, newest_request
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.live.storage import Tell, tell_nobody
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.store.room import Room, refusal_reported
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings


def live_feed(config: LiveConfig, settings: Settings, store: Store, clock: Clock) -> LiveFeed:
    """The market of a session's settings: a real one, or a replay.

    Raises:
        BadConfig, BadMarketData: see `market_feed` and `replay_feed`.
    """
    if config.market is None:
        return replay_feed(config)
    return market_feed(config.market, config.account, settings, store, clock)


def replay_feed(config: LiveConfig) -> ReplayFeed:
    """The market that a paper session's settings name.

    Raises:
        BadConfig, BadMarketData: see `open_market`; there is none.
    """
    replay = config.replay
    if replay is None:
        raise BadConfig(NO_MARKET)
    for name in ("start", "end"):
        if getattr(replay, name).utcoffset() is None:
            raise BadConfig(f"replay.{name}={getattr(replay, name)}: expected a time with a zone")
    start, end = micros(replay.start), micros(replay.end)
    market = open_market(
        replay.market, data=replay.data, seed=replay.seed, start=start, end=end,
        simulator=config.trading.simulator,
    )  # fmt: skip
    cell = round(replay.cell_seconds * 1_000_000)
    return ReplayFeed(market, start=start, end=end, speed=replay.speed, cell=cell)


async def _at_exchange(
    store: Store,
    config: LiveConfig,
    feed: LiveFeed,
    clock: Clock,
    lease: Lease,
    account: VenueAccount,
    tell: Tell,
) -> LiveRun:
    """A session whose orders go to an exchange."""
    exchange = CcxtVenue(account, lease.require)
    try:
        venue = ExchangeOrders(exchange, clock, replayed=config.replay is not None)
        return await LiveSession(store, config, feed, venue, clock, lease, tell).run()
    finally:
        await exchange.close()


async def trade(
    store: Store,
    config: LiveConfig,
    settings: Settings,
    *,
    holder: str,
    asks: str | None = None,
    tell: Tell = tell_nobody,
) -> LiveRun:
    """Trade an account by its settings until the session's window ends, in the caller's loop.

    Cancelled, it ends as a killed one does, only sooner: everything that was decided is stored, the
    lease is free at once, and the next session finds positions and unfinished orders.

    Args:
        settings: whether this installation may trade real money, and at which exchange.
        holder: who it is, such as a Dagster run's id.
        asks: who wants the account's sessions while this one lasts; None: somebody has asked.
        tell: tells people at once (title, text) what cannot be stored, see `StorageGuard`.

    Raises:
        BadConfig: the settings are not allowed, or name what is not there.
        LeaseHeld: another session trades the account.
        LeaseLost: another one trades it now.
        StoreUnavailable: the database cannot be reached, or takes no writes while simulated orders
            are kept in it.
    """
    config.require_allowed(settings)
    # The clock of a replay is the market's: it stands where the newest event was read.
    clock = SystemClock() if config.replay is None else MarketClock(0)
    feed = live_feed(config, settings, store, clock)
    heads = anchored(
        lambda: store.database.connect(autocommit=True), store.artifacts.heads, store.timestamp_url
    )
    # The lease is free before the last head is written.
    async with heads:
        return await _trade(
            store, config, settings, clock, feed, holder=holder, asks=asks, tell=tell
        )


async def _trade(
    store: Store,
    config: LiveConfig,
    settings: Settings,
    clock: Clock,
    feed: LiveFeed,
    *,
    holder: str,
    asks: str | None,
    tell: Tell,
) -> LiveRun:
    with ExitStack() as opened:
        connection = opened.enter_context(store.database.connect(autocommit=True))
        scope = Scope(feed.kind, config.venue, config.mode)
        trading = with_deployed(connection, scope, config.trading)
        lease = opened.enter_context(
            Lease(
                store.database, config.account, holder=holder, mode=config.mode,
                seconds=config.lease_seconds, heartbeat_seconds=config.lease_seconds / 5,
            )
        )  # fmt: skip
        if asks is not None:
            opened.enter_context(asked(connection, config, by=asks))
        config = config.model_copy(update={"trading": trading})
        if config.is_recorded:
            room = Room(store, int(config.limits.min_free_mb * 1e6))
            feed = opened.enter_context(
                RecordingFeed(
                    feed, store.database, lease.account, lease.epoch,
                    # A lease that cannot be renewed looks as if it were over.
                    held_back=lambda: lease.refused or room.lacks(),
                )
            )  # fmt: skip
        if config.orders == "exchange":
            run = _at_exchange(store, config, feed, clock, lease, VenueAccount.of(settings), tell)
        else:
            venue = PaperVenue(connection, config.account, trading.venue(feed.kind))
            run = LiveSession(store, config, feed, venue, clock, lease, tell).run()
        with refusal_reported():
            done = await run
        if done.why == "market" and newest_request(connection, config.account) is not None:
            # There is nothing for a successor.
            end_sessions(connection, config.account, by="the session: its market is over")
        return done


def run_live(
    store: Store,
    config: LiveConfig,
    settings: Settings,
    *,
    holder: str,
    asks: str | None = None,
    tell: Tell = tell_nobody,
) -> LiveRun:
    """The same in a loop of its own.

    Raises:
        BadConfig, LeaseHeld, LeaseLost, StoreUnavailable: see `trade`.
    """
    return asyncio.run(trade(store, config, settings, holder=holder, asks=asks, tell=tell))
