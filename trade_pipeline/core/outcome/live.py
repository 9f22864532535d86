"""Shadow outcomes of live sessions, on the market that they recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.export import export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.outcome.shadow import LabelRun, label_session
from trade_pipeline.core.store.store import Store

# Days of decisions that are looked at again and again: a trade has ended by then, or it never will.
DAYS = 21


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Decisions of an account that have no shadow outcome.

    Attributes:
        since: the oldest one.
        sessions: that made them, the oldest record first.
    """

    account: str
    market: str
    since: datetime
    sessions: tuple[str, ...]


def unlabelled_accounts(connection: psycopg.Connection, days: int = DAYS) -> list[Unlabelled]:
    """Accounts whose market is recorded, with decisions without shadow outcome.

    Args:
        days: of market time before the newest that the account has read.
    """
    rows = connection.execute(
        "WITH unlabelled AS ("
        "SELECT d.account, s.market, s.session_id, s.recorded_at, min(c.decided_at) AS since "
        "FROM trade.market_recordings m "
        "JOIN trade.live_progress p USING (account) "
        "JOIN trade.live_decisions d USING (account) "
        "JOIN trade.candidates c USING (uuid) "
        "JOIN trade.sessions s ON s.session_id = c.session_id AND s.market = m.market "
        "WHERE c.decided_at >= to_timestamp((p.reached - %s) / 1e6) AND NOT EXISTS ("
        "SELECT FROM trade.outcomes o WHERE o.uuid = c.uuid AND o.kind = 'shadow') "
        "GROUP BY 1, 2, 3, 4) "
        "SELECT account, market, min(since), array_agg(session_id ORDER BY recorded_at, session_id)"
        " FROM unlabelled GROUP BY 1, 2 ORDER BY 1, 2",
        (days * DAY,),
    ).fetchall()
    return [
        Unlabelled(account, market, since, tuple(made)) for account, market, since, made in rows
    ]


def label_live_sessions(store: Store, *, days: int = DAYS) -> list[LabelRun]:
    """Make the shadow outcomes of live decisions that can be known by what is recorded by now.

    Raises:
        BadMarketData: the recording is wrong.
        StoreUnavailable: the database cannot be reached.
    """
    with store.database.connect("trade_reader") as connection:
        found = unlabelled_accounts(connection, days)
    runs = []
    for one in found:
        with recorded_market(store, one) as market:
            runs += [
                label_session(store.database, store.artifacts, market, session)
                for session in one.sessions
            ]
    return runs


@contextmanager
def recorded_market(store: Store, wanted: Unlabelled) -> Iterator[RecordedMarket]:
    """What an account recorded since the oldest of its decisions without label, as a tape."""
    with (
        tempfile.TemporaryDirectory(prefix="recorded-") as folder,
        store.database.connect("trade_reader", autocommit=True) as connection,
    ):
        tape = export_recording(
            connection, wanted.account, Path(folder) / "tape", market=wanted.market,
            start=micros(wanted.since), artifacts=store.artifacts,
        )  # fmt: skip
        yield RecordedMarket(tape.folder)
