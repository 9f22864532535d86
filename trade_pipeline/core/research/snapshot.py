"""The research behind one decision, as its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from trade_pipeline.core.canonical import known
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import Instrument, TokenFacts
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.records import ResearchDocument
from trade_pipeline.core.research.rug import WEIGHTS

# The windows that the document tells; the feature row has all of them.
_TOLD = (
    "return_1h", "return_6h", "return_24h", "volatility_24h", "drawdown_24h", "flow_imbalance_1h",
    "flow_imbalance_24h", "buys_24h", "sells_24h", "turnover_24h",
)  # fmt: skip
SNAPSHOT_COLUMNS = (
    *_TOLD, "volume_24h_usd", "sentiment_level", "sentiment_momentum", "sentiment_consensus",
    "rug_risk", *(f"rug_{name}" for name in WEIGHTS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One row of the research: a token at one moment.

    Attributes:
        known: the `SNAPSHOT_COLUMNS` of the research by name; NaN is unknown.
    """

    instrument: Instrument
    at: int
    state: TokenState
    known: Mapping[str, float]
    facts: TokenFacts

    @property
    def rug_scores(self) -> dict[str, float]:
        """The heuristics that can be judged."""
        scores = {name: self.known[f"rug_{name}"] for name in WEIGHTS}
        return {name: score for name, score in scores.items() if score == score}

    def document(
        self, uuid: UUID, rationale: str, raw_answers: Sequence[str] = ()
    ) -> ResearchDocument:
        """The snapshot as the record under a trade's UUID.

        Args:
            raw_answers: see `KnownMarket.raw_answers_at`.
        """
        return ResearchDocument(
            uuid=uuid,
            contract_address=self.instrument.contract_address,
            initial_market_cap=known(self.state.market_cap_usd),
            rugpull_heuristic_scores=self.rug_scores,
            social_sentiment_scores=self.facts.sentiment,
            trade_rationale=rationale,
            price_usd=self.state.price_usd,
            liquidity_usd=known(self.state.liquidity_usd),
            volume_24h_usd=self.known["volume_24h_usd"],
            holders=self.facts.holders,
            known_at=moment_of(self.state.known_at),
            rug_risk=self.known["rug_risk"],
            sentiment=known(self.known["sentiment_level"]),
            sentiment_momentum=known(self.known["sentiment_momentum"]),
            sentiment_consensus=known(self.known["sentiment_consensus"]),
            market={name: known(self.known[name]) for name in _TOLD},
            facts=self.facts.as_dict(),
            raw_answers=tuple(raw_answers),
        )
