"""A stored session, opened again: its record, its settings and its market."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore


def read_session(connection: psycopg.Connection, session_id: str) -> Session:
    """A session's record.

    Raises:
        BadConfig: no such session is stored.
    """
    row = connection.execute(
        "SELECT session_id, mode, market, code_version, market_address, range_start, range_end, "
        "seed, params_ptr FROM trade.sessions WHERE session_id = %s",
        (session_id,),
    ).fetchone()
    if row is None:
        raise BadConfig(f"session_id={session_id!r}: no such session is stored")
    return Session(*row)


def sessions_on(
    connection: psycopg.Connection, market: str, start: datetime, end: datetime
) -> list[Session]:
    """Backtests on a kind of market that decided between two moments, the oldest record first."""
    rows = connection.execute(
        "SELECT session_id FROM trade.sessions s WHERE mode = 'backtest' AND market = %s "
        "AND EXISTS (SELECT FROM trade.candidates c WHERE c.session_id = s.session_id "
        "AND c.uuid >= trade.uuid7_floor(%s) AND c.uuid < trade.uuid7_floor(%s)) "
        "ORDER BY recorded_at, session_id",
        (market, start, end),
    ).fetchall()
    return [read_session(connection, session_id) for (session_id,) in rows]


def decision_days(connection: psycopg.Connection, session_id: str) -> list[date]:
    """The UTC days on which a session decided, in their order."""
    rows = connection.execute(
        "SELECT DISTINCT (decided_at AT TIME ZONE 'UTC')::date FROM trade.candidates "
        "WHERE chain_id = %s ORDER BY 1",
        (session_id,),
    )
    return [day for (day,) in rows]


def settings_of(artifacts: ArtifactStore, session: Session) -> TradingConfig:
    """The settings of a session.

    Raises:
        BadConfig: it has none (records made through the Python API), or they are of another time.
    """
    if session.params_ptr is None:
        raise BadConfig(f"session_id={session.session_id!r}: has no settings of a market")
    return TradingConfig.from_json(artifacts.get(session.params_ptr))


def market_of(
    session: Session, settings: TradingConfig, data: Path | None, mentions: Path | None = None
) -> MarketFeed:
    """The market of a session's kind and range: simulated anew, or the recording in a folder.

    Raises:
        BadConfig, BadMarketData: see `open_market`.
    """
    assert session.range_start is not None
    assert session.range_end is not None
    return open_market(
        session.market,
        data=data,
        seed=session.seed or 0,
        start=micros(session.range_start),
        end=micros(session.range_end),
        simulator=settings.simulator,
        mentions=mentions,
    )


def require_market(session: Session, feed: MarketFeed, account: str | None = None) -> None:
    """Refuse a market that is not the session's.

    Args:
        account: of a live session, whose market is what it recorded.

    Raises:
        BadConfig: its kind or its content is another, or whose recording it is.
    """
    if account is not None and isinstance(feed, RecordedMarket):
        recorded, ran = (feed.kind, feed.manifest.account), (session.market, account)
        if recorded != ran:
            raise BadConfig(
                f"market={recorded!r}: session {session.session_id} ran on {ran!r}; give what "
                "its account recorded"
            )
        return
    for name, given, expected in (
        ("market", feed.kind, session.market),
        ("market_address", feed.content_address(), session.market_address),
    ):
        if given != expected:
            raise BadConfig(
                f"{name}={given!r}: session {session.session_id} ran on {expected!r}; give the "
                "market that it ran on"
            )
