"""Valid records to start from, and what tests ask of a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.records import (
    ExecutionRecord,
    OrderEvent,
    Record,
    ResearchDocument,
    Scan,
    Session,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = datetime(2026, 3, 20, tzinfo=UTC)
ADDRESS = "sha256:" + "a" * 64


def session(session_id: str = "s", **changes: Any) -> Session:
    given = {"mode": "backtest", "market": "simulated", "code_version": "1"}
    return Session(session_id=session_id, **(given | changes))


def candidate(number: int = 0, session_id: str = "s", **changes: Any) -> TradeCandidate:
    decided = START + timedelta(hours=number)
    given: dict[str, Any] = {
        "uuid": trade_uuid(session_id, "PEPE/USDT", number, micros(decided)),
        "session_id": session_id,
        "decision_no": number,
        "instrument": "PEPE/USDT",
        "decided_at": decided,
        "model_version": "v1",
        "confidence": 0.75,
        "params_ptr": ADDRESS,
        "created_by": "test",
    }
    return TradeCandidate(**(given | changes))


def research(uuid: UUID, **changes: Any) -> ResearchDocument:
    given: dict[str, Any] = {
        "uuid": uuid,
        "contract_address": "0x123",
        "initial_market_cap": 1e6,
        "rugpull_heuristic_scores": {"risk": 0.3},
        "social_sentiment_scores": {"twitter": 0.65},
        "trade_rationale": "momentum",
    }
    return ResearchDocument(**(given | changes))


def fill(uuid: UUID, **changes: Any) -> ExecutionRecord:
    given: dict[str, Any] = {
        "uuid": uuid,
        "order_id": "order-1",
        "entry_price": 0.001,
        "size": 1000.0,
        "slippage": 0.002,
        "latency_metrics": {"latency_ms": 45},
    }
    return ExecutionRecord(**(given | changes))


def sale(uuid: UUID, **changes: Any) -> ExecutionRecord:
    given: dict[str, Any] = {
        "uuid": uuid,
        "order_id": "order-2",
        "leg": "exit",
        "exit_price": 0.0012,
        "size": 1000.0,
        "event": OrderEvent.FILLED,
    }
    return ExecutionRecord(**(given | changes))


def outcome(uuid: UUID, **changes: Any) -> TradeOutcome:
    given: dict[str, Any] = {
        "uuid": uuid,
        "realized_pnl_percent": 15.5,
        "time_in_market_seconds": 3600,
        "termination_reason": TerminationReason.PROFIT_TARGET,
    }
    return TradeOutcome(**(given | changes))


def records_of_a_session(trades: int, session_id: str = "s") -> list[Record]:
    """A session's records in the order in which a session makes them."""
    made: list[Record] = [session(session_id)]
    for number in range(trades):
        decided = candidate(number, session_id)
        uuid = decided.uuid
        made += [decided, research(uuid)]
        if number % 3 != 2:
            made += [fill(uuid), sale(uuid), outcome(uuid, realized_pnl_percent=number - 1.5)]
        if number % 2:
            made.append(Scan(session_id, decided.decided_at, 10, 1, {"market_cap": 9}))
    return made


def facts_of(feed: MarketFeed, token: int, at: int) -> TokenFacts:
    """What a market knew about one token at one moment."""
    pair = np.array([token], np.int32), np.array([at], np.int64)
    return TokenFacts.from_columns(feed.facts_at(*pair), 0)


def ledger_tables(connection: psycopg.Connection) -> list[str]:
    """Every table that holds chained records, partitions left out."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'trade'::regnamespace AND a.attname = 'chain_hash' "
            "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "AND c.relname NOT IN ('ledger_columns', 'chain_heads') ORDER BY c.relname"
        )
    ]


def count_rows(connection: psycopg.Connection) -> dict[str, int]:
    """Number of rows of every table."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'trade'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'ledger_columns' "
            "ORDER BY relname"
        )
    ]
    counts = {}
    for name in names:
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM trade.{}").format(sql.Identifier(name))
        ).fetchone()
        assert row is not None
        counts[name] = row[0]
    return counts


def chain_rows(connection: psycopg.Connection, chain_id: str) -> list[tuple[Any, ...]]:
    """A chain's rows (seq, table, content, content_hash, chain_hash) in order."""
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT chain_seq, {}, content, content_hash, chain_hash "
            "FROM trade.{} WHERE chain_id = {}"
        ).format(sql.Literal(name), sql.Identifier(name), sql.Literal(chain_id))
        for name in ledger_tables(connection)
    )
    return sorted(connection.execute(query).fetchall())


def assert_whole_chain(connection: psycopg.Connection, chain_id: str) -> int:
    """Recompute a chain from its first record to its head; returns how long it is."""
    head = GENESIS
    rows = chain_rows(connection, chain_id)
    for expected, (seq, table, content, content_hash, chain_hash) in enumerate(rows):
        assert seq == expected
        assert content_hash == sha256(content.encode())
        head = sha256(head + table.encode() + content_hash)
        assert chain_hash == head
    stored = connection.execute(
        "SELECT chain_seq, chain_hash FROM trade.chain_heads WHERE chain_id = %s", (chain_id,)
    ).fetchone()
    assert stored == ((len(rows) - 1, head) if rows else None)
    return len(rows)
