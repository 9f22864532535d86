"""A session's journal: its records in the order of its chain, written in bulk.

A session is deterministic, so running it again is how it recovers: records that are stored already
are compared, the rest are appended.  A batch of records and the move of the chain's head are one
transaction, so a killed session leaves a whole prefix of its chain.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from trade_pipeline.core.errors import ReplayMismatch
from trade_pipeline.core.ids import uuid7_floor
from trade_pipeline.core.ledger.bulk import copy_rows, move_head
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.ledger.lock import release_lock, take_lock
from trade_pipeline.core.records import (
    ExecutionRecord,
    FeatureRow,
    Record,
    ResearchDocument,
    Scan,
    Session,
    SessionEnd,
    TradeCandidate,
    TradeOutcome,
)

# In the order in which foreign keys want them.
TABLES: tuple[type[Record], ...] = (
    Session, TradeCandidate, ResearchDocument, FeatureRow, ExecutionRecord, TradeOutcome, Scan,
    SessionEnd,
)  # fmt: skip
_PARTITIONED = ("candidates", "research_docs", "feature_rows", "executions", "outcomes")


class Journal:
    """Appends to one chain, or compares with what is stored there.

    Args:
        connection: a connection as ``trade_writer``, used by nobody else meanwhile.
        chain_id: the chain; one writer at a time, held by an advisory lock.
        first, last: the range of time of the records' UUIDs.
        flush_rows: how many records make one transaction.  One batch is being written while the
            session makes the next.

    Raises:
        StoreUnavailable: another process is writing this chain.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        chain_id: str,
        *,
        first: datetime,
        last: datetime,
        flush_rows: int = 4_000,
    ) -> None:
        self._connection = connection
        self._chain = Chain(chain_id)
        self._flush_rows = flush_rows
        self._pending: dict[str, list[tuple[Any, ...]]] = {kind.TABLE: [] for kind in TABLES}
        self._pending_rows = 0
        self._head_seq = -1
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._writing: Future[None] | None = None
        self.new_rows = 0
        self.database_seconds = 0.0
        started = time.perf_counter()
        take_lock(connection, chain_id, f"session {chain_id} is being written by another process")
        self._stored, self._stored_head = self._read(first, last)
        with connection.transaction():
            # A day more: the next session of the same month finds its partitions made.
            connection.execute(
                "SELECT trade.ensure_partitions(%s, %s)", (first, last + timedelta(days=1))
            )
        self.database_seconds += time.perf_counter() - started

    @property
    def stored_rows(self) -> int:
        """How many records the chain had when the journal was opened."""
        return len(self._stored)

    def append(self, record: Record) -> None:
        """Add the chain's next record.

        Raises:
            ReplayMismatch: the chain holds another record at this place.
        """
        seq = self._chain.seq
        row = self._chain.link(record)
        if seq < len(self._stored):
            if self._stored[seq] != row[3]:
                key = ", ".join(f"{name}={getattr(record, name)}" for name in record.KEY)
                raise ReplayMismatch(
                    f"record {seq} of session {self._chain.chain_id} ({record.TABLE}, {key}) "
                    "differs from the stored one: the code, its libraries or the market changed"
                )
            if seq == len(self._stored) - 1 and self._chain.head != self._stored_head:
                raise ReplayMismatch(
                    f"chain {self._chain.chain_id}: its head does not follow from its records"
                )
            return
        self._pending[record.TABLE].append(row)
        self._pending_rows += 1
        if self._pending_rows >= self._flush_rows:
            self._hand_over()

    def flush(self) -> None:
        """Make everything appended so far durable."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        """Let the writer have the pending records, once it is done with those before."""
        self._wait()
        if not self._pending_rows:
            return
        batch, self._pending = self._pending, {table: [] for table in self._pending}
        head = (self._chain.chain_id, self._chain.seq - 1, self._chain.head)
        self.new_rows += self._pending_rows
        self._pending_rows = 0
        self._writing = self._writer.submit(self._write, batch, head)

    def _wait(self) -> None:
        # A batch that failed stays in the way: one after it would leave a hole in the chain.
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, batch: dict[str, list[tuple[Any, ...]]], head: tuple[str, int, bytes]) -> None:
        started = time.perf_counter()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for kind in TABLES:
                if rows := batch[kind.TABLE]:
                    copy_rows(cursor, kind, rows)
            move_head(cursor, self._head_seq, *head)
        self._head_seq = head[1]
        self.database_seconds += time.perf_counter() - started

    def close(self) -> None:
        """Flush, and check that the replay reached the end of what is stored.

        Raises:
            ReplayMismatch: the chain holds more records than the session made.
        """
        self.flush()
        if self._chain.seq < len(self._stored):
            raise ReplayMismatch(
                f"session {self._chain.chain_id} made {self._chain.seq} records, "
                f"{len(self._stored)} are stored"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.close()
        finally:
            # What a failed session had handed over is still written; then the chain is free.
            self._writer.shutdown()
            with contextlib.suppress(psycopg.OperationalError):
                # A connection that is gone has let go already.
                release_lock(self._connection, self._chain.chain_id)

    def _read(self, first: datetime, last: datetime) -> tuple[Sequence[bytes], bytes]:
        """Content hashes in the order of the chain, and the head."""
        chain_id = self._chain.chain_id
        with self._connection.transaction():
            head = self._connection.execute(
                "SELECT chain_seq, chain_hash FROM trade.chain_heads WHERE chain_id = %s",
                (chain_id,),
            ).fetchone()
            if head is None:
                return [], self._chain.head
            self._head_seq = head[0]
            bounds = (uuid7_floor(first), uuid7_floor(last + timedelta(days=1)))
            hashes: dict[int, bytes] = {}
            found = 0
            for kind in TABLES:
                query = sql.SQL(
                    "SELECT chain_seq, content_hash FROM trade.{} WHERE chain_id = %s"
                ).format(sql.Identifier(kind.TABLE))
                values: tuple[Any, ...] = (chain_id,)
                if kind.TABLE in _PARTITIONED:
                    query += sql.SQL(" AND uuid >= %s AND uuid < %s")
                    values += bounds
                rows = self._connection.execute(query, values).fetchall()
                found += len(rows)
                hashes.update(rows)
        if found != len(hashes) or sorted(hashes) != list(range(head[0] + 1)):
            raise ReplayMismatch(f"chain {chain_id}: {head[0] + 1} records expected, {found} found")
        return [hashes[seq] for seq in range(len(hashes))], head[1]
