"""The live session: one holder of an account's lease, from the market's events to durable records.

Start-up is recovery.  The loop never sends what is not durable, and writes nothing once somebody
else holds the lease.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psycopg

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.watch import DeploymentWatch
from trade_pipeline.core.clock import Clock
from trade_pipeline.core.execution.book import to_usd
from trade_pipeline.core.execution.venue_errors import VenueUnavailable
from trade_pipeline.core.ids import moment_of, session_id
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.desk import Desk
from trade_pipeline.core.live.engine import LiveEngine
from trade_pipeline.core.live.halts import OWN_RULES, RECONCILIATION, HaltWatch, order_halt
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.limits import Limits
from trade_pipeline.core.live.ports import LiveBatch, LiveFeed, OrderState, OrderVenue
from trade_pipeline.core.live.reconcile import Facts, Finding, Reconciler, Seen
from trade_pipeline.core.live.records import OrderIntent, Reconciliation
from trade_pipeline.core.live.sender import Sender
from trade_pipeline.core.live.storage import StorageGuard, Tell, tell_nobody
from trade_pipeline.core.live.stored import StoredAccount, read_account
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.backtest import rug_risk_of
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import record_settings
from trade_pipeline.core.store.room import Room, WritesRefused, refusal_reported
from trade_pipeline.core.store.store import Store

log = logging.getLogger("trade_pipeline.live")
# Batches that wait to be worked on; more are left with the feed.
_WAITING = 64
_URGENT, _ROUTINE = 0, 1
# The session looks after its lease, its switch and its tasks so often when no event comes.
_LOOK_SECONDS = 0.5
# Seconds that a session's end waits for the venue.
_LAST_ANSWERS = 5.0


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What a session did.

    Attributes:
        why: it ended: ``window``, ``market`` (a replay is over) or ``stopped``.
    """

    account: str
    epoch: int
    session_id: str
    why: str
    events: int
    decisions: int
    dropped_looks: int
    open_positions: int
    cash_usd: float
    findings: tuple[Finding, ...]
    slowest_batch_ms: float


def live_session_id(account: str, epoch: int) -> str:
    """The id of the session that holds an account's lease in an epoch."""
    return session_id(mode="live", account=account, epoch=epoch)


class LiveSession:
    """Trades an account until its window ends.

    Args:
        venue: where orders go; `PaperVenue` has a ``reach``, by which the market reaches it.
        clock: of the market.
        tell: see `StorageGuard`.
    """

    def __init__(
        self,
        store: Store,
        config: LiveConfig,
        feed: LiveFeed,
        venue: OrderVenue,
        clock: Clock,
        lease: Lease,
        tell: Tell = tell_nobody,
    ) -> None:
        self._store, self._config = store, config
        self._feed, self._venue, self._clock = feed, venue, clock
        self._lease = lease
        room = Room(store, int(config.limits.min_free_mb * 1e6))
        self._storage = StorageGuard(lease, room, tell)
        self._inbox: list[tuple[int, int, LiveBatch | OrderState | Seen | str | None]] = []
        self._number = itertools.count()
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(_WAITING)
        self._findings: list[Finding] = []
        self._reported: set[tuple[str, str | None, str | None]] = set()
        # What stops entries as soon as the database takes a halt, and who says so.
        self._unhalted: list[tuple[str, str]] = []
        self._rule_halts = False
        self._reached = 0
        self._told_before = 0
        self._flattened = 0
        self._started = False
        self._slowest = 0.0
        self._newest_event: int | None = None

    async def run(self) -> LiveRun:
        """Trade; afterwards everything is durable and positions stay open for a successor.

        Raises:
            LeaseLost: somebody else holds the lease now.
        """
        loop = asyncio.get_running_loop()
        account, epoch = self._lease.account, self._lease.epoch
        with ExitStack() as opened:
            connection = opened.enter_context(self._store.database.connect(autocommit=True))
            stored = read_account(connection, account)
            scope = Scope(self._feed.kind, self._config.venue, self._config.mode)
            models = opened.enter_context(DeploymentWatch(self._store, scope))
            self._halts = opened.enter_context(
                HaltWatch(
                    self._store.database, account,
                    lambda: self._wake(loop),
                )
            )  # fmt: skip
            self._prepare(connection, stored, models, account, epoch)
            background = [
                asyncio.create_task(self._read(stored)),
                asyncio.create_task(self._tick()),
                asyncio.create_task(self._ask()),
            ]
            try:
                why = await self._work(connection, stored, background)
                if self._started:
                    await self._hear_the_last()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, self._sender.close(), return_exceptions=True)
            return self._ended(why, stored)

    def _prepare(
        self,
        connection: psycopg.Connection,
        stored: StoredAccount,
        models: DeploymentWatch,
        account: str,
        epoch: int,
    ) -> None:
        """Everything that needs no market."""
        trading, feed = self._config.trading, self._feed
        first = feed.first_moment() if stored.progress is None else stored.progress.reached
        began = first if stored.progress is None else stored.progress.started_at
        params = record_settings(connection, self._store.artifacts, trading.canonical())
        session = Session(
            session_id=live_session_id(account, epoch),
            mode=self._config.mode,
            market=feed.kind,
            range_start=moment_of(first),
            params_ptr=params,
            code_version=code_version(),
        )
        self._session = session
        self._reached = first
        self._journal = LiveJournal(connection, session.session_id, account, epoch)
        self._desk = Desk(
            account, epoch, lambda record: self._engine.append(record), feed.instruments,
            trading.venue(feed.kind), getattr(self._venue, "reach", None),
            rests_stops=self._config.stops_at_venue,
        )  # fmt: skip
        self._limits = Limits(self._config.limits, stored.sent)
        self._engine = LiveEngine(
            session, trading, account=account, epoch=epoch, feed=feed, looks_from=began,
            limits=self._limits, settle=self._settle,
            halted=lambda: self._halts.refusal() or self._storage.refusal(),
            venue=self._desk, desk=self._desk, clock=self._clock, journal=self._journal,
            rug_risk=rug_risk_of(self._store.artifacts, trading), deployed=models.models,
        )  # fmt: skip
        self._sender = Sender(
            self._venue, self._lease, self._desk, feed.instruments, self._clock, self._told
        )
        self._reconciler = Reconciler(
            self._engine, self._desk, self._venue, feed.instruments, self._sender,
            int(self._config.resend_seconds * 1_000_000),
        )  # fmt: skip

    async def _read(self, stored: StoredAccount) -> None:
        """Put the market's batches into the inbox, and the end behind them."""
        resume = self._reached
        since = min([resume - LOOKBACK, *(trade.decided_at for trade in stored.open)])
        async for batch in self._feed.read(since, resume):
            await self._room.acquire()
            self._put(_ROUTINE, batch)
        self._put(_ROUTINE, None)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._put(_URGENT, "look")

    async def _ask(self) -> None:
        """Ask the venue about everything, again and again, while the session goes on."""
        while True:
            await asyncio.sleep(self._config.reconcile_seconds)
            try:
                seen = await self._reconciler.look(max(self._reached, self._clock.micros()))
            except VenueUnavailable as error:
                log.warning("account %s: the venue cannot be asked: %s", self._lease.account, error)
            else:
                self._put(_URGENT, seen)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self._put, _URGENT, "look")

    def _put(self, priority: int, item: LiveBatch | OrderState | Seen | str | None) -> None:
        heapq.heappush(self._inbox, (priority, next(self._number), item))
        self._arrived.set()

    async def _take(self) -> LiveBatch | OrderState | Seen | str | None:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return heapq.heappop(self._inbox)[2]

    async def _work(
        self,
        connection: psycopg.Connection,
        stored: StoredAccount,
        background: list[asyncio.Task[None]],
    ) -> str:
        end = time.monotonic() + self._config.window_hours * 3600
        while True:
            for task in background:
                if task.done():
                    # The feed's end is in the inbox; what else ends has failed.
                    task.result()
            item = await self._take()
            self._lease.require()
            self._sender.require_working()
            if isinstance(item, LiveBatch) and item.warm_up:
                self._engine.pass_over(item.events)
                if not self._started and len(item.events):
                    self._told_before = int(item.events.known_at[-1])
                self._room.release()
                continue
            if not self._started and (item is None or isinstance(item, LiveBatch)):
                self._started = True
                await self._start(connection, stored)
            if item is None:
                return "market"
            if self._started:
                await self._one(item)
            # Nobody could take over from a session whose lease cannot be given up.
            if time.monotonic() >= end and not self._storage.refuses:
                return "window"
            if not self._halts.wanted:
                return "stopped"

    async def _hear_the_last(self) -> None:
        """Wait for the answers that are on their way; what is still missing, a successor asks."""
        await self._sender.wait(_LAST_ANSWERS)
        for _, _, item in sorted(self._inbox, key=lambda one: one[:2]):
            if isinstance(item, OrderState):
                await self._one(item)

    async def _one(self, item: LiveBatch | OrderState | Seen | str) -> None:
        if isinstance(item, LiveBatch):
            began = time.perf_counter()
            scan = item.behind <= self._config.max_behind_seconds and not self._storage.refuses
            await self._engine.on_batch(item, scan=scan)
            self._reached = item.upto
            if len(item.events):
                self._newest_event = int(item.events.known_at[-1])
            await self._settle(item.upto)
            self._slowest = max(self._slowest, time.perf_counter() - began)
            self._halt_for_a_rule()
            self._room.release()
            self._tell()
        elif isinstance(item, OrderState):
            self._desk.hear(item)
            await self._heard(item.client_order_id)
        elif isinstance(item, Seen):
            await self._compare(item, starting=False)
        else:
            if self._storage.refuses:
                await self._settle(max(self._reached, self._clock.micros()))
            self._halt()
        await self._obey()

    async def _start(self, connection: psycopg.Connection, stored: StoredAccount) -> None:
        """Recover: what is stored, then what the venue says, then the records of both."""
        # What is heard of the time away is not from before the market of now.
        self._clock.advance(self._reached)
        self._engine.resume(stored)
        self._engine.append(self._session)
        facts: Facts = {
            "open_positions": len(stored.open),
            "reached": self._reached,
            # Of what happened in between the market told as of history.
            "began": max(self._reached, self._told_before + 1),
        }
        self._note(Finding("start", True, facts=facts))
        await self._settle(self._reached)
        # What the first look finds to be bought may have been sold as well.
        for _ in range(2):
            now = max(self._reached, self._clock.micros())
            seen = await self._reconciler.look(now, starting=True)
            await self._compare(seen, starting=True)
            if not seen.busy:
                break
        await self._obey()

    async def _compare(self, seen: Seen, *, starting: bool) -> None:
        at = max(self._reached, self._clock.micros())
        found = await self._reconciler.compare(seen, at, starting=starting)
        for finding in found:
            self._note(finding)
        await self._settle(at)
        for finding in found:
            self._alert(finding)

    def _note(self, finding: Finding) -> None:
        if finding.explained or finding.key not in self._reported:
            self._engine.append(
                Reconciliation(
                    self._lease.account, self._lease.epoch, len(self._findings), finding.kind,
                    finding.explained, finding.client_order_id, finding.instrument, finding.facts,
                )
            )  # fmt: skip
            self._findings.append(finding)

    def _alert(self, finding: Finding) -> None:
        """Stop entries for what does not explain itself, until a person resumes them."""
        if finding.explained or finding.key in self._reported:
            return
        self._reported.add(finding.key)
        what = f"{finding.kind} {finding.instrument or ''} {finding.client_order_id or ''}".strip()
        log.error("account %s: %s: %s", self._lease.account, what, finding.facts)
        self._unhalted.append((what, RECONCILIATION))
        self._halt()

    def _halt(self) -> None:
        """Stop entries for what was found; while the database refuses it, that stops them."""
        if not self._unhalted or self._storage.refuses:
            return
        with (
            suppress(WritesRefused),
            self._store.database.connect(autocommit=True) as connection,
            refusal_reported(),
        ):
            while self._unhalted:
                what, by = self._unhalted[0]
                order_halt(connection, self._lease.account, "halt", reason=what, by=by)
                del self._unhalted[0]

    def _halt_for_a_rule(self) -> None:
        """Stop entries when a rule of the user's own failed, until a person resumes them."""
        failure, self._engine.rule_failure = self._engine.rule_failure, None
        halt = self._halts.halt
        if halt is not None and halt.stops_entries:
            self._rule_halts = False
        elif failure is not None and not self._rule_halts:
            # The halt is seen a moment after it was stored, which may itself have to wait.
            self._rule_halts = True
            log.error("account %s: %s", self._lease.account, failure)
            self._unhalted.append((failure, OWN_RULES))
            self._halt()

    async def _obey(self) -> None:
        """Close everything when somebody asked for it, once."""
        halt = self._halts.halt
        if halt is not None and halt.action == "flatten" and halt.halt_id != self._flattened:
            self._flattened = halt.halt_id
            await self._engine.flatten(max(self._reached, self._clock.micros()))

    async def _settle(self, at: int) -> None:
        """Make what was appended durable, then send what may be sent: exits first."""
        while self._journal.pending or self._desk.withdrawals:
            intents = self._commit(at)
            withdrawn, self._desk.withdrawals = self._desk.withdrawals, []
            for name, instrument in withdrawn:
                await self._sender.cancel(name, instrument)
            for intent in sorted(intents, key=lambda one: one.leg == "entry"):
                await self._sender.send(intent)
            if self._storage.refuses:
                # The rest waits.
                return

    def _commit(self, at: int) -> list[OrderIntent]:
        """Make what was appended durable; gives the orders that may be sent.

        Raises:
            WritesRefused: the database takes no writes, and the venue is simulated in it.
        """
        waiting = self._journal.pending
        if not self._storage.may_write():
            return self._storage.due(waiting)
        try:
            intents = self._journal.commit(at, self._reached, self._engine.state())
        except WritesRefused as error:
            if self._sender.simulated:
                raise
            return self._storage.refused(error, waiting)
        intents, finding = self._storage.accepted(intents)
        if finding is not None:
            self._note(finding)
        # Those that were sent before they were recorded are not sent again.
        return [one for one in intents if one.client_order_id not in self._reconciler.adopted]

    def _told(self, state: OrderState) -> None:
        """A venue elsewhere answered."""
        self._put(_URGENT, state)

    async def _heard(self, name: str) -> None:
        for _, position in self._engine.positions():
            for order in (position.entry_order, position.exit_order):
                if order is not None and order.order_id == name:
                    await self._engine.heard(position.token, self._clock.micros())
                    return

    def _tell(self) -> None:
        halt = self._halts.halt
        self._lease.told = {
            "market_time": moment_of(self._reached).isoformat(),
            "events": self._engine.counts.events,
            "decisions": self._engine.decisions,
            "open_positions": sum(1 for _ in self._engine.positions()),
            "cash_usd": self._engine.cash_usd,
            "dropped_looks": self._engine.dropped_looks,
            "halted": None if halt is None or not halt.stops_entries else halt.reason,
            "newest_event": None
            if self._newest_event is None
            else moment_of(self._newest_event).isoformat(),
            "no_entries": self._storage.why(),
        }

    def _ended(self, why: str, stored: StoredAccount) -> LiveRun:
        engine = self._engine
        open_positions = len(stored.open)
        cash = engine.cash_usd + to_usd(sum(stored.cash.values()))
        if self._started:
            engine.end()
            self._journal.finish(self._reached, self._reached, engine.state())
            open_positions, cash = sum(1 for _ in engine.positions()), engine.cash_usd
        return LiveRun(
            self._lease.account, self._lease.epoch, self._session.session_id, why,
            engine.counts.events, engine.decisions, engine.dropped_looks,
            open_positions, cash, tuple(self._findings), 1_000 * self._slowest,
        )  # fmt: skip
