"""Many tokens at many moments: what is known of each, and how confident the heuristic is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.features.vector import clock_columns, feature_matrix
from trade_pipeline.core.market.event import DAY, Floats, Ints, TokenFacts
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.market.windows import EventWindows
from trade_pipeline.core.research.columns import Researcher
from trade_pipeline.core.research.snapshot import SNAPSHOT_COLUMNS, Snapshot
from trade_pipeline.core.strategy.confidence import heuristic_confidence
from trade_pipeline.core.strategy.config import StrategyConfig

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk
    from trade_pipeline.core.strategy.model import TradeModel

# Features that are named as the reasons of a decision.
CONTRIBUTIONS = 8

# What an entry would cost, by the venue: see `Venue.expected_costs`.
Costs = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Tokens at moments, sorted by both, a row each.

    Attributes:
        known_at: of the newest event behind each.
        columns: the research and all features that do not depend on the account.
        vectors: the features; those of the strategy's own records are still NaN.
        confidence: of the deciding model, 0..1.
        inputs, contributions: see `TradeModel.contributions`.
    """

    token: npt.NDArray[np.int32]
    at: Ints
    known_at: Ints
    columns: Mapping[str, Floats]
    facts: Mapping[str, Floats]
    vectors: Floats
    confidence: Floats
    inputs: tuple[str, ...] = ()
    contributions: tuple[Floats, Floats] | None = None

    def told(self, row: int) -> dict[str, float] | None:
        """What moved the model's confidence most, in log odds: `CONTRIBUTIONS` features, the rest
        together and the base; None where the heuristic decides.
        """
        if self.contributions is None:
            return None
        base, values = self.contributions[0][row], self.contributions[1][row]
        order = np.argsort(-np.abs(values), kind="stable")
        told = {self.inputs[n]: float(values[n]) for n in order[:CONTRIBUTIONS].tolist()}
        rest = sum(values[order[CONTRIBUTIONS:]].tolist())
        return told | {"(other features)": rest, "(base)": float(base)}

    def vector(self, row: int, own: Mapping[str, Floats], own_row: int = 0) -> Floats:
        """A row's features, those of the strategy's own records put in."""
        vector: Floats = self.vectors[row].copy()
        for name, values in own.items():
            vector[_INDEX[name]] = values[own_row]
        return vector


_INDEX = {name: index for index, name in enumerate(NAMES)}


class Evaluator:
    """Evaluates tokens of a market from its history.

    Args:
        costs: what the venue expects an entry to cost.
        rug_risk: the model of the rug probability; None: the probability is unknown.
        model: the model that decides; None: the heuristic.
    """

    def __init__(
        self,
        config: StrategyConfig,
        feed: MarketFeed,
        history: MarketHistory,
        costs: Costs,
        rug_risk: RugRisk | None = None,
        model: TradeModel | None = None,
    ) -> None:
        self._config = config
        self._feed = feed
        self._costs = costs
        self._rug_risk = rug_risk
        self._model = model
        self._researcher = Researcher(feed, history)

    def windows(self, token: npt.NDArray[np.int32], at: Ints) -> EventWindows:
        """The events behind some (token, moment) pairs, sorted by both."""
        return self._researcher.windows(token, at)

    def traded_enough(self, windows: EventWindows) -> npt.NDArray[np.bool_]:
        """Which pass the universe's volume of 24 h."""
        volume = windows.total(windows.columns["volume_usd"], DAY)
        passed: npt.NDArray[np.bool_] = volume > self._config.universe.min_volume_24h_usd
        return passed

    def evaluate(self, windows: EventWindows) -> Evaluations:
        """Research, features and confidence of each pair."""
        facts = self._feed.facts_at(windows.token, windows.at)
        columns = self._researcher.columns(windows, facts)
        columns |= clock_columns(windows.at)
        columns |= self._costs(columns)
        columns["heuristic_confidence"] = heuristic_confidence(columns)
        vectors = feature_matrix(columns, len(windows))
        if self._rug_risk is not None:
            probability = self._rug_risk.probability(vectors, windows.at)
            columns["rug_probability"] = probability
            vectors[:, _INDEX["rug_probability"]] = probability
        return Evaluations(
            windows.token,
            windows.at,
            windows.newest_known_at(),
            columns,
            facts,
            vectors,
            *self._judge(columns, vectors),
        )

    def _judge(
        self, columns: Mapping[str, Floats], vectors: Floats
    ) -> tuple[Floats, tuple[str, ...], tuple[Floats, Floats] | None]:
        if self._model is None:
            return columns["heuristic_confidence"], (), None
        inputs = self._model.inputs
        known = np.ascontiguousarray(vectors[:, [_INDEX[name] for name in inputs]])
        return self._model.predict(known).confidence, inputs, self._model.contributions(known)

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
