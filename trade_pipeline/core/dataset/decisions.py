"""A session's decisions as stored, and what of its own records stood before each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import psycopg

from trade_pipeline.core.features.own_records import (
    ENDS,
    OwnRecords,
    hours_since_last_close,
    own_columns,
)
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.records import FILLS, OrderEvent, TerminationReason


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions of one session in the order in which they were made.

    Attributes:
        at: microseconds since 1970-01-01 UTC.
        own: the features of the strategy's own records, a value each.
    """

    uuid: Sequence[UUID]
    instrument: Sequence[str]
    at: Ints
    own: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.uuid)

    def between(self, start: int, end: int) -> Decisions:
        """Those that were made from ``start`` on and before ``end``, microseconds."""
        rows = np.flatnonzero((self.at >= start) & (self.at < end)).tolist()
        return Decisions(
            [self.uuid[row] for row in rows],
            [self.instrument[row] for row in rows],
            self.at[rows],
            {name: values[rows] for name, values in self.own.items()},
        )


def read_decisions(connection: psycopg.Connection, session_id: str) -> Decisions:
    """The decisions of a session.

    What stood before a decision is what has a smaller number in the session's chain.
    """
    candidates = connection.execute(
        "SELECT chain_seq, uuid, instrument, decided_at, decision FROM trade.candidates "
        "WHERE chain_id = %s ORDER BY chain_seq",
        (session_id,),
    ).fetchall()
    orders = connection.execute(
        "SELECT chain_seq, uuid, leg, event, slippage FROM trade.executions "
        "WHERE chain_id = %s ORDER BY chain_seq",
        (session_id,),
    ).fetchall()
    trades = connection.execute(
        "SELECT chain_seq, realized_pnl_percent, termination_reason, closed_at FROM trade.outcomes "
        "WHERE chain_id = %s AND kind = 'realised' ORDER BY chain_seq",
        (session_id,),
    ).fetchall()
    records = OwnRecords()
    fill_seqs, end_seqs, over_seqs = [], [], [seq for seq, *_ in trades]
    bought: set[UUID] = set()
    for seq, uuid, leg, name, slippage in orders:
        event = OrderEvent(name)
        records.order_event(event, slippage)
        if event in FILLS and slippage is not None:
            fill_seqs.append(seq)
        if event in ENDS:
            end_seqs.append(seq)
        if leg == "entry" and event in FILLS:
            bought.add(uuid)
        elif leg == "entry" and event in ENDS and uuid not in bought:
            # An entry that bought nothing: its slot is free again, without an outcome.
            over_seqs.append(seq)
    for _, pnl_percent, reason, closed_at in trades:
        records.closed(pnl_percent, TerminationReason(reason), closed_at)
    seqs = np.array([seq for seq, *_ in candidates], np.int64)
    at = np.array([micros(row[3]) for row in candidates], np.int64)
    entered = np.array([row[4] == "enter" for row in candidates], np.int64)
    closed = _before(seqs, [seq for seq, *_ in trades])
    own = own_columns(
        records,
        _before(seqs, fill_seqs),
        _before(seqs, end_seqs),
        closed,
        np.cumsum(entered) - entered - _before(seqs, sorted(over_seqs)),
    )
    own["hours_since_last_close"] = hours_since_last_close(records, closed, at)
    return Decisions([row[1] for row in candidates], [row[2] for row in candidates], at, own)


def _before(seqs: Ints, those: Sequence[int]) -> Ints:
    """How many of some sorted numbers are smaller than each."""
    return np.array(those, np.int64).searchsorted(seqs)
