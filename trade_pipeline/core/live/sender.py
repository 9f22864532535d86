"""Sends what is durable, and only while the lease is certainly held."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.execution.venue import Order
from trade_pipeline.core.ids import client_order_id, moment_of
from trade_pipeline.core.live.desk import Desk
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.ports import (
    OrderState,
    OrderUnknown,
    OrderVenue,
    VenueRefused,
    VenueUnavailable,
)
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.market.event import Instrument

log = logging.getLogger("trade_pipeline.live")


class Sender:
    """Hands orders to the venue.

    A simulated venue answers at once and is told of the market by the session; a real one answers
    when it does, and nobody waits for it.

    Args:
        told: called with each answer of a real venue.

    Attributes:
        on_their_way: client order ids that are being sent now.
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
        self._simulated = getattr(venue, "reach", None) is not None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self.on_their_way: set[str] = set()

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
        await self._dispatch(self._send(intent))

    async def send_again(self, order: Order) -> None:
        """Send an order whose intent an earlier session made durable."""
        attempt = 0
        while client_order_id(order.uuid, order.leg, attempt) != order.order_id:
            attempt += 1
        entry = order.leg == "entry"
        intent = OrderIntent(
            order.order_id, order.uuid, self._lease.account, self._lease.epoch, order.leg, attempt,
            self._instruments[order.token].name, order.stake_usd if entry else None,
            None if entry else order.tokens, order.decision_price, moment_of(order.submitted_at),
        )  # fmt: skip
        await self.send(intent)

    async def cancel(self, name: str) -> None:
        """Cancel an order."""
        await self._dispatch(self._cancel(name))

    async def wait(self, seconds: float) -> None:
        """Wait for the answers that are on their way, but not for longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Wait for nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _dispatch(self, call: Awaitable[None]) -> None:
        if self._simulated:
            await call
            return
        task = asyncio.ensure_future(call)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    async def _send(self, intent: OrderIntent) -> None:
        try:
            # Nothing may wait between this look at the lease and the sending.
            self._lease.require()
            state = await self._venue.submit(intent)
        except VenueRefused as refused:
            state = OrderState(
                intent.client_order_id, intent.instrument, intent.leg, "rejected",
                self._clock.micros(), why=str(refused),
            )  # fmt: skip
        except VenueUnavailable as error:
            # Whether it stands is found by the next comparison with the venue.
            log.warning("order %s: %s", intent.client_order_id, error)
            return
        finally:
            self.on_their_way.discard(intent.client_order_id)
        self._answered(state)

    async def _cancel(self, name: str) -> None:
        self._lease.require()
        try:
            state = await self._venue.cancel(name)
        except (OrderUnknown, VenueUnavailable) as error:
            log.warning("cancelling order %s: %s", name, error)
            return
        self._answered(state)

    def _answered(self, state: OrderState) -> None:
        if not self._simulated:
            self._told(state)
        elif state.status == "rejected":
            self._desk.hear(state)
