"""How far each channel was told: positions in the chains, and the halts and incidents that it
knows of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg

# Chains of backtests tell nothing to anybody.
_CHAINS = (
    "trade.chain_heads h WHERE NOT EXISTS (SELECT FROM trade.sessions s "
    "WHERE s.session_id = h.chain_id AND s.mode NOT IN ('paper', 'live'))"
)
# A channel that fails is tried again after this long, twice as long, and so on, up to the longest.
RETRY = timedelta(seconds=15)
_LONGEST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a channel was not told yet.

    Attributes:
        chains: (chain, first number, last number) of records.
        halts, incidents: their numbers.
    """

    chains: tuple[tuple[str, int, int], ...]
    halts: tuple[int, ...]
    incidents: tuple[int, ...] = ()


@contextmanager
def only_teller(connection: psycopg.Connection) -> Iterator[bool]:
    """Whether this is the only process that tells people, as long as the block lasts.

    Args:
        connection: in autocommit mode.
    """
    # Hashed apart from the chains' and leases' locks.
    name = "hashtextextended('alerts', 2)"
    row = connection.execute(f"SELECT pg_try_advisory_lock({name})".encode()).fetchone()
    held = row == (True,)
    try:
        yield held
    finally:
        if held:
            connection.execute(f"SELECT pg_advisory_unlock({name})".encode())


def begin(connection: psycopg.Connection, channel: str) -> bool:
    """Make a channel known that is new: it is told what follows.  Returns whether it is new."""
    with connection.transaction():
        new = connection.execute(
            "INSERT INTO trade.alert_channels (channel) VALUES (%s) ON CONFLICT DO NOTHING",
            (channel,),
        ).rowcount
        if not new:
            return False
        connection.execute(
            "INSERT INTO trade.alert_positions "
            f"SELECT %s, h.chain_id, h.chain_seq FROM {_CHAINS}".encode(),
            (channel,),
        )
        connection.execute(
            "INSERT INTO trade.alert_halts SELECT %s, halt_id FROM trade.halts", (channel,)
        )
        connection.execute(
            "INSERT INTO trade.alert_incidents SELECT %s, incident_id FROM trade.incidents",
            (channel,),
        )
    return True


def is_due(connection: psycopg.Connection, channel: str) -> bool:
    """Whether a channel that failed may be tried again."""
    row = connection.execute(
        "SELECT retry_at <= clock_timestamp() FROM trade.alert_channels WHERE channel = %s",
        (channel,),
    ).fetchone()
    return row == (True,)


def waiting(connection: psycopg.Connection, channel: str) -> Waiting:
    """What became visible since a channel was last told, in whichever order it was numbered."""
    chains = connection.execute(
        "SELECT h.chain_id, coalesce(p.chain_seq, -1) + 1, h.chain_seq FROM (SELECT * FROM "
        f"{_CHAINS}) h LEFT JOIN trade.alert_positions p "
        "ON p.channel = %s AND p.chain_id = h.chain_id "
        "WHERE h.chain_seq > coalesce(p.chain_seq, -1) ORDER BY 1".encode(),
        (channel,),
    ).fetchall()
    halts = connection.execute(
        "SELECT halt_id FROM trade.halts h WHERE NOT EXISTS (SELECT FROM trade.alert_halts t "
        "WHERE t.channel = %s AND t.halt_id = h.halt_id) ORDER BY 1",
        (channel,),
    ).fetchall()
    incidents = connection.execute(
        "SELECT incident_id FROM trade.incidents i WHERE NOT EXISTS ("
        "SELECT FROM trade.alert_incidents t WHERE t.channel = %s "
        "AND t.incident_id = i.incident_id) ORDER BY 1",
        (channel,),
    ).fetchall()
    return Waiting(
        tuple(chains),
        tuple(number for (number,) in halts),
        tuple(number for (number,) in incidents),
    )


def told(connection: psycopg.Connection, channel: str, what: Waiting, alerts: int) -> None:
    """A channel knows all of this now."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO trade.alert_positions VALUES (%s, %s, %s) "
            "ON CONFLICT (channel, chain_id) DO UPDATE SET chain_seq = EXCLUDED.chain_seq",
            [(channel, chain, last) for chain, _, last in what.chains],
        )
        cursor.executemany(
            "INSERT INTO trade.alert_halts VALUES (%s, %s)",
            [(channel, number) for number in what.halts],
        )
        cursor.executemany(
            "INSERT INTO trade.alert_incidents VALUES (%s, %s)",
            [(channel, number) for number in what.incidents],
        )
        cursor.execute(
            "UPDATE trade.alert_channels SET failures = 0, retry_at = clock_timestamp(), "
            "told = told + %s WHERE channel = %s",
            (alerts, channel),
        )


def failed(connection: psycopg.Connection, channel: str) -> None:
    """A channel could not be told: it is tried again, later each time."""
    connection.execute(
        "UPDATE trade.alert_channels SET failures = failures + 1, "
        "retry_at = clock_timestamp() + %s * 2 ^ least(failures, %s) WHERE channel = %s",
        (RETRY, _LONGEST_DOUBLINGS, channel),
    )
