"""Incidents: what is wrong with the machinery around trading, once when it begins and once when it
is over.

A subject is what can be wrong, such as ``market data of account main`` or ``job ledger_job``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg


@dataclass(frozen=True, slots=True)
class Incident:
    """What is wrong with a subject now, since when."""

    subject: str
    reason: str
    since: datetime


def note(connection: psycopg.Connection, subject: str, reason: str | None) -> bool:
    """Note how a subject is; whether that is a change.

    Args:
        connection: in autocommit mode, as ``trade_writer``.
        reason: what is wrong with it; None: nothing.
    """
    row = connection.execute("SELECT trade.note_incident(%s, %s)", (subject, reason)).fetchone()
    return row == (True,)


def note_all(
    connection: psycopg.Connection, kinds: Sequence[str], found: Mapping[str, str | None]
) -> set[str]:
    """Note how every subject of some kinds is; what is open and not among them is over.

    Args:
        connection: see `note`.
        kinds: with one of which every subject begins.
        found: what is wrong by subject, see `note`.

    Returns:
        Subjects that changed.
    """
    kinds = tuple(kinds)
    gone = {one.subject for one in open_incidents(connection) if one.subject.startswith(kinds)}
    everything = dict.fromkeys(gone) | dict(found)
    return {subject for subject, reason in everything.items() if note(connection, subject, reason)}


def open_incidents(connection: psycopg.Connection) -> list[Incident]:
    """What is wrong now, the oldest first."""
    rows = connection.execute(
        "SELECT subject, reason, recorded_at FROM (SELECT DISTINCT ON (subject) * "
        "FROM trade.incidents ORDER BY subject, incident_id DESC) newest "
        "WHERE state = 'begins' ORDER BY recorded_at"
    ).fetchall()
    return [Incident(*row) for row in rows]
