"""A backtest run again over its market, against its stored records; nothing is written."""

from __future__ import annotations

import time
from uuid import UUID

import psycopg

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.records import Session
from trade_pipeline.core.replay.comparison import Comparison, Enough, explained
from trade_pipeline.core.replay.report import SessionReplay
from trade_pipeline.core.replay.stored import session_records, trade_records
from trade_pipeline.core.session.backtest import canary_of, model_of, rug_risk_of
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress, TradingSession
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import ArtifactStore


def replay_backtest(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    session: Session,
    settings: TradingConfig,
    feed: MarketFeed,
    *,
    only: UUID | None = None,
    progress: Progress | None = None,
) -> SessionReplay:
    """Compute a session again and compare every record of its chain.

    Args:
        connection: as ``trade_reader``, in a transaction that sees one moment.
        feed: the session's market (see `require_market`).
        only: one trade of it: the session is computed until that trade has ended.

    Raises:
        BadConfig, ArtifactDamaged: a model that decided is missing or was changed.
        BadMarketData: the market has no event in the range, or a wrong one.
    """
    assert session.range_start is not None
    started = time.perf_counter()
    same_code = session.code_version == code_version()
    ended, length = _chain(connection, session)
    until = 0
    if only is not None:
        until = max((one.seq for one in trade_records(connection, only)), default=0)
    comparison = Comparison(
        session.session_id,
        session_records(connection, session),
        newer_code=not same_code,
        only=only,
        only_until=until,
        length=None if ended else length,
    )
    run = TradingSession(
        session,
        settings,
        feed=feed,
        venue=settings.venue(feed.kind),
        clock=MarketClock(micros(session.range_start)),
        journal=comparison,
        rug_risk=rug_risk_of(artifacts, settings),
        model=model_of(connection, artifacts, settings, feed.kind),
        canary=canary_of(connection, artifacts, settings, feed.kind),
        progress=progress,
    )
    whole = True
    try:
        run.run()
    except Enough:
        whole = False
    comparison.finish(whole=whole)
    notes = []
    if not ended:
        notes.append(
            f"the session was stopped on its way: its {length} stored records were compared, and "
            "what it did not come to is not computed"
        )
    if comparison.added:
        names = ", ".join(sorted(comparison.added))
        notes.append(f"newer code adds fields that say nothing here: {names}")
    return _result(session, comparison, notes, only, time.perf_counter() - started, same_code)


def _chain(connection: psycopg.Connection, session: Session) -> tuple[bool, int]:
    """Whether the session came to its end, and how many records its chain has."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM trade.session_ends WHERE session_id = %s), "
        "(SELECT chain_seq FROM trade.chain_heads WHERE chain_id = %s)",
        (session.session_id, session.session_id),
    ).fetchone()
    assert row is not None
    return bool(row[0]), 0 if row[1] is None else int(row[1]) + 1


def _result(
    session: Session,
    comparison: Comparison,
    notes: list[str],
    only: UUID | None,
    seconds: float,
    same_code: bool,
) -> SessionReplay:
    differences = comparison.differences
    if not same_code:
        why = f"stored by code {session.code_version}, replayed by code {code_version()}"
        differences = explained(differences, why)
    elif comparison.found:
        notes.append("code and market are the same: the record or a library changed")
    if only is None:
        different = len(comparison.different)
        return SessionReplay(
            session, "market", trades=comparison.trades, different=different,
            identical=max(0, comparison.trades - different), records=comparison.compared,
            found=comparison.found, differences=tuple(differences), notes=tuple(notes),
            seconds=seconds,
        )  # fmt: skip
    mine = tuple(one for one in differences if one.uuid == str(only))
    begins = min((one.seq for one in mine), default=None)
    others = [one for one in differences if one.uuid != str(only)]
    before = min(others, key=lambda one: one.seq, default=None)
    if before is not None and begins is not None and before.seq > begins:
        before = None
    return SessionReplay(
        session, "market", trades=1, different=bool(mine), identical=not mine,
        records=comparison.compared, found=len(mine), differences=mine, notes=tuple(notes),
        before=before, seconds=seconds,
    )  # fmt: skip
