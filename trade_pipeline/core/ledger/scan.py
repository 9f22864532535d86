"""Reads every record once: its own hashes and columns are checked here, its neighbours in verify.

The rows of a part of a table are read by ranges of blocks, so that processes share the work.
"""

from __future__ import annotations

import multiprocessing
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.ledger.columns import Columns
from trade_pipeline.core.ledger.heads import EPOCH_2000, copied
from trade_pipeline.core.ledger.merkle import leaf_prefix, record_leaf
from trade_pipeline.core.ledger.tables import RecordTable

# Leaf, content hash and chain hash of a record.
HASHES = 96
# Blocks of 8 KiB that are read at once: 32 MiB.
_BLOCKS = 4096
# Blocks of all tables from which on a second process is worth its start.
_WORTH_PROCESSES = 16_384
# Bad rows that are told of each piece; what is behind is counted.
_TOLD = 200
_READ = ("chain_id", "chain_seq", "content", "content_hash", "chain_hash", "recorded_at")
_TYPES = ["text", "int8", "bytea", "bytea", "bytea", "int8"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that contradicts itself."""

    chain_id: str | None
    seq: int | None
    field: str
    what: str


@dataclass(slots=True)
class Scanned:
    """The records of one piece.

    Attributes:
        chains: the chains' ids; ``chain`` numbers them, for each record.
        recorded: microseconds since 2000.
        hashes: `HASHES` bytes for each record.
        bad: the first bad rows; ``bad_rows`` counts all.
    """

    table: str
    blocks: int = 0
    chains: list[str] = field(default_factory=list)
    chain: array[int] = field(default_factory=lambda: array("i"))
    seq: array[int] = field(default_factory=lambda: array("q"))
    recorded: array[int] = field(default_factory=lambda: array("q"))
    hashes: bytearray = field(default_factory=bytearray)
    bad: list[BadRow] = field(default_factory=list)
    bad_rows: int = 0

    def add_bad(self, row: BadRow) -> None:
        self.bad_rows += 1
        if len(self.bad) < _TOLD:
            self.bad.append(row)


@dataclass(frozen=True, slots=True)
class _Piece:
    table: RecordTable
    part: str
    first: int
    blocks: int


def scan_records(
    connection: psycopg.Connection,
    tables: Sequence[RecordTable],
    *,
    url: str | None = None,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Scanned]:
    """Read and check every record.

    Args:
        connection: in a transaction, whose snapshot is read.
        url: by which other processes may read the same snapshot; None: there are none.
        progress: is called with the blocks that are read, and all.
    """
    pieces = [
        _Piece(table, part, first, min(_BLOCKS, blocks - first))
        for table in tables
        for part, blocks in table.parts
        for first in range(0, blocks, _BLOCKS)
    ]
    total = sum(piece.blocks for piece in pieces)
    done = 0
    if url is None or processes < 2 or total < _WORTH_PROCESSES:
        results: Iterator[Scanned] = (scan_piece(connection, piece) for piece in pieces)
    else:
        results = _in_processes(connection, url, pieces, processes)
    for result in results:
        done += result.blocks
        if progress is not None:
            progress(done, total)
        yield result


def _in_processes(
    connection: psycopg.Connection, url: str, pieces: list[_Piece], processes: int
) -> Iterator[Scanned]:
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    # What a parent's threads hold is not forked.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_open, initargs=(url, row[0]))
    try:
        # The longest first, so that nobody waits for one at the end.
        pieces = sorted(pieces, key=lambda piece: -piece.blocks)
        for future in as_completed([pool.submit(_scan_there, piece) for piece in pieces]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_there: psycopg.Connection


def _open(url: str, snapshot: str) -> None:
    global _there
    _there = psycopg.connect(url)
    _there.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    _there.read_only = True
    _there.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))


def _scan_there(piece: _Piece) -> Scanned:
    return scan_piece(_there, piece)


def scan_piece(connection: psycopg.Connection, piece: _Piece) -> Scanned:
    """Read and check the records in a range of blocks."""
    table = piece.table
    columns = Columns(table)
    names = (*_READ, *table.unhashed, *columns.names)
    query = sql.SQL("SELECT {} FROM ONLY trade.{} WHERE ctid >= {}::tid AND ctid < {}::tid").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(piece.part),
        sql.Literal(f"({piece.first},0)"),
        sql.Literal(f"({piece.first + piece.blocks},0)"),
    )
    types = [*_TYPES, *("int8" for _ in table.unhashed), *columns.types]
    own = len(_READ) + len(table.unhashed)
    found = Scanned(table.name, piece.blocks)
    numbers: dict[str, int] = {}
    prefixes: dict[str, bytes] = {}
    for row in copied(connection, query, (), types):
        chain, seq, content, content_hash, chain_hash, recorded = row[:6]
        unhashed = row[6:own]
        if None in row[:own] or len(content_hash) != 32 or len(chain_hash) != 32:
            named = dict(zip(names, row[:own], strict=False))
            empty = next((name for name, value in named.items() if value is None), "hash")
            found.add_bad(BadRow(chain, seq, empty, f"{empty} is no value of a record"))
            continue
        number = numbers.get(chain)
        if number is None:
            number = numbers[chain] = len(numbers)
            prefixes[chain] = leaf_prefix(table.name, chain)
            found.chains.append(chain)
        if sha256(content).digest() != content_hash:
            found.add_bad(BadRow(chain, seq, "content", "content does not have its content_hash"))
        elif (name := _differing(columns, content, row[own:])) is not None:
            found.add_bad(BadRow(chain, seq, name, f"column {name} is not what the content says"))
        leaf = record_leaf(
            prefixes[chain], seq, content_hash, chain_hash, recorded + EPOCH_2000, unhashed
        )
        found.chain.append(number)
        found.seq.append(seq)
        found.recorded.append(recorded)
        found.hashes += leaf + content_hash + chain_hash
    return found


def _differing(columns: Columns, content: bytes, values: tuple[Any, ...]) -> str | None:
    try:
        told = orjson.loads(content)
    except ValueError:
        return "content"
    return columns.differing(values, told) if isinstance(told, dict) else "content"
