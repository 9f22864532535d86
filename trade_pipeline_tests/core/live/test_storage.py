"""A store that is full or read-only stops entries and no exit, says why, and goes on by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.execution.venue_errors import InsufficientFunds, VenueRefused
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.live.lease import Lease, LeaseLost
from trade_pipeline.core.live.ports import OrderState
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.live.run import replay_feed
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.live.status import live_status
from trade_pipeline.core.live.storage import StorageGuard, tell_nobody
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.room import Room, WritesRefused
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.full_disk import full_disk
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.live.venue_elsewhere import (
    PATIENCE,
    EventfulFeed,
    Happens,
    QuickVenue,
    Step,
)


@pytest.fixture
def store(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, artifacts)


@pytest.fixture
def full(server: EmbeddedPostgres, store: Store) -> Iterator[Callable[[bool], None]]:
    """Makes the database say to each order that its disk is full, or no more."""
    with store.database.connect("trade_reader") as connection:
        name = connection.info.dbname
    url = server.url("postgres", name)
    with psycopg.connect(url, autocommit=True) as owner, ExitStack() as filled:

        def switch(on: bool) -> None:
            if on:
                filled.enter_context(full_disk(owner, "order_intents"))
            else:
                filled.close()

        yield switch


@pytest.fixture
def read_only(server: EmbeddedPostgres) -> Iterator[Callable[[bool], None]]:
    """Makes the whole server read-only, or no more."""
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:

        def switch(on: bool) -> None:
            # Whoever is read-only may change that for itself.
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(
                f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}".encode()
            )
            connection.execute("SELECT pg_reload_conf()")

        yield switch
        switch(False)


def ask(store: Store, query: str) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(query.encode()).fetchall()


def trade(
    store: Store, venue: QuickVenue, *steps: Step, tell: Any = None, **changes: Any
) -> LiveRun:
    changes = {"reconcile_seconds": 0.05} | changes
    config = paper.settings(ACCOUNT, **changes)
    feed = EventfulFeed.of(replay_feed(config), *steps)
    given = {} if tell is None else {"tell": tell}
    with Lease(
        store.database, ACCOUNT, holder="x", mode="paper", seconds=1.5, heartbeat_seconds=0.1
    ) as lease:
        feed.session = LiveSession(store, config, feed, venue, MarketClock(0), lease, **given)
        return asyncio.run(feed.session.run())


def open_positions(session: LiveSession) -> int:
    return sum(1 for _, position in session._engine.positions() if position.tokens)


def require_all_recorded(store: Store, venue: QuickVenue) -> None:
    """Each order of the venue came once, has an intent, and its fill is in the records."""
    intents = {name for (name,) in ask(store, "SELECT client_order_id FROM trade.order_intents")}
    assert set(venue.sent.values()) == {1}
    assert set(venue.orders) <= intents
    filled = ask(store, "SELECT order_id FROM trade.executions WHERE event = 'filled'")
    assert sorted(name for (name,) in filled) == sorted(venue.orders)


def refused_until_the_lease_ran_out(store: Store) -> Happens:
    """The database refuses the session so long that by the row its lease would be over."""
    expired = "SELECT expires_at < clock_timestamp() FROM trade.leases"
    return lambda session: session._lease.refused is not None and ask(store, expired) == [(True,)]


def accepted(session: LiveSession) -> bool:
    return session._storage.refusal() is None


class Phases:
    """Steps of a session that trades, cannot write, and can again."""

    def __init__(self, store: Store, venue: QuickVenue, switch: Callable[[bool], None]) -> None:
        self._store, self._venue, self._switch = store, venue, switch

    def begins(self, session: LiveSession) -> bool | Happens:
        if open_positions(session) < 3:
            return False
        self._switch(True)
        self._venue.legs.append("refused")
        return refused_until_the_lease_ran_out(self._store)

    def ends(self, session: LiveSession) -> bool | Happens:
        if self.during().count("exit") < 2:
            return False
        assert session._storage.refusal() == "writes_refused"
        self._switch(False)
        self._venue.legs.append("taken")
        return accepted

    def goes_on(self, session: LiveSession) -> bool:
        return "entry" in self.afterwards()

    def during(self) -> list[str]:
        legs = self._venue.legs
        return legs[legs.index("refused") + 1 : legs.index("taken") if "taken" in legs else None]

    def afterwards(self) -> list[str]:
        return self._venue.legs[self._venue.legs.index("taken") :]


def test_a_read_only_database_stops_entries_and_no_exit_and_all_is_recorded_when_it_is_over(
    store: Store, read_only: Callable[[bool], None]
) -> None:
    venue, told = QuickVenue(), list[tuple[str, str]]()
    phases = Phases(store, venue, read_only)
    done = trade(
        store,
        venue,
        phases.begins,
        phases.ends,
        phases.goes_on,
        tell=lambda *said: told.append(said),
    )
    assert set(phases.during()) == {"exit"}
    # Nobody looks at tokens meanwhile, and it goes on by itself.
    assert done.dropped_looks > 0
    assert "entry" in phases.afterwards()
    require_all_recorded(store, venue)
    [finding] = [one for one in done.findings if one.kind == "writes_refused"]
    assert finding.explained
    assert finding.facts["exits"] == len(phases.during())
    assert "read-only" in str(finding.facts["why"])
    assert [title.partition(":")[0] for title, _ in told] == [
        "The database takes no writes",
        "The database takes writes again",
    ]
    assert "Entries are stopped; exits are sent" in told[0][1]
    assert [one for one in done.findings if not one.explained] == []


class Died(Exception):
    """The session is gone."""


def test_what_was_sold_without_a_record_by_a_session_that_died_is_booked_and_not_sold_again(
    store: Store, read_only: Callable[[bool], None]
) -> None:
    venue = QuickVenue()
    phases = Phases(store, venue, read_only)

    def dies(session: LiveSession) -> bool:
        if phases.during().count("exit") >= 2:
            raise Died
        return False

    with pytest.raises(Died):
        trade(store, venue, phases.begins, dies)
    sold = phases.during().count("exit")
    # Nobody can trade it meanwhile, and what is said is one line.
    with pytest.raises(WritesRefused, match="takes no writes, it is read-only"):
        trade(store, venue)
    read_only(False)
    venue.legs.append("taken")
    done = trade(store, venue, phases.goes_on)
    found = [one for one in done.findings if one.kind == "sold_unrecorded"]
    assert len(found) == sold
    assert all(one.explained for one in found)
    assert [one for one in done.findings if not one.explained] == []
    assert set(venue.sent.values()) == {1}
    assert "entry" in phases.afterwards()
    # The books agree: what the venue holds is what is open.
    held = {name: tokens for name, tokens in asyncio.run(balances(venue)).items() if tokens > 1e-9}
    assert len(held) == done.open_positions


class FirstSaleFails(QuickVenue):
    """While the database refuses writes, each position's first sale is refused, or sells half."""

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self.half = half
        self.sold_again = 0

    async def submit(self, intent: OrderIntent) -> OrderState:
        if "refused" not in self.legs or "taken" in self.legs or intent.leg == "entry":
            return await super().submit(intent)
        if intent.attempt:
            self.sold_again += 1
            return await super().submit(intent)
        if not self.half:
            self.legs.append(intent.leg)
            raise VenueRefused("not now")
        tokens = (intent.tokens or 0.0) / 2
        state = await super().submit(replace(intent, tokens=tokens))
        fills = tuple(replace(fill, complete=False) for fill in state.fills)
        self.orders[intent.client_order_id] = replace(state, status="cancelled", fills=fills)
        return self.orders[intent.client_order_id]


@pytest.mark.parametrize("half", [False, True], ids=["it is refused", "it sells half"])
def test_every_sale_without_a_record_is_found_whichever_of_them_came_to_nothing(
    store: Store, read_only: Callable[[bool], None], half: bool
) -> None:
    venue = FirstSaleFails(half=half)
    phases = Phases(store, venue, read_only)

    def dies(session: LiveSession) -> bool:
        if venue.sold_again:
            raise Died
        return False

    with pytest.raises(Died):
        trade(store, venue, phases.begins, dies)
    read_only(False)
    venue.legs.append("taken")
    done = trade(store, venue, phases.goes_on)
    assert [one for one in done.findings if not one.explained] == []
    found = {one.client_order_id for one in done.findings if one.kind == "sold_unrecorded"}
    intents = {name for (name,) in ask(store, "SELECT client_order_id FROM trade.order_intents")}
    assert found
    assert set(venue.orders) <= intents
    held = {name: tokens for name, tokens in asyncio.run(balances(venue)).items() if tokens > 1e-9}
    assert len(held) == done.open_positions


class StopsRest(QuickVenue):
    """Stops rest at it; of the second entry nothing is heard until somebody fills it.

    Attributes:
        second: that entry.
        too_many: stops for more tokens than are held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.second: OrderIntent | None = None
        self.too_many: list[str] = []

    async def submit(self, intent: OrderIntent) -> OrderState:
        if intent.stop_price is not None:
            try:
                await self.require_tokens(intent)
            except InsufficientFunds:
                self.too_many.append(intent.client_order_id)
                raise
        elif intent.leg == "exit" or self.second is not None or not self.orders:
            return await super().submit(intent)
        else:
            self.second = intent
        name, at = intent.client_order_id, micros(intent.submitted_at)
        self.orders[name] = OrderState(name, intent.instrument, intent.leg, "open", at)
        return self.orders[name]

    async def open_orders(self) -> Sequence[OrderState]:
        return [order for order in self.orders.values() if order.status == "open"]

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        order = await self.fetch(client_order_id, instrument)
        if order.status == "open":
            self.orders[client_order_id] = order = replace(order, status="cancelled")
        return order


RESTS = {"orders": "exchange", "stops_at_venue": True}


def buy_and_sell_without_a_record(
    store: Store, venue: StopsRest, read_only: Callable[[bool], None], *, stored: bool
) -> None:
    """What the second entry buys is sold, and the session dies before it can record either.

    Args:
        stored: that its market is past the entry is in the records.
    """

    def begins(session: LiveSession) -> bool | Happens:
        if venue.second is None:
            return False
        [(reached,)] = ask(store, "SELECT reached FROM trade.live_progress")
        if stored and reached < micros(venue.second.submitted_at):
            return False
        read_only(True)
        return refused_until_the_lease_ran_out(store)

    def is_bought(session: LiveSession) -> bool:
        assert venue.second is not None
        venue.fill(venue.second)
        return True

    def dies(session: LiveSession) -> bool:
        assert venue.second is not None
        for order in venue.orders.values():
            if order.instrument == venue.second.instrument and order.leg == "exit" and order.fills:
                raise Died
        return False

    with pytest.raises(Died):
        trade(store, venue, begins, is_bought, dies, **RESTS)
    read_only(False)
    venue.legs.clear()


def test_no_stop_rests_for_what_was_bought_and_sold_without_a_record(
    store: Store, read_only: Callable[[bool], None]
) -> None:
    venue = StopsRest()
    buy_and_sell_without_a_record(store, venue, read_only, stored=True)
    done = trade(store, venue, lambda session: "entry" in venue.legs, **RESTS)
    assert venue.too_many == []
    assert [one for one in done.findings if not one.explained] == []
    assert [one.kind for one in done.findings].count("sold_unrecorded") == 2
    held = [tokens for tokens in asyncio.run(balances(venue)).values() if tokens > 1e-9]
    assert done.open_positions == len(held)


def test_a_sale_without_a_record_whose_purchase_is_to_be_read_again_stops_no_session(
    store: Store, read_only: Callable[[bool], None]
) -> None:
    venue = StopsRest()
    buy_and_sell_without_a_record(store, venue, read_only, stored=False)
    assert trade(store, venue, lambda session: "entry" in venue.legs, **RESTS).why == "market"
    assert min(asyncio.run(balances(venue)).values()) > -1e-9


class SlowToSayNo(QuickVenue):
    """That it does not know an order it says only when somebody lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.may_answer = False

    async def fetch(self, client_order_id: str, instrument: str) -> OrderState:
        self.asked = True
        while not self.may_answer:
            await asyncio.sleep(0.001)
        return await super().fetch(client_order_id, instrument)


def test_an_entry_that_could_not_be_recorded_lapses_however_long_the_venue_takes_to_say_no(
    store: Store, full: Callable[[bool], None]
) -> None:
    venue, minutes = SlowToSayNo(), 60

    def begins(session: LiveSession) -> bool:
        full(True)
        return True

    def is_asked_for(session: LiveSession) -> bool | Happens:
        return session._storage.refuses and (lambda session: venue.asked)

    def is_late(session: LiveSession) -> bool | Happens:
        [order] = [one.entry_order for _, one in session._engine.positions()]
        assert order is not None
        if session._reached <= order.submitted_at + minutes * 60_000_000:
            return False
        venue.may_answer = True
        return lambda session: bool(venue.legs) or not list(session._engine.positions())

    def ends(session: LiveSession) -> bool:
        full(False)
        return True

    trade(store, venue, begins, is_asked_for, is_late, ends, resend_seconds=60 * minutes)
    assert venue.legs == []


def test_a_stop_that_could_not_be_recorded_is_not_sent_when_it_can_be(store: Store) -> None:
    with Lease(
        store.database, ACCOUNT, holder="x", mode="paper", seconds=1.5, heartbeat_seconds=0.1
    ) as lease:
        guard = StorageGuard(lease, Room(store, 0), tell_nobody)
        sale = OrderIntent(
            "sale", uuid4(), ACCOUNT, lease.epoch, "exit", 0, "T", None, 1.0, 1.0, moment_of(0)
        )
        stop = replace(sale, client_order_id="stop", stop_price=0.9)
        assert guard.refused(WritesRefused("it is read-only"), [sale, stop]) == [sale]
        left, finding = guard.accepted([sale, stop])
        assert left == []
        assert finding is not None


async def balances(venue: QuickVenue) -> dict[str, float]:
    return dict(await venue.balances())


def test_a_session_that_was_overtaken_while_it_could_not_write_sends_nothing_more(
    store: Store, read_only: Callable[[bool], None]
) -> None:
    venue = QuickVenue()
    phases = Phases(store, venue, read_only)

    def overtaken(session: LiveSession) -> bool | Happens:
        with store.database.connect("trade_writer") as other:
            other.execute("SET TRANSACTION READ WRITE")
            assert other.execute(
                "SELECT trade.take_lease(%s, 'another', 'paper', 10, true)", (ACCOUNT,)
            ).fetchone() == (2,)
        return lambda session: session._lease.lost is not None

    with pytest.raises(LeaseLost, match="epoch 1 was taken over"):
        trade(store, venue, phases.begins, overtaken)
    assert phases.during() == []


def test_a_standby_proves_nothing_about_a_lease(
    store: Store, read_only: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(
        store.database, ACCOUNT, holder="x", mode="paper", seconds=0.6, heartbeat_seconds=0.1
    ) as lease:
        read_only(True)
        wait_for(lambda: lease.refused is not None)
        real = psycopg.Connection.execute

        def standby(self: Any, query: Any, *given: Any, **named: Any) -> Any:
            query = (
                query.replace("pg_is_in_recovery()", "true") if isinstance(query, str) else query
            )
            return real(self, query, *given, **named)

        monkeypatch.setattr(psycopg.Connection, "execute", standby)
        with pytest.raises(LeaseLost, match="was not renewed"):
            wait_for(lambda: lease.require() is not None)
        read_only(False)


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own in memory."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, but_megabytes: float) -> Path:
    """Leave so much of a disk."""
    ballast = disk / "ballast"
    size = shutil.disk_usage(disk).free - int(but_megabytes * 1e6)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


@dataclass(frozen=True, slots=True)
class Small:
    """A store with a small disk for its database and one for its artifacts."""

    store: Store
    disks: dict[str, Path]


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with (
        small_disk(tmp_path_factory.mktemp("small") / "disk", 320) as disk,
        EmbeddedPostgres(disk / "postgres") as running,
    ):
        Database.embedded(running.folder).close()
        yield running


@pytest.fixture
def small(small_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Small]:
    with (
        small_disk(tmp_path / "artifacts", 64) as artifacts,
        create_database(small_server) as database,
    ):
        store = Store(database, ArtifactStore(str(artifacts)))
        yield Small(store, {"database": small_server.folder.parent, "artifacts": artifacts})


def test_a_disk_that_is_really_full_stops_entries_and_no_exit(small: Small) -> None:
    venue, disk = QuickVenue(), small.disks["database"]

    def switch(full: bool) -> None:
        if full:
            fill(disk, but_megabytes=0)
        else:
            (disk / "ballast").unlink()

    phases = Phases(small.store, venue, switch)

    def begins(session: LiveSession) -> bool | Happens:
        # A heartbeat takes no room, and the lease holds.
        return bool(phases.begins(session))

    done = trade(small.store, venue, begins, phases.ends, phases.goes_on, limits={"min_free_mb": 0})
    assert set(phases.during()) == {"exit"}
    assert "entry" in phases.afterwards()
    require_all_recorded(small.store, venue)
    [finding] = [one for one in done.findings if one.kind == "writes_refused"]
    assert "its disk is full" in str(finding.facts["why"])


@pytest.mark.parametrize("which", ["database", "artifacts"])
def test_little_room_stops_entries_and_what_goes_on_is_recorded(small: Small, which: str) -> None:
    venue, store, disk = QuickVenue(), small.store, small.disks[which]
    told: list[Any] = []

    def low(session: LiveSession) -> bool | Happens:
        if open_positions(session) < 3:
            return False
        fill(disk, but_megabytes=20 if which == "database" else 0)
        venue.legs.append("refused")
        return lambda session: session._storage.refusal() == "disk_low"

    def room(session: LiveSession) -> bool | Happens:
        if phases.during().count("exit") < 2:
            return False
        if which == "artifacts":
            with pytest.raises(OSError, match="No space left"):
                store.artifacts.put(b"an answer that does not fit")
        session._tell()
        session._lease.renew()
        with store.database.connect("trade_reader") as connection:
            told.append(live_status(connection)[0]["no_entries"])
        (disk / "ballast").unlink()
        venue.legs.append("taken")
        return accepted

    phases = Phases(store, venue, lambda _: None)
    done = trade(store, venue, low, room, phases.goes_on, limits={"min_free_mb": 40})
    assert set(phases.during()) == {"exit"}
    assert "entry" in phases.afterwards()
    require_all_recorded(store, venue)
    reasons = Counter(reason for (reason,) in ask(store, "SELECT reason FROM trade.candidates"))
    assert reasons["disk_low"] > 0
    assert {one.kind for one in done.findings} == {"start"}
    folder = store.database.folder if which == "database" else store.artifacts.folder
    assert told[0].startswith(f"the disk of the {which} ({folder}) has ")
    assert told[0].endswith(" MB left, least 40")
