"""An account as its records tell it: cash, open positions, unfinished orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.execution.book import Position, to_micros
from trade_pipeline.core.execution.venue import Order
from trade_pipeline.core.features.own_records import OwnRecords
from trade_pipeline.core.ids import micros
from trade_pipeline.core.records import FILLS, OrderEvent, TerminationReason

_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an account's market was read."""

    started_at: int
    reached: int
    state: Mapping[str, Any]


@dataclass(slots=True)
class OpenTrade:
    """A position as it was stored; its token is known by the instrument's name.

    Attributes:
        cash: micros that it moved so far.
        decided_at: market events until then are none of its own; nor are those after
            ``exit_at``, when its exit was decided.
    """

    arm: str
    instrument: str
    decided_at: int
    position: Position
    cash: int = 0
    exit_at: int | None = None
    closed: bool = False


@dataclass(slots=True)
class OrderHistory:
    """Every order that an account was ever allowed to send.

    Attributes:
        instrument: by client order id.
        fills: how many are recorded, by client order id.
        refused: those that ended by a rejection or a cancellation.
        largest: tokens of the largest fill by instrument.
        given_up: tokens that closed trades left by instrument: they may still be there.
    """

    instrument: dict[str, str] = field(default_factory=dict)
    fills: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    largest: dict[str, float] = field(default_factory=dict)
    given_up: dict[str, float] = field(default_factory=dict)
    _held: dict[UUID, tuple[str, float]] = field(default_factory=dict)

    def executed(
        self, uuid: UUID, order_id: str, leg: str, event: OrderEvent, tokens: float
    ) -> None:
        """Note an order event."""
        if event in FILLS:
            self.fills[order_id] += 1
            name, before = self._held.get(uuid, (self.instrument.get(order_id, ""), 0.0))
            self._held[uuid] = name, before + (tokens if leg == "entry" else -tokens)
            self.largest[name] = max(self.largest.get(name, 0.0), tokens)
        elif event in (OrderEvent.CANCELLED, OrderEvent.REJECTED):
            self.refused.add(order_id)

    def closed(self, uuid: UUID) -> None:
        """Note the end of a trade; what is left of a venue's whole steps stays in the account."""
        name, tokens = self._held.pop(uuid)
        self.given_up[name] = self.given_up.get(name, 0.0) + max(0.0, tokens)


@dataclass(slots=True)
class StoredAccount:
    """Everything that a session goes on from.

    Attributes:
        cash: micros won or lost so far by arm.
        ends: (instrument, reason, when) of trades that closed, for the cooldowns.
        decided: (instrument, slot) of decisions that a session may meet again.
        sent: when the last entries were sent.
    """

    progress: Progress | None
    open: list[OpenTrade] = field(default_factory=list)
    cash: dict[str, int] = field(default_factory=dict)
    ends: list[tuple[str, str, TerminationReason, int]] = field(default_factory=list)
    own: OwnRecords = field(default_factory=OwnRecords)
    decided: set[tuple[str, int]] = field(default_factory=set)
    orders: OrderHistory = field(default_factory=OrderHistory)
    sent: list[int] = field(default_factory=list)


def read_account(connection: psycopg.Connection, account: str) -> StoredAccount:
    """An account as it stands in the records."""
    row = connection.execute(
        "SELECT started_at, reached, state FROM trade.live_progress WHERE account = %s", (account,)
    ).fetchone()
    stored = StoredAccount(None if row is None else Progress(row[0], row[1], orjson.loads(row[2])))
    if stored.progress is None:
        return stored
    # A slot is at most a day of market time.
    since = (stored.progress.reached - 86_400_000_000) // 1_000_000
    stored.decided = set(
        connection.execute(
            "SELECT instrument, slot FROM trade.live_decisions WHERE account = %s "
            "AND uuid >= trade.uuid7_floor(to_timestamp(%s))",
            (account, max(0, since)),
        ).fetchall()
    )
    trades = _trades(connection, account)
    for kind, uuid, content in _events(connection, account):
        trade = trades[uuid]
        if kind == "intent":
            stored.orders.instrument[content["client_order_id"]] = trade.instrument
            if content["leg"] == "entry":
                stored.sent.append(_moment(content["submitted_at"]))
            _placed(trade, content)
        elif kind == "execution":
            _executed(trade, content)
            event = OrderEvent(content["event"])
            stored.own.order_event(event, content["slippage"])
            stored.orders.executed(
                uuid, content["order_id"], content["leg"], event, content["size"]
            )
        else:
            closed_at = _moment(content["closed_at"])
            reason = TerminationReason(content["termination_reason"])
            stored.ends.append((trade.arm, trade.instrument, reason, closed_at))
            stored.own.returns.append(content["realized_pnl_percent"] / 100.0)
            stored.own.stopped.append(
                float(reason in (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT))
            )
            stored.own.closed_at.append(closed_at)
            stored.orders.closed(uuid)
            trade.closed = True
    for trade in trades.values():
        stored.cash[trade.arm] = stored.cash.get(trade.arm, 0) + trade.cash
        if not trade.closed and (trade.position.bought or trade.position.entry_order is not None):
            stored.open.append(trade)
    stored.sent = [at for at in stored.sent if at > stored.progress.reached - _MINUTE]
    return stored


def _trades(connection: psycopg.Connection, account: str) -> dict[UUID, OpenTrade]:
    rows = connection.execute(
        "SELECT c.uuid, c.arm, c.instrument, c.decided_at, r.liquidity_usd "
        "FROM trade.live_decisions d JOIN trade.candidates c USING (uuid) "
        "JOIN trade.research_docs r USING (uuid) "
        "WHERE d.account = %s AND c.decision = 'enter' ORDER BY c.decided_at, c.uuid",
        (account,),
    ).fetchall()
    return {
        uuid: OpenTrade(
            arm, instrument, micros(decided_at),
            Position(uuid, -1, None, float("nan") if liquidity is None else liquidity),
        )
        for uuid, arm, instrument, decided_at, liquidity in rows
    }  # fmt: skip


def _events(connection: psycopg.Connection, account: str) -> Iterator[tuple[str, UUID, Any]]:
    """Intents, executions and outcomes of an account in the order in which they became durable."""
    mine = "uuid IN (SELECT uuid FROM trade.order_intents WHERE account = %(account)s)"
    rows = connection.execute(
        "SELECT 'intent', uuid, content, recorded_at, chain_seq FROM trade.order_intents "
        "WHERE account = %(account)s "
        "UNION ALL SELECT 'execution', uuid, content, recorded_at, chain_seq "
        f"FROM trade.executions WHERE {mine} "
        "UNION ALL SELECT 'outcome', uuid, content, recorded_at, chain_seq "
        f"FROM trade.outcomes WHERE kind = 'realised' AND revision = 0 AND {mine} "
        "ORDER BY recorded_at, chain_seq".encode(),
        {"account": account},
    ).fetchall()
    for kind, uuid, content, _, _ in rows:
        yield kind, uuid, orjson.loads(content)


def _placed(trade: OpenTrade, content: Mapping[str, Any]) -> None:
    position, entry = trade.position, content["leg"] == "entry"
    order = Order(
        uuid=position.uuid,
        order_id=content["client_order_id"],
        token=-1,
        leg=content["leg"],
        submitted_at=_moment(content["submitted_at"]),
        decision_price=content["decision_price"],
        stake_usd=content["stake_usd"] or 0.0,
        tokens=content["tokens"] or 0.0,
        trigger_price=content.get("stop_price"),
        attempt=content["attempt"],
    )
    if entry:
        position.entry_order = order
    else:
        position.exit_order, position.attempts = order, content["attempt"] + 1
        if order.trigger_price is None:
            _exits(trade, order.submitted_at, TerminationReason(content["reason"]))


def _exits(trade: OpenTrade, at: int, reason: TerminationReason) -> None:
    """The position is being closed, since the first time that this is told."""
    trade.exit_at = at if trade.exit_at is None else trade.exit_at
    trade.position.exit_reason = reason


def _executed(trade: OpenTrade, content: Mapping[str, Any]) -> None:
    position, event = trade.position, OrderEvent(content["event"])
    if event in (OrderEvent.SUBMITTED, OrderEvent.ACKNOWLEDGED):
        return
    entry = content["leg"] == "entry"
    order = position.entry_order if entry else position.exit_order
    costs = sum(to_micros(cost) for cost in content["costs_usd"].values())
    if event in FILLS:
        value = to_micros(content["value_usd"])
        _filled(trade, content, value, costs)
        if order is not None:
            order.fills += 1
            if entry:
                order.stake_usd -= content["value_usd"]
            else:
                order.tokens = position.tokens
                if position.exit_reason is None:
                    _exits(trade, _moment(content["occurred_at"]), TerminationReason.STOP_LOSS)
    else:
        trade.cash -= costs
        if not entry and (order is None or order.trigger_price is None):
            position.retry_at = _moment(content["occurred_at"])
            sold = order is not None and order.fills
            position.failed_sales = 0 if sold else position.failed_sales + 1
        position.entry_costs += costs if entry else 0
        position.exit_costs += 0 if entry else costs
    if event is not OrderEvent.PARTLY_FILLED:
        if entry:
            position.entry_order = None
        else:
            position.exit_order = None


def _filled(trade: OpenTrade, content: Mapping[str, Any], value: int, costs: int) -> None:
    position, tokens = trade.position, content["size"]
    if content["leg"] == "entry":
        if not position.bought:
            position.opened_at = _moment(content["occurred_at"])
        position.tokens += tokens
        position.bought += tokens
        position.value_in += value
        position.entry_costs += costs
        trade.cash -= value + costs
    else:
        whole = content["event"] == OrderEvent.FILLED
        position.tokens = 0.0 if whole else position.tokens - tokens
        position.value_out += value
        position.exit_costs += costs
        trade.cash += value - costs


def _moment(text: str) -> int:
    return micros(datetime.fromisoformat(text))
