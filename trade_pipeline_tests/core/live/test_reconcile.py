"""What changed at the venue while nobody traded is found, written, and booked or alerted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import psycopg
import pytest

from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Crash, crashing

TEMPLATE = "live_crashed"
ONE_MINUTE = 60_000_000


@pytest.fixture(scope="module")
def crashed(server: EmbeddedPostgres, artifacts: ArtifactStore) -> str:
    """A database whose session ended with open positions and an entry at the venue."""
    with create_database(server, name=TEMPLATE) as database:
        method = crashing(PaperVenue.state_of, 5, after=True)
        with mock.patch.object(PaperVenue, "state_of", method), pytest.raises(Crash):
            paper.run(Store(database, artifacts), ACCOUNT)
        with database.connect() as connection:
            assert count(connection, "paper_orders WHERE status = 'open' AND leg = 'entry'") == 1
            assert held(connection)
    return TEMPLATE


@pytest.fixture
def store(server: EmbeddedPostgres, crashed: str, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server, crashed) as database:
        yield Store(database, artifacts)


@pytest.fixture
def venue(server: EmbeddedPostgres, store: Store) -> Iterator[psycopg.Connection]:
    """The venue's own books, which somebody else changes."""
    with store.database.connect() as connection:
        name = connection.info.dbname
    with psycopg.connect(server.url("postgres", name), autocommit=True) as connection:
        yield connection


def count(connection: psycopg.Connection, what: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM trade.{what}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def held(connection: psycopg.Connection) -> dict[str, float]:
    """Tokens by instrument."""
    return dict(
        connection.execute(
            "SELECT instrument, sum(CASE leg WHEN 'entry' THEN f.tokens ELSE -f.tokens END) "
            "FROM trade.paper_fills f JOIN trade.paper_orders USING (client_order_id) "
            "GROUP BY instrument HAVING abs(sum(CASE leg WHEN 'entry' THEN f.tokens "
            "ELSE -f.tokens END)) > 1 ORDER BY instrument"
        ).fetchall()
    )


def foreign(
    connection: psycopg.Connection, instrument: str, tokens: float, status: str = "filled"
) -> None:
    """A sale that no session ordered."""
    (now,) = connection.execute("SELECT max(changed_at) FROM trade.paper_orders").fetchone() or (0,)
    connection.execute(
        "INSERT INTO trade.paper_orders (client_order_id, account, instrument, leg, stake_usd, "
        "tokens, decision_price, submitted_at, status, changed_at) "
        "VALUES ('by-hand', %s, %s, 'exit', 0, %s, 1, %s, %s, %s)",
        (ACCOUNT, instrument, tokens, now, status, now),
    )
    if status == "filled":
        connection.execute(
            "INSERT INTO trade.paper_fills VALUES ('by-hand', 0, %s, 0.01, %s, %s, '{}', '{}', 0, "
            "true)",
            (now, tokens, tokens * 0.01),
        )


def forget_open_order(connection: psycopg.Connection) -> str:
    """The order that is at the venue never arrived there."""
    row = connection.execute(
        "DELETE FROM trade.paper_orders WHERE status = 'open' RETURNING client_order_id"
    ).fetchone()
    assert row is not None
    return str(row[0])


def restart(store: Store) -> list[str]:
    """What a session finds that goes on."""
    done = paper.run(store, ACCOUNT)
    assert done.why == "market"
    return [finding.kind for finding in done.findings]


def halts(database: Database) -> list[Any]:
    with database.connect("trade_reader") as connection:
        return connection.execute("SELECT action, by_whom, reason FROM trade.halts").fetchall()


def entries_after(store: Store, epoch: int) -> int:
    with store.database.connect("trade_reader") as connection:
        return count(connection, f"order_intents WHERE epoch >= {epoch} AND leg = 'entry'")


def test_an_order_that_was_cancelled_while_away_is_booked_as_ended(
    store: Store, venue: psycopg.Connection
) -> None:
    (name,) = venue.execute(
        "UPDATE trade.paper_orders SET status = 'cancelled', changed_at = 0, why = 'by the venue' "
        "WHERE status = 'open' RETURNING client_order_id"
    ).fetchone() or ("",)
    assert "ended_while_away" in restart(store)
    assert count(venue, f"executions WHERE order_id = '{name}' AND event = 'rejected'") == 1
    assert halts(store.database) == []


def test_an_order_that_was_filled_while_away_is_booked_with_its_fill(
    store: Store, venue: psycopg.Connection
) -> None:
    (name, sent) = venue.execute(
        "SELECT client_order_id, submitted_at FROM trade.paper_orders WHERE status = 'open'"
    ).fetchone() or ("", 0)
    venue.execute("UPDATE trade.live_progress SET reached = %s", (sent + ONE_MINUTE,))
    venue.execute(
        "INSERT INTO trade.paper_fills VALUES (%s, 0, %s, 0.5, 40, 20, '{}', '{}', 0, true)",
        (name, sent + 1),
    )
    venue.execute(
        "UPDATE trade.paper_orders SET status = 'filled', changed_at = %s "
        "WHERE client_order_id = %s",
        (sent + 1, name),
    )
    assert "filled_while_away" in restart(store)
    row = venue.execute(
        "SELECT price, size FROM trade.executions WHERE order_id = %s AND event = 'filled'",
        (name,),
    ).fetchone()
    assert row == (0.5, 40)
    assert halts(store.database) == []


def test_an_entry_that_never_arrived_is_sent_again_while_it_is_fresh(
    store: Store, venue: psycopg.Connection
) -> None:
    found = forget_open_order(venue)
    assert restart(store)[1:3] == ["never_arrived", "sent_again"]
    assert count(venue, f"paper_orders WHERE client_order_id = '{found}'") == 1
    assert count(venue, f"order_intents WHERE client_order_id = '{found}'") == 1


def test_an_entry_that_never_arrived_lapses_when_it_is_old(
    store: Store, venue: psycopg.Connection
) -> None:
    found = forget_open_order(venue)
    venue.execute("UPDATE trade.live_progress SET reached = reached + %s", (2 * ONE_MINUTE,))
    assert restart(store)[1:3] == ["never_arrived", "lapsed"]
    assert count(venue, f"paper_orders WHERE client_order_id = '{found}'") == 0
    assert count(venue, f"executions WHERE order_id = '{found}' AND event = 'rejected'") == 1


def test_an_order_that_nobody_allowed_stops_entries_and_no_exit(
    store: Store, venue: psycopg.Connection
) -> None:
    foreign(venue, "somewhere", 1.0, "open")
    before = count(venue, "outcomes")
    assert "unknown_order" in restart(store)
    assert halts(store.database) == [("halt", "reconciliation", "unknown_order somewhere by-hand")]
    assert entries_after(store, 2) == 0
    assert count(venue, "outcomes") > before


def test_a_position_that_was_sold_by_hand_is_closed_with_the_fills_of_the_venue(
    store: Store, venue: psycopg.Connection
) -> None:
    name, tokens = next(iter(held(venue).items()))
    foreign(venue, name, tokens)
    assert "closed_by_hand" in restart(store)
    row = venue.execute(
        "SELECT termination_reason, price FROM trade.outcomes JOIN trade.executions USING (uuid) "
        "WHERE order_id = 'by-hand'"
    ).fetchone()
    assert row == ("manual", 0.01)
    assert halts(store.database) == []


def test_a_balance_that_nothing_explains_stops_entries(
    store: Store, venue: psycopg.Connection
) -> None:
    name, tokens = next(iter(held(venue).items()))
    foreign(venue, name, tokens / 2)
    assert "balance_differs" in restart(store)
    assert halts(store.database) == [("halt", "reconciliation", f"balance_differs {name}")]
    assert entries_after(store, 2) == 0


def test_an_order_that_is_filled_after_it_was_given_up_stops_entries(
    store: Store, venue: psycopg.Connection
) -> None:
    found = forget_open_order(venue)
    venue.execute("UPDATE trade.live_progress SET reached = reached + %s", (2 * ONE_MINUTE,))
    method = crashing(PaperVenue.reach, 1, after=False)
    with mock.patch.object(PaperVenue, "reach", method), pytest.raises(Crash):
        paper.run(store, ACCOUNT)
    # The sleeper that had the order in its hands wakes up.
    venue.execute(
        "INSERT INTO trade.paper_orders SELECT client_order_id, account, instrument, leg, "
        "stake_usd, 0, decision_price, 0, 'filled', 0, NULL, '{}', 0 FROM trade.order_intents "
        "WHERE client_order_id = %s",
        (found,),
    )
    venue.execute(
        "INSERT INTO trade.paper_fills SELECT %s, 0, reached, 0.5, 40, 20, '{}', '{}', 0, true "
        "FROM trade.live_progress",
        (found,),
    )
    assert "filled_after_cancel" in restart(store)
    assert halts(store.database)[0][:2] == ("halt", "reconciliation")
    assert entries_after(store, 3) == 0
