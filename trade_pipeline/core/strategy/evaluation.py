"""One token at one moment: does it pass the filter, what is known of it, how confident are we."""

from __future__ import annotations

from dataclasses import dataclass

from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.research.snapshot import Snapshot, take_snapshot, volume_24h
from trade_pipeline.core.strategy.confidence import heuristic_confidence
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.universe import FILTERS, VOLUME


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A token that passed the universe filter."""

    snapshot: Snapshot
    confidence: float


class Evaluator:
    """Evaluates tokens of a market from its history."""

    def __init__(self, config: StrategyConfig, feed: MarketFeed, history: MarketHistory) -> None:
        self._config = config
        self._feed = feed
        self._history = history
        self._sentiment_lag = int(config.signal.sentiment_momentum_hours * HOUR)

    def failed_filter(self, token: int, upto: int, at: int, code: int) -> str | None:
        """The filter that a token fails, given its event's code of `universe_codes`, or None."""
        if code == 0:
            volume = volume_24h(self._history, token, upto, at)
            if volume <= self._config.universe.min_volume_24h_usd:
                code = VOLUME
        return FILTERS[code] if code else None

    def evaluate(self, token: int, upto: int, at: int, state: TokenState) -> Evaluation:
        """Research and confidence from the first ``upto`` events and the facts by ``at``."""
        facts = self._feed.facts(token, at)
        earlier = (
            self._feed.facts(token, at - self._sentiment_lag).sentiment if facts.sentiment else {}
        )
        instrument = self._feed.instruments[token]
        snapshot = take_snapshot(self._history, instrument, upto, at, state, facts, earlier)
        return Evaluation(snapshot, heuristic_confidence(snapshot))
