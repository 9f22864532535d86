"""The HTTP server of the local exchange: the dialect, its faults, and the control endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from trade_pipeline.local_exchange import dialect
from trade_pipeline.local_exchange.api import Api, Params, signed_by
from trade_pipeline.local_exchange.errors import TOO_MANY, Refused
from trade_pipeline.local_exchange.exchange import Exchange
from trade_pipeline.local_exchange.faults import Fault, FaultPlan, Faults
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.store import ExchangeStore
from trade_pipeline.local_exchange.units import decimals, units

Hit = dict[str, Fault]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountBody(_Body):
    """An account to open, or to pay into."""

    key: str
    secret: str
    deposits: dict[str, str] = {}


class PriceBody(_Body):
    """A symbol's new price."""

    symbol: str
    price: str


def wall_ms() -> int:
    """The machine's time in milliseconds."""
    return time.time_ns() // 1_000_000


class ExchangeServer:
    """An exchange that is served."""

    def __init__(self, folder: Path) -> None:
        self._store = ExchangeStore(folder)
        self.exchange = Exchange(self._store, wall_ms)
        self.faults = Faults()
        self._api = Api(self.exchange)

    def app(self) -> web.Application:
        """The application."""
        app = web.Application()
        app.router.add_post("/control/listing", self._control(self._list))
        app.router.add_post("/control/account", self._control(self._open_account))
        app.router.add_post("/control/price", self._control(self._move))
        app.router.add_post("/control/faults", self._control(self._set_faults))
        app.router.add_get("/control/state", self._control(self._state))
        app.router.add_route("*", "/api/v3/{path:.+}", self._dialect)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        self._store.close()

    async def _dialect(self, request: web.Request) -> web.Response:
        """A request of the dialect, with the faults that hit it."""
        name = f"{request.method} {request.match_info['path']}"
        body = (await request.read()).decode()
        hit = self.faults.hitting(name)
        if fault := hit.get("delay"):
            await asyncio.sleep(fault.seconds)
        if "cut_before" in hit:
            _cut(request)
        try:
            _refuse_by(hit)
            answer = web.json_response(self._answer(request, name, body, hit))
        except Refused as refused:
            answer = _refusal(refused)
            if fault := hit.get("too_many_requests"):
                answer.headers["Retry-After"] = f"{fault.seconds:g}"
        if fault := hit.get("slow_answer"):
            await asyncio.sleep(fault.seconds)
        if "cut_after" in hit:
            _cut(request)
        if "bad_json" in hit:
            return web.Response(text='{"code": ', content_type="application/json")
        return answer

    def _answer(self, request: web.Request, name: str, body: str, hit: Hit) -> Any:
        skew = hit["clock_skew"].milliseconds if "clock_skew" in hit else 0
        now = wall_ms() + skew
        self.exchange.release()
        # As it came: a signature is over these very bytes.
        query = request.raw_path.partition("?")[2]
        if name in self._api.public:
            return self._api.public[name](Params(query), now)
        if name not in self._api.signed:
            raise Refused(404, -1000, f"No such endpoint: {name}.")
        key = request.headers.get("X-MBX-APIKEY")
        account = signed_by(self.exchange.secrets, key, query, body, now)
        return self._api.signed[name](account, Params(query + body), now, hit)

    def _control(
        self, act: Callable[[bytes], Any]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            try:
                return web.json_response(act(body))
            except Refused as refused:
                return _refusal(refused)
            except ValidationError as error:
                return _refusal(Refused(400, -1102, str(error)))

        return handle

    def _list(self, body: bytes) -> Any:
        self.exchange.list_symbol(Listing.model_validate_json(body))
        return {}

    def _open_account(self, body: bytes) -> Any:
        given = AccountBody.model_validate_json(body)
        deposits = {asset: units(asset, amount) for asset, amount in given.deposits.items()}
        self.exchange.open_account(given.key, given.secret, deposits)
        return {}

    def _move(self, body: bytes) -> Any:
        given = PriceBody.model_validate_json(body)
        self.exchange.release()
        self.exchange.move(given.symbol, units("price", given.price))
        return {}

    def _set_faults(self, body: bytes) -> Any:
        self.faults.replace(FaultPlan.model_validate_json(body))
        return {}

    def _state(self, body: bytes) -> Any:
        """Everything that an audit compares."""
        accounts = self.exchange.accounts
        return {
            "deposited": {asset: decimals(n) for asset, n in accounts.deposited.items()},
            "held": {asset: decimals(n) for asset, n in accounts.held().items()},
            "balances": {
                f"{account} {asset}": [decimals(held.free), decimals(held.locked)]
                for (account, asset), held in accounts.balances.items()
            },
            "orders": [dialect.order_facts(order) for order in self.exchange.orders.values()],
            "trades": [dialect.trade_facts(trade) for trade in self.exchange.trades],
            "faults": self.faults.plan.model_dump(),
        }


def _cut(request: web.Request) -> NoReturn:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


def _refuse_by(hit: Hit) -> None:
    if "too_many_requests" in hit:
        raise Refused(*TOO_MANY, "Too many requests.")
    if "maintenance" in hit:
        raise Refused(503, 1, "System is under maintenance.")
    if "server_error" in hit:
        raise Refused(500, -1000, "An unknown error occurred while processing the request.")


def _refusal(refused: Refused) -> web.Response:
    body = {"code": refused.code, "msg": refused.message}
    return web.json_response(body, status=refused.status)


async def serve(folder: Path, port: int, ready: Callable[[int], None]) -> None:
    """Serve on 127.0.0.1 until cancelled.

    Args:
        port: 0 takes a free one.
        ready: called with the port when it listens.
    """
    runner = web.AppRunner(ExchangeServer(folder).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    ready(runner.addresses[0][1])
    try:
        await asyncio.Event().wait()
    finally:
        with suppress(asyncio.CancelledError):
            await runner.cleanup()
