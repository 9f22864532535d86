"""The local exchange, served inside a test, and a venue that trades on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import web
from pydantic import SecretStr

from trade_pipeline.core.execution.ccxt_client import VenueAccount
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.execution.orders import OrderIntent, OrderState
from trade_pipeline.core.execution.venue_errors import VenueUnavailable
from trade_pipeline.local_exchange.faults import Fault, FaultPlan
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.server import ExchangeServer
from trade_pipeline.local_exchange.units import units

SYMBOL, PEPE = "PEPE/USDT", "PEPEUSDT"
KEY, SECRET = "key-of-the-test", "secret-of-the-test"
UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
PRICE = "0.001"
ACCOUNT = VenueAccount(
    "binance", SecretStr(KEY), SecretStr(SECRET),
    call_seconds=2.0, deadline_seconds=10.0, window_seconds=0.2,
)  # fmt: skip


def intent(side: str = "buy", amount: str = "50000", **more: Any) -> OrderIntent:
    given = {"leg": "entry" if side == "buy" else "exit", "decision_price": Decimal(PRICE)} | more
    return OrderIntent(UUID_ONE, symbol=SYMBOL, side=side, amount=Decimal(amount), **given)


@dataclass
class Served:
    """A venue, and the exchange behind it."""

    server: ExchangeServer
    venue: CcxtVenue

    def fault(self, kind: str, on: str = "", **more: Any) -> None:
        """Replace the faults by one, by default for one request."""
        fault = Fault.model_validate(
            {"kind": kind, "on": [on] if on else [], "count": 1, "seconds": 0.05} | more
        )
        self.server.faults.replace(FaultPlan(faults=[fault]))

    def move(self, price: str) -> None:
        self.server.exchange.move(PEPE, units("price", price))

    def orders(self) -> list[Any]:
        return list(self.server.exchange.orders.values())

    def assert_whole(self) -> None:
        """Nothing was lost or made, and nothing is locked but for open orders."""
        accounts = self.server.exchange.accounts
        held = accounts.held()
        for asset in held:
            assert held[asset] == accounts.deposited[asset], asset
        locked = sum(balance.locked for balance in accounts.balances.values())
        assert locked == sum(order.locked for order in self.orders() if order.is_open)

    async def ready(self) -> None:
        """The venue knows its markets, however short its deadline."""
        while True:
            with suppress(VenueUnavailable):
                await self.venue.instrument_rules(SYMBOL)
                return

    async def settled(self, order: OrderIntent) -> OrderState:
        """The order when it has ended and all its fills are known."""
        while not (state := await self.venue.fetch(order.client_order_id, SYMBOL)).is_settled:
            await asyncio.sleep(0.02)
        return state


@asynccontextmanager
async def served(folder: Path, account: VenueAccount = ACCOUNT) -> AsyncIterator[Served]:
    """An exchange with one symbol and one account."""
    server = ExchangeServer(folder)
    server.exchange.list_symbol(Listing(base="PEPE", depth="30"))
    if KEY not in server.exchange.secrets:
        server.exchange.open_account(KEY, SECRET, {"USDT": units("USDT", "1000")})
    server.exchange.move(PEPE, units("price", PRICE))
    runner = web.AppRunner(server.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    venue = CcxtVenue(replace(account, url=f"http://127.0.0.1:{port}"))
    try:
        yield Served(server, venue)
    finally:
        await venue.close()
        await runner.cleanup()


def run(folder: Path, test: Callable[[Served], Awaitable[None]], **more: Any) -> None:
    """Run a test against a served exchange, and audit the exchange at its end."""

    async def whole() -> None:
        async with served(folder, replace(ACCOUNT, **more)) as exchange:
            await asyncio.wait_for(test(exchange), 20)
            exchange.assert_whole()

    asyncio.run(whole())
