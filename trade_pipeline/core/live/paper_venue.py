"""The venue of paper sessions: real market events, simulated fills.

It keeps its orders in tables of its own, as a venue does that lives elsewhere: a session that dies
finds them there, as they have become.  What it needs is the market, which `reach` tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Venue
from trade_pipeline.core.execution.venue_errors import InsufficientFunds, OrderUnknown
from trade_pipeline.core.ids import micros
from trade_pipeline.core.live.ports import OrderState, VenueFill
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.market.event import TradeRules
from trade_pipeline.core.market.history import TokenState

_ORDER = (
    "client_order_id, instrument, leg, status, changed_at, why, costs_usd, stake_usd, tokens, "
    "decision_price, submitted_at, waited"
)
# The model asks for an order's id alone.
_NOBODY = UUID(int=0)
# A sale may ask for what was bought, to the last bit of a double and the sum of a few fills.
_DUST = 1e-9


class PaperVenue:
    """An account whose orders are filled by a model of the market's venue.

    Args:
        connection: in autocommit mode, of its own.
        model: decides what an order gets.
    """

    def __init__(self, connection: psycopg.Connection, account: str, model: Venue) -> None:
        self._connection = connection
        self._account = account
        self._model = model

    async def submit(self, intent: OrderIntent) -> OrderState:
        if intent.tokens is not None:
            held = (await self.balances()).get(intent.instrument, 0.0)
            if intent.tokens > held * (1.0 + _DUST) and not self._known(intent.client_order_id):
                raise InsufficientFunds(
                    f"{intent.instrument}: {intent.tokens:g} tokens to sell, {held:g} held"
                )
        self._connection.execute(
            "INSERT INTO trade.paper_orders (client_order_id, account, instrument, leg, stake_usd, "
            "tokens, decision_price, submitted_at, status, changed_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'open', %s) "
            "ON CONFLICT (client_order_id) DO NOTHING",
            (
                intent.client_order_id, self._account, intent.instrument, intent.leg,
                intent.stake_usd or 0.0, intent.tokens or 0.0, intent.decision_price,
                micros(intent.submitted_at), micros(intent.submitted_at),
            ),
        )  # fmt: skip
        return self.state_of(intent.client_order_id)

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        known = self._known(intent.client_order_id)
        return self.state_of(intent.client_order_id) if known else None

    async def fetch(self, client_order_id: str, instrument: str) -> OrderState:
        return self.state_of(client_order_id)

    async def open_orders(self) -> Sequence[OrderState]:
        rows = self._connection.execute(
            "SELECT client_order_id FROM trade.paper_orders WHERE account = %s "
            "AND status = 'open' ORDER BY submitted_at, client_order_id",
            (self._account,),
        ).fetchall()
        return [self.state_of(name) for (name,) in rows]

    async def fills_since(self, moment: int, instruments: Iterable[str]) -> Sequence[VenueFill]:
        rows = self._connection.execute(
            "SELECT f.client_order_id, instrument, leg, filled_at, price, f.tokens, value_usd, "
            "f.costs_usd, inside_usd, impact, complete FROM trade.paper_fills f "
            "JOIN trade.paper_orders USING (client_order_id) "
            "WHERE account = %s AND filled_at >= %s AND instrument = ANY(%s) "
            "ORDER BY filled_at, client_order_id, number",
            (self._account, moment, list(instruments)),
        ).fetchall()
        return [VenueFill(row[0], row[0], row[1], row[2], _fill(row[3:])) for row in rows]

    async def balances(self) -> Mapping[str, float]:
        rows = self._connection.execute(
            "SELECT instrument, sum(CASE leg WHEN 'entry' THEN f.tokens ELSE -f.tokens END) "
            "FROM trade.paper_fills f JOIN trade.paper_orders USING (client_order_id) "
            "WHERE account = %s GROUP BY instrument",
            (self._account,),
        ).fetchall()
        return dict(rows)

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        self._connection.execute(
            "UPDATE trade.paper_orders SET status = 'cancelled', why = 'cancelled by the account' "
            "WHERE client_order_id = %s AND status = 'open'",
            (client_order_id,),
        )
        return self.state_of(client_order_id)

    def reach(
        self, client_order_id: str, state: TokenState, at: int, rules: TradeRules
    ) -> OrderState:
        """Let the market reach an order: it is filled or refused as the model says.

        Raises:
            OrderUnknown: it never arrived here.
        """
        known, order = self._read(client_order_id)
        if known.has_ended:
            return known
        waited = order.waited
        result = self._model.execute(order, state, at, rules)
        if isinstance(result, Fill):
            with self._connection.transaction():
                self._connection.execute(
                    "INSERT INTO trade.paper_fills VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    (
                        client_order_id, order.fills, result.at, result.price, result.tokens,
                        result.value_usd, _text(result.costs_usd), _text(result.inside_usd),
                        result.impact, result.complete,
                    ),
                )  # fmt: skip
                status = "filled" if result.complete else "open"
                self._change(client_order_id, status, at, order.waited)
        elif isinstance(result, Refusal):
            # What a partial entry has got already stays; the rest of it is what ends.
            status = "cancelled" if order.fills else "rejected"
            self._change(
                client_order_id, status, at, order.waited, result.why, _text(result.costs_usd)
            )
        elif order.waited != waited:
            self._change(client_order_id, "open", at, order.waited)
        else:
            return known
        return self.state_of(client_order_id)

    def state_of(self, client_order_id: str) -> OrderState:
        """An order as it is.

        Raises:
            OrderUnknown: it never arrived here.
        """
        return self._read(client_order_id)[0]

    def _known(self, client_order_id: str) -> bool:
        query = "SELECT 1 FROM trade.paper_orders WHERE client_order_id = %s"
        return self._connection.execute(query, (client_order_id,)).fetchone() is not None

    def _read(self, client_order_id: str) -> tuple[OrderState, Order]:
        row: Any = self._connection.execute(
            f"SELECT {_ORDER} FROM trade.paper_orders WHERE client_order_id = %s".encode(),
            (client_order_id,),
        ).fetchone()
        if row is None:
            raise OrderUnknown(f"client_order_id={client_order_id!r}: no such order arrived")
        name, instrument, leg, status, changed, why, costs, stake, tokens, price, sent, waited = row
        found = self._connection.execute(
            "SELECT filled_at, price, tokens, value_usd, costs_usd, inside_usd, impact, complete "
            "FROM trade.paper_fills WHERE client_order_id = %s ORDER BY number",
            (client_order_id,),
        ).fetchall()
        fills = [_fill(one) for one in found]
        state = OrderState(
            name, instrument, leg, status, changed, fills, why, orjson.loads(costs)
        )  # fmt: skip
        order = Order(
            uuid=_NOBODY,
            order_id=name,
            token=-1,
            leg=leg,
            submitted_at=sent,
            decision_price=price,
            stake_usd=stake - sum(fill.value_usd for fill in fills) if leg == "entry" else 0.0,
            tokens=tokens - sum(fill.tokens for fill in fills) if leg == "exit" else 0.0,
            fills=len(fills),
            waited=waited,
        )
        return state, order

    def _change(
        self,
        client_order_id: str,
        status: str,
        at: int,
        waited: int,
        why: str | None = None,
        costs: str = "{}",
    ) -> None:
        self._connection.execute(
            "UPDATE trade.paper_orders SET status = %s, changed_at = %s, waited = %s, why = %s, "
            "costs_usd = %s WHERE client_order_id = %s AND status = 'open'",
            (status, at, waited, why, costs, client_order_id),
        )


def _fill(row: Sequence[Any]) -> Fill:
    at, price, tokens, value, costs, inside, impact, complete = row
    return Fill(
        at, price, tokens, value, orjson.loads(costs), orjson.loads(inside), impact, complete
    )


def _text(values: Mapping[str, float]) -> str:
    return orjson.dumps(dict(values)).decode()
