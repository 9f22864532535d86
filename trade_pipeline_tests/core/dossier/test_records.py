"""Dossiers of records that no session made, or that a session makes rarely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.dossier.document import document_of
from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.dossier.gather import gather
from trade_pipeline.core.dossier.html import html_of
from trade_pipeline.core.dossier.markdown import markdown_of
from trade_pipeline.core.dossier.market import around
from trade_pipeline.core.dossier.sections import page_of
from trade_pipeline.core.errors import UnknownTrade
from trade_pipeline.core.ids import uuid7
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import (
    OrderEvent,
    Record,
    TerminationReason,
    TradeCandidate,
)
from trade_pipeline.core.retention.artifacts import remove_expired
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import CREATED_BY
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.training.strong import Strong, store_later_session

# A token named by somebody who wants to run something, and to turn what follows it around.
HOSTILE = "<script>alert('x')</script>|[a](javascript:b)\u202eDSU"


@dataclass(frozen=True, slots=True)
class Made:
    """A store in which tests put records."""

    store: Store

    def dossier(self, *records: Record, mode: str = "backtest") -> Dossier:
        """Of the first candidate among some records of a session."""
        (first, *_) = [one for one in records if isinstance(one, TradeCandidate)]
        session = samples.session(first.session_id, mode=mode)
        with self.store.database.connect() as connection:
            append_bulk(connection, first.session_id, [session, *records])
            connection.commit()
            return gather(connection, self.store.artifacts, first.uuid)


@pytest.fixture
def made(fresh_database: Database, artifacts: ArtifactStore) -> Made:
    return Made(Store(fresh_database, artifacts))


@pytest.fixture
def settings(made: Made) -> str:
    """The address of the default settings."""
    with made.store.database.connect() as connection:
        return record_artifact(
            connection, made.store.artifacts, TradingConfig().canonical(),
            media_type="application/json",
        )  # fmt: skip


def test_a_hostile_token_is_text_everywhere(made: Made) -> None:
    decided = samples.candidate(instrument=HOSTILE, created_by=HOSTILE)
    research = samples.research(
        decided.uuid, contract_address=HOSTILE, trade_rationale=HOSTILE,
        social_sentiment_scores={HOSTILE: 0.5}, rugpull_heuristic_scores={HOSTILE: 0.5},
        facts={HOSTILE: HOSTILE},
    )  # fmt: skip
    refused = samples.fill(
        decided.uuid, event=OrderEvent.REJECTED, note=HOSTILE, size=0.0, entry_price=None
    )
    page = page_of(made.dossier(decided, research, refused))
    html, markdown = html_of(page), "\n".join(markdown_of(page).values())
    assert "<script" not in html.lower()
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    assert "default-src 'none'" in html
    # Everything that the page loads is inside of it.
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', html)
    assert "<script" not in markdown
    assert "](javascript" not in markdown
    for text in (html, markdown):
        assert "\u202e" not in text


def test_a_trade_of_the_python_api_is_told_from_almost_nothing(made: Made) -> None:
    with TradeTrackingSystem(store=made.store) as tracker:
        decided = tracker.create_candidate("PEPE/USDT", "v1", 0.75, "params", "ann")
        tracker.store_execution_record(samples.fill(decided.uuid, occurred_at=None))
        tracker.store_outcome(samples.outcome(decided.uuid))
    with made.store.database.connect("trade_reader") as connection:
        dossier = gather(connection, made.store.artifacts, decided.uuid)
        dossier = around(dossier, connection, made.store.artifacts)
    page = page_of(dossier)
    assert page.verdict == (
        f"Bought PEPE/USDT 1,000 tokens of it on "
        f"{decided.decided_at:%Y-%m-%d %H:%M:%S} UTC, sold 1 h later at the profit target: +15.5 %."
    )
    assert page.subtitle == "Entered through the Python API by ann."
    html = html_of(page)
    assert "No rule of the strategy decided this" in html
    assert "No research is stored" in html
    assert "No market is recorded for trades that no session decided" in html


def test_a_trade_of_the_python_api_without_an_order_says_so(made: Made) -> None:
    with TradeTrackingSystem(store=made.store) as tracker:
        decided = tracker.create_candidate("PEPE/USDT", "v1", 0.75, "params", "ann", stake_usd=50)
    with made.store.database.connect("trade_reader") as connection:
        page = page_of(gather(connection, made.store.artifacts, decided.uuid))
    assert page.verdict.startswith("Decided to buy PEPE/USDT for 50.00 USD on")
    assert page.verdict.endswith("no order is recorded.")
    assert html_of(page)


def test_a_refused_entry_says_why_and_what_the_attempt_cost(made: Made) -> None:
    decided = samples.candidate(stake_usd=100.0)
    sent = {"order_id": "one", "entry_price": None, "slippage": None, "latency_metrics": {}}
    submitted = samples.fill(decided.uuid, event=OrderEvent.SUBMITTED, **sent)
    refused = samples.fill(
        decided.uuid, event=OrderEvent.REJECTED, costs_usd={"gas": 1.5},
        note="the price left the slippage limit", **sent,
    )  # fmt: skip
    page = page_of(made.dossier(decided, submitted, refused))
    assert page.verdict.endswith(
        "but the order was refused: the price left the slippage limit. The attempt cost 1.50 USD."
    )


def test_an_order_of_which_nothing_was_heard_is_no_purchase(made: Made) -> None:
    decided = samples.candidate(stake_usd=100.0)
    sent = samples.fill(
        decided.uuid, event=OrderEvent.SUBMITTED, entry_price=None, slippage=None,
        latency_metrics={},
    )  # fmt: skip
    page = page_of(made.dossier(decided, sent))
    assert page.verdict.endswith("nothing of it is filled so far.")


def test_a_position_that_could_not_be_sold_counts_as_lost(made: Made) -> None:
    decided = samples.candidate()
    lost = samples.outcome(
        decided.uuid, written_off=True, realized_pnl_percent=-100.0, pnl_usd=-1.0,
        termination_reason=TerminationReason.RUGPULL_EXIT,
    )  # fmt: skip
    page = page_of(made.dossier(decided, samples.fill(decided.uuid, value_usd=1.0), lost))
    assert "1 h later what was left could not be sold and counts as lost: -1.00 USD" in page.verdict
    assert page.tone == "bad"


def test_the_newest_correction_is_the_result(made: Made) -> None:
    decided = samples.candidate()
    page = page_of(
        made.dossier(
            decided,
            samples.fill(decided.uuid),
            samples.outcome(decided.uuid),
            samples.outcome(decided.uuid, revision=1, realized_pnl_percent=-3.0),
        )
    )
    assert page.verdict.endswith("-3.0 %.")
    assert "realised, correction 1" in html_of(page)


def test_a_skipped_one_tells_what_it_would_have_brought(made: Made) -> None:
    decided = samples.candidate(decision="skip", reason="rug_risk")
    shadow = samples.outcome(
        decided.uuid, kind="shadow", realized_pnl_percent=-22.5,
        termination_reason=TerminationReason.STOP_LOSS,
    )  # fmt: skip
    verdict = page_of(made.dossier(decided, shadow)).verdict
    assert "skipped it: the risk of a rug pull was too high." in verdict
    assert verdict.endswith("it would have been sold 1 h later at the stop: -22.5 %.")


def test_raw_answers_say_when_they_were_fetched_and_whether_they_are_still_there(
    made: Made,
) -> None:
    """Stored, expired and removed, lost, and never recorded here."""
    now = datetime.now(UTC)
    addresses = []
    with made.store.database.connect() as connection:
        for name, kept in (
            (b"stored", timedelta(days=1)), (b"expired", timedelta(days=-1)),
            (b"missing", timedelta(days=1)),
        ):  # fmt: skip
            addresses.append(
                record_artifact(
                    connection, made.store.artifacts, name, media_type="application/json",
                    expires_at=now + kept,
                )
            )  # fmt: skip
        connection.commit()
    remove_expired(made.store.database, made.store.artifacts, SystemClock(), by="a test")
    made.store.artifacts.remove(addresses[2])
    addresses.append("sha256:" + "0" * 64)
    decided = samples.candidate()
    dossier = made.dossier(decided, samples.research(decided.uuid, raw_answers=addresses))
    raw = [one for one in dossier.sources if one.role == "raw answer"]
    assert [one.address for one in raw] == addresses
    assert [one.state for one in raw] == ["stored", "removed", "missing", "unrecorded"]
    assert raw[0].fetched_at is not None
    assert abs(raw[0].fetched_at - now) < timedelta(hours=1)
    html = html_of(page_of(dossier))
    assert "removed, as its time was over; the address still proves what it was" in html


def test_a_stake_that_the_own_impact_decided_says_so(made: Made, settings: str) -> None:
    """A pool with 5,000 USD on each side: 1 % of one side is the most."""
    decided = samples.candidate(
        created_by=CREATED_BY, params_ptr=settings, stake_usd=50.0, reason="signal",
        model_version=HEURISTIC_VERSION,
    )  # fmt: skip
    research = samples.research(
        decided.uuid, liquidity_usd=10_000.0, volume_24h_usd=2e5, rug_risk=0.1,
        market={"return_24h": 0.2, "volatility_24h": 0.1},
    )  # fmt: skip
    sizing = made.dossier(decided, research).explanation.sizing
    assert sizing is not None
    assert (sizing.bound_usd, sizing.equity_usd, sizing.reproduced) == (50.0, None, True)
    # 20 % of the equity, by half and (75 % - 55 %) / 45 % of the other half.
    assert sizing.share == pytest.approx(0.2 * (0.5 + 0.5 * 0.2 / 0.45))


def test_a_stake_that_these_facts_do_not_give_is_marked(made: Made, settings: str) -> None:
    decided = samples.candidate(
        created_by=CREATED_BY, params_ptr=settings, stake_usd=51.0, reason="signal",
        model_version=HEURISTIC_VERSION,
    )  # fmt: skip
    research = samples.research(
        decided.uuid, liquidity_usd=10_000.0, market={"volatility_24h": 0.1}
    )
    page = page_of(made.dossier(decided, research))
    assert "does not give this stake" in html_of(page)


def test_an_unknown_uuid_is_named(made: Made) -> None:
    uuid = uuid7(1, bytes(10))
    with (
        made.store.database.connect("trade_reader") as connection,
        pytest.raises(UnknownTrade, match=str(uuid)),
    ):
        gather(connection, made.store.artifacts, uuid)


@pytest.fixture(scope="module")
def beside(strong_store: Store, strong: Strong) -> Iterator[psycopg.Connection]:
    """A session in which a canary was asked beside the heuristic."""
    store_later_session(strong_store, 14, "later", canary=strong.model)
    with strong_store.database.connect("trade_reader") as connection:
        yield connection


def _first(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_both_models_are_told_where_a_canary_decided(
    beside: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    uuid = _first(
        beside,
        "SELECT uuid FROM trade.candidates WHERE session_id = 'later' AND arm = 'canary' LIMIT 1",
    )
    dossier = gather(beside, strong_store.artifacts, uuid)
    compared = dossier.candidate["canary"]
    page = page_of(dossier)
    assert "Decided by the canary, a model on trial" in page.subtitle
    (rows,) = [
        block.rows for block in page.sections[1].blocks
        if getattr(block, "title", "") == "Both models about the same token"
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["production", "canary (decided)"]
    assert rows[1][1] == dossier.models[strong.model].name
    assert rows[1][4] == f"{100 * compared['canary']['stake']:.1f} % of a full stake"
    entry = dossier.models[strong.model].entry_confidence
    assert entry is not None
    assert rows[1][3] == f"{100 * entry:.1f} %"


def test_a_trade_leads_to_the_dataset_its_part_and_the_model_that_was_trained_on_it(
    beside: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    uuid = _first(
        beside, "SELECT uuid FROM trade.dataset_members WHERE split = 'test' ORDER BY uuid LIMIT 1"
    )
    dossier = gather(beside, strong_store.artifacts, uuid)
    page = page_of(dossier)
    section = next(one for one in page.sections if one.title.startswith("Where the trade went"))
    told = {row[0]: row for block in section.blocks for row in getattr(block, "rows", ())}
    assert "test: the model was judged by it and never learned from it" in told["Dataset"][2]
    assert document_of(dossier)["lineage"]["down"]["root"] == f"trade:{uuid}"
    # And from a trade that the model decided, back to what it had learned from.
    uuid = _first(
        beside, "SELECT uuid FROM trade.candidates WHERE canary_version IS NOT NULL LIMIT 1"
    )
    later = page_of(gather(beside, strong_store.artifacts, uuid))
    html, model = html_of(later), dossier.down.nodes[f"model:{strong.model}"]
    assert f"is what model {model.name} was trained on" in html
    assert strong.dataset.removeprefix("sha256:")[:8] in html
