"""A venue elsewhere that fills every order at once, and a market during which things happen."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from trade_pipeline.core.execution.venue import Fill
from trade_pipeline.core.execution.venue_errors import InsufficientFunds, OrderUnknown
from trade_pipeline.core.ids import micros
from trade_pipeline.core.live.feed import ReplayFeed
from trade_pipeline.core.live.ports import LiveBatch, OrderState, VenueFill
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.live.session import LiveSession

PATIENCE = 30.0
Happens = Callable[[LiveSession], bool]
Step = Callable[[LiveSession], bool | Happens]


class QuickVenue:
    """Keeps its own books, as an exchange does; ``sent`` counts how often each order came."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderState] = {}
        self.sent: Counter[str] = Counter()
        # Legs in the order in which they came.
        self.legs: list[str] = []

    async def submit(self, intent: OrderIntent) -> OrderState:
        self.sent[intent.client_order_id] += 1
        self.legs.append(intent.leg)
        await self.require_tokens(intent)
        return self.fill(intent)

    async def require_tokens(self, intent: OrderIntent) -> None:
        """Refuse to sell what is not held.

        Raises:
            InsufficientFunds: it is not.
        """
        held = (await self.balances()).get(intent.instrument, 0.0)
        if intent.tokens is not None and intent.tokens > held * 1.0001:
            raise InsufficientFunds(intent.instrument)

    def fill(self, intent: OrderIntent) -> OrderState:
        """Fill an order in full, at the price of its decision."""
        at, price = micros(intent.submitted_at), intent.decision_price
        tokens = intent.tokens or (intent.stake_usd or 0.0) / price
        fill = Fill(at, price, tokens, tokens * price, {"fee": 0.1}, {}, 0.0, True)
        state = OrderState(
            intent.client_order_id, intent.instrument, intent.leg, "filled", at, (fill,)
        )
        self.orders[intent.client_order_id] = state
        return state

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
            VenueFill(name, f"venue's {name}", order.instrument, order.leg, fill)
            for name, order in self.orders.items()
            for fill in order.fills
            if fill.at >= moment and order.instrument in instruments
        ]

    async def balances(self) -> Mapping[str, float]:
        held: dict[str, float] = {}
        for order in self.orders.values():
            for fill in order.fills:
                signed = fill.tokens if order.leg == "entry" else -fill.tokens
                held[order.instrument] = held.get(order.instrument, 0.0) + signed
        return held

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        return await self.fetch(client_order_id, instrument)


class EventfulFeed(ReplayFeed):
    """A replay before each of whose batches something may happen.

    Each step is called until it gives True, or what has to become true before the market goes on;
    then the next one is.  After the last one the market is over.
    """

    session: LiveSession
    steps: list[Step]

    @classmethod
    def of(cls, feed: ReplayFeed, *steps: Step) -> EventfulFeed:
        made = cls.__new__(cls)
        made.__dict__.update(feed.__dict__)
        made.steps = list(steps)
        return made

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        last = None
        async for batch in super().read(since, resume):
            if not batch.warm_up:
                if last is not None:
                    await self.wait_for(self._is_done_with(last))
                if self.steps and (done := self.steps[0](self.session)):
                    del self.steps[0]
                    if done is not True:
                        await self.wait_for(done)
                    if not self.steps:
                        break
                last = batch.upto
            yield batch
        # Nothing that waits for the database is left behind.
        await self.wait_for(lambda session: not session._storage.refuses)

    @staticmethod
    def _is_done_with(upto: int) -> Happens:
        return lambda session: session._reached >= upto and not session._sender.on_their_way

    async def wait_for(self, true: Happens) -> None:
        end = time.monotonic() + PATIENCE
        while not true(self.session):
            assert time.monotonic() < end, "it never came to that"
            await asyncio.sleep(0.001)
