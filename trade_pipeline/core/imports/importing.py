"""Brings the trades of an older bot in as records of a session of theirs, whole or not at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import ModuleType

import psycopg

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import BadConfig, RecordConflict, TradePipelineError
from trade_pipeline.core.ids import session_id
from trade_pipeline.core.imports import freqtrade, legacy
from trade_pipeline.core.imports.file import Format, TradeFile, read_trade_file
from trade_pipeline.core.imports.problems import BadTrades, Problem, Refused
from trade_pipeline.core.imports.trade import (
    DOLLARS,
    Import,
    ImportedCandidate,
    OldTrade,
    records_of,
)
from trade_pipeline.core.imports.values import Row, zone_of
from trade_pipeline.core.ledger.anchor import anchor_now
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import Record, Session, TerminationReason, TradeOutcome
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database, loss_reported

# Partitions are made for at most 20 years at once.
_LONGEST = timedelta(days=365 * 19)


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How a file is read; what is stored of an import covers it.

    Attributes:
        columns: column of the file by field.
        reasons: why trades ended, by the words of the bot; besides those that are known.
        timezone: of times without one; None: such times are refused.
        quote_usd: price in USD by currency; dollars need none.
    """

    format: str = "auto"
    strategy: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, TerminationReason] = field(default_factory=dict)
    timezone: str | None = None
    quote_usd: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportRun:
    """What an import brought in, or would.

    Attributes:
        source: address of the file.
        new: whether its records are new; a file that is stored already adds nothing.
        still_open: trades left out that had not ended when the file was written.
        known: trades left out that another import brought in.
        by_reason: number of trades by (the bot's word, the records' word).
    """

    session_id: str
    source: str
    format: str
    strategy: str | None
    trades: int
    new: bool
    dry_run: bool
    still_open: int
    known: int
    instruments: int
    first: datetime | None
    last: datetime | None
    pnl_usd: float
    by_reason: tuple[tuple[str, str, int], ...]


def import_trades(
    database: Database,
    artifacts: ArtifactStore,
    name: str,
    data: bytes,
    settings: ImportSettings,
    *,
    now: datetime,
    skip_known: bool = False,
    dry_run: bool = False,
) -> ImportRun:
    """Import a file; the same file again, with the same settings, adds nothing.

    Args:
        name: of the file, for errors.
        now: nothing in it is later.
        skip_known: leave out trades that another import brought in, such as those of an earlier
            export of the same bot; else they are refused.
        dry_run: only tell what would come in.

    Raises:
        BadConfig: a setting that fits nothing in the file.
        BadTrades: something in the file cannot be taken; nothing of it is stored.
        RecordConflict: the same file is stored as other settings read it.
        StoreUnavailable: the database cannot be reached.
    """
    file, trades, still_open = read_trades(name, data, settings, now)
    with loss_reported(), database.connect(autocommit=True) as connection:
        source = address_of(data)
        read_as = replace(settings, format=file.format, strategy=file.strategy)
        params = canonical_bytes({"import": 1} | asdict(read_as))
        whole = Import(
            session_id=session_id(imported=source, strategy=file.strategy),
            source=source,
            params_ptr=address_of(params),
            bot="freqtrade" if file.format is not Format.LEGACY else "legacy",
        )
        stored = _is_stored(connection, whole)
        known = [] if stored else _known(connection, trades, whole)
        if known and not skip_known:
            raise BadTrades(name, known)
        left_out = {problem.row for problem in known}
        trades = [trade for trade in trades if trade.row not in left_out]
        records = _records(name, trades, file, settings, whole)
        new = bool(records) and not stored
        if new and not dry_run:
            record_artifact(connection, artifacts, params, media_type="application/json")
            record_artifact(connection, artifacts, data, media_type=_media_type(data))
            new = _append(connection, whole, records)
    if new and not dry_run:
        anchor_now(lambda: database.connect(autocommit=True), artifacts.heads)
    return _told(file, whole, records, still_open, len(known), new, dry_run)


def read_trades(
    name: str, data: bytes, settings: ImportSettings, now: datetime
) -> tuple[TradeFile, list[OldTrade], int]:
    """A file, its closed trades, and how many are open.

    Raises:
        BadConfig, BadTrades: see `import_trades`.
    """
    file = read_trade_file(name, data, settings.format, settings.strategy)
    trades, still_open = _read(name, file, settings, now)
    return file, trades, still_open


def reasons_of(file_format: Format) -> Mapping[str, TerminationReason]:
    """The reasons of a format whose meaning is known."""
    if file_format is Format.FREQTRADE_BACKTEST:
        return freqtrade.BACKTEST_REASONS
    return _module(file_format).REASONS  # type: ignore[no-any-return]


def _module(file_format: Format) -> ModuleType:
    return legacy if file_format is Format.LEGACY else freqtrade


def _read(
    name: str, file: TradeFile, settings: ImportSettings, now: datetime
) -> tuple[list[OldTrade], int]:
    """The closed trades of a file, and how many are open."""
    reader, zone = _module(file.format), zone_of(settings.timezone)
    columns = _columns(file, settings)
    trades: list[OldTrade] = []
    problems: list[Problem] = []
    still_open = 0
    for number, values in file.rows:
        row = Row(values, columns, zone, now)
        try:
            if reader.is_open(row):
                still_open += 1
                continue
            trade = reader.read_row(number, row)
            usd = _usd(reader.quote_of(row), settings)
        except Refused as error:
            problems.append(error.of_row(number))
            continue
        trades.append(replace(trade, usd=usd, model=trade.model or file.strategy))
    if problems:
        raise BadTrades(name, problems)
    if not trades:
        raise BadTrades(name, [Problem(0, "trades", still_open, "a closed trade; these are open")])
    span = max(t.closed_at for t in trades) - min(t.opened_at for t in trades)
    if span > _LONGEST:
        raise BadTrades(name, [Problem(0, "trades", str(span), f"at most {_LONGEST}")])
    return trades, still_open


def _columns(file: TradeFile, settings: ImportSettings) -> dict[str, str]:
    reader = _module(file.format)
    there = {str(column) for _, values in file.rows for column in values}
    for given, column in settings.columns.items():
        if given not in reader.FIELDS:
            raise BadConfig(f"--map {given}={column}: expected one of {', '.join(reader.FIELDS)}")
        if column not in there:
            raise BadConfig(
                f"--map {given}={column}: the file has no such column; it has "
                f"{', '.join(sorted(there))}"
            )
    found = dict(settings.columns)
    for name, others in reader.OTHER_NAMES.items():
        if name not in found and name not in there:
            for other in others:
                if other in there:
                    found[name] = other
                    break
    return found


def _usd(quote: str, settings: ImportSettings) -> float:
    if quote in settings.quote_usd:
        return settings.quote_usd[quote]
    if quote not in DOLLARS:
        raise Refused("quote", quote, "a dollar, or its price: --quote-usd NAME=USD")
    return 1.0


def _is_stored(connection: psycopg.Connection, whole: Import) -> bool:
    row = connection.execute(
        "SELECT params_ptr FROM trade.sessions WHERE session_id = %s", (whole.session_id,)
    ).fetchone()
    if row is not None and row[0] != whole.params_ptr:
        raise RecordConflict("sessions", whole.session_id, "params_ptr: the file is imported as "
                             f"other settings read it, see {row[0]}")  # fmt: skip
    return row is not None


def _known(connection: psycopg.Connection, trades: list[OldTrade], whole: Import) -> list[Problem]:
    """The trades that another import brought in: of the same token, time, price and size."""
    rows = connection.execute(
        "SELECT c.instrument, c.decided_at, e.price, e.size, c.session_id, c.uuid "
        "FROM trade.candidates c JOIN trade.sessions s USING (session_id) "
        "JOIN trade.executions e ON e.uuid = c.uuid AND e.leg = 'entry' "
        "WHERE s.mode = 'imported' AND s.session_id <> %s "
        "AND c.uuid >= trade.uuid7_floor(%s) AND c.uuid < trade.uuid7_floor(%s)",
        (
            whole.session_id,
            min(trade.opened_at for trade in trades),
            max(trade.opened_at for trade in trades) + timedelta(milliseconds=1),
        ),
    )
    stored = {
        (instrument, at.astimezone(UTC), price, size): (session, uuid)
        for instrument, at, price, size, session, uuid in rows
    }
    found = []
    for trade in trades:
        entry = trade.fills[0]
        key = (trade.instrument, trade.opened_at, entry.price * trade.usd, entry.size)
        if key in stored:
            session, uuid = stored[key]
            found.append(
                Problem(
                    trade.row,
                    "trade",
                    f"{trade.instrument} at {trade.opened_at.isoformat()}",
                    f"one that is new: session {session} has it as {uuid} "
                    "(--skip-known leaves such trades out)",
                )
            )
    return found


def _records(
    name: str, trades: list[OldTrade], file: TradeFile, settings: ImportSettings, whole: Import
) -> list[Record]:
    known = {**reasons_of(file.format), **settings.reasons}
    unknown = Counter(trade.reason for trade in trades if trade.reason not in known)
    problems = []
    records: list[Record] = []
    for trade in trades:
        if trade.reason not in known:
            # Once for each word, with how often it stands there.
            if times := unknown.pop(trade.reason, 0):
                problems.append(
                    Problem(
                        trade.row,
                        "reason",
                        trade.reason,
                        f"a reason with a known meaning ({times} trades have it): "
                        f"--reason '{trade.reason}=...' with one of "
                        f"{', '.join(sorted(set(legacy.REASONS.values())))}",
                    )
                )
            continue
        try:
            records += records_of(trade, whole, known[trade.reason])
        except Refused as error:
            problems.append(error.of_row(trade.row))
        # What a record itself refuses is told like any other problem of its row.
        except TradePipelineError as error:
            problems.append(Problem(trade.row, "trade", str(error), "values that fit a record"))
    if problems:
        raise BadTrades(name, problems)
    return records


def _append(connection: psycopg.Connection, whole: Import, records: list[Record]) -> bool:
    """Store the records; whether they are new."""
    candidates = [one for one in records if isinstance(one, ImportedCandidate)]
    ends = [one.closed_at for one in records if isinstance(one, TradeOutcome) and one.closed_at]
    session = Session(
        whole.session_id,
        "imported",
        "imported",
        code_version(),
        market_address=whole.source,
        range_start=min(one.decided_at for one in candidates),
        # A range ends after its last moment.
        range_end=max(ends) + timedelta(microseconds=1),
        params_ptr=whole.params_ptr,
    )
    try:
        append_bulk(connection, whole.session_id, [session, *records])
    except psycopg.errors.UniqueViolation:
        # Somebody else imported the file at the same moment.
        if not _is_stored(connection, whole):
            raise
        return False
    return True


def _media_type(data: bytes) -> str:
    if data.startswith(b"PK"):
        return "application/zip"
    return "application/json" if data.lstrip()[:1] in (b"{", b"[") else "text/csv"


def _told(
    file: TradeFile,
    whole: Import,
    records: list[Record],
    still_open: int,
    known: int,
    new: bool,
    dry_run: bool,
) -> ImportRun:
    candidates = [one for one in records if isinstance(one, ImportedCandidate)]
    outcomes = [one for one in records if isinstance(one, TradeOutcome)]
    reasons = Counter(
        (str(one.imported["reason"]), outcome.termination_reason.value)
        for one, outcome in zip(candidates, outcomes, strict=True)
    )
    return ImportRun(
        session_id=whole.session_id,
        source=whole.source,
        format=file.format.value,
        strategy=file.strategy,
        trades=len(candidates),
        new=new,
        dry_run=dry_run,
        still_open=still_open,
        known=known,
        instruments=len({one.instrument for one in candidates}),
        first=min((one.decided_at for one in candidates), default=None),
        last=max((one.closed_at for one in outcomes if one.closed_at), default=None),
        pnl_usd=math.fsum(one.pnl_usd or 0.0 for one in outcomes),
        by_reason=tuple((old, new_, n) for (old, new_), n in sorted(reasons.items())),
    )
