"""Is the history untouched?  Every record against its hashes, its chain, and the heads outside.

Nothing in the database is trusted, not even a superuser's words: a record that a head covers cannot
be changed, removed or exchanged, and none be added among them, without being seen here, whatever
else is rewritten to fit.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

import numpy as np
import psycopg
from psycopg import sql

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.ledger.collected import Collected
from trade_pipeline.core.ledger.days import check_days
from trade_pipeline.core.ledger.heads import EPOCH_2000
from trade_pipeline.core.ledger.merkle import merkle_root, split_hashes
from trade_pipeline.core.ledger.report import Behind, LedgerReport, Problem
from trade_pipeline.core.ledger.scan import HASHES, scan_records
from trade_pipeline.core.ledger.tables import RecordTable, record_tables
from trade_pipeline.core.store.head_files import Head, HeadDamaged, HeadFiles

Progress = Callable[[int, int], None]
# Problems that are told; the others are counted.
_TOLD = 100
# Heads whose files are read at once.
_AT_ONCE = 1000


def verify_url(url: str, files: HeadFiles, progress: Progress | None = None) -> LedgerReport:
    """`verify` in a snapshot of a database by its URL.

    Args:
        url: the login may read every record, as ``trade_reader`` may.

    Raises:
        StoreUnavailable: the database went away.
    """
    # What the heads cover was committed before they were written: they are listed before the
    # snapshot is taken.
    numbers = files.numbers()
    try:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            return verify(connection, files, numbers, progress)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"the ledger cannot be read: {str(error).strip()}") from error


def verify(
    connection: psycopg.Connection,
    files: HeadFiles,
    numbers: list[int] | None = None,
    progress: Progress | None = None,
) -> LedgerReport:
    """Compare all records with their hashes, their chains, and the heads.

    Args:
        connection: in a transaction whose snapshot does not move, or in which nobody else writes.
        numbers: of the heads to compare with; None: those that are there.
        progress: is called with the blocks of the tables that are read, and all.
    """
    began = time.perf_counter()
    numbers = files.numbers() if numbers is None else numbers
    tables = record_tables(connection)
    found = _Findings()
    ledger = Collected(tables)
    for piece in scan_records(connection, tables, progress):
        for bad in piece.bad:
            found.add(Problem("row", bad.what, piece.table, None, bad.chain_id, bad.seq, bad.field))
        found.count += piece.bad_rows - len(piece.bad)
        ledger.add(piece)
    ledger.order()
    for table in tables:
        _check_generated(connection, table, found)
    _check_chains(connection, ledger, found)
    heads = _check_heads(connection, files, numbers, ledger, found)
    problems = found.told(heads)
    for at, problem in enumerate(problems):
        if problem.key is None and problem.table is not None and problem.seq is not None:
            problems[at] = replace(problem, key=_key(connection, tables, problem))
    broken = [problem.head for problem in problems if problem.head is not None]
    holding = heads.last if not broken else min(broken) - 1
    days = check_days(files, heads.hashes)
    return LedgerReport(
        records=len(ledger.seq),
        chains=len(ledger.bounds),
        heads=len(heads.hashes),
        last_head=None if heads.last < 0 else heads.last,
        last_head_at=heads.last_at,
        last_holding=None if holding < 0 else holding,
        unanchored=heads.unanchored,
        unanchored_since=heads.unanchored_since,
        problems=(*problems, *days.problems),
        problem_count=found.count + len(days.problems),
        days=days.days,
        stamped_days=days.stamped,
        notes=days.notes,
        seconds=time.perf_counter() - began,
        behind=_behind(ledger, found, heads) if not days.problems else None,
    )


def _behind(ledger: Collected, found: _Findings, heads: _Heads) -> Behind | None:
    """Whether records behind the ends of chains are all that is missing or wrong."""
    short: dict[int, int] = {}
    for chain_id, ranges in heads.ranges.items():
        _, end = ledger.bounds.get(chain_id, (0, 0))
        last = int(ledger.seq[end - 1]) if end else -1
        covered = -1
        for upto, number in ranges:
            if upto > last:
                short[number] = short.get(number, 0) + upto - max(covered, last)
            covered = upto
    others = [
        problem
        for problem in found.problems
        if not (problem.kind == "head" and problem.table is None and problem.seq is not None)
    ]
    if not short or others or found.count != len(found.problems):
        return None
    return Behind(min(short), max(short), sum(short.values()))


@dataclass(slots=True)
class _Findings:
    """Problems, one for each row at the most."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    rows: set[tuple[str | None, int | None]] = field(default_factory=set)

    def add(self, problem: Problem) -> None:
        if problem.seq is not None:
            row = (problem.chain_id, problem.seq)
            if row in self.rows:
                return
            self.rows.add(row)
        self.count += 1
        self.problems.append(problem)

    def told(self, heads: _Heads) -> list[Problem]:
        """The first problems, by the head that covers their rows."""
        named = [
            replace(problem, head=heads.covering(problem.chain_id, problem.seq))
            if problem.head is None
            else problem
            for problem in self.problems
        ]
        last = 1 << 62
        named.sort(key=lambda p: (last if p.head is None else p.head, p.chain_id or "", p.seq or 0))
        return named[:_TOLD]


def _check_generated(connection: psycopg.Connection, table: RecordTable, found: _Findings) -> None:
    """Columns that the database computes from the others."""
    for column, expression in table.generated:
        # The expression is the catalogue's own.
        query = sql.SQL(
            "SELECT chain_id, chain_seq FROM trade.{} WHERE {} IS DISTINCT FROM ({}) "
            "ORDER BY chain_id, chain_seq"
        ).format(
            sql.Identifier(table.name),
            sql.Identifier(column),
            sql.SQL(expression),
        )
        for chain_id, seq in connection.execute(query).fetchall():
            what = f"column {column} is not what follows from the others"
            found.add(Problem("row", what, table.name, None, chain_id, seq, column))


def _check_chains(connection: psycopg.Connection, ledger: Collected, found: _Findings) -> None:
    """Each chain: without gap from 0, each record after the one before, its end in chain_heads."""
    rows = connection.execute("SELECT chain_id, chain_seq, chain_hash FROM trade.chain_heads")
    ends = {chain_id: (seq, head) for chain_id, seq, head in rows.fetchall()}
    names = [name.encode() for name in ledger.tables]
    hashes, seqs, tables = ledger.hashes, ledger.seq.tolist(), ledger.table.tolist()
    for chain_id, (begin, end) in ledger.bounds.items():
        head, expected = GENESIS, 0
        for at in range(begin, end):
            place = at * HASHES
            own = hashes[place + 64 : place + HASHES]
            seq = seqs[at]
            if seq != expected:
                _misplaced(ledger, found, chain_id, at, expected)
            elif sha256(head + names[tables[at]] + hashes[place + 32 : place + 64]).digest() != own:
                what = "its chain_hash does not follow from its content and the record before"
                found.add(
                    Problem("chain", what, ledger.tables[tables[at]], None, chain_id, seq,
                            "chain_hash")
                )  # fmt: skip
            head, expected = own, seq + 1
        if chain_id not in ends:
            table = ledger.tables[tables[begin]]
            what = "it is in no chain that chain_heads knows"
            found.add(Problem("chain", what, table, None, chain_id, seqs[begin], "chain_id"))
    for chain_id, (seq, head) in ends.items():
        begin, end = ledger.bounds.get(chain_id, (0, 0))
        last = seqs[end - 1] if end else -1
        if last != seq:
            what = f"chain {chain_id} ends with record {last}, chain_heads says {seq}"
            found.add(Problem("chain", what, None, None, chain_id, min(last, seq) + 1))
        elif ledger.chain_hash(end - 1) != head:
            what = f"record {seq}, the last of chain {chain_id}, is not what chain_heads says"
            table = ledger.tables[tables[end - 1]]
            found.add(Problem("chain", what, table, None, chain_id, seq, "chain_hash"))


def _misplaced(ledger: Collected, found: _Findings, chain_id: str, at: int, expected: int) -> None:
    seq = int(ledger.seq[at])
    table = ledger.tables[ledger.table[at]]
    if seq < expected:
        what = f"record {seq} of its chain is there more than once"
        found.add(Problem("chain", what, table, None, chain_id, seq, "chain_seq"))
        return
    missing = f"{expected}" if seq == expected + 1 else f"{expected} to {seq - 1}"
    what = f"record {missing} of chain {chain_id} is missing, before one of {table}"
    found.add(Problem("chain", what, None, None, chain_id, expected))


@dataclass(slots=True)
class _Heads:
    """What the heads cover.

    Attributes:
        hashes: of the files, by number.
        ranges: by chain, the last number of each range and its head.
    """

    hashes: dict[int, bytes] = field(default_factory=dict)
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    last: int = -1
    last_at: datetime | None = None
    unanchored: int = 0
    unanchored_since: datetime | None = None

    def covering(self, chain_id: str | None, seq: int | None) -> int | None:
        """The head that covers a record."""
        ranges = self.ranges.get(chain_id or "", [])
        at = bisect_left(ranges, (-1 if seq is None else seq, -1))
        return ranges[at][1] if at < len(ranges) else None


def _check_heads(
    connection: psycopg.Connection,
    files: HeadFiles,
    numbers: list[int],
    ledger: Collected,
    found: _Findings,
) -> _Heads:
    """Each head follows the one before it, and its records are what it says."""
    heads = _Heads()
    _check_missing(connection, files, numbers, found)
    reach: dict[str, int] = {}
    previous: bytes | None = GENESIS
    for start in range(0, len(numbers), _AT_ONCE):
        some = files.read(numbers[start : start + _AT_ONCE])
        for number in numbers[start : start + _AT_ONCE]:
            whole = previous is not None and number == heads.last + 1
            heads.last = number
            try:
                head = Head.from_bytes(some.get(number, b""), number)
            except HeadDamaged as damaged:
                found.add(Problem("file", str(damaged), head=number))
                previous = None
                continue
            if whole and head.previous != previous:
                what = f"head {number} does not follow from the file of head {number - 1}"
                found.add(Problem("file", what, head=number))
            _check_head(files, head, ledger, reach, whole, found, heads)
            previous = head.hash
            heads.hashes[number] = head.hash
            heads.last_at = head.created_at
    _count_unanchored(ledger, reach, heads)
    return heads


def _check_missing(
    connection: psycopg.Connection, files: HeadFiles, numbers: list[int], found: _Findings
) -> None:
    """Heads without file: between others, or that the database remembers."""
    there = set(numbers)
    gone = set(range(max(there, default=-1) + 1)) - there
    told: dict[int, bytes] = {}
    if connection.execute("SELECT to_regclass('trade.ledger_heads')").fetchone() != (None,):
        rows = connection.execute("SELECT number, head_hash FROM trade.ledger_heads").fetchall()
        told = dict(rows)
    # Since they were listed, others may have been written.
    later = files.read(sorted(set(told) - there - gone))
    gone |= set(told) - there - set(later)
    for number in sorted(gone):
        found.add(Problem("file", f"head {number} is missing from {files.url}", head=number))
    for start in range(0, len(numbers), _AT_ONCE):
        for number, data in files.read(numbers[start : start + _AT_ONCE]).items():
            if number in told and sha256(data).digest() != told[number]:
                what = f"head {number} is not the file that the database remembers"
                found.add(Problem("file", what, head=number))


def _check_head(
    files: HeadFiles,
    head: Head,
    ledger: Collected,
    reach: dict[str, int],
    whole: bool,
    found: _Findings,
    heads: _Heads,
) -> None:
    places: list[tuple[str, int, int, int]] = []
    for one in head.ranges:
        if whole and one.first != reach.get(one.chain_id, -1) + 1:
            what = (
                f"head {head.number} covers chain {one.chain_id} from record {one.first}, the "
                f"heads before it up to {reach.get(one.chain_id, -1)}"
            )
            found.add(Problem("file", what, head=head.number))
        reach[one.chain_id] = one.last
        heads.ranges.setdefault(one.chain_id, []).append((one.last, head.number))
        places.append((one.chain_id, one.first, *ledger.places(one.chain_id, one.first, one.last)))
    leaves = [ledger.leaf(at) for _, _, begin, end in places for at in range(begin, end)]
    if len(leaves) == head.count and merkle_root(leaves) == head.root:
        return
    before = found.count
    _name_rows(files, head, ledger, places, found)
    if found.count == before and not _covered_by_others(head, found):
        what = f"the records that head {head.number} covers are not what it says"
        found.add(Problem("head", what, head=head.number))


def _covered_by_others(head: Head, found: _Findings) -> bool:
    """Whether a row of the head is among the problems already."""
    spans = {one.chain_id: (one.first, one.last) for one in head.ranges}
    return any(
        chain in spans and seq is not None and spans[chain][0] <= seq <= spans[chain][1]
        for chain, seq in found.rows
        if chain is not None
    )


def _name_rows(
    files: HeadFiles,
    head: Head,
    ledger: Collected,
    places: Iterable[tuple[str, int, int, int]],
    found: _Findings,
) -> None:
    """Compare with the hashes beside the head: the first bad row of each chain."""
    data = files.leaves(head.number)
    anchored = [] if data is None else split_hashes(data)
    if len(anchored) != head.count or merkle_root(anchored) != head.root:
        what = f"the hashes beside head {head.number} are missing or damaged: no row can be named"
        found.add(Problem("file", what, head=head.number))
        return
    offset = 0
    for one, (chain_id, first, begin, end) in zip(head.ranges, places, strict=True):
        expected = anchored[offset : offset + one.last - first + 1]
        offset += len(expected)
        stored = {int(ledger.seq[at]): at for at in range(begin, end)}
        for seq, leaf in enumerate(expected, first):
            at = stored.get(seq)
            if at is None:
                what = f"record {seq} of chain {chain_id} is missing"
                found.add(Problem("head", what, None, None, chain_id, seq))
                break
            if ledger.leaf(at) == leaf:
                continue
            field_, what = None, f"it is not what head {head.number} covers"
            last = stored.get(one.last)
            if last is not None and ledger.chain_hash(last) == one.chain_hash:
                # Its content is in every chain hash behind it, and these are as they were.
                field_ = _UNCHAINED.get(ledger.tables[ledger.table[at]], "recorded_at")
            else:
                field_, what = "content", f"{what}: content and hashes were written anew"
            table = ledger.tables[ledger.table[at]]
            found.add(Problem("head", what, table, None, chain_id, seq, field_))
            break


# Which columns no chain hash covers, where it is more than the one.
_UNCHAINED = {"deployments": "deployment_id or recorded_at"}


def _count_unanchored(ledger: Collected, reach: dict[str, int], heads: _Heads) -> None:
    oldest: int | None = None
    for chain_id, (begin, end) in ledger.bounds.items():
        first = max(
            begin, begin + int(np.searchsorted(ledger.seq[begin:end], reach.get(chain_id, -1) + 1))
        )
        if first < end:
            heads.unanchored += end - first
            young = int(ledger.recorded[first:end].min())
            oldest = young if oldest is None else min(oldest, young)
    if oldest is not None and abs(oldest) < 1 << 57:
        heads.unanchored_since = moment_of(oldest + EPOCH_2000)


def _key(connection: psycopg.Connection, tables: list[RecordTable], problem: Problem) -> str | None:
    """The primary key of a problem's row, for people."""
    (table,) = (table for table in tables if table.name == problem.table)
    if not table.key:
        return None
    row = connection.execute(
        sql.SQL("SELECT {} FROM trade.{} WHERE chain_id = %s AND chain_seq = %s").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(n)) for n in table.key),
            sql.Identifier(table.name),
        ),
        (problem.chain_id, problem.seq),
    ).fetchone()
    if row is None:
        return None
    return ", ".join(f"{name}={value}" for name, value in zip(table.key, row, strict=True))
