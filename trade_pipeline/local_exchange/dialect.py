"""How Binance spot writes orders, trades, balances and markets."""

from __future__ import annotations

from typing import Any

from trade_pipeline.local_exchange.accounts import Balance
from trade_pipeline.local_exchange.candles import MINUTE, Candle
from trade_pipeline.local_exchange.matching import Market
from trade_pipeline.local_exchange.orders import Order, Trade
from trade_pipeline.local_exchange.units import decimals

DAY = 24 * 60 * MINUTE


def order_facts(order: Order) -> dict[str, Any]:
    """An order, as a query answers it."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": decimals(order.price or 0),
        "origQty": decimals(order.quantity),
        "executedQty": decimals(order.executed),
        "cummulativeQuoteQty": decimals(order.spent),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "stopPrice": decimals(order.stop_price or 0),
        "icebergQty": decimals(0),
        "time": order.created,
        "updateTime": order.updated,
        "isWorking": not order.waits_for_stop,
        "origQuoteOrderQty": decimals(0),
    }


def accepted_facts(order: Order, trades: list[Trade]) -> dict[str, Any]:
    """An order, as its submission is answered (FULL)."""
    facts = order_facts(order)
    for name in ("time", "updateTime", "isWorking", "icebergQty"):
        del facts[name]
    facts["transactTime"] = order.updated
    facts["fills"] = [
        {
            "price": decimals(trade.price),
            "qty": decimals(trade.quantity),
            "commission": decimals(trade.commission),
            "commissionAsset": trade.commission_asset,
            "tradeId": trade.id,
        }
        for trade in trades
    ]
    return facts


def trade_facts(trade: Trade) -> dict[str, Any]:
    """An account's trade."""
    return {
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": decimals(trade.price),
        "qty": decimals(trade.quantity),
        "quoteQty": decimals(trade.quote),
        "commission": decimals(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.time,
        "isBuyer": trade.buyer,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def public_trade_facts(trade: Trade) -> dict[str, Any]:
    """A trade as everybody sees it."""
    return {
        "id": trade.id,
        "price": decimals(trade.price),
        "qty": decimals(trade.quantity),
        "quoteQty": decimals(trade.quote),
        "time": trade.time,
        "isBuyerMaker": trade.buyer == trade.maker,
        "isBestMatch": True,
    }


def account_facts(balances: dict[str, Balance], now: int) -> dict[str, Any]:
    """An account and its balances."""
    return {
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "updateTime": now,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": decimals(held.free), "locked": decimals(held.locked)}
            for asset, held in sorted(balances.items())
        ],
        "permissions": ["SPOT"],
    }


def depth_facts(market: Market, limit: int) -> dict[str, Any]:
    """The book by levels."""

    def levels(side: str) -> list[list[str]]:
        return [[decimals(p), decimals(q)] for p, q in market.book.levels(side)[:limit]]

    return {"lastUpdateId": 1, "bids": levels("BUY"), "asks": levels("SELL")}


def ticker_facts(market: Market, day: list[Candle], now: int) -> dict[str, Any]:
    """The last day of a symbol."""
    last = market.last or 0
    first = day[0][1] if day else last
    volume = sum(candle[5] for candle in day)
    return {
        "symbol": market.listing.symbol,
        "priceChange": decimals(last - first),
        "priceChangePercent": f"{100 * (last - first) / first if first else 0:.3f}",
        "lastPrice": decimals(last),
        **best_facts(market),
        "openPrice": decimals(first),
        "highPrice": decimals(max((c[2] for c in day), default=last)),
        "lowPrice": decimals(min((c[3] for c in day), default=last)),
        "volume": decimals(volume),
        "quoteVolume": decimals(sum(c[4] * c[5] // 10**8 for c in day)),
        "openTime": now - DAY,
        "closeTime": now,
        "count": len(day),
    }


def best_facts(market: Market) -> dict[str, Any]:
    """The best bid and ask."""
    (bid, bids), (ask, asks) = (
        (market.book.levels(side) or [(0, 0)])[0] for side in ("BUY", "SELL")
    )
    return {
        "symbol": market.listing.symbol,
        "bidPrice": decimals(bid),
        "bidQty": decimals(bids),
        "askPrice": decimals(ask),
        "askQty": decimals(asks),
    }


def kline_facts(candle: Candle, minutes: int) -> list[Any]:
    """A candle."""
    at, first, high, low, close, volume = candle
    prices = [decimals(price) for price in (first, high, low, close)]
    quote = decimals(close * volume // 10**8)
    none = decimals(0)
    return [at, *prices, decimals(volume), at + minutes * MINUTE - 1, quote, 0, none, none, "0"]
