"""Moves old months of recorded markets from the database into the artifact store, as Parquet.

A month of an account's market is one file, named by an alias.  It is written, named and read back
before its rows leave the database; whoever is killed in between leaves the rows in both places,
where `archived_events` and the rows of the database are one set all the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.recorded import EVENT_SCHEMA
from trade_pipeline.core.market.series import AMOUNTS
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database

COLUMNS = ("instrument", "event_time", "known_at", "number", *AMOUNTS)
_ROWS = 50_000
# What a session may read again besides what its open positions need.
_KEPT = 2 * LOOKBACK

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month of an account's recorded market.

    Attributes:
        month: its first moment.
        uri: of the file; None: nothing was written.
        kept: why its rows are still in the database; None: they are not.
    """

    month: datetime
    account: str
    market: str
    rows: int
    uri: str | None = None
    kept: str | None = None


def archive_series(
    database: Database,
    artifacts: ArtifactStore,
    before: datetime,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[ArchivedMonth]:
    """Archive the months that were over at a moment, the oldest first.

    A month stays as it is while a session of one of its accounts would still read it.

    Args:
        dry_run: only tell what would be done.
        progress: called with (rows so far, all rows of the month).

    Raises:
        BadConfig: the series are a hypertable, which TimescaleDB moves itself.
        BadMarketData: what was written cannot be read back.
        StoreUnavailable: the database cannot be reached.
    """
    done: list[ArchivedMonth] = []
    with (
        database.connect("trade_admin", autocommit=True) as admin,
        database.connect(autocommit=True) as writer,
    ):
        for month, end in _months(admin, before):
            groups = admin.execute(
                "SELECT account, market, count(*) FROM trade.market_series "
                "WHERE known_at >= %s AND known_at < %s GROUP BY 1, 2 ORDER BY 1, 2",
                (month, end),
            ).fetchall()
            kept = _needed(admin, [account for account, _, _ in groups], end)
            if dry_run or kept is not None:
                why = kept or "dry run"
                done += [
                    ArchivedMonth(month, account, market, rows, kept=why)
                    for account, market, rows in groups
                ]
                continue
            for account, market, _ in groups:
                done.append(
                    _written(admin, writer, artifacts, account, market, month, end, progress)
                )
            if groups:
                read = sum(one.rows for one in done if one.month == month)
                admin.execute("SELECT trade.drop_series_month(%s, %s)", (month, read))
    return done


def due_months(connection: psycopg.Connection, before: datetime) -> list[datetime]:
    """Months of recorded markets that were over at a moment and hold rows; none of a hypertable."""
    if not _is_partitioned(connection):
        return []
    return [
        month
        for month, end in _months(connection, before)
        if connection.execute(
            "SELECT EXISTS (SELECT FROM trade.market_series "
            "WHERE known_at >= %s AND known_at < %s)",
            (month, end),
        ).fetchone()
        == (True,)
    ]


def archived_events(
    connection: psycopg.Connection,
    artifacts: ArtifactStore | None,
    account: str,
    market: str,
    start: datetime,
    end: datetime,
) -> list[pa.Table]:
    """Archived events with ``start <= known_at < end``, by file.

    Raises:
        BadConfig: there are some, and no artifact store is given.
        BadMarketData: a file is missing or damaged.
    """
    rows = connection.execute(
        "SELECT alias, address, uri FROM trade.artifact_aliases JOIN trade.artifacts "
        "USING (address) WHERE starts_with(alias, %s) ORDER BY alias",
        (_alias(account, market),),
    ).fetchall()
    found = []
    for alias, address, uri in rows:
        month = datetime.strptime(alias.split("/")[-2], "%Y%m").replace(tzinfo=UTC)
        if month >= end or _next(month) <= start:
            continue
        if artifacts is None:
            raise BadConfig(f"start={start.isoformat()}: {alias} is archived at {uri}")
        table = _read(artifacts, address, alias)
        known = table["known_at"]
        inside = pc.and_(
            pc.greater_equal(known, pa.scalar(start, known.type)),
            pc.less(known, pa.scalar(end, known.type)),
        )
        found.append(table.filter(inside))
    return found


def _months(connection: psycopg.Connection, before: datetime) -> list[tuple[datetime, datetime]]:
    """The months with a partition that were over at a moment."""
    names = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "JOIN pg_partitioned_table p ON p.partrelid = i.inhparent "
        "WHERE i.inhparent = 'trade.market_series'::regclass ORDER BY 1"
    ).fetchall()
    if not _is_partitioned(connection):
        raise BadConfig(
            "trade.market_series is a hypertable: export it, and use TimescaleDB's drop_chunks"
        )
    months = [datetime.strptime(name[-6:], "%Y%m").replace(tzinfo=UTC) for (name,) in names]
    return [(month, _next(month)) for month in months if _next(month) <= before]


def _is_partitioned(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "SELECT relkind = 'p' FROM pg_class WHERE oid = 'trade.market_series'::regclass"
    ).fetchone()
    return row == (True,)


def _next(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _needed(connection: psycopg.Connection, accounts: list[str], end: datetime) -> str | None:
    """Why a month that ends then must stay, or None."""
    rows = connection.execute(
        "SELECT account, min(coalesce(reached, upper(covered))), (SELECT min(decided_at) "
        "FROM trade.live_decisions d JOIN trade.candidates USING (uuid) "
        "WHERE d.account = m.account AND decision = 'enter' AND EXISTS ("
        "SELECT FROM trade.executions e WHERE e.uuid = d.uuid "
        "AND event IN ('filled', 'partly_filled')) AND NOT EXISTS ("
        "SELECT FROM trade.outcomes o WHERE o.uuid = d.uuid AND kind = 'realised')) "
        "FROM trade.market_recordings m LEFT JOIN trade.live_progress USING (account) "
        "WHERE account = ANY(%s) GROUP BY 1",
        (accounts,),
    ).fetchall()
    for account, reached, opened in rows:
        # A session reads what happened since its oldest open position was decided on.
        if opened is not None and opened < end:
            return (
                f"the next session of account {account} reads it: a position is open since "
                f"{opened.isoformat()}"
            )
        if micros(end) > reached - _KEPT:
            return (
                f"the next session of account {account} reads it: it goes on at "
                f"{moment_of(reached).isoformat()}"
            )
    return None


def _alias(account: str, market: str) -> str:
    return f"market_series/{account}/{market}/"


def _written(
    connection: psycopg.Connection,
    writer: psycopg.Connection,
    artifacts: ArtifactStore,
    account: str,
    market: str,
    month: datetime,
    end: datetime,
    progress: Progress | None,
) -> ArchivedMonth:
    """Write a month's file, give it its name and read it back."""
    data, rows = _file(connection, account, market, month, end, progress)
    named = f"{_alias(account, market)}{month:%Y%m}/"
    known = connection.execute(
        "SELECT address FROM trade.artifact_aliases WHERE starts_with(alias, %s)", (named,)
    ).fetchall()
    address = artifacts.put(data)
    # Whoever was killed after this wrote the same file.
    if (address,) not in known:
        address = record_artifact(
            writer, artifacts, data, media_type="application/vnd.apache.parquet",
            alias=f"{named}{len(known)}",
        )  # fmt: skip
    if len(_read(artifacts, address, named)) != rows:
        raise BadMarketData(f"{artifacts.uri(address)}: does not hold the {rows} rows of {named}")
    return ArchivedMonth(month, account, market, rows, artifacts.uri(address))


def _file(
    connection: psycopg.Connection,
    account: str,
    market: str,
    month: datetime,
    end: datetime,
    progress: Progress | None,
) -> tuple[bytes, int]:
    target, done = io.BytesIO(), 0
    where = "account = %s AND market = %s AND known_at >= %s AND known_at < %s"
    given = (account, market, month, end)
    with (
        connection.transaction(),
        connection.cursor("archive", binary=True) as cursor,
        pq.ParquetWriter(target, EVENT_SCHEMA, compression="zstd") as file,
    ):
        cursor.execute(
            f"SELECT {', '.join(COLUMNS)}, count(*) OVER () FROM trade.market_series "
            f"WHERE {where} ORDER BY known_at, number".encode(),
            given,
        )
        while rows := cursor.fetchmany(_ROWS):
            file.write_table(parquet.table([row[:-1] for row in rows], EVENT_SCHEMA))
            done += len(rows)
            if progress is not None:
                progress(done, rows[0][-1])
    return target.getvalue(), done


def _read(artifacts: ArtifactStore, address: str, name: str) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(artifacts.get(address))).cast(EVENT_SCHEMA)
    except FileNotFoundError as error:
        raise BadMarketData(f"{name}: its file {artifacts.uri(address)} is missing") from error
