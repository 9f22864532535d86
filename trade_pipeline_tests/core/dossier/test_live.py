"""Dossiers of a live account's trades: intents, reconciliations, and the market it recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest

from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.dossier.gather import gather
from trade_pipeline.core.dossier.html import html_of
from trade_pipeline.core.dossier.market import around
from trade_pipeline.core.dossier.sections import page_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.records import Reconciliation
from trade_pipeline.core.live.session import live_session_id
from trade_pipeline.core.market import archive
from trade_pipeline.core.market.archive import archive_series
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.session import stored

ACCOUNT = paper.ACCOUNT


@dataclass(frozen=True, slots=True)
class Account:
    """An account whose session has traded."""

    store: Store

    def bought(self) -> Dossier:
        """Its first trade that was bought and sold."""
        with self.store.database.connect("trade_reader") as connection:
            return self._first(
                connection,
                "SELECT uuid FROM trade.live_decisions d WHERE EXISTS (SELECT FROM trade.outcomes "
                "o WHERE o.uuid = d.uuid AND kind = 'realised') ORDER BY uuid LIMIT 1",
            )

    def _first(self, connection: psycopg.Connection, query: str) -> Dossier:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return self.read(connection, row[0])

    def read(self, connection: psycopg.Connection, uuid: object) -> Dossier:
        dossier = gather(connection, self.store.artifacts, uuid)  # type: ignore[arg-type]
        return around(dossier, connection, self.store.artifacts)


@pytest.fixture(scope="module")
def account(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Account]:
    with create_database(server) as database:
        store = Store(database, artifacts)
        assert paper.run(store, ACCOUNT, record=True).decisions
        yield Account(store)


def test_a_live_trade_shows_its_intents_and_the_market_that_was_recorded(account: Account) -> None:
    dossier = account.bought()
    assert {one["leg"] for one in dossier.intents} == {"entry", "exit"}
    entry = next(one for one in dossier.orders if one.leg == "entry")
    assert entry.attempt == 0
    assert entry.decision_price == dossier.intents[0]["decision_price"]
    assert dossier.market is not None
    assert dossier.research is not None
    decided = datetime.fromisoformat(dossier.candidate["decided_at"]).timestamp() * 1e6
    row = int(dossier.market.times.searchsorted(decided, "right")) - 1
    assert dossier.market.price[row] == dossier.research["price_usd"]
    page = page_of(dossier)
    assert page.subtitle.startswith("Paper: live market, no money.")
    html = html_of(page)
    assert "Intents: each is stored before its order may be sent" in html
    assert dossier.intents[0]["client_order_id"] in html
    assert f"Read from what account {ACCOUNT} recorded." in html
    why = dossier.explanation.sizing
    assert why is not None
    assert why.reproduced


def test_a_recordings_folder_is_refused_for_a_live_trade(account: Account, tmp_path: Path) -> None:
    dossier = account.bought()
    with (
        account.store.database.connect("trade_reader") as connection,
        pytest.raises(BadConfig, match="what account trading recorded"),
    ):
        around(dossier, connection, account.store.artifacts, data=tmp_path)


def test_what_a_restart_found_of_an_order_is_shown_with_its_trade_alone(account: Account) -> None:
    dossier = account.bought()
    mine, number = dossier.intents[0]["client_order_id"], 1_000
    with (
        account.store.database.connect(autocommit=True) as connection,
        Lease(account.store.database, ACCOUNT, holder="test", mode="paper") as lease,
    ):
        journal = LiveJournal(
            connection, live_session_id(ACCOUNT, lease.epoch), ACCOUNT, lease.epoch
        )
        for order, facts in ((mine, {"tokens": 12.0}), ("another", {"tokens": 13.0})):
            number += 1
            journal.append(
                Reconciliation(
                    ACCOUNT, lease.epoch, number, "filled_while_away", True, order,
                    dossier.candidate["instrument"], facts,
                )
            )  # fmt: skip
        at = stored.START + DAY
        journal.commit(at, at, {})
    again = account.bought()
    assert [one["client_order_id"] for one in again.reconciliations] == [mine]
    html = html_of(page_of(again))
    assert "filled while away" in html
    assert "tokens 12.0" in html
    assert "tokens 13.0" not in html


def test_a_month_that_was_archived_is_read_back_from_its_file(account: Account) -> None:
    before = account.bought().market
    assert before is not None
    with pytest.MonkeyPatch.context() as patch:
        # As if the account had gone on for a long time since.
        patch.setattr(archive, "_needed", lambda *_: None)
        done = archive_series(
            account.store.database, account.store.artifacts, datetime(2023, 1, 1, tzinfo=UTC)
        )
    assert any(one.uri for one in done)
    after = account.bought().market
    assert after is not None
    assert np.array_equal(after.times, before.times)
    assert np.array_equal(after.price, before.price)
    assert np.array_equal(after.liquidity, before.liquidity, equal_nan=True)
