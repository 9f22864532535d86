"""Reads every record once: its own hashes and columns are checked here, its neighbours in verify.

Rows are read by ranges of blocks.  The server makes them while those before are hashed here, which
keeps two cores busy: there, a second reader makes it slower.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
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


def scan_records(
    connection: psycopg.Connection,
    tables: Sequence[RecordTable],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Scanned]:
    """Read and check every record.

    Args:
        connection: in a transaction, whose snapshot is read.
        progress: is called with the blocks that are read, and all.
    """
    pieces = [
        (table, part, first, min(_BLOCKS, blocks - first))
        for table in tables
        for part, blocks in table.parts
        for first in range(0, blocks, _BLOCKS)
    ]
    total, done = sum(blocks for *_, blocks in pieces), 0
    for table, part, first, blocks in pieces:
        yield _scan(connection, table, part, first, blocks)
        done += blocks
        if progress is not None:
            progress(done, total)


def _scan(
    connection: psycopg.Connection, table: RecordTable, part: str, first: int, blocks: int
) -> Scanned:
    columns = Columns(table)
    names = (*_READ, *table.unhashed, *columns.names)
    query = sql.SQL("SELECT {} FROM ONLY trade.{} WHERE ctid >= {}::tid AND ctid < {}::tid").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(part),
        sql.Literal(f"({first},0)"),
        sql.Literal(f"({first + blocks},0)"),
    )
    types = [*_TYPES, *("int8" for _ in table.unhashed), *columns.types]
    own = len(_READ) + len(table.unhashed)
    found = Scanned(table.name)
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
        elif (name := differing(columns, content, row[own:])) is not None:
            found.add_bad(BadRow(chain, seq, name, f"column {name} is not what the content says"))
        leaf = record_leaf(
            prefixes[chain], seq, content_hash, chain_hash, recorded + EPOCH_2000, unhashed
        )
        found.chain.append(number)
        found.seq.append(seq)
        found.recorded.append(recorded)
        found.hashes += leaf + content_hash + chain_hash
    return found


def differing(columns: Columns, content: bytes, values: tuple[Any, ...]) -> str | None:
    """The first column that is not what a content says; ``content`` where it is none."""
    try:
        told = orjson.loads(content)
    except ValueError:
        return "content"
    return columns.differing(values, told) if isinstance(told, dict) else "content"
