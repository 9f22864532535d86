"""What the records say and what the venue says, compared; recovery is nothing else.

Everything that is found is written.  What explains itself is booked; what does not stops entries.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from trade_pipeline.core.execution.book import Position
from trade_pipeline.core.execution.venue import Order
from trade_pipeline.core.execution.venue_errors import OrderUnknown, VenueContradiction
from trade_pipeline.core.ids import client_order_id
from trade_pipeline.core.live.desk import Desk
from trade_pipeline.core.live.engine import LiveEngine
from trade_pipeline.core.live.ports import OrderState, OrderVenue, VenueFill
from trade_pipeline.core.live.sender import Sender
from trade_pipeline.core.market.event import Instrument
from trade_pipeline.core.session.trading import Trading

log = logging.getLogger("trade_pipeline.live")
# Fees taken in tokens and amounts in whole steps make small differences.
TOLERANCE = 0.01
_A_DAY = 86_400_000_000
# So many numbers in a row may be missing among the exits of a trade.
_UNKNOWN = 8
Facts = dict[str, float | int | bool | str]


@dataclass(frozen=True, slots=True)
class Finding:
    """See `Reconciliation`."""

    kind: str
    explained: bool
    client_order_id: str | None = None
    instrument: str | None = None
    facts: Facts = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        """The same thing found again has the same one."""
        return self.kind, self.client_order_id, self.instrument


@dataclass(slots=True)
class Seen:
    """What the venue said when it was asked about everything.

    Attributes:
        orders: of each that was unfinished; None: it does not stand, and never will.
        missing: those that the venue does not know, and that may still come.
        late: fills of instruments of which an order had ended without being filled whole.
        booked: tokens by instrument in the records then; ``busy``: those with orders on their way.
        sales: of instruments of which less was held than booked.
        unrecorded: exits that a session sent which died while the database took no writes, with
            their numbers, by the trade.
    """

    orders: dict[str, OrderState | VenueContradiction | None] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    open: Sequence[OrderState] = ()
    late: Sequence[VenueFill] = ()
    held: Mapping[str, float] = field(default_factory=dict)
    booked: dict[str, float] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    sales: dict[str, Sequence[VenueFill]] = field(default_factory=dict)
    unrecorded: dict[UUID, list[tuple[int, OrderState]]] = field(default_factory=dict)


@dataclass(slots=True)
class Reconciler:
    """Compares an account with its venue: `look` asks and changes nothing, `compare` books.

    Args:
        patience: microseconds within which an entry that never arrived is sent again.

    Attributes:
        adopted: client order ids of exits that had been sent before their intents were recorded.
    """

    engine: LiveEngine
    desk: Desk
    venue: OrderVenue
    instruments: Sequence[Instrument]
    sender: Sender
    patience: int
    adopted: set[str] = field(default_factory=set)
    _suspected: set[tuple[str, str | None, str | None]] = field(default_factory=set)

    async def look(self, at: int, *, starting: bool = False) -> Seen:
        """Ask the venue; trading goes on meanwhile.

        Args:
            starting: see `compare`.

        Raises:
            VenueUnavailable: it cannot be asked now.
        """
        seen = Seen()
        seen.booked, seen.busy = self._booked()
        opened: dict[str, int] = {}
        for _, position in self.engine.positions():
            name = self.instruments[position.token].name
            if name not in seen.busy:
                opened[name] = min(opened.get(name, position.opened_at), position.opened_at)
        for _, _, order, name in self._unfinished():
            try:
                seen.orders[order.order_id] = await self.venue.fetch(order.order_id, name)
            except VenueContradiction as error:
                seen.orders[order.order_id] = error
            except OrderUnknown:
                if self._is_lost(order, at):
                    seen.orders[order.order_id] = await self.sender.resolve(order)
                else:
                    seen.missing.add(order.order_id)
        seen.open = await self.venue.open_orders()
        orders = self.engine.orders
        ended = {orders.instrument[name] for name in orders.refused if name in orders.instrument}
        seen.late = await self.venue.fills_since(at - _A_DAY, ended)
        seen.held = await self.venue.balances()
        for name, at in opened.items():
            if seen.held.get(name, 0.0) < seen.booked[name] * (1 - TOLERANCE):
                seen.sales[name] = await self.venue.fills_since(at, [name])
        if starting:
            await self._look_for_unrecorded(seen)
        return seen

    async def _look_for_unrecorded(self, seen: Seen) -> None:
        """Ask for exits by the names that follow from the trades of which something is missing."""
        expected = dict(seen.booked)
        for _, _, order, name in self._unfinished():
            state = seen.orders.get(order.order_id)
            if isinstance(state, OrderState):
                new = sum(fill.tokens for fill in state.fills[order.fills :])
                expected[name] += new if order.leg == "entry" else -new
        for _, position in self.engine.positions():
            name = self.instruments[position.token].name
            if seen.held.get(name, 0.0) >= expected[name] * (1 - TOLERANCE):
                continue
            found = []
            number, unknown = position.attempts, 0
            # Numbers are missing among them: of stops, and of exits that never arrived.
            while unknown < _UNKNOWN:
                order_id = client_order_id(position.uuid, "exit", number)
                try:
                    found.append((number, await self.venue.fetch(order_id, name)))
                    unknown = 0
                except OrderUnknown:
                    unknown += 1
                except VenueContradiction as error:
                    log.warning("order %s: %s", order_id, error)
                    break
                number += 1
            if found:
                seen.unrecorded[position.uuid] = found

    async def compare(self, seen: Seen, at: int, *, starting: bool) -> list[Finding]:
        """Everything that is found at a moment; what explains itself is booked already.

        Args:
            starting: nothing is on its way, so a difference is one; otherwise it must last until
                the next look.
        """
        found: list[Finding] = []
        for _, position in self.engine.positions():
            for number, state in reversed(seen.unrecorded.get(position.uuid, ())):
                self.adopted.add(state.client_order_id)
                # An exit that what is heard now leads to is the one that was sent.
                position.attempts = number
        rests = self.desk.rests_stops
        # Not before it is known what was sold.
        self.desk.rests_stops = rests and not starting
        for trading, position, order, name in self._unfinished():
            if order.order_id in seen.missing:
                found += await self._missing(order, name, at, starting)
            elif order.order_id in seen.orders:
                found += await self._order(trading, position, order, name, seen, at, starting)
        found += await self._adopt(seen, at)
        self.desk.rests_stops = rests
        for state in seen.open:
            if state.client_order_id not in self.engine.orders.instrument:
                found.append(
                    Finding("unknown_order", False, state.client_order_id, state.instrument,
                            {"leg": state.leg, "fills": len(state.fills)})
                )  # fmt: skip
        found += self._late_fills(seen)
        found += self._holdings(seen, at)
        lasting = [one for one in found if one.explained or starting or one.key in self._suspected]
        self._suspected = {one.key for one in found if not one.explained}
        return lasting

    async def _adopt(self, seen: Seen, at: int) -> list[Finding]:
        """Book exits that were sent and never recorded, each with an intent of its own."""
        found = []
        for trading, position in list(self.engine.positions()):
            for number, state in seen.unrecorded.get(position.uuid, ()):
                sold_out = trading.book.positions.get(position.token) is not position
                # A replay that is read again meets the purchase at its time.
                if sold_out or not position.tokens:
                    break
                if position.exit_order is None:
                    trading.adopt_exit(position.token, number, at)
                self.desk.hear(state)
                trading.heard(position.token, at)
                if not state.has_ended:
                    await self.sender.follow(state.client_order_id, state.instrument)
                facts: Facts = {"status": state.status, "fills": len(state.fills)}
                found.append(
                    Finding("sold_unrecorded", True, state.client_order_id, state.instrument, facts)
                )
        return found

    def _unfinished(self) -> list[tuple[Trading, Position, Order, str]]:
        return [
            (trading, position, order, self.instruments[position.token].name)
            for trading, position in self.engine.positions()
            for order in (position.entry_order, position.exit_order)
            if order is not None
        ]

    def _is_lost(self, order: Order, at: int) -> bool:
        """Whether an order that the venue does not know is sent no more."""
        if order.trigger_price is not None:
            return order.order_id not in self.sender.on_their_way
        return order.leg == "entry" and self._is_late(order, at)

    def _is_late(self, order: Order, at: int) -> bool:
        on_its_way = order.order_id in self.sender.on_their_way
        return not on_its_way and at - order.submitted_at > self.patience

    async def _order(
        self, trading: Trading, position: Position, order: Order, name: str, seen: Seen, at: int,
        starting: bool,
    ) -> list[Finding]:  # fmt: skip
        state = seen.orders[order.order_id]
        if isinstance(state, VenueContradiction):
            return [Finding("contradiction", False, order.order_id, name, {"says": str(state)})]
        if state is None:
            self.desk.hear(
                OrderState(order.order_id, name, order.leg, "rejected", at, why="not sent in time")
            )
            trading.heard(position.token, at)
            return [
                Finding("never_arrived", True, order.order_id, name, {"leg": order.leg}),
                Finding("lapsed", True, order.order_id, name),
            ]
        if state.changed_at > at:
            # A replay that is read again meets it at its time.
            return []
        if not state.has_ended:
            await self.sender.follow(order.order_id, name)
            rests = order.leg == "entry" or order.trigger_price is not None
            if rests and position.exit_reason is not None:
                # The venue did not hear that it was taken back.
                await self.sender.cancel(order.order_id, name)
        new = len(state.fills) - order.fills
        found_here = []
        if new > 0:
            facts: Facts = {"leg": order.leg, "fills": new}
            found_here.append(Finding("filled_while_away", True, order.order_id, name, facts))
        if state.status in ("cancelled", "rejected"):
            facts = {"leg": order.leg, "status": state.status, "why": state.why or ""}
            found_here.append(Finding("ended_while_away", True, order.order_id, name, facts))
        if found_here:
            self.desk.hear(state)
            trading.heard(position.token, at)
        # A session that runs hears of its orders anyway, and this is how.
        return found_here if starting else []

    async def _missing(self, order: Order, name: str, at: int, starting: bool) -> list[Finding]:
        """An order that the venue does not know, and that is still wanted.

        An entry only at the start: while a session runs, it may be one that nobody could record,
        and one that is late lapses (see `_is_lost`), although it was not late at the look.
        """
        late = self._is_late(order, at)
        wanted = starting and not late if order.leg == "entry" else starting or late
        if order.order_id in self.sender.on_their_way or not wanted:
            return []
        await self.sender.send_again(order)
        return [
            Finding("never_arrived", True, order.order_id, name, {"leg": order.leg}),
            Finding("sent_again", True, order.order_id, name),
        ]

    def _late_fills(self, seen: Seen) -> list[Finding]:
        """Fills of orders of ours that had ended, as far as the records know."""
        orders = self.engine.orders
        fills: dict[str, list[VenueFill]] = {}
        for one in seen.late:
            if one.client_order_id is not None and one.client_order_id in orders.refused:
                fills.setdefault(one.client_order_id, []).append(one)
        return [
            Finding("filled_after_cancel", False, name, several[0].instrument,
                    {"fills": len(several), "tokens": sum(one.fill.tokens for one in several)})
            for name, several in fills.items()
            if len(several) > orders.fills[name]
        ]  # fmt: skip

    def _booked(self) -> tuple[dict[str, float], set[str]]:
        """Tokens by instrument, and the instruments with orders on their way."""
        booked: dict[str, float] = {}
        busy: set[str] = set()
        for _, position in self.engine.positions():
            name = self.instruments[position.token].name
            booked[name] = booked.get(name, 0.0) + position.tokens
            if position.entry_order is not None or position.exit_order is not None:
                busy.add(name)
        return booked, busy

    def _holdings(self, seen: Seen, at: int) -> list[Finding]:
        orders = self.engine.orders
        largest, given_up = orders.largest, orders.given_up
        booked, busy = self._booked()
        busy |= seen.busy
        # What an account holds of instruments that it never traded is not its business.
        found = []
        for name in sorted({*orders.instrument.values(), *booked} - busy):
            ours, theirs = booked.get(name, 0.0), seen.held.get(name, 0.0)
            if ours != seen.booked.get(name, 0.0):
                # It was traded while the venue was asked.
                continue
            # What closed trades left may still be there, or not.
            theirs -= min(max(0.0, theirs - ours), given_up.get(name, 0.0))
            if abs(ours - theirs) <= TOLERANCE * max(ours, largest.get(name, 0.0)):
                continue
            facts: Facts = {"booked": ours, "held": theirs}
            by_hand = [
                one
                for one in seen.sales.get(name, ())
                if one.leg == "exit" and one.client_order_id not in orders.instrument
            ]
            if by_hand and theirs <= TOLERANCE * ours:
                self._book_by_hand(name, by_hand, at)
                found.append(Finding("closed_by_hand", True, None, name, facts))
            else:
                found.append(Finding("balance_differs", False, None, name, facts))
        return found

    def _book_by_hand(self, name: str, fills: Iterable[VenueFill], at: int) -> None:
        for trading, position in self.engine.positions():
            if self.instruments[position.token].name == name:
                trading.sold_by_hand(position.token, [(o.order_id, o.fill) for o in fills], at)
