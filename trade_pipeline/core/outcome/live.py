"""Shadow outcomes of live sessions, on the market that they recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import LiteralString
from uuid import UUID

import psycopg

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.export import export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.outcome.replay import longest_life
from trade_pipeline.core.outcome.shadow import LabelRun, label_session
from trade_pipeline.core.session.stored import read_session, settings_of
from trade_pipeline.core.store.store import Store

# How long after they were stored decisions without label are looked at again, night after night.
_RETRIED = timedelta(days=21)
# Decisions of which the market was recorded, and that have no shadow outcome.
_UNLABELLED: LiteralString = """
    WITH unlabelled AS (
        SELECT d.account, s.market, s.session_id, s.recorded_at, c.decided_at
        FROM trade.market_recordings m
        JOIN trade.live_decisions d USING (account)
        JOIN trade.candidates c USING (uuid)
        JOIN trade.sessions s ON s.session_id = c.session_id AND s.market = m.market
        WHERE d.recorded_at >= coalesce(%(stored_since)s::timestamptz, '-infinity')
          AND c.uuid >= coalesce(trade.uuid7_floor(%(start)s::timestamptz), %(least)s)
          AND c.uuid < coalesce(trade.uuid7_floor(%(end)s::timestamptz), %(most)s)
          AND m.covered @> (extract(epoch FROM c.decided_at) * 1000000)::bigint
          AND NOT EXISTS (
            SELECT FROM trade.outcomes o WHERE o.uuid = c.uuid AND o.kind = 'shadow')
    )
"""
_ANY = {
    "stored_since": None, "start": None, "end": None,
    "least": UUID(int=0), "most": UUID(int=(1 << 128) - 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Decisions of an account that have no shadow outcome.

    Attributes:
        first, last: when the oldest and the newest were made.
        sessions: that made them, the oldest record first.
    """

    account: str
    market: str
    first: datetime
    last: datetime
    sessions: tuple[str, ...]


def unlabelled_days(connection: psycopg.Connection, now: datetime) -> list[date]:
    """UTC days of decisions without shadow outcome whose market was recorded.

    Those that were stored in the last three weeks: a trade has ended by then, or it hardly ever
    will.  `label_live_sessions` labels older ones as well.
    """
    rows = connection.execute(
        _UNLABELLED + "SELECT DISTINCT (decided_at AT TIME ZONE 'UTC')::date FROM unlabelled "
        "ORDER BY 1",
        _ANY | {"stored_since": now - _RETRIED},
    )
    return [day for (day,) in rows]


def unlabelled_accounts(
    connection: psycopg.Connection, between: tuple[datetime, datetime]
) -> list[Unlabelled]:
    """Accounts with decisions without shadow outcome whose market was recorded.

    Args:
        between: of decisions from the first moment on and before the second.
    """
    rows = connection.execute(
        _UNLABELLED + ", sessions AS ("
        "SELECT account, market, session_id, recorded_at, min(decided_at) AS first, "
        "max(decided_at) AS last FROM unlabelled GROUP BY 1, 2, 3, 4) "
        "SELECT account, market, min(first), max(last), "
        "array_agg(session_id ORDER BY recorded_at, session_id) FROM sessions "
        "GROUP BY 1, 2 ORDER BY 1, 2",
        _ANY | {"start": between[0], "end": between[1]},
    ).fetchall()
    return [
        Unlabelled(account, market, first, last, tuple(made))
        for account, market, first, last, made in rows
    ]


def label_live_sessions(store: Store, between: tuple[datetime, datetime]) -> list[LabelRun]:
    """Make the shadow outcomes of live decisions that can be known by what is recorded by now.

    Args:
        between: of decisions from the first moment on and before the second.

    Raises:
        BadConfig: what was recorded has been archived, and the archive is not there.
        BadMarketData: the recording is wrong.
        StoreUnavailable: the database cannot be reached.
    """
    with store.database.connect("trade_reader") as connection:
        found = unlabelled_accounts(connection, between)
    runs = []
    for one in found:
        # A UUID tells the millisecond.
        moments = micros(one.first), micros(one.last) + 1_000
        with recorded_market(store, one) as market:
            runs += [
                label_session(store.database, store.artifacts, market, session, between=moments)
                for session in one.sessions
            ]
    return runs


@contextmanager
def recorded_market(store: Store, wanted: Unlabelled) -> Iterator[RecordedMarket]:
    """What an account recorded from the oldest of these decisions to the end of the last trade.

    What a venue allows and takes of a token is as it was last told by then.
    """
    with (
        tempfile.TemporaryDirectory(prefix="recorded-") as folder,
        store.database.connect("trade_reader", autocommit=True) as connection,
    ):
        life = max(
            longest_life(
                settings_of(store.artifacts, read_session(connection, session)).strategy.exits
            )
            for session in wanted.sessions
        )
        tape = export_recording(
            connection, wanted.account, Path(folder) / "tape", market=wanted.market,
            start=micros(wanted.first), end=micros(wanted.last) + life + 1, lookback=0,
            artifacts=store.artifacts,
        )  # fmt: skip
        yield RecordedMarket(tape.folder)
