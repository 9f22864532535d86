"""Rug models learned walking forward: what each knew, how they are kept, and who uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from trade_pipeline.core.dataset import rug_learning
from trade_pipeline.core.dataset.feature_build import build_features
from trade_pipeline.core.dataset.rug_learning import (
    HORIZON,
    RugLearning,
    RugLearningConfig,
    RugSamples,
    learn_rug_risk,
    rug_samples,
)
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.features.rug_risk import INPUTS, RugRisk
from trade_pipeline.core.features.vector import matrix_of
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.replay import replay_session
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.dataset.feeds import feed_of
from trade_pipeline_tests.core.session.stored import CONFIG, START, market, run

DAYS = 28
END = START + DAYS * DAY
LEARNING = RugLearningConfig(
    sample_hours=12, min_liquidity_usd=5_000, retrain_days=7, min_of_each=8
)
SIMULATOR = CONFIG.simulator.model_copy(update={"pools_per_day": 8.0, "trades_max": 300})


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rug_learning, "SETTINGS", replace(rug_learning.SETTINGS, rounds=12))
        yield


@pytest.fixture(scope="module")
def feed() -> SimulatedMarket:
    return SimulatedMarket(SIMULATOR, 3, START, END)


@pytest.fixture(scope="module")
def samples(feed: SimulatedMarket) -> RugSamples:
    return rug_samples(feed, CONFIG, LEARNING, START, END)


@pytest.fixture(scope="module")
def learned(samples: RugSamples) -> RugLearning:
    return learn_rug_risk(samples, LEARNING)


def bytes_of(risk: RugRisk) -> list[bytes]:
    return [model.to_bytes() for model in risk.models]


def test_a_token_is_sampled_once_on_the_grid_and_only_while_its_pool_is_large(
    feed: SimulatedMarket, samples: RugSamples
) -> None:
    pairs = set(zip(samples.token.tolist(), samples.at.tolist(), strict=True))
    assert len(pairs) == len(samples.at) > 300
    assert (samples.at % (12 * HOUR) == 0).all()
    assert (np.diff(samples.at) >= 0).all()
    assert (samples.known_at == samples.at + HORIZON).all()
    assert samples.known_at.max() <= END
    assert (samples.vectors[:, NAMES.index("liquidity_usd")] >= 5_000).all()


def test_a_rug_is_a_fall_of_the_quote_reserve_after_the_sample(
    feed: SimulatedMarket, samples: RugSamples
) -> None:
    """Counted anew from the events of each pool."""
    batches = list(feed.batches(0, END))
    token, at, reserve = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("token", "known_at", "reserve_quote")
    )
    for row in np.random.default_rng(2).choice(len(samples.at), 60, replace=False).tolist():
        own = token == samples.token[row]
        times, values = at[own], reserve[own]
        moment = samples.at[row]
        now = values[times <= moment][-1]
        later = values[(times > moment) & (times <= moment + HORIZON)]
        assert samples.rug[row] == (len(later) > 0 and later.min() <= 0.1 * now)
    assert 20 < samples.rug.sum() < len(samples.at) - 20


def test_fates_that_were_known_later_change_no_earlier_model(
    samples: RugSamples, learned: RugLearning
) -> None:
    known_from = list(learned.risk.known_from)
    assert len(known_from) >= 4
    for number, moment in enumerate(known_from[:3]):
        later = samples.known_at > moment
        assert later.sum() > 50
        vectors = np.where(later[:, None], 7.0, samples.vectors)
        other = replace(samples, rug=np.where(later, ~samples.rug, samples.rug), vectors=vectors)
        risk = learn_rug_risk(other, LEARNING).risk
        assert list(risk.known_from[: number + 1]) == known_from[: number + 1]
        assert bytes_of(risk)[: number + 1] == bytes_of(learned.risk)[: number + 1]


def test_a_model_learns_from_the_fates_that_were_known_at_its_moment(
    samples: RugSamples, learned: RugLearning
) -> None:
    """One that ended in the very moment counts: another fate there gives another model."""
    moment = learned.risk.known_from[0]
    last = samples.known_at == samples.known_at[samples.known_at <= moment].max()
    other = replace(samples, rug=np.where(last, ~samples.rug, samples.rug))
    changed = learn_rug_risk(other, LEARNING).risk
    assert changed.known_from[0] == moment
    assert bytes_of(changed)[0] != bytes_of(learned.risk)[0]


def test_before_the_first_model_the_probability_is_unknown(
    samples: RugSamples, learned: RugLearning
) -> None:
    first = learned.risk.known_from[0]
    at = np.array([first - 1, first, first + 400 * DAY])
    rows = samples.vectors[:3]
    probability, threshold = learned.risk.probability(rows, at), learned.risk.threshold(at)
    assert np.isnan(probability).tolist() == np.isnan(threshold).tolist() == [True, False, False]
    assert ((probability[1:] >= 0) & (probability[1:] <= 1)).all()
    newest = learned.risk.models[-1].threshold
    assert threshold[1:].tolist() == [learned.risk.models[0].threshold, newest]


def test_a_model_is_judged_on_what_came_after_it_and_tells_rugs_from_others(
    samples: RugSamples, learned: RugLearning
) -> None:
    after = samples.at >= learned.risk.known_from[0]
    assert learned.samples == len(samples.at)
    assert learned.tested == after.sum() == len(learned.predicted) == len(learned.threshold)
    assert learned.fate.tolist() == samples.rug[after].tolist()
    assert learned.rugs == learned.fate.sum()
    means = [learned.predicted[learned.fate == fate].mean() for fate in (True, False)]
    assert means[0] > means[1] + 0.02


def test_without_enough_of_each_fate_there_is_no_model(samples: RugSamples) -> None:
    learned = learn_rug_risk(samples, LEARNING.model_copy(update={"min_of_each": 10_000}))
    assert (learned.risk.known_from, learned.tested) == ([], 0)
    assert np.isnan(learned.risk.probability(samples.vectors[:2], samples.at[:2])).all()
    assert RugRisk.from_bytes(learned.risk.to_bytes()).known_from == []


def test_a_model_is_the_same_after_it_was_stored(samples: RugSamples, learned: RugLearning) -> None:
    data = learned.risk.to_bytes()
    read = RugRisk.from_bytes(data)
    assert read.to_bytes() == data
    assert list(read.known_from) == list(learned.risk.known_from)
    for of in (RugRisk.probability, lambda risk, _, at: RugRisk.threshold(risk, at)):
        asked = samples.vectors, samples.at
        assert of(read, *asked).tobytes() == of(learned.risk, *asked).tobytes()


def test_what_is_learned_from_holds_no_trace_of_the_strategy_or_of_itself(
    learned: RugLearning,
) -> None:
    own = {"recent_slippage", "open_positions", "rug_probability", "hour_of_day", "market_cap_usd"}
    assert own <= set(NAMES) - set(INPUTS)
    assert learned.risk.models[0].names == INPUTS


@pytest.mark.parametrize(
    "change",
    [
        lambda document: b"",
        lambda document: b"[1]",
        lambda document: {"format": "rug-risk-1"},
        lambda document: document | {"format": "rug-risk-2"},
        lambda document: document | {"models": 3},
        lambda document: document | {"models": [{"classifier": {}}]},
        lambda document: document | {"models": [{"known_from": 1}]},
        lambda document: document | {"models": [{"known_from": "soon", "classifier": {}}]},
        lambda document: document | {"models": [{"known_from": 1, "classifier": {"format": "x"}}]},
    ],
)
def test_what_is_no_rug_model_is_refused(learned: RugLearning, change: Any) -> None:
    found = change(orjson.loads(learned.risk.to_bytes()))
    with pytest.raises(BadConfig, match="rug"):
        RugRisk.from_bytes(found if isinstance(found, bytes) else orjson.dumps(found))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"retrain_day": 3}, r"retrain_day"),
        ({"rug_drop": 1.0}, r"rug_drop.*1\.0"),
        ({"min_of_each": 0}, r"min_of_each.*0"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        RugLearningConfig.parse(given)


def test_markets_from_which_no_rug_can_be_learned_are_refused(feed: SimulatedMarket) -> None:
    with pytest.raises(BadMarketData, match="spot-1h: has no pools"):
        rug_samples(feed_of("bars"), CONFIG, LEARNING, START - DAY, END)
    huge = LEARNING.model_copy(update={"min_liquidity_usd": 1e12})
    for learning, end in ((huge, END), (LEARNING, START + DAY)):
        with pytest.raises(BadMarketData, match=r"no pool with .* USD of liquidity between 2022"):
            rug_samples(feed, CONFIG, learning, START, end)


def test_a_session_stores_the_probability_and_its_table_gives_it_again(
    fresh_database: Database, artifacts: ArtifactStore, learned: RugLearning
) -> None:
    # As if learned long ago, the second model on the session's second day.
    models = learned.risk.models[:2]
    risk = RugRisk([START - DAY, START + DAY], models)
    config = CONFIG.model_copy(update={"rug_risk_model": artifacts.put(risk.to_bytes())})
    feed = market()
    done = run(fresh_database, artifacts, feed=feed, config=config)
    with fresh_database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT f.content, extract(epoch FROM c.decided_at) * 1000000 FROM trade.feature_rows "
            "f JOIN trade.candidates c USING (uuid) ORDER BY c.chain_seq"
        ).fetchall()
    vectors = matrix_of([orjson.loads(content)["vector"] for content, _ in rows])
    at = np.array([int(moment) for _, moment in rows])
    probability = vectors[:, NAMES.index("rug_probability")]
    assert len(rows) > 100
    assert not np.isnan(probability).any()
    assert probability.tobytes() == risk.probability(vectors, at).tobytes()
    assert min((at < START + DAY).sum(), (at >= START + DAY).sum()) > 10
    made = build_features(fresh_database, artifacts, feed, done.session.session_id)
    assert (made.rows, made.new_rows, made.differences) == (len(rows), 0, [])
    # And its replay, with the stored model's bytes.
    (found,) = replay_session(Store(fresh_database, artifacts), done.session.session_id).sessions
    assert (found.source, found.identical, found.found) == ("market", len(rows), 0)


def test_a_session_without_its_model_is_refused(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    unknown = "sha256:" + "5" * 64
    with pytest.raises(BadConfig, match=f"rug_risk_model='{unknown}': no such artifact"):
        run(
            fresh_database,
            artifacts,
            config=CONFIG.model_copy(update={"rug_risk_model": unknown}),
        )


def test_a_session_with_a_damaged_model_is_refused(
    fresh_database: Database, tmp_path: Any, learned: RugLearning
) -> None:
    own = ArtifactStore(str(tmp_path))
    address = own.put(learned.risk.to_bytes())
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file())
    stored.chmod(0o600)
    stored.write_bytes(b"{" + stored.read_bytes())
    with pytest.raises(ArtifactDamaged, match=address):
        run(
            fresh_database,
            own,
            config=CONFIG.model_copy(update={"rug_risk_model": address}),
        )
