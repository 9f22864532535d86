"""Replays trades, sessions, and all that is stored, from stored inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

from trade_pipeline.core.errors import BadConfig, BadMarketData, UnknownTrade
from trade_pipeline.core.records import Session
from trade_pipeline.core.replay.backtest import replay_backtest
from trade_pipeline.core.replay.live import Accounts
from trade_pipeline.core.replay.markets import Markets, NotAtHand
from trade_pipeline.core.replay.records import replay_records
from trade_pipeline.core.replay.report import Replay, SessionReplay
from trade_pipeline.core.replay.stored import in_utc
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.session.stored import read_session, settings_of
from trade_pipeline.core.store.artifacts import ArtifactDamaged
from trade_pipeline.core.store.database import loss_reported
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.rules import rules_of

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
        markets = Markets(data, mentions, strict=True)
        return Replay([_Replays(store, connection, markets, begins).of(row[0], uuid)])


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
        markets = Markets(data, mentions, strict=True)
        return Replay([_Replays(store, connection, markets, begins).of(session_id)])


def replay_all(
    store: Store,
    *,
    data: Sequence[Path] = (),
    mentions: Path | None = None,
    begins: Begins | None = None,
    between: tuple[datetime, datetime] | None = None,
    only: str | None = None,
) -> Replay:
    """The same for every session that is stored, the oldest first.

    Args:
        only: a session, whose market ``data`` must not lack; None: all.
        between: only sessions that begin from the first moment on and before the second.  A session
            is the smallest part: its positions, equity and protections follow from its beginning.
    """
    with _reading(store) as connection:
        days = session_days(connection)
        wanted = [
            name
            for name, begun in days.items()
            if (only is None or name == only)
            and (between is None or between[0] <= begun < between[1])
        ]
        markets = Markets(data, mentions, strict=only is not None)
        replays = _Replays(store, connection, markets, begins)
        return Replay([replays.of(name) for name in wanted])


def session_days(connection: psycopg.Connection) -> dict[str, datetime]:
    """When each stored session begins, by its id, the oldest record first.

    A session without a range (live, imported, of the Python API) begins when it was recorded.
    """
    rows = connection.execute(
        "SELECT session_id, coalesce(range_start, recorded_at) FROM trade.sessions "
        "ORDER BY recorded_at, session_id"
    )
    return dict(rows.fetchall())


@contextmanager
def _reading(store: Store) -> Iterator[psycopg.Connection]:
    """A connection that sees one moment and can write nothing."""
    with loss_reported(), store.database.connect("trade_reader") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


class _Replays:
    """What several sessions share: the markets at hand, and accounts that were decided again."""

    def __init__(
        self,
        store: Store,
        connection: psycopg.Connection,
        markets: Markets,
        begins: Begins | None,
    ) -> None:
        self._store, self._connection = store, connection
        self._markets, self._begins = markets, begins
        self._accounts = Accounts(store, connection, markets)

    def of(self, session_id: str, only: UUID | None = None) -> SessionReplay:
        """A session, from whatever is at hand of it."""
        session = in_utc(read_session(self._connection, session_id))
        if session.mode in ("manual", "imported"):
            made = "by an older bot" if session.mode == "imported" else "through the Python API"
            why = f"made {made}: there is nothing to compute"
            return self._from_records(session, None, why, only)
        try:
            settings = settings_of(self._store.artifacts, session)
        except FileNotFoundError:
            why = f"its settings {session.params_ptr} are missing"
            return self._from_records(session, None, why, only)
        except BadConfig as other:
            why = f"its settings are of another time: {other}"
            return self._from_records(session, None, why, only)
        try:
            rules_of(settings.strategy)
        except BadConfig as missing:
            return self._from_records(session, settings, f"own rules: {missing}", only)
        progress = None if self._begins is None else self._begins(session)
        try:
            feed = None if session.mode != "backtest" else self._markets.of(session, settings)
        except NotAtHand as missing:
            return self._from_records(session, settings, str(missing), only)
        try:
            if feed is None:
                return self._accounts.replay(session, progress, only)
            return replay_backtest(
                self._connection, self._store.artifacts, session, settings, feed,
                only=only, progress=progress,
            )  # fmt: skip
        except (NotAtHand, BadConfig, BadMarketData, ArtifactDamaged) as missing:
            # A model's file, the account's recording, or a part of the market.
            return self._from_records(session, settings, str(missing), only)

    def _from_records(
        self, session: Session, settings: TradingConfig | None, why: str, only: UUID | None
    ) -> SessionReplay:
        return replay_records(
            self._connection, self._store.artifacts, session, settings, why, only=only
        )
