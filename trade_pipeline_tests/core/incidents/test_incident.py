"""An incident is one event when it begins and one when it is over, whoever notes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from trade_pipeline.core.incidents.incident import note, note_all, open_incidents
from trade_pipeline.core.store.database import Database


def events(connection: psycopg.Connection) -> list[tuple[str, str, str]]:
    return connection.execute(
        "SELECT subject, state, reason FROM trade.incidents ORDER BY incident_id"
    ).fetchall()


def test_only_a_change_is_an_event_and_the_end_tells_what_it_was(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        assert not note(connection, "job a", None)
        assert note(connection, "job a", "it burns")
        assert not note(connection, "job a", "it burns hotter")
        assert [(one.subject, one.reason) for one in open_incidents(connection)] == [
            ("job a", "it burns")
        ]
        assert note(connection, "job a", None)
        assert not note(connection, "job a", None)
        assert open_incidents(connection) == []
        assert note(connection, "job a", "again")
        assert events(connection) == [
            ("job a", "begins", "it burns"),
            ("job a", "ends", "it burns"),
            ("job a", "begins", "again"),
        ]


def test_many_that_note_the_same_at_once_make_one_event(fresh_database: Database) -> None:
    def one(_: int) -> bool:
        with fresh_database.connect(autocommit=True) as connection:
            return note(connection, "job a", "it burns")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(16))) == 1


def test_what_nobody_watches_any_more_is_over_and_other_kinds_stay(
    fresh_database: Database,
) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        note(connection, "market data of account a", "old")
        note(connection, "job a", "it burns")
        found = {"market data of account b": "old", "market data of account c": None}
        assert note_all(connection, ["market data of "], found) == {
            "market data of account a", "market data of account b",
        }  # fmt: skip
        assert {one.subject for one in open_incidents(connection)} == {
            "job a", "market data of account b",
        }  # fmt: skip


def test_an_incident_cannot_be_changed_or_made_to_say_nothing(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        note(connection, "job a", "it burns")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE trade.incidents SET reason = 'nothing'")
        with pytest.raises(psycopg.errors.CheckViolation):
            note(connection, "job b", "")
