"""Learning the rug risk from a market: only from tokens whose fate was known by then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from trade_pipeline.core.config import Config
from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.features.rug_classifier import RugClassifier, RugSettings
from trade_pipeline.core.features.rug_risk import RugRisk, rug_inputs
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.windows import EventWindows
from trade_pipeline.core.session.config import TradingConfig

# A rug is judged over the longest time that a position is held.
HORIZON = 2 * DAY
FOLDS = 4
# One model of fewer, larger steps: there are many to learn and to keep.
SETTINGS = RugSettings(rounds=150, learning_rate=0.08, seeds=(0,))

Progress = Callable[[int, int], None]


class RugLearningConfig(Config):
    """What is learned from, and how often."""

    CALLED: ClassVar[str] = "learning"

    sample_hours: int = Field(6, ge=1, description="a token is sampled once in this time")
    min_liquidity_usd: float = Field(
        20_000, ge=0, description="both sides of the pool; smaller ones are not sampled"
    )
    rug_drop: float = Field(
        0.9, gt=0, lt=1, description="fall of the pool's quote reserve within 48 h that is a rug"
    )
    retrain_days: int = Field(14, ge=1, description="a new model is learned this often")
    min_of_each: int = Field(30, ge=1, description="rugs and survivors that a model needs")
    seed: int = 7


@dataclass(frozen=True, slots=True)
class RugSamples:
    """Tokens at moments, sorted by moment.

    Attributes:
        known_at: when the fate was known: 48 h later, whatever it was.
    """

    token: npt.NDArray[np.int32]
    at: Ints
    known_at: Ints
    vectors: Floats
    rug: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RugLearning:
    """The models, and how each did on what came after it.

    Attributes:
        tested, rugs: samples that a model of before judged, and how many of them were rugs.
        fate, predicted: whether each of these was a rug, and its probability.
        threshold: from which probability on each is called a rug by its model.
    """

    risk: RugRisk
    samples: int
    tested: int
    rugs: int
    fate: npt.NDArray[np.bool_]
    predicted: Floats
    threshold: Floats


def rug_samples(
    feed: MarketFeed, config: TradingConfig, learning: RugLearningConfig, start: int, end: int
) -> RugSamples:
    """Every living pool on a grid of moments, with its features and its fate.

    Raises:
        BadMarketData: the market has no pools, or none is large enough.
    """
    history = MarketHistory(len(feed.instruments))
    grid = learning.sample_hours * HOUR
    seen = []
    for batch in feed.batches(start, end):
        history.extend(batch)
        if np.isnan(batch.reserve_quote).all():
            raise BadMarketData(f"{feed.kind}: has no pools, so no rug can be learned from it")
        # The first moment of the grid that knows the event.
        moments = -(-batch.known_at // grid) * grid
        seen.append(np.stack([moments, batch.token.astype(np.int64)]))
    pairs = np.unique(np.concatenate(seen, axis=1), axis=1) if seen else np.empty((2, 0), np.int64)
    moments, token = pairs[0], pairs[1].astype(np.int32)
    whole = moments + HORIZON <= end
    moments, token = moments[whole], token[whole]
    if len(moments):
        order = np.lexsort((moments, token))
        moments, token = moments[order], token[order]
        now = EventWindows(history, token, moments)
        later = EventWindows(history, token, moments + HORIZON)
        reserve = now.as_of("reserve_quote")
        lowest = later.lowest(later.columns["reserve_quote"], HORIZON)
        large = now.as_of("liquidity_usd") >= learning.min_liquidity_usd
        rug = lowest <= (1.0 - learning.rug_drop) * reserve
        token, moments, rug = token[large], moments[large], rug[large]
    if not len(moments):
        raise BadMarketData(
            f"{feed.kind}: no pool with {learning.min_liquidity_usd:,.0f} USD of liquidity between "
            f"{moment_of(start).isoformat()} and {moment_of(end).isoformat()}"
        )
    order = np.argsort(moments, kind="stable")
    token, moments, rug = token[order], moments[order], rug[order]
    names = [feed.instruments[t].name for t in token.tolist()]
    vectors, _ = feature_vectors(feed, config, names, moments)
    return RugSamples(token, moments, moments + HORIZON, vectors, rug)


def learn_rug_risk(
    samples: RugSamples, learning: RugLearningConfig, progress: Progress | None = None
) -> RugLearning:
    """One model after the other, each from the fates that were known when it was learned.

    Samples weigh so that every token counts the same.
    """
    first, last = int(samples.at[0]), int(samples.at[-1])
    step = learning.retrain_days * DAY
    moments = list(range(first // DAY * DAY + step, last + step, step))
    known_from: list[int] = []
    models: list[RugClassifier] = []
    for number, moment in enumerate(moments, 1):
        known = samples.known_at <= moment
        rugs = int(samples.rug[known].sum())
        if min(rugs, int(known.sum()) - rugs) >= learning.min_of_each:
            models.append(_fit(samples, known, learning.seed))
            known_from.append(moment)
        if progress is not None:
            progress(number, len(moments))
    risk = RugRisk(known_from, models)
    predicted = risk.probability(samples.vectors, samples.at)
    judged = ~np.isnan(predicted)
    return RugLearning(
        risk=risk,
        samples=len(samples.at),
        tested=int(judged.sum()),
        rugs=int(samples.rug[judged].sum()),
        fate=samples.rug[judged],
        predicted=predicted[judged],
        threshold=risk.threshold(samples.at[judged]),
    )


def _fit(samples: RugSamples, known: npt.NDArray[np.bool_], seed: int) -> RugClassifier:
    """A model from some samples; no token calibrates the curve that learned from itself."""
    from sklearn.model_selection import StratifiedGroupKFold

    token, rug = samples.token[known], samples.rug[known]
    _, owner, counts = np.unique(token, return_inverse=True, return_counts=True)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return RugClassifier.fit(
        rug_inputs(samples.vectors[known]),
        rug,
        folds=list(splitter.split(token, rug, token)),
        weight=1.0 / counts[owner],
        settings=SETTINGS,
    )
