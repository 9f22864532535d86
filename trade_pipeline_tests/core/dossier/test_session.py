"""Dossiers of a session's trades: what they explain agrees with the records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from trade_pipeline.core.dossier.document import document_of
from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.dossier.gather import gather
from trade_pipeline.core.dossier.html import html_of
from trade_pipeline.core.dossier.market import around
from trade_pipeline.core.dossier.page import Note, Page, Table
from trade_pipeline.core.dossier.sections import page_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.simulator import market as simulator
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.session import stored


@dataclass(frozen=True, slots=True)
class Backtest:
    """A stored session on a simulated market, as a reader sees it."""

    connection: psycopg.Connection
    artifacts: ArtifactStore

    def dossier(self, where: str) -> Dossier:
        """The first decision ``c`` for which a condition holds."""
        row = self.connection.execute(
            f"SELECT uuid FROM trade.candidates c WHERE {where} ORDER BY uuid LIMIT 1".encode()
        ).fetchone()
        assert row is not None, where
        return gather(self.connection, self.artifacts, row[0])

    def all(self) -> Iterator[Dossier]:
        rows = self.connection.execute("SELECT uuid FROM trade.candidates").fetchall()
        for (uuid,) in rows:
            yield gather(self.connection, self.artifacts, uuid)


@pytest.fixture(scope="module")
def backtest(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Backtest]:
    with create_database(server) as database:
        stored.run(database, artifacts)
        with database.connect("trade_reader") as connection:
            yield Backtest(connection, artifacts)


CLOSED = (
    "EXISTS (SELECT FROM trade.outcomes o WHERE o.uuid = c.uuid AND kind = 'realised' "
    "AND termination_reason = '{}')"
)


def table(page: Page, title: str) -> Table:
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Table) and block.title.startswith(title):
                return block
    raise AssertionError(title)


def notes(page: Page, *, warns: bool) -> list[str]:
    return [
        block.text
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Note) and block.warns is warns
    ]


def test_every_trade_is_told_and_its_numbers_agree_with_the_records(backtest: Backtest) -> None:
    entered = skipped = 0
    for dossier in backtest.all():
        page, why = page_of(dossier), dossier.explanation
        failed = [gate.name for gate in why.gates if gate.result == "failed"]
        # The heuristic's contributions, computed again, give the confidence that was stored.
        odds = sum(why.contributions.values())
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(dossier.candidate["confidence"])
        if dossier.candidate["decision"] == "skip":
            skipped += 1
            assert page.verdict.startswith("Looked at")
            assert len(failed) == 1
        else:
            entered += 1
            assert not failed
            assert why.sizing is not None
            assert why.sizing.reproduced
        # Nothing that was computed again contradicts what is stored.
        assert not [text for text in notes(page, warns=True) if "not add up" in text]
        assert not [text for text in notes(page, warns=True) if "does not give" in text]
        assert document_of(dossier)["verdict"] == page.verdict
    assert entered > 5
    assert skipped > 5


def test_a_rule_that_failed_names_what_was_found_and_later_ones_were_not_asked(
    backtest: Backtest,
) -> None:
    dossier = backtest.dossier("reason = 'low_confidence'")
    gates = {gate.name: gate for gate in dossier.explanation.gates}
    confidence = dossier.candidate["confidence"]
    assert gates["Confidence"].found == f"{100 * confidence:.1f} %"
    assert gates["Confidence"].wanted == "at least 20.0 %"
    assert gates["Confidence"].result == "failed"
    assert gates["Rug risk"].result == "passed"
    assert (gates["Free slot"].result, gates["Free slot"].found) == ("not asked", "not looked at")


def test_a_rule_after_the_one_that_failed_says_what_it_would_have_said(backtest: Backtest) -> None:
    dossier = backtest.dossier("reason = 'rug_risk' AND confidence > 0.2")
    gates = {gate.name: gate for gate in dossier.explanation.gates}
    assert gates["Confidence"].result == "not asked"
    assert gates["Confidence"].would == "it would have passed"


def test_the_market_of_a_simulation_is_made_again_from_its_seed(backtest: Backtest) -> None:
    dossier = backtest.dossier(CLOSED.format("profit_target"))
    shown = around(dossier, backtest.connection, backtest.artifacts)
    market, at = shown.market, shown.barriers
    assert market is not None
    assert at is not None
    sold = next(one for one in shown.orders if one.leg == "exit" and one.fills)
    assert sold.submitted_at is not None
    # The event that caused the sale is the one whose executable price reached the target.
    row = int(market.times.searchsorted(sold.submitted_at.timestamp() * 1e6, "right")) - 1
    assert market.fetched[row] >= at.target * (1 - 1e-9)
    assert market.fetched[row - 1] < at.target
    decided = int(market.times.searchsorted(_micros(dossier.candidate["decided_at"]), "right")) - 1
    assert dossier.research is not None
    assert market.price[decided] == dossier.research["price_usd"]


def _micros(moment: str) -> float:
    return float(np.datetime64(moment.rstrip("Z"), "us").astype(np.int64))


def test_a_recording_that_is_not_at_hand_is_said_and_the_records_are_drawn_alone(
    backtest: Backtest,
) -> None:
    dossier = backtest.dossier(CLOSED.format("stop_loss"))
    elsewhere = replace(dossier, run={**dossier.run, "market": "uniswap-v2"})
    shown = around(elsewhere, backtest.connection, backtest.artifacts)
    assert shown.market is None
    page = page_of(shown)
    assert any("name its folder" in text for text in notes(page, warns=True))
    assert html_of(page).count("data:image/png") == 2


def test_a_folder_for_a_market_that_needs_none_is_refused(
    backtest: Backtest, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match="the simulated market reads no recording"):
        around(
            backtest.dossier(CLOSED.format("stop_loss")), backtest.connection, backtest.artifacts,
            data=tmp_path,
        )  # fmt: skip


def test_a_sale_far_past_its_barrier_is_explained(backtest: Backtest) -> None:
    page = page_of(
        backtest.dossier(
            "EXISTS (SELECT FROM trade.outcomes o WHERE o.uuid = c.uuid AND kind = 'realised' "
            "AND termination_reason = 'stop_loss' AND realized_pnl_percent BETWEEN -99 AND -25)"
        )
    )
    assert any(
        text.startswith("The stop was reached, and the sale") for text in notes(page, warns=False)
    )
    rows = table(page, "How the result adds up").rows
    amounts = [float(value.split()[0].replace(",", "")) for _, value in rows]
    assert sum(amounts[:3]) == pytest.approx(amounts[3], abs=0.02)


def test_a_trade_without_an_outcome_is_still_open(backtest: Backtest) -> None:
    dossier = backtest.dossier(CLOSED.format("profit_target"))
    entry = [one for one in dossier.executions if one["leg"] == "entry"]
    open_one = replace(
        dossier, outcomes=[], executions=entry,
        orders=[one for one in dossier.orders if one.leg == "entry"],
    )  # fmt: skip
    page = page_of(open_one)
    assert page.verdict.endswith("the position is still open.")
    assert any("Nothing is stored yet" in text for text in notes(page, warns=False))


def test_every_record_is_in_the_ledger_with_its_hash(backtest: Backtest) -> None:
    dossier = backtest.dossier(CLOSED.format("stop_loss"))
    stored_hashes = {
        value.hex()
        for (value,) in backtest.connection.execute(
            "SELECT content_hash FROM trade.candidates WHERE uuid = %(uuid)s "
            "UNION ALL SELECT content_hash FROM trade.research_docs WHERE uuid = %(uuid)s "
            "UNION ALL SELECT content_hash FROM trade.feature_rows WHERE uuid = %(uuid)s "
            "UNION ALL SELECT content_hash FROM trade.executions WHERE uuid = %(uuid)s "
            "UNION ALL SELECT content_hash FROM trade.outcomes WHERE uuid = %(uuid)s",
            {"uuid": dossier.uuid},
        )
    }
    assert {entry.content_hash for entry in dossier.ledger} == stored_hashes
    shown = [row[3] for row in page_of(dossier).sections[-1].blocks[0].rows]  # type: ignore[union-attr]
    assert shown == [entry.content_hash for entry in dossier.ledger]


def test_a_market_that_is_not_the_sessions_is_not_drawn(
    backtest: Backtest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the simulator makes other events."""
    dossier = backtest.dossier(CLOSED.format("stop_loss"))
    monkeypatch.setattr(simulator, "GENERATOR_VERSION", 0)
    with pytest.raises(BadConfig, match="market_address"):
        around(dossier, backtest.connection, backtest.artifacts)
