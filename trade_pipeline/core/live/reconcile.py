"""What the records say and what the venue says, compared; recovery is nothing else.

Everything that is found is written.  What explains itself is booked; what does not stops entries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field

from trade_pipeline.core.execution.book import Position
from trade_pipeline.core.execution.venue import Order
from trade_pipeline.core.live.desk import Desk
from trade_pipeline.core.live.engine import LiveEngine
from trade_pipeline.core.live.ports import OrderState, OrderUnknown, OrderVenue, VenueFill
from trade_pipeline.core.market.event import Instrument
from trade_pipeline.core.session.trading import Trading

# Fees taken in tokens and amounts in whole steps make small differences.
TOLERANCE = 0.01
_A_DAY = 86_400_000_000
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
class Reconciler:
    """Compares an account with its venue.

    Args:
        send_again: sends an order whose intent is stored; None: it may no more.
        sending: client order ids that this process is sending now.
        patience: microseconds within which an entry that never arrived is sent again.
    """

    engine: LiveEngine
    desk: Desk
    venue: OrderVenue
    instruments: Sequence[Instrument]
    send_again: Callable[[Order], Awaitable[None]]
    sending: Set[str]
    patience: int
    _suspected: set[tuple[str, str | None, str | None]] = field(default_factory=set)

    async def compare(self, at: int, *, starting: bool) -> list[Finding]:
        """Everything that is found at a moment; what explains itself is booked already.

        Args:
            starting: nothing is on its way, so a difference is one; otherwise it must last until
                the next look.
        """
        found: list[Finding] = []
        for trading, position in self.engine.positions():
            for order in (position.entry_order, position.exit_order):
                if order is not None:
                    found += await self._order(trading, position, order, at, starting)
        for state in await self.venue.open_orders():
            if state.client_order_id not in self.engine.orders.instrument:
                found.append(
                    Finding("unknown_order", False, state.client_order_id, state.instrument,
                            {"leg": state.leg, "fills": len(state.fills)})
                )  # fmt: skip
        found += await self._late_fills(at)
        found += await self._holdings(at)
        lasting = [one for one in found if one.explained or starting or one.key in self._suspected]
        self._suspected = {one.key for one in found if not one.explained}
        return lasting

    async def _order(
        self, trading: Trading, position: Position, order: Order, at: int, starting: bool
    ) -> list[Finding]:
        name = self.instruments[position.token].name
        try:
            state = await self.venue.fetch(order.order_id)
        except OrderUnknown:
            late = at - order.submitted_at > self.patience
            if order.order_id in self.sending or not (starting or late):
                # It may be on its way.
                return []
            found = Finding("never_arrived", True, order.order_id, name, {"leg": order.leg})
            if order.leg == "exit" or not late:
                await self.send_again(order)
                return [found, Finding("sent_again", True, order.order_id, name)]
            self.desk.hear(
                OrderState(order.order_id, name, order.leg, "rejected", at, why="not sent in time")
            )
            trading.heard(position.token, at)
            return [found, Finding("lapsed", True, order.order_id, name)]
        if state.changed_at > at:
            # A replay that is read again meets it at its time.
            return []
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

    async def _late_fills(self, at: int) -> list[Finding]:
        """Fills of orders of ours that had ended, as far as the records know."""
        orders = self.engine.orders
        fills: dict[str, list[VenueFill]] = {}
        for one in await self.venue.fills_since(at - _A_DAY):
            if one.client_order_id is not None and one.client_order_id in orders.refused:
                fills.setdefault(one.client_order_id, []).append(one)
        return [
            Finding("filled_after_cancel", False, name, several[0].instrument,
                    {"fills": len(several), "tokens": sum(one.fill.tokens for one in several)})
            for name, several in fills.items()
            if len(several) > orders.fills[name]
        ]  # fmt: skip

    async def _holdings(self, at: int) -> list[Finding]:
        held, orders = await self.venue.balances(), self.engine.orders
        largest, given_up = orders.largest, orders.given_up
        booked: dict[str, float] = {}
        busy: set[str] = set()
        for _, position in self.engine.positions():
            name = self.instruments[position.token].name
            booked[name] = booked.get(name, 0.0) + position.tokens
            if position.entry_order is not None or position.exit_order is not None:
                busy.add(name)
        # What an account holds of instruments that it never traded is not its business.
        found = []
        for name in sorted({*self.engine.orders.instrument.values(), *booked} - busy):
            ours, theirs = booked.get(name, 0.0), held.get(name, 0.0)
            # What was written off may still be there, or not.
            theirs -= min(max(0.0, theirs - ours), given_up.get(name, 0.0))
            if abs(ours - theirs) <= TOLERANCE * max(ours, largest.get(name, 0.0)):
                continue
            facts: Facts = {"booked": ours, "held": theirs}
            by_hand = await self._by_hand(name, at) if theirs < ours else []
            if by_hand and theirs <= TOLERANCE * ours:
                self._book_by_hand(name, by_hand, at)
                found.append(Finding("closed_by_hand", True, None, name, facts))
            else:
                found.append(Finding("balance_differs", False, None, name, facts))
        return found

    async def _by_hand(self, name: str, at: int) -> list[VenueFill]:
        opened = min(
            p.opened_at
            for _, p in self.engine.positions()
            if self.instruments[p.token].name == name
        )
        return [
            one
            for one in await self.venue.fills_since(opened)
            if one.instrument == name and one.leg == "exit"
            and one.client_order_id not in self.engine.orders.instrument
        ]  # fmt: skip

    def _book_by_hand(self, name: str, fills: Iterable[VenueFill], at: int) -> None:
        for trading, position in self.engine.positions():
            if self.instruments[position.token].name == name:
                trading.sold_by_hand(position.token, [(o.order_id, o.fill) for o in fills], at)
