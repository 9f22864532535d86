"""Many tokens at many moments: what is known of each, and how confident the models are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.features.added import added_columns
from trade_pipeline.core.features.vector import clock_columns, feature_matrix
from trade_pipeline.core.market.event import DAY, Floats, Ints, TokenFacts
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.market.windows import EventWindows
from trade_pipeline.core.research.columns import Researcher
from trade_pipeline.core.research.snapshot import SNAPSHOT_COLUMNS, Snapshot
from trade_pipeline.core.strategy.confidence import heuristic_confidence
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.opinion import INDEX, Models, Opinions, opinions_of

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk

HEURISTIC = Models()
# What an entry would cost, by the venue: see `Venue.expected_costs`.
Costs = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Tokens at moments, sorted by both, a row each.

    Attributes:
        known_at: of the newest event behind each.
        columns: the research and all features that do not depend on the account.
        vectors: the features; those of the strategy's own records are still NaN.
        opinions: of the models that were on duty when the rows were made.
    """

    token: npt.NDArray[np.int32]
    at: Ints
    known_at: Ints
    columns: Mapping[str, Floats]
    facts: Mapping[str, Floats]
    vectors: Floats
    opinions: Opinions

    @property
    def confidence(self) -> Floats:
        """Of production's model, 0..1."""
        return self.opinions.production.confidence

    def opinions_of(self, models: Models, row: int) -> tuple[Opinions, int]:
        """What models say of a row, and its row in there: others are asked now, of it alone."""
        if models is self.opinions.models or models == self.opinions.models:
            return self.opinions, row
        one = slice(row, row + 1)
        return opinions_of(models, self.columns["heuristic_confidence"][one], self.vectors[one]), 0

    def vector(self, row: int, own: Mapping[str, Floats], own_row: int = 0) -> Floats:
        """A row's features, those of the strategy's own records put in."""
        vector: Floats = self.vectors[row].copy()
        for name, values in own.items():
            vector[INDEX[name]] = values[own_row]
        return vector


class Evaluator:
    """Evaluates tokens of a market from its history.

    Args:
        costs: what the venue expects an entry to cost.
        rug_risk: the model of the rug probability; None: the probability is unknown.
    """

    def __init__(
        self,
        config: StrategyConfig,
        feed: KnownMarket,
        history: MarketHistory,
        costs: Costs,
        rug_risk: RugRisk | None = None,
    ) -> None:
        self._config = config
        self._feed = feed
        self._costs = costs
        self._rug_risk = rug_risk
        self._researcher = Researcher(feed, history)

    def windows(self, token: npt.NDArray[np.int32], at: Ints) -> EventWindows:
        """The events behind some (token, moment) pairs, sorted by both."""
        return self._researcher.windows(token, at)

    def traded_enough(self, windows: EventWindows) -> npt.NDArray[np.bool_]:
        """Which pass the universe's volume of 24 h."""
        volume = windows.total(windows.columns["volume_usd"], DAY)
        passed: npt.NDArray[np.bool_] = volume > self._config.universe.min_volume_24h_usd
        return passed

    def evaluate(self, windows: EventWindows, models: Models = HEURISTIC) -> Evaluations:
        """Research, features and confidence of each pair."""
        facts = self._feed.facts_at(windows.token, windows.at)
        columns = self._researcher.columns(windows, facts)
        columns |= clock_columns(windows.at)
        columns |= self._costs(columns)
        columns["heuristic_confidence"] = heuristic_confidence(columns)
        columns |= added_columns(windows, columns)
        vectors = feature_matrix(columns, len(windows))
        if self._rug_risk is not None:
            probability = self._rug_risk.probability(vectors, windows.at)
            columns["rug_probability"] = probability
            vectors[:, INDEX["rug_probability"]] = probability
        return Evaluations(
            windows.token,
            windows.at,
            windows.newest_known_at(),
            columns,
            facts,
            vectors,
            opinions_of(models, columns["heuristic_confidence"], vectors),
        )

    def snapshot(self, evaluations: Evaluations, row: int, state: TokenState) -> Snapshot:
        """The research of one row."""
        known = {name: float(evaluations.columns[name][row]) for name in SNAPSHOT_COLUMNS}
        return Snapshot(
            instrument=self._feed.instruments[int(evaluations.token[row])],
            at=int(evaluations.at[row]),
            state=state,
            known=known,
            facts=TokenFacts.from_columns(evaluations.facts, row),
        )
