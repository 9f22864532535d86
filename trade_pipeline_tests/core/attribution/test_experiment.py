"""The effect of the arms: found where there is one, and rarely where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from trade_pipeline.core.attribution.experiment import ArmCandidates, arm_effect, arm_effects
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.records import OrderEvent, Record, TerminationReason
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples

WINDOW = 48
# An even day since the epoch, on which a block begins.
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def drawn(seed: int, blocks: int, effect: float, *, tokens: int = 60, share: float = 0.25) -> Any:
    """Tokens that draw their arm per window; the market moves all candidates of a window."""
    draw = np.random.default_rng(seed)
    each = 4
    rows = blocks * tokens * each
    window = np.repeat(np.arange(blocks), tokens * each)
    canary = np.repeat(draw.random(blocks * tokens) < share, each)
    # Candidates of a token and window go together.
    returns = (
        draw.normal(0.01, 0.05, blocks)[window]
        + np.repeat(draw.normal(0, 0.1, blocks * tokens), each)
        + draw.normal(0, 0.15, rows)
        + effect * canary
    )
    at = window * WINDOW * HOUR + draw.integers(0, WINDOW * HOUR, rows)
    return ArmCandidates(
        at=at.astype(np.int64),
        canary=canary,
        propensity=np.where(canary, share, 1 - share),
        traded=np.ones(rows, np.bool_),
        returns=returns,
    )


def end_of(blocks: int) -> int:
    return blocks * WINDOW * HOUR


def test_without_an_effect_zero_stays_inside_at_every_look() -> None:
    left = 0
    for seed in range(120):
        candidates = drawn(seed, 16, 0.0)
        looks = [arm_effect(candidates, end_of(n), WINDOW) for n in range(2, 17)]
        left += any(one.low > 0 or one.high < 0 for one in looks)
    # Of 120 that look fifteen times each 6 may leave it; 12 would be beyond chance.
    assert left <= 11


def test_an_effect_is_found_without_bias() -> None:
    found = [arm_effect(drawn(seed, 20, 0.06), end_of(20), WINDOW) for seed in range(30)]
    assert np.mean([one.difference for one in found]) == pytest.approx(6, abs=0.5)
    assert np.mean([one.low > 0 for one in found]) > 0.5
    assert np.mean([one.low <= 6 <= one.high for one in found]) > 0.9
    assert np.mean([one.per_trade for one in found]) == pytest.approx(6, abs=0.5)


def test_a_block_counts_when_it_is_over_and_its_trades_have_ended() -> None:
    candidates = drawn(1, 5, 0.0)
    assert arm_effect(candidates, end_of(5) - 1, WINDOW).blocks == 4
    candidates.returns[0] = np.nan
    effect = arm_effect(candidates, end_of(5), WINDOW)
    assert (effect.blocks, effect.waiting) == (4, 1)


def test_one_block_tells_nothing() -> None:
    effect = arm_effect(drawn(1, 1, 0.0), end_of(1), WINDOW)
    assert (effect.low, effect.high) == (-np.inf, np.inf)


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        yield connection


def decided(number: int, arm: str, **changes: Any) -> Any:
    """A candidate each six hours, eight in each block, whose arm was drawn."""
    told = {
        "arm": arm, "propensity": 0.25 if arm == "canary" else 0.75, "model": NEW,
        "production_model": OLD,
    } | changes.pop("told", {})  # fmt: skip
    at = FIRST + timedelta(hours=6 * number)
    given = {
        "uuid": trade_uuid("s", "PEPE/USDT", number, micros(at)),
        "decided_at": at,
        "canary_version": NEW,
        "arm": arm,
        "propensity": told["propensity"],
        "canary": told,
    }
    return samples.candidate(number, **given | changes)


def traded(candidate: Any, percent: float, **outcome: Any) -> list[Record]:
    uuid = candidate.uuid
    return [
        candidate,
        samples.fill(uuid),
        samples.outcome(uuid, realized_pnl_percent=percent, **outcome),
    ]


def test_the_effect_is_read_from_what_was_traded_skipped_and_refused(
    writer: psycopg.Connection,
) -> None:
    records: list[Record] = [samples.session()]
    for number in range(24):
        arm = "canary" if number % 4 == 0 else "production"
        records += traded(decided(number, arm), 8.0 if arm == "canary" else 4.0)
    records.append(decided(24, "canary", decision="skip"))
    refused = decided(25, "canary")
    records += [
        refused,
        samples.fill(refused.uuid, event=OrderEvent.REJECTED, entry_price=None),
        *traded(decided(26, "production"), 4.0),
        *traded(decided(27, "production"), 4.0),
        # What the canary failed at, and what no canary judged, is in no arm.
        *traded(decided(28, "production", told={"canary_error": "broken"}), -90.0),
        *traded(decided(29, "production", canary_version=None, canary=None), -90.0),
        # It is not known yet what this one comes to.
        *traded(decided(32, "canary"), 0.0, termination_reason=TerminationReason.SESSION_END),
    ]
    append_bulk(writer, "s", records)
    (effect,) = arm_effects(writer)
    # Three blocks of +4 points.  In the fourth, less the 5 % that was usual before:
    # 2 x (0 - 5) / 0.25 for the canary, 2 x (4 - 5) / 0.75 for production, by four candidates.
    fourth = (2 * -5 / 0.25 - 2 * -1 / 0.75) / 4
    assert effect["difference_pct"] == pytest.approx((3 * 4 + fourth) / 4)
    assert (effect["blocks"], effect["waiting"], effect["candidates"]) == (4, 1, 28)
    assert effect["of_canary"] == 8
    assert (effect["canary"], effect["production"]) == (NEW, OLD)
    assert effect["per_trade_pct"] == pytest.approx(4.0)
    assert arm_effects(writer, ["another"]) == []
