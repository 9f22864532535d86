"""Sends what is durable, and only while the lease is certainly held."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.execution.venue import Order
from trade_pipeline.core.execution.venue_errors import (
    OrderUnknown,
    StopReached,
    VenueContradiction,
    VenueRefused,
    VenueUnavailable,
)
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.desk import Desk
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.ports import OrderState, OrderVenue
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.market.event import Instrument

log = logging.getLogger("trade_pipeline.live")
# Seconds between two looks at an order that the venue has not finished: longer each time.
_SOON, _LATER = 0.1, 5.0


class Sender:
    """Hands orders to the venue.

    A simulated venue answers at once and is told of the market by the session; a real one answers
    when it does, and nobody waits for it.

    Args:
        told: called with each answer of a real venue.

    Attributes:
        simulated: the venue is one.
        on_their_way: client order ids that are being sent now.
        followed: those of open orders that are asked for until they end.
    """

    def __init__(
        self,
        venue: OrderVenue,
        lease: Lease,
        desk: Desk,
        instruments: Sequence[Instrument],
        clock: Clock,
        told: Callable[[OrderState], None],
    ) -> None:
        self._venue, self._lease, self._desk = venue, lease, desk
        self._instruments, self._clock, self._told = instruments, clock, told
        self.simulated = getattr(venue, "reach", None) is not None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self.on_their_way: set[str] = set()
        self.followed: set[str] = set()

    def require_working(self) -> None:
        """Raises what made a sending fail that nobody waited for."""
        if self._failure is not None:
            raise self._failure

    async def send(self, intent: OrderIntent) -> None:
        """Send an order whose intent is durable.

        Raises:
            LeaseLost: it was not sent.
        """
        self.on_their_way.add(intent.client_order_id)
        await self._dispatch(self._send(intent, again=False))

    async def send_again(self, order: Order) -> None:
        """Send an order that may have been sent before, unless it stands."""
        self.on_their_way.add(order.order_id)
        await self._dispatch(self._send(self._intent(order), again=True))

    async def resolve(self, order: Order) -> OrderState | None:
        """What became of an order that may have been sent; None: it does not stand, ever."""
        return await self._venue.resolve(self._intent(order))

    async def cancel(self, name: str, instrument: str) -> None:
        """Cancel an order."""
        await self._dispatch(self._cancel(name, instrument))

    async def follow(self, name: str, instrument: str) -> None:
        """Ask for an open order until it has ended; a simulated venue tells by itself."""
        if not self.simulated and name not in self.followed:
            self.followed.add(name)
            await self._dispatch(self._follow(name, instrument))

    async def wait(self, seconds: float) -> None:
        """Wait for the answers that are on their way, but not for longer."""
        end = asyncio.get_running_loop().time() + seconds
        while self.on_their_way and asyncio.get_running_loop().time() < end:
            await asyncio.wait(self._tasks, timeout=_SOON, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Wait for nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _intent(self, order: Order) -> OrderIntent:
        """The intent that an earlier session made durable, by its order."""
        entry = order.leg == "entry"
        return OrderIntent(
            order.order_id, order.uuid, self._lease.account, self._lease.epoch, order.leg,
            order.attempt, self._instruments[order.token].name,
            order.stake_usd if entry else None,
            None if entry else order.tokens, order.decision_price, moment_of(order.submitted_at),
            stop_price=order.trigger_price,
        )  # fmt: skip

    async def _dispatch(self, call: Awaitable[None]) -> None:
        if self.simulated:
            await call
            return
        task = asyncio.ensure_future(call)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    async def _send(self, intent: OrderIntent, *, again: bool) -> None:
        try:
            state = await self._venue.resolve(intent) if again else None
            if state is None:
                # Nothing may wait between this look at the lease and the sending.
                self._lease.require()
                state = await self._venue.submit(intent)
        except VenueRefused as refused:
            state = OrderState(
                intent.client_order_id, intent.instrument, intent.leg, "rejected",
                self._clock.micros(), why=str(refused),
                stop_reached=isinstance(refused, StopReached),
            )  # fmt: skip
        except (VenueUnavailable, VenueContradiction) as error:
            # What became of it is found by the next comparison with the venue.
            log.warning("order %s: %s", intent.client_order_id, error)
            return
        finally:
            self.on_their_way.discard(intent.client_order_id)
        self._answered(state)
        if not state.has_ended:
            await self.follow(intent.client_order_id, intent.instrument)

    async def _cancel(self, name: str, instrument: str) -> None:
        self._lease.require()
        try:
            state = await self._venue.cancel(name, instrument)
        except (OrderUnknown, VenueUnavailable, VenueContradiction) as error:
            log.warning("cancelling order %s: %s", name, error)
            return
        self._answered(state)

    async def _follow(self, name: str, instrument: str) -> None:
        pause, known = _SOON, None
        try:
            while known is None or not known.has_ended:
                await asyncio.sleep(pause)
                pause = min(_LATER, 2 * pause)
                try:
                    state = await self._venue.fetch(name, instrument)
                except (OrderUnknown, VenueUnavailable, VenueContradiction) as error:
                    log.warning("order %s: %s", name, error)
                    continue
                if known is None or (state.status, state.fills) != (known.status, known.fills):
                    self._answered(state)
                known = state
        finally:
            self.followed.discard(name)

    def _answered(self, state: OrderState) -> None:
        if not self.simulated:
            self._told(state)
        elif state.status == "rejected":
            self._desk.hear(state)
