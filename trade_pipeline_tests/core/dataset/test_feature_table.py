"""A stored vector and its recomputation are the same bits, however and whenever it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import orjson
import pytest

from trade_pipeline.core.dataset import feature_table
from trade_pipeline.core.dataset.decisions import Decisions, read_decisions
from trade_pipeline.core.dataset.feature_table import feature_vectors, tokens_of
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.rug_risk import RugRisk
from trade_pipeline.core.features.vector import matrix_of, vector_hash
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core.dataset.feeds import DAYS, feed_of
from trade_pipeline_tests.core.session.stored import CONFIG, run


@dataclass(frozen=True)
class StoredSession:
    """A market, the decisions of a session on it, and what was stored with them."""

    feed: MarketFeed
    decisions: Decisions
    vectors: Floats
    hashes: Sequence[tuple[str, str]]
    known_at: Sequence[int]

    def recomputed(self, feed: MarketFeed, rows: Sequence[int]) -> Floats:
        """The vectors of some decisions, asked for together and in this order."""
        order = np.array(rows, np.int64)
        vectors, known_at = feature_vectors(
            feed,
            CONFIG,
            [self.decisions.instrument[row] for row in rows],
            self.decisions.at[order],
            own={name: values[order] for name, values in self.decisions.own.items()},
        )
        assert known_at.tolist() == [self.known_at[row] for row in rows]
        return vectors

    def sample(self) -> list[int]:
        """All decisions of a small session, some of a large one, in no order."""
        rows: list[int] = np.random.default_rng(1).permutation(len(self.decisions)).tolist()
        return rows if len(rows) < 200 else rows[:12]


@pytest.fixture(scope="module", params=DAYS)
def stored(
    request: pytest.FixtureRequest, database: Database, artifacts: ArtifactStore
) -> StoredSession:
    feed = feed_of(request.param)
    done = run(database, artifacts, feed=feed, days=DAYS[request.param])
    with database.connect("trade_reader") as connection:
        decisions = read_decisions(connection, done.session.session_id)
        rows = connection.execute(
            "SELECT encode(c.feature_hash, 'hex'), encode(f.vector_hash, 'hex'), f.known_at, "
            "f.content, f.feature_set FROM trade.candidates c JOIN trade.feature_rows f "
            "USING (uuid) WHERE c.chain_id = %s ORDER BY c.chain_seq",
            (done.session.session_id,),
        ).fetchall()
    assert len(rows) == len(decisions) == sum(done.counts.candidates.values())
    assert {row[4] for row in rows} == {feature_set()}
    return StoredSession(
        feed=feed,
        decisions=decisions,
        vectors=matrix_of([orjson.loads(row[3])["vector"] for row in rows]),
        hashes=[(row[0], row[1]) for row in rows],
        known_at=[micros(row[2]) for row in rows],
    )


def differing(found: Floats, expected: Floats) -> set[str]:
    """The features that differ in a bit."""
    same = found.view(np.int64) == expected.view(np.int64)
    return {NAMES[column] for column in np.flatnonzero(~same.all(axis=0)).tolist()}


def test_every_stored_vector_is_recomputed_to_the_bit(stored: StoredSession) -> None:
    everything = list(range(len(stored.decisions)))
    assert len(everything) > 40
    vectors = stored.recomputed(stored.feed, everything)
    assert differing(vectors, stored.vectors) == set()
    assert [(vector_hash(vector),) * 2 for vector in vectors] == list(stored.hashes)
    # Trades were made meanwhile, and the vectors tell of them.
    for name in ("recent_slippage", "recent_win_rate", "open_positions", "hours_since_last_close"):
        assert np.unique(vectors[:, NAMES.index(name)]).size > 3, name


def test_one_by_one_and_in_any_order_they_are_as_together(stored: StoredSession) -> None:
    rows = stored.sample()
    shuffled = stored.recomputed(stored.feed, rows)
    assert differing(shuffled, stored.vectors[rows]) == set()
    for row in rows:
        alone = stored.recomputed(stored.feed, [row])
        assert differing(alone, stored.vectors[[row]]) == set()


def test_the_size_of_the_chunks_makes_no_difference(
    stored: StoredSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_table, "CHUNK", 5)
    rows = stored.sample()
    assert differing(stored.recomputed(stored.feed, rows), stored.vectors[rows]) == set()


def test_a_market_that_ends_at_the_decision_gives_the_same_bits(stored: StoredSession) -> None:
    for row in stored.sample():
        ended = stored.feed.until(int(stored.decisions.at[row]))
        assert differing(stored.recomputed(ended, [row]), stored.vectors[[row]]) == set()


class FirstKnown:
    """A rug model whose answer tells which vector and which moment it was asked about."""

    def probability(self, vectors: Floats, at: Ints) -> Floats:
        told: Floats = np.nansum(vectors, axis=1) / 1e9 + at // DAY
        return told


def test_the_rug_probability_is_of_the_market_alone_at_the_moment(stored: StoredSession) -> None:
    """Not of the strategy's own records, which the model is never shown."""
    decisions, rug_risk = stored.decisions, cast(RugRisk, FirstKnown())
    asked = stored.feed, CONFIG, decisions.instrument, decisions.at
    plain, _ = feature_vectors(*asked)
    found, _ = feature_vectors(*asked, own=decisions.own, rug_risk=rug_risk)
    place = NAMES.index("rug_probability")
    assert found[:, place].tolist() == rug_risk.probability(plain, decisions.at).tolist()
    assert np.delete(found, place, 1).tobytes() == np.delete(stored.vectors, place, 1).tobytes()


def test_nothing_is_computed_of_no_decisions() -> None:
    feed = feed_of("pools")
    vectors, known_at = feature_vectors(feed, CONFIG, [], np.empty(0, np.int64))
    assert vectors.shape == (0, len(NAMES))
    assert len(known_at) == 0


def test_a_moment_before_all_events_knows_hardly_anything_and_is_no_error() -> None:
    feed = feed_of("pools")
    at = feed.span()[0] - DAY
    vectors, known_at = feature_vectors(feed, CONFIG, ["pool-1", "pool-2"], np.array([at, at]))
    known = {name for name, values in zip(NAMES, vectors.T, strict=True) if values[0] == values[0]}
    assert {"hour_of_day", "day_of_week", "volume_24h_usd"} <= known
    assert not known & {"return_1h", "liquidity_usd", "reference_return_24h", "rug_probability"}
    assert known_at.tolist() == [at, at]


def test_decisions_without_own_records_leave_their_features_unknown(
    stored: StoredSession,
) -> None:
    decisions = stored.decisions
    vectors, _ = feature_vectors(stored.feed, CONFIG, decisions.instrument, decisions.at)
    own = {NAMES.index(name) for name in decisions.own}
    assert np.isnan(vectors[:, sorted(own)]).all()
    others = [column for column in range(len(NAMES)) if column not in own]
    assert vectors[:, others].tobytes() == stored.vectors[:, others].tobytes()


def test_progress_reaches_all_rows(stored: StoredSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_table, "CHUNK", 16)
    told: list[tuple[int, int]] = []
    feature_vectors(
        stored.feed,
        TradingConfig(),
        stored.decisions.instrument[:40],
        stored.decisions.at[:40],
        progress=lambda done, rows: told.append((done, rows)),
    )
    assert told == [(16, 40), (32, 40), (40, 40)]


def test_an_instrument_of_another_market_is_named() -> None:
    with pytest.raises(BadMarketData, match="instrument='NO/SUCH': this uniswap-v2 market"):
        tokens_of(feed_of("pools"), ["pool-1", "NO/SUCH"])
