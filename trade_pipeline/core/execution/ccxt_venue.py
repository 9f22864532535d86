"""An exchange account through ccxt.

An order is never sent twice on a guess.  When an answer was lost, the order is looked up by its
client order id; it is taken for one that never came only when it is unknown after the exchange's
window for late requests has passed, and only then is it sent again.  A venue that refuses a second
order of the same id is a second line of defence: Binance refuses it only while the first is open.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.execution.ccxt_answers import fill_of, last_price, order_of, rules_of
from trade_pipeline.core.execution.ccxt_client import (
    Meaning,
    VenueAccount,
    fence,
    meaning_of,
    open_client,
    told,
)
from trade_pipeline.core.execution.exchange_venue import Holding, InstrumentRules
from trade_pipeline.core.execution.orders import (
    OrderFill,
    OrderIntent,
    OrderState,
    place,
    with_fills,
)
from trade_pipeline.core.execution.rate_limit import RateLimit, urgent
from trade_pipeline.core.execution.venue_errors import (
    OrderUnknown,
    VenueContradiction,
    VenueError,
    VenueRefused,
    VenueUnavailable,
)
from trade_pipeline.core.ids import micros, moment_of

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
PAGE = 1_000
CLOCKS_APART = timedelta(seconds=1)
# Units of ccxt's cost that may be spent at once.
BURST = 20.0


class CcxtVenue:
    """An `ExchangeVenue`; every call may be made from any task of one event loop."""

    def __init__(self, account: VenueAccount, may_trade: Callable[[], None] | None = None) -> None:
        """A client that has not connected yet.

        Args:
            may_trade: asked after an order is stamped with the time and before it is sent; what it
                raises is raised, and nothing is sent.  The exchange refuses what arrives longer
                after its stamp than the window, so nothing that was allowed arrives much later.

        Raises:
            BadConfig: see `open_client`.
        """
        self._account = account
        self._client: Any = open_client(account)
        self._limit = RateLimit(1_000 / self._client.rateLimit, BURST)
        self._client.throttle = self._limit.take
        if may_trade is not None:
            fence(self._client, may_trade)

    async def close(self) -> None:
        """End its connections."""
        await self._client.close()

    async def server_time(self) -> datetime:
        """The venue's clock."""
        return moment_of(1_000 * int(await self._ask(self._client.fetch_time)))

    async def instrument_rules(self, symbol: str) -> InstrumentRules:
        """What the venue accepts of a symbol; see `ExchangeVenue`."""
        await self._ask(self._client.load_markets)
        if symbol not in self._client.markets:
            raise VenueRefused(f"{self._account.exchange}: {symbol} is not traded here")
        market = self._client.market(symbol)
        feature = self._client.feature_value
        # Where stops are kept apart from orders, the calls of this class do not find them: one that
        # stands would be taken for one that never came, and be sent again.
        apart = any(feature(symbol, call, "trigger") for call in ("fetchOrder", "fetchOpenOrders"))
        return rules_of(market, bool(feature(symbol, "createOrder", "stopLossPrice")) and not apart)

    async def balances(self) -> Mapping[str, Holding]:
        """What the account holds, by asset."""
        answer = await self._ask(self._client.fetch_balance)
        return {
            asset: Holding(Decimal(held["free"]), Decimal(held["used"]))
            for asset, held in answer.items()
            if isinstance(held, dict) and held.get("free") is not None and "used" in held
        }

    async def open_orders(self, symbol: str | None = None) -> list[OrderState]:
        """Orders that can still be filled, without their fills."""

        async def ask() -> list[OrderState]:
            return [order_of(answer) for answer in await self._client.fetch_open_orders(symbol)]

        return await self._ask(ask)

    async def fetch(
        self, client_order_id: str, symbol: str, *, is_urgent: bool = False
    ) -> OrderState:
        """An order with its fills; see `ExchangeVenue`."""

        async def ask() -> OrderState:
            params = {"clientOrderId": client_order_id}
            return order_of(await self._client.fetch_order("", symbol, params))

        return await self._with_fills(await self._ask(ask, is_urgent), is_urgent)

    async def fills_since(self, symbol: str, moment: datetime) -> list[OrderFill]:
        """Every fill of the account in a symbol at a moment or later, each once."""
        return await self._fills(symbol, moment)

    async def cancel(self, client_order_id: str, symbol: str) -> OrderState:
        """Cancel an order; see `ExchangeVenue`."""

        async def ask() -> None:
            await self._client.cancel_order("", symbol, {"clientOrderId": client_order_id})

        # Unknown to be open: it had ended already, perhaps by a try whose answer was lost.
        with suppress(OrderUnknown):
            await self._ask(ask, is_urgent=True)
        return await self.fetch(client_order_id, symbol, is_urgent=True)

    async def replace(
        self, client_order_id: str, new: OrderIntent
    ) -> tuple[OrderState, OrderState | None]:
        """Cancel an order and send another; see `ExchangeVenue`."""
        old = await self.cancel(client_order_id, new.symbol)
        return old, None if old.filled else await self.submit(new)

    async def submit(self, intent: OrderIntent) -> OrderState:
        """Send an order; see `ExchangeVenue`."""
        wanted = (await self.instrument_rules(intent.symbol)).accepted(intent)
        is_exit, until = intent.leg == "exit", self._now() + self._account.deadline_seconds
        for attempt in count():
            answer = await self._send(wanted, is_exit, until)
            if isinstance(answer, OrderState):
                return await self._with_known_fills(answer, is_exit)
            meaning, error = answer
            if meaning is Meaning.REFUSED:
                raise error
            if meaning in (Meaning.UNSURE, Meaning.DUPLICATE):
                if (found := await self.resolve(wanted)) is not None:
                    return found
            elif meaning is Meaning.LATE_CLOCK:
                await self._ask(self._client.load_time_difference, is_exit)
            await self._back_off(attempt, until, error, meaning)
        raise AssertionError("unreachable")

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        """What became of an order whose answer was lost; see `ExchangeVenue`."""
        too_old = self._now() + self._account.window_seconds
        for attempt in count():
            # Only a look-up that began after the window has the last word.
            is_last = self._now() > too_old
            try:
                return await self.fetch(intent.client_order_id, intent.symbol, is_urgent=True)
            except OrderUnknown:
                if is_last:
                    return None
            except VenueUnavailable as error:
                raise VenueUnavailable(str(error), may_stand=True) from None
            await asyncio.sleep(min(_waits(attempt), max(0.01, too_old - self._now())))
        raise AssertionError("unreachable")

    async def client_order_id(self, order_id: str, symbol: str) -> str:
        """The client order id of an order by the venue's own id.

        Raises:
            OrderUnknown: the venue knows none of this id.
        """

        async def ask() -> str:
            return order_of(await self._client.fetch_order(order_id, symbol)).client_order_id

        return await self._ask(ask)

    async def price(self, symbol: str) -> Decimal:
        """The price of a symbol's last trade.

        Raises:
            VenueRefused: it is not traded here.
        """
        await self.instrument_rules(symbol)

        async def ask() -> Decimal:
            return last_price(await self._client.fetch_ticker(symbol))

        return await self._ask(ask)

    async def _send(
        self, intent: OrderIntent, is_exit: bool, until: float
    ) -> OrderState | tuple[Meaning, VenueError]:
        """Send an order once."""
        params = {"clientOrderId": intent.client_order_id}
        if intent.stop_price is not None:
            params["stopLossPrice"] = format(intent.stop_price, "f")
        kind = "market" if intent.price is None else "limit"
        price = None if intent.price is None else format(intent.price, "f")
        amount = format(intent.amount, "f")
        try:
            async with asyncio.timeout_at(until):
                with urgent(is_exit):
                    answer = await self._client.create_order(
                        intent.symbol, kind, intent.side, amount, price, params
                    )
            return order_of(answer)
        except TradePipelineError:
            # It may not be sent.
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the order may stand)
            return meaning_of(error), told(error, self._account)

    async def _with_known_fills(self, state: OrderState, is_exit: bool) -> OrderState:
        """An accepted order, with its fills where the venue tells them in time."""
        try:
            return await self._with_fills(state, is_exit)
        except VenueUnavailable:
            # The order stands all the same; `fetch` tells its fills later.
            return state

    async def _with_fills(self, state: OrderState, is_urgent: bool) -> OrderState:
        if state.filled == 0:
            return state
        # The venue's clocks may differ a little from each other.
        since = state.created_at - CLOCKS_APART if state.created_at is not None else None
        return with_fills(state, await self._fills(state.symbol, since, is_urgent))

    async def _fills(
        self, symbol: str, moment: datetime | None, is_urgent: bool = False
    ) -> list[OrderFill]:
        """Fills from a moment on, page by page; None: the newest page."""
        found: dict[str, OrderFill] = {}
        since = None if moment is None else micros(moment) // 1_000
        while True:

            async def ask(start: int | None = since) -> list[OrderFill]:
                answers = await self._client.fetch_my_trades(symbol, start, PAGE)
                return [fill_of(answer) for answer in answers]

            page = await self._ask(ask, is_urgent)
            for fill in page:
                if found.setdefault(fill.trade_id, fill) != fill:
                    raise VenueContradiction(fill.order_id, f"trade {fill.trade_id} has changed")
            if since is None or len(page) < PAGE:
                break
            newest = max(micros(fill.at) // 1_000 for fill in page)
            if newest == since:
                raise VenueRefused(f"{symbol}: {PAGE} fills in one millisecond cannot be paged")
            since = newest
        fills = [fill for fill in found.values() if moment is None or fill.at >= moment]
        return sorted(fills, key=place)

    async def _ask(self, call: Callable[[], Awaitable[T]], is_urgent: bool = False) -> T:
        """A call that may be repeated: it is, until the venue answers or the deadline passes."""
        until = self._now() + self._account.deadline_seconds
        for attempt in count():
            try:
                async with asyncio.timeout_at(until):
                    with urgent(is_urgent):
                        return await call()
            except TradePipelineError:
                raise
            except Exception as raised:  # noqa: BLE001 (ccxt fails in many ways on a garbled answer)
                meaning, error = meaning_of(raised), told(raised, self._account)
            # Raised outside of the handler, so that nothing of ccxt's, which holds signatures,
            # hangs on it.
            if meaning is Meaning.REFUSED:
                raise error
            if meaning is Meaning.LATE_CLOCK and call != self._client.load_time_difference:
                await self._ask(self._client.load_time_difference, is_urgent)
            await self._back_off(attempt, until, error, meaning)
        raise AssertionError("unreachable")

    async def _back_off(
        self, attempt: int, until: float, error: VenueError, meaning: Meaning
    ) -> None:
        """Wait before the next try.

        Raises:
            VenueUnavailable: it would be after the deadline.
        """
        wait = _waits(attempt)
        if meaning is Meaning.NOT_NOW:
            asked = (self._client.last_response_headers or {}).get("Retry-After", "")
            wait = max(wait, float(asked)) if asked.replace(".", "", 1).isdigit() else wait
            self._limit.pause(wait)
        if self._now() + wait > until:
            raise VenueUnavailable(str(error))
        await asyncio.sleep(wait)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _waits(attempt: int) -> float:
    """Seconds before another try: longer each time, and never the same for two clients."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)
