"""Replays trades, sessions, and all that is stored, from stored inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg

from trade_pipeline.core.errors import BadConfig, UnknownTrade
from trade_pipeline.core.records import Session
from trade_pipeline.core.replay.backtest import replay_backtest
from trade_pipeline.core.replay.markets import Markets, NotAtHand
from trade_pipeline.core.replay.records import replay_records
from trade_pipeline.core.replay.report import Replay, SessionReplay
from trade_pipeline.core.replay.stored import in_utc
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.session.stored import read_session, settings_of
from trade_pipeline.core.store.database import loss_reported
from trade_pipeline.core.store.store import Store

# Called when a session begins; gives the progress over its market.
Begins = Callable[[Session], Progress | None]


def replay_trade(
    store: Store,
    uuid: UUID,
    *,
    data: Sequence[Path] = (),
    mentions: Path | None = None,
    begins: Begins | None = None,
) -> Replay:
    """Compute one trade again and compare it bit for bit; nothing is written.

    Args:
        data: folders of recordings; the trade's market must be among them, or none is given.

    Raises:
        UnknownTrade: no candidate has this UUID.
        BadConfig: ``data`` holds another market than the session's.
    """
    with _reading(store) as connection:
        row = connection.execute(
            "SELECT session_id FROM trade.candidates WHERE uuid = %s", (uuid,)
        ).fetchone()
        if row is None:
            raise UnknownTrade(uuid)
        session = in_utc(read_session(connection, row[0]))
        markets = Markets(data, mentions, strict=True)
        return Replay([_replayed(store, connection, session, markets, begins, uuid)])


def replay_session(
    store: Store,
    session_id: str,
    *,
    data: Sequence[Path] = (),
    mentions: Path | None = None,
    begins: Begins | None = None,
) -> Replay:
    """The same for every trade of a session, skipped candidates included.

    Raises:
        BadConfig: no such session is stored, or ``data`` holds another market.
    """
    with _reading(store) as connection:
        session = in_utc(read_session(connection, session_id))
        markets = Markets(data, mentions, strict=True)
        return Replay([_replayed(store, connection, session, markets, begins)])


def replay_all(
    store: Store,
    *,
    data: Sequence[Path] = (),
    mentions: Path | None = None,
    begins: Begins | None = None,
) -> Replay:
    """The same for every session that is stored, the oldest first."""
    with _reading(store) as connection:
        rows = connection.execute(
            "SELECT session_id FROM trade.sessions ORDER BY recorded_at, session_id"
        ).fetchall()
        markets = Markets(data, mentions)
        return Replay(
            [
                _replayed(
                    store, connection, in_utc(read_session(connection, name)), markets, begins
                )
                for (name,) in rows
            ]
        )


@contextmanager
def _reading(store: Store) -> Iterator[psycopg.Connection]:
    """A connection that sees one moment and can write nothing."""
    with loss_reported(), store.database.connect("trade_reader") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


def _replayed(
    store: Store,
    connection: psycopg.Connection,
    session: Session,
    markets: Markets,
    begins: Begins | None,
    only: UUID | None = None,
) -> SessionReplay:
    def from_records(settings: TradingConfig | None, why: str) -> SessionReplay:
        return replay_records(connection, store.artifacts, session, settings, why, only=only)

    if session.mode == "manual":
        return from_records(None, "made through the Python API: there is nothing to compute")
    try:
        settings = settings_of(store.artifacts, session)
    except FileNotFoundError:
        return from_records(None, f"its settings {session.params_ptr} are missing")
    except BadConfig as other:
        return from_records(None, f"its settings are of another time: {other}")
    try:
        feed = markets.of(session, settings)
    except NotAtHand as missing:
        return from_records(settings, str(missing))
    progress = None if begins is None else begins(session)
    return replay_backtest(
        connection, store.artifacts, session, settings, feed, only=only, progress=progress
    )
