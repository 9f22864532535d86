"""Compares an exchange's own books with the records of the account that traded on it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

KEY, SECRET = "key-of-the-chaos", "secret-of-the-chaos"
# Records count in floats and in whole millionths of a USD.
_USD_A_FILL, _TOKENS = 2e-6, 1e-6
# An order at the exchange is worth at least this.
LEAST_USD = 5.0
STEP = 0.1


@dataclass
class Audit:
    """What is wrong, by what it is; ``trades`` were closed."""

    trades: int = 0
    orders: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.wrong.setdefault(kind, []).append(what)


def audit(connection: psycopg.Connection, account: str, state: dict[str, Any], paid: str) -> Audit:
    """Everything in which the two differ.

    Args:
        state: the exchange's ``/control/state``.
        paid: USDT that were paid into the account.
    """
    found = Audit(orders=len(state["orders"]))

    def rows(query: str) -> list[Any]:
        return connection.execute(query.encode(), {"account": account}).fetchall()

    mine = "uuid IN (SELECT uuid FROM trade.order_intents WHERE account = %(account)s)"
    intents = {
        name
        for (name,) in rows(
            "SELECT client_order_id FROM trade.order_intents WHERE account = %(account)s"
        )
    }
    names = Counter(order["clientOrderId"] for order in state["orders"])
    for name, times in names.items():
        if name not in intents:
            found.add("order without an intent", name)
        if times > 1:
            found.add("doubled order", name)
    for order in state["orders"]:
        if order["status"] in ("NEW", "PARTIALLY_FILLED"):
            found.add("order left open", order["clientOrderId"])
    recorded = dict(
        rows(
            "SELECT order_id, sum(size) FROM trade.executions "
            f"WHERE event IN ('partly_filled', 'filled') AND {mine} GROUP BY order_id"
        )
    )
    for name, tokens in _filled(state).items():
        if abs(recorded.pop(name, 0.0) - tokens) > _TOKENS:
            found.add("lost or changed fill", name)
    for name in recorded:
        found.add("fill that never was", name)
    _balances(found, rows, mine, state, paid)
    for uuid, left, price in rows(
        "SELECT uuid, sum(CASE leg WHEN 'entry' THEN e.size ELSE -e.size END), "
        "(SELECT decision_price FROM trade.order_intents i WHERE i.uuid = e.uuid "
        "ORDER BY submitted_at DESC LIMIT 1) "
        f"FROM trade.executions e WHERE event IN ('partly_filled', 'filled') AND {mine} "
        "AND NOT EXISTS (SELECT FROM trade.outcomes o WHERE o.uuid = e.uuid "
        "AND kind = 'realised' AND NOT (o.content::json->>'written_off')::boolean) GROUP BY uuid"
    ):
        # Of a sale in parts less may be left than the exchange takes, which takes whole steps.
        left_usd = math.floor(left / STEP + _TOKENS) * STEP * price
        closed = rows(f"SELECT 1 FROM trade.outcomes WHERE kind = 'realised' AND uuid = '{uuid}'")
        if not closed or left_usd >= LEAST_USD:
            found.add("position without exit", f"{uuid}: {left_usd} USD")
    for kind, instrument in rows(
        "SELECT kind, instrument FROM trade.reconciliations WHERE account = %(account)s "
        "AND NOT explained"
    ):
        found.add("unexplained finding", f"{kind} {instrument}")
    ((found.trades,),) = rows(
        f"SELECT count(*) FROM trade.outcomes WHERE kind = 'realised' AND {mine}"
    )
    return found


def _filled(state: dict[str, Any]) -> dict[str, float]:
    """Tokens that each order bought, fees taken off, or sold."""
    names = {order["orderId"]: order["clientOrderId"] for order in state["orders"]}
    filled: dict[str, Decimal] = {}
    for trade in state["trades"]:
        if trade["orderId"] in names:
            fee = Decimal(trade["commission"]) if trade["isBuyer"] else Decimal(0)
            name = names[trade["orderId"]]
            filled[name] = filled.get(name, Decimal(0)) + Decimal(trade["qty"]) - fee
    return {name: float(tokens) for name, tokens in filled.items()}


def _balances(found: Audit, rows: Any, mine: str, state: dict[str, Any], paid: str) -> None:
    held: dict[str, float] = {}
    for key, (free, locked) in state["balances"].items():
        owner, asset = key.split(" ")
        if owner != KEY:
            continue
        held[asset] = float(Decimal(free) + Decimal(locked))
    booked: dict[str, float] = {"USDT": float(paid)}
    fills = 0
    for instrument, leg, tokens, value, cost, number in rows(
        "SELECT c.instrument, e.leg, sum(e.size), sum(e.value_usd), "
        "sum((SELECT coalesce(sum(v::float8), 0) FROM json_each_text("
        "(e.content::json)->'costs_usd') AS t(k, v))), count(*) "
        "FROM trade.executions e JOIN trade.candidates c USING (uuid) "
        f"WHERE event IN ('partly_filled', 'filled') AND e.{mine} GROUP BY 1, 2"
    ):
        base, sign = instrument.split("/")[0], 1 if leg == "entry" else -1
        booked[base] = booked.get(base, 0.0) + sign * tokens
        booked["USDT"] -= sign * value + cost
        fills += number
    for asset in {*held, *booked}:
        bound = _USD_A_FILL * max(1, fills) if asset == "USDT" else _TOKENS
        if abs(held.get(asset, 0.0) - booked.get(asset, 0.0)) > bound:
            found.add(
                "unexplained balance",
                f"{asset}: {held.get(asset, 0.0)} held, {booked.get(asset, 0.0)} booked",
            )
    for asset, deposited in state["deposited"].items():
        if state["held"][asset] != deposited:
            found.add("the exchange itself is wrong", asset)
