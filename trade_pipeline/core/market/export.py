"""Makes a tape of what live sessions of an account recorded: a folder for `RecordedMarket`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market import parquet, recorded
from trade_pipeline.core.market.archive import COLUMNS, archived_events
from trade_pipeline.core.market.parquet import NUMBER, TEXT, TIME, required
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.store.artifacts import ArtifactStore

Progress = Callable[[int, int], None]
_ROWS = 50_000
_WHERE = "account = %s AND market = %s AND known_at >= %s AND known_at < %s"


@dataclass(frozen=True, slots=True)
class Exported:
    """A tape that was written.

    Attributes:
        start, end: the range to backtest, microseconds since 1970-01-01 UTC: that of the sessions'
            decisions within the tape.
        holes: ranges between events of the tape that were not recorded.
    """

    folder: Path
    market: str
    rows: Mapping[str, int]
    start: int
    end: int
    holes: Sequence[tuple[int, int]]


def export_recording(
    connection: psycopg.Connection,
    account: str,
    folder: Path,
    *,
    market: str | None = None,
    start: int | None = None,
    end: int | None = None,
    lookback: int = LOOKBACK,
    artifacts: ArtifactStore | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a folder, whole or not at all.

    Args:
        connection: not in a transaction; what is read is of one moment.
        market: the kind; None: the only one that the account recorded.
        start, end: of the decisions that shall be made again; None: of all.
        lookback: how much before them is in the tape, too, microseconds; a decision needs the usual
            four days.
        artifacts: where `archive_series` moved old months.

    Raises:
        BadConfig: the folder is there already, the account recorded nothing there, or two markets;
            a part of the range is archived and no artifact store is given.
        BadMarketData: an archived file is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadConfig(f"folder={str(folder)!r}: is there already; give a new one")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Before the first look: no month leaves the table until this is over.
        connection.execute("LOCK TABLE trade.market_series IN ACCESS SHARE MODE")
        market, covered = _recording(connection, account, market)
        decided = _decided(connection, account, covered)
        first = decided[0] if start is None else start
        last = decided[1] if end is None else end
        if last <= first:
            raise BadConfig(
                f"end={moment_of(last).isoformat()}: must be after start="
                f"{moment_of(first).isoformat()}"
            )
        since = first - lookback
        part = [[max(a, since), min(b, last)] for a, b in covered if b > since and a < last]
        if not part:
            raise BadConfig(
                f"start={moment_of(first).isoformat()}, end={moment_of(last).isoformat()}: account "
                f"{account} recorded nothing in there"
            )
        given = (account, market, moment_of(since), moment_of(last))
        with _whole(folder) as partial:
            rows = {
                recorded.EVENTS: _events(connection, given, partial, artifacts, progress),
                recorded.INSTRUMENTS: _instruments(connection, account, market, partial),
            }
            if not rows[recorded.EVENTS]:
                raise BadConfig(f"account={account!r}: no event was recorded in this range")
            for question in ("facts", "mentions", "rules"):
                if count := _answers(connection, given, question, partial):
                    rows[f"{question}.parquet"] = count
            manifest = recorded.Manifest(
                market=market, account=account, covered=part, decided=[first, last], rows=rows,
                away=_away(connection, account, first, last),
            )  # fmt: skip
            (partial / recorded.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    holes = [(a[1], b[0]) for a, b in pairwise(part)]
    return Exported(folder, market, rows, first, last, holes)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which takes its name when all is well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _recording(
    connection: psycopg.Connection, account: str, market: str | None
) -> tuple[str, list[tuple[int, int]]]:
    rows = connection.execute(
        "SELECT market, covered FROM trade.market_recordings "
        "WHERE account = %s AND market = coalesce(%s, market) ORDER BY market",
        (account, market),
    ).fetchall()
    if not rows:
        raise BadConfig(f"account={account!r}, market={market!r}: nothing was recorded")
    if len(rows) > 1:
        kinds = ", ".join(kind for kind, _ in rows)
        raise BadConfig(f"market=None: account {account} recorded several: {kinds}; name one")
    return rows[0][0], [(one.lower, one.upper) for one in rows[0][1]]


def _decided(
    connection: psycopg.Connection, account: str, covered: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """From when to when the account's sessions decided; all that is covered before they did."""
    row = connection.execute(
        "SELECT started_at, reached FROM trade.live_progress WHERE account = %s", (account,)
    ).fetchone()
    return (covered[0][0], covered[-1][1]) if row is None else (row[0], row[1])


def _away(
    connection: psycopg.Connection, account: str, first: int, last: int
) -> list[tuple[int, int]]:
    """When nobody decided although there were events: each session's history after the one before.

    A session that was killed may have decided later than it had noted how far it was.
    """
    rows = connection.execute(
        "WITH begun AS (SELECT epoch, facts.* FROM trade.reconciliations, "
        "jsonb_to_record(content::jsonb -> 'facts') AS facts(reached bigint, began bigint) "
        "WHERE account = %(account)s AND kind = 'start' AND facts.began > facts.reached) "
        "SELECT greatest(reached, (SELECT 1 + extract(epoch FROM max(submitted_at)) * 1000000 "
        "FROM trade.order_intents o WHERE account = %(account)s AND o.epoch < begun.epoch), "
        "(SELECT 1 + extract(epoch FROM max(decided_at)) * 1000000 FROM trade.live_decisions d "
        "JOIN trade.candidates USING (uuid) WHERE account = %(account)s AND d.epoch < begun.epoch "
        "AND uuid >= trade.uuid7_floor(to_timestamp(reached / 1000000))))::bigint, began "
        "FROM begun ORDER BY epoch",
        {"account": account},
    ).fetchall()
    away: list[tuple[int, int]] = []
    for since, until in rows:
        # Of sessions that died before they had moved on, one range.
        start, end = max(since, first, away[-1][1] if away else since), min(until, last)
        if start < end:
            away.append((start, end))
    return away


def _events(
    connection: psycopg.Connection,
    given: tuple[Any, ...],
    folder: Path,
    artifacts: ArtifactStore | None,
    progress: Progress | None,
) -> int:
    count = connection.execute(
        f"SELECT count(*) FROM trade.market_series WHERE {_WHERE}".encode(), given
    ).fetchone()
    assert count is not None
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM trade.market_series WHERE {_WHERE} "
        "ORDER BY known_at, number"
    )
    done = 0
    schema = recorded.EVENT_SCHEMA
    archived = archived_events(connection, artifacts, *given)
    with (
        pq.ParquetWriter(folder / recorded.EVENTS, schema, compression="zstd") as writer,
        connection.cursor("events", binary=True) as cursor,
    ):
        cursor.execute(query.encode(), given)
        while rows := cursor.fetchmany(_ROWS):
            if archived:
                archived.append(parquet.table(rows, schema))
            else:
                writer.write_table(parquet.table(rows, schema))
            done += len(rows)
            if progress is not None:
                progress(done, count[0])
        if archived:
            events = _once(archived)
            writer.write_table(events)
            done = len(events)
    return done


def _once(tables: Sequence[pa.Table]) -> pa.Table:
    """The events of all tables in order, each once: a month may be here and there."""
    events = pa.concat_tables(tables).unify_dictionaries()
    known, number = (events[name].cast(pa.int64()).to_numpy() for name in ("known_at", "number"))
    order = np.lexsort((number, known))
    known, number = known[order], number[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(known) != 0) | (np.diff(number) != 0)
    return events.take(order[new])


def _instruments(connection: psycopg.Connection, account: str, market: str, folder: Path) -> int:
    rows = connection.execute(
        "SELECT name, symbol, contract_address, created_at FROM trade.market_instruments "
        "WHERE account = %s AND market = %s ORDER BY place, name",
        (account, market),
    ).fetchall()
    pq.write_table(parquet.table(rows, recorded.INSTRUMENT_SCHEMA), folder / recorded.INSTRUMENTS)
    return len(rows)


def _answers(
    connection: psycopg.Connection, given: tuple[Any, ...], question: str, folder: Path
) -> int:
    """Of answers at one moment the last one; what held before the range is in it, too."""
    account, market, _, last = given
    rows = connection.execute(
        "SELECT DISTINCT ON (known_at, instrument) instrument, known_at, names, told "
        "FROM trade.market_facts WHERE account = %s AND market = %s AND question = %s "
        "AND known_at < %s ORDER BY known_at, instrument, number DESC",
        (account, market, question, last),
    ).fetchall()
    if not rows:
        return 0
    names = sorted({name for row in rows for name in row[2]})
    schema = pa.schema(
        [required("instrument", TEXT), required("known_at", TIME)]
        + [pa.field(name, NUMBER) for name in names]
    )
    wide = []
    for instrument, known_at, given_names, told in rows:
        by_name = dict(zip(given_names, told, strict=True))
        wide.append((instrument, known_at, *(by_name.get(name) for name in names)))
    pq.write_table(parquet.table(wide, schema), folder / f"{question}.parquet", compression="zstd")
    return len(rows)
