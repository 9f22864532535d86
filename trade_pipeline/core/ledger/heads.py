"""Heads: what the ledger holds, said outside of the database once and for all.

A head covers every record that was appended since the head before it, in one snapshot.  Where it
begins follows from the files of the heads, never from the database.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.errors import StoreUnavailable, TradePipelineError
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.ledger.lock import release_lock, take_lock
from trade_pipeline.core.ledger.merkle import leaf_prefix, merkle_root, record_leaf
from trade_pipeline.core.ledger.tables import record_tables
from trade_pipeline.core.store.head_files import DAY_FORMAT, Head, HeadFiles, Range

log = logging.getLogger("trade_pipeline.ledger")

# Microseconds from 1970 to 2000, from which PostgreSQL counts.
EPOCH_2000 = 946_684_800_000_000
# Records that one head covers at the most; what is more follows in the next.
_MOST = 500_000
_LOCK = "trade.ledger_heads"
_ATTEMPTS = 5


class LedgerBroken(TradePipelineError):
    """Records that do not follow from each other."""


@dataclass(slots=True)
class Anchored:
    """How far the heads reach.

    Attributes:
        number: of the newest head; -1: there is none.
        hash: of its file; ``created_at``: when it was made.
        chains: number and chain hash of the newest covered record, by chain.
        day: the first head of the day that is not closed yet, and the hashes of its heads so far.
    """

    number: int = -1
    hash: bytes = GENESIS
    created_at: datetime | None = None
    chains: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    day: list[bytes] = field(default_factory=list)

    def add(self, head: Head) -> None:
        """Go on behind the next head.

        Raises:
            LedgerBroken: it does not follow.
        """
        if head.number != self.number + 1 or head.previous != self.hash:
            raise LedgerBroken(
                f"head {head.number} does not follow head {self.number}: run "
                "`trade-pipeline verify`; a place for heads belongs to one database"
            )
        if self.created_at is not None and head.created_at.date() != self.created_at.date():
            # The day before was closed before this head was written.
            self.day = []
        self.number, self.hash, self.created_at = head.number, head.hash, head.created_at
        for one in head.ranges:
            self.chains[one.chain_id] = (one.last, one.chain_hash)
        self.day.append(head.hash)


# Heads never change, so a process reads each once.
_known: dict[str, Anchored] = {}
_using_known = Lock()


def write_heads(
    connection: psycopg.Connection, files: HeadFiles, now: datetime | None = None
) -> list[Head]:
    """Cover everything that the heads do not cover yet; none when there is nothing new.

    The UTC days before today are closed on the way.

    Args:
        connection: in autocommit mode, as ``trade_writer``, used by nobody else meanwhile.
        now: the clock's time.

    Raises:
        LedgerBroken: the new records of a chain do not follow from what is covered.  Every other
            chain is covered nevertheless.
        HeadDamaged: a head's file cannot be read.
        StoreUnavailable: other processes keep writing heads for too long.
    """
    written: list[Head] = []
    with _using_known, writing_alone(connection):
        for _ in range(_ATTEMPTS):
            anchored = _followed(files)
            try:
                _close_day(files, anchored, now or datetime.now(UTC))
                broken = _cover(connection, files, anchored, now, written)
            except FileExistsError:
                # Not of this database, whose lock is ours: look at what there is now.
                continue
            if broken:
                raise LedgerBroken("; ".join(broken))
            return written
    raise StoreUnavailable(f"others write heads to {files.url} all the time")


@contextmanager
def writing_alone(connection: psycopg.Connection) -> Iterator[None]:
    """Nobody else of this database writes or moves heads.

    Raises:
        StoreUnavailable: somebody goes on doing it for too long.
    """
    # A session's lock, taken before the snapshot: each head sees all that the one before it saw.
    take_lock(connection, _LOCK, "another process is writing a head")
    try:
        yield
    finally:
        if not connection.broken:
            release_lock(connection, _LOCK)


def _followed(files: HeadFiles) -> Anchored:
    """How far the heads reach, read on from what is known."""
    anchored = _known.get(files.url)
    if anchored is None or not _still_there(files, anchored):
        anchored = _from_state(files)
    _known.pop(files.url, None)
    numbers = files.numbers(anchored.number)
    for at in range(0, len(numbers), 1000):
        found = files.read(numbers[at : at + 1000])
        for number in sorted(found):
            anchored.add(Head.from_bytes(found[number], number))
    _known[files.url] = anchored
    return anchored


def _still_there(files: HeadFiles, anchored: Anchored) -> bool:
    if anchored.number < 0:
        return True
    data = files.read([anchored.number]).get(anchored.number)
    return data is not None and sha256(data) == anchored.hash


def _from_state(files: HeadFiles) -> Anchored:
    state = files.newest_state()
    if state is None:
        return Anchored()
    chains = {name: (seq, bytes.fromhex(head)) for name, (seq, head) in state["chains"].items()}
    created = datetime.fromisoformat(state["created_at"])
    anchored = Anchored(state["number"], bytes.fromhex(state["hash"]), created, chains)
    return anchored if _still_there(files, anchored) else Anchored()


def _close_day(files: HeadFiles, anchored: Anchored, now: datetime) -> None:
    """Write the file of the newest day with heads, once it is over."""
    last = anchored.created_at
    if last is None or not anchored.day or last.date() >= now.astimezone(UTC).date():
        return
    day = last.date().isoformat()
    days = files.days()
    if day not in days:
        before = files.read_of_days(days[-1:])
        first = anchored.number - len(anchored.day) + 1
        data = canonical_bytes(
            {
                "format": DAY_FORMAT,
                "day": day,
                "first": first,
                "last": anchored.number,
                "root": merkle_root(anchored.day).hex(),
                "previous": (sha256(before[days[-1]]) if before else GENESIS).hex(),
            }
        )
        state = {
            "number": anchored.number,
            "hash": anchored.hash.hex(),
            "created_at": last.isoformat(),
            "chains": {name: [seq, head.hex()] for name, (seq, head) in anchored.chains.items()},
        }
        files.write_day(day, data, state)
    anchored.day = []


def _cover(
    connection: psycopg.Connection,
    files: HeadFiles,
    anchored: Anchored,
    now: datetime | None,
    written: list[Head],
) -> list[str]:
    """Write heads over what is new; gives what is wrong with chains that were left out."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            moved = _moved(connection, anchored)
            broken: dict[str, str] = {}
            for piece in _pieces(moved):
                ranges = [(c, a, b) for c, a, b in piece if c not in broken]
                head, leaves = _head(connection, ranges, anchored, moved, now, broken)
                if head is not None:
                    written.append(files.write(head, leaves))
                    anchored.add(written[-1])
    finally:
        connection.isolation_level = None
    for head in written:
        connection.execute(
            "INSERT INTO trade.ledger_heads (number, head_hash) VALUES (%s, %s) "
            "ON CONFLICT DO NOTHING",
            (head.number, head.hash),
        )
    return list(broken.values())


def _moved(connection: psycopg.Connection, anchored: Anchored) -> dict[str, tuple[int, int, bytes]]:
    """Of each chain that was appended to: the first and last new record, and its chain hash."""
    rows = connection.execute("SELECT chain_id, chain_seq, chain_hash FROM trade.chain_heads")
    nothing = (-1, GENESIS)
    return {
        chain: (anchored.chains.get(chain, nothing)[0] + 1, seq, head)
        for chain, seq, head in rows
        if seq > anchored.chains.get(chain, nothing)[0]
    }


def _pieces(moved: dict[str, tuple[int, int, bytes]]) -> Iterator[list[tuple[str, int, int]]]:
    """Ranges of records for one head each."""
    piece: list[tuple[str, int, int]] = []
    room = _MOST
    for chain in sorted(moved):
        first, last, _ = moved[chain]
        while first <= last:
            upto = min(last, first + room - 1)
            piece.append((chain, first, upto))
            room -= upto - first + 1
            first = upto + 1
            if room == 0:
                yield piece
                piece, room = [], _MOST
    if piece:
        yield piece


def _head(
    connection: psycopg.Connection,
    ranges: list[tuple[str, int, int]],
    anchored: Anchored,
    moved: dict[str, tuple[int, int, bytes]],
    now: datetime | None,
    broken: dict[str, str],
) -> tuple[Head | None, bytes]:
    rows = _rows(connection, ranges) if ranges else {}
    covered: list[Range] = []
    leaves: list[bytes] = []
    for chain, first, last in ranges:
        found = sorted(rows.get(chain, []), key=lambda row: row[0])
        before = anchored.chains.get(chain, (-1, GENESIS))[1]
        wrong = _wrong(found, first, last, before)
        if not wrong and last == moved[chain][1] and found[-1][2] != moved[chain][2]:
            wrong = f"record {last} is not what chain_heads says"
        if wrong:
            broken[chain] = f"chain {chain} is not covered: {wrong}"
            continue
        covered.append(Range(chain, first, last, found[-1][2]))
        leaves += [row[3] for row in found]
    if not covered:
        return None, b""
    made = now or datetime.now(UTC)
    head = Head(
        number=anchored.number + 1,
        # A clock that was set back must not put a head into a day that is closed.
        created_at=made if anchored.created_at is None else max(made, anchored.created_at),
        previous=anchored.hash,
        ranges=tuple(covered),
        count=len(leaves),
        root=merkle_root(leaves),
    )
    return head, b"".join(leaves)


# Number, hash of what the chain hash follows with, chain hash, leaf.
_Row = tuple[int, bytes, bytes, bytes]


def _rows(
    connection: psycopg.Connection, ranges: list[tuple[str, int, int]]
) -> dict[str, list[_Row]]:
    """The records of ranges, from every table, by chain."""
    chains, firsts, lasts = (list(values) for values in zip(*ranges, strict=True))
    found: dict[str, list[_Row]] = {}
    for table in record_tables(connection):
        if not table.parts:
            continue
        names = ("chain_id", "chain_seq", "content_hash", "chain_hash", "recorded_at")
        query = sql.SQL(
            "SELECT {} FROM trade.{} t JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) "
            "AS r (chain, first, last) "
            "ON t.chain_id = r.chain AND t.chain_seq BETWEEN r.first AND r.last"
        ).format(
            sql.SQL(", ").join(sql.Identifier("t", name) for name in (*names, *table.unhashed)),
            sql.Identifier(table.name),
        )
        types = ["text", "int8", "bytea", "bytea", "int8"] + ["int8"] * len(table.unhashed)
        encoded = table.name.encode()
        prefixes: dict[str, bytes] = {}
        for chain, seq, content_hash, chain_hash, recorded, *unhashed in copied(
            connection, query, (chains, firsts, lasts), types
        ):
            prefix = prefixes.get(chain)
            if prefix is None:
                prefix = prefixes[chain] = leaf_prefix(table.name, chain)
            leaf = record_leaf(
                prefix, seq, content_hash, chain_hash, recorded + EPOCH_2000, unhashed
            )
            found.setdefault(chain, []).append((seq, encoded + content_hash, chain_hash, leaf))
    return found


def copied(
    connection: psycopg.Connection, query: sql.Composed, values: tuple[Any, ...], types: list[str]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query by binary COPY.

    Args:
        types: how the values are read; a ``timestamptz`` as ``int8`` is microseconds since 2000.
    """
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement, values or None) as copy:
        copy.set_types(types)
        yield from copy.rows()


def _wrong(rows: list[_Row], first: int, last: int, before: bytes) -> str | None:
    """What keeps records from being the next of their chain."""
    if [row[0] for row in rows] != list(range(first, last + 1)):
        return f"records {first} to {last} are expected, {len(rows)} are stored"
    for seq, link, chain_hash, _ in rows:
        if sha256(before + link) != chain_hash:
            return f"record {seq} does not follow from the one before"
        before = chain_hash
    return None
