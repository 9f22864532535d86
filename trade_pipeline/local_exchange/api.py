"""The endpoints of Binance spot's REST dialect, as ccxt uses them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from trade_pipeline.local_exchange import dialect
from trade_pipeline.local_exchange.candles import INTERVALS, MINUTE
from trade_pipeline.local_exchange.errors import (
    BAD_KEY,
    BAD_PARAMETER,
    BAD_SIGNATURE,
    BAD_TIMESTAMP,
    Refused,
)
from trade_pipeline.local_exchange.exchange import Exchange, NewOrder
from trade_pipeline.local_exchange.faults import Fault
from trade_pipeline.local_exchange.matching import Market
from trade_pipeline.local_exchange.units import ONE, units

AHEAD_MS = 1_000
WINDOW_MS = 5_000
LIMIT = 1_000


class Params:
    """The parameters of a request."""

    def __init__(self, text: str) -> None:
        self._given = dict(parse_qsl(text, keep_blank_values=True))

    def text(self, name: str, default: str | None = None) -> str:
        value = self._given.get(name, default)
        if value is None:
            raise Refused(*BAD_PARAMETER, f"Mandatory parameter '{name}' was not sent.")
        return value

    def whole(self, name: str, default: int | None = None) -> int | None:
        value = self._given.get(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdecimal() or len(value) > 18:
            raise Refused(*BAD_PARAMETER, f"Parameter '{name}' is no whole number.")
        return int(value)

    def amount(self, name: str) -> int | None:
        return units(name, self._given[name]) if name in self._given else None


def signed_by(secrets: Mapping[str, str], key: str | None, query: str, body: str, now: int) -> str:
    """The account that signed a request.

    Raises:
        Refused: no such key, a wrong signature, or a moment outside of the window.
    """
    if key is None or key not in secrets:
        raise Refused(*BAD_KEY, "Invalid API-key, IP, or permissions for action.")
    content, _, signature = (query + body).rpartition("&signature=")
    expected = hmac.new(secrets[key].encode(), content.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature):
        raise Refused(*BAD_SIGNATURE, "Signature for this request is not valid.")
    params = Params(content)
    at, window = params.whole("timestamp"), params.whole("recvWindow", WINDOW_MS)
    if at is None or window is None:
        raise Refused(*BAD_PARAMETER, "Mandatory parameter 'timestamp' was not sent.")
    if at >= now + AHEAD_MS:
        message = "Timestamp for this request was 1000ms ahead of the server's time."
        raise Refused(*BAD_TIMESTAMP, message)
    if now - at > window:
        raise Refused(*BAD_TIMESTAMP, "Timestamp for this request is outside of the recvWindow.")
    return key


class Api:
    """Answers requests about an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.public: dict[str, Callable[[Params, int], Any]] = {
            "GET ping": lambda params, now: {},
            "GET time": lambda params, now: {"serverTime": now},
            "GET exchangeInfo": self._exchange_info,
            "GET depth": self._depth,
            "GET trades": self._trades,
            "GET klines": self._klines,
            "GET ticker/24hr": self._tickers,
            "GET ticker/bookTicker": self._best,
            "GET ticker/price": self._price,
        }
        self.signed: dict[str, Callable[[str, Params, int, Mapping[str, Fault]], Any]] = {
            "GET account": self._account,
            "POST order": self._submit,
            "GET order": self._order,
            "DELETE order": self._cancel,
            "GET openOrders": self._open_orders,
            "GET allOrders": self._all_orders,
            "GET myTrades": self._my_trades,
        }

    def _exchange_info(self, params: Params, now: int) -> Any:
        return {
            "timezone": "UTC",
            "serverTime": now,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [market.listing.facts() for market in self._exchange.markets.values()],
        }

    def _depth(self, params: Params, now: int) -> Any:
        limit = params.whole("limit", 100) or 100
        return dialect.depth_facts(self._exchange.market(params.text("symbol")), limit)

    def _trades(self, params: Params, now: int) -> Any:
        symbol, limit = params.text("symbol"), params.whole("limit", 500) or 500
        self._exchange.market(symbol)
        trades = [trade for trade in self._exchange.trades if trade.symbol == symbol]
        return [dialect.public_trade_facts(trade) for trade in trades[-limit:]]

    def _klines(self, params: Params, now: int) -> Any:
        symbol, interval = params.text("symbol"), params.text("interval")
        self._exchange.market(symbol)
        if interval not in INTERVALS:
            raise Refused(400, -1120, "Invalid interval.")
        minutes, limit = INTERVALS[interval], params.whole("limit", 500) or 500
        start, end = params.whole("startTime"), params.whole("endTime", now) or now
        candles = self._exchange.candles[symbol].since(start or 0, minutes)
        candles = [candle for candle in candles if candle[0] <= end]
        chosen = candles[-limit:] if start is None else candles[:limit]
        return [dialect.kline_facts(candle, minutes) for candle in chosen]

    def _tickers(self, params: Params, now: int) -> Any:
        def facts(market: Market) -> dict[str, Any]:
            day = self._exchange.candles[market.listing.symbol].since(now - 24 * 60 * MINUTE)
            return dialect.ticker_facts(market, day, now)

        return self._of_markets(params, facts)

    def _best(self, params: Params, now: int) -> Any:
        return self._of_markets(params, dialect.best_facts)

    def _price(self, params: Params, now: int) -> Any:
        def facts(market: Market) -> dict[str, Any]:
            ticker = dialect.ticker_facts(market, [], now)
            return {"symbol": ticker["symbol"], "price": ticker["lastPrice"]}

        return self._of_markets(params, facts)

    def _of_markets(self, params: Params, facts: Callable[[Market], dict[str, Any]]) -> Any:
        if symbol := params.text("symbol", ""):
            return facts(self._exchange.market(symbol))
        return [facts(market) for market in self._exchange.markets.values()]

    def _account(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        return dialect.account_facts(self._exchange.accounts.of(account), now)

    def _submit(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        quantity = params.amount("quantity")
        if quantity is None:
            raise Refused(*BAD_PARAMETER, "Mandatory parameter 'quantity' was not sent.")
        symbol, hold_ms, may_execute = params.text("symbol"), 0, None
        if late := hit.get("late_fill"):
            hold_ms = round(1_000 * late.seconds)
        if partial := hit.get("partial_fill"):
            step = self._exchange.market(symbol).listing.amount("step")
            may_execute = quantity * round(partial.fraction * ONE) // ONE // step * step
            hold_ms = round(1_000 * partial.seconds)
        order = self._exchange.submit(
            account,
            NewOrder(
                symbol, params.text("side"), params.text("type"), quantity,
                params.amount("price"), params.amount("stopPrice"),
                params.text("timeInForce", "GTC"), params.text("newClientOrderId", "") or None,
                hold_ms, may_execute,
            ),
        )  # fmt: skip
        trades = [trade for trade in self._exchange.trades if trade.order_id == order.id]
        return dialect.accepted_facts(order, self._reported(trades, hit))

    def _order(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        return dialect.order_facts(self._exchange.order(account, *self._which(params)))

    def _cancel(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        order = self._exchange.cancel(account, *self._which(params))
        return dialect.order_facts(order) | {"origClientOrderId": order.client_id}

    def _which(self, params: Params) -> tuple[str, int | None, str]:
        client_id = params.text("origClientOrderId", "")
        return params.text("symbol"), params.whole("orderId"), client_id

    def _open_orders(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        symbol = params.text("symbol", "")
        return [
            dialect.order_facts(order)
            for order in self._exchange.orders.values()
            if order.account == account and order.is_open and symbol in ("", order.symbol)
        ]

    def _all_orders(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        symbol, first = params.text("symbol"), params.whole("orderId", 0) or 0
        start, limit = params.whole("startTime", 0) or 0, params.whole("limit", 500) or 500
        orders = [
            order
            for order in self._exchange.orders.values()
            if order.account == account and order.symbol == symbol
            and order.id >= first and order.created >= start
        ]  # fmt: skip
        chosen = orders[:limit] if first or start else orders[-limit:]
        return [dialect.order_facts(order) for order in chosen]

    def _my_trades(self, account: str, params: Params, now: int, hit: Mapping[str, Fault]) -> Any:
        symbol, order_id = params.text("symbol"), params.whole("orderId")
        start, first = params.whole("startTime", 0) or 0, params.whole("fromId", 0) or 0
        end, limit = params.whole("endTime"), params.whole("limit", 500) or 500
        trades = [
            trade
            for trade in self._exchange.trades
            if trade.account == account and trade.symbol == symbol
            and order_id in (None, trade.order_id)
            and trade.time >= start and trade.id >= first and (end is None or trade.time <= end)
        ]  # fmt: skip
        limit = min(limit, LIMIT)
        chosen = trades[:limit] if start or first else trades[-limit:]
        return [dialect.trade_facts(trade) for trade in self._reported(chosen, hit)]

    def _reported(self, trades: list[Any], hit: Mapping[str, Fault]) -> list[Any]:
        """What is told of trades: a fault hides the last, or tells all twice and out of order."""
        told = trades[:-1] if "late_report" in hit else trades
        return [*reversed(told), *told] if "duplicate_fill" in hit else told
