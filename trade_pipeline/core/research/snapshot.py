"""The research behind a decision: one token at one moment, from what was known by then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from trade_pipeline.core.canonical import known
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, Floats, Instrument, TokenFacts
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.records import ResearchDocument
from trade_pipeline.core.research.rug import RecentTrading, combined_risk, rug_scores
from trade_pipeline.core.research.sentiment import Sentiment, sentiment_of

_HOURS_BACK = np.arange(24, -1, -1, dtype=np.int64) * HOUR


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One token at one moment.

    Attributes:
        volume_24h_usd: volume of the last 24 h.
        market: returns, volatility, flows and counts over windows, by name; None is unknown.
        rug_scores, rug_risk: see `rug`.
    """

    instrument: Instrument
    at: int
    state: TokenState
    volume_24h_usd: float
    market: Mapping[str, float | None]
    facts: TokenFacts
    rug_scores: dict[str, float]
    rug_risk: float
    sentiment: Sentiment

    def document(self, uuid: UUID, rationale: str) -> ResearchDocument:
        """The snapshot as the record under a trade's UUID."""
        return ResearchDocument(
            uuid=uuid,
            contract_address=self.instrument.contract_address,
            initial_market_cap=known(self.state.market_cap_usd),
            rugpull_heuristic_scores=self.rug_scores,
            social_sentiment_scores=self.facts.sentiment,
            trade_rationale=rationale,
            price_usd=self.state.price_usd,
            liquidity_usd=known(self.state.liquidity_usd),
            volume_24h_usd=self.volume_24h_usd,
            holders=self.facts.holders,
            known_at=moment_of(self.state.known_at),
            rug_risk=self.rug_risk,
            sentiment=self.sentiment.level,
            sentiment_momentum=self.sentiment.momentum,
            sentiment_consensus=self.sentiment.consensus,
            market=self.market,
            facts=self.facts.as_dict(),
        )


def volume_24h(history: MarketHistory, token: int, upto: int, at: int) -> float:
    """USD traded in the 24 h before a moment."""
    first = history.since(token, upto, at - DAY)
    return float(history.column(token, "volume_usd", first, upto).sum())


def take_snapshot(
    history: MarketHistory,
    instrument: Instrument,
    upto: int,
    at: int,
    state: TokenState,
    facts: TokenFacts,
    earlier_sentiment: Mapping[str, float],
) -> Snapshot:
    """Everything that research can say about a token at ``at`` from its first ``upto`` events."""
    token = state.token
    first = history.since(token, upto, at - DAY)
    flow = history.column(token, "flow_usd", first, upto)
    volume = history.column(token, "volume_usd", first, upto)
    change = history.column(token, "liquidity_change_usd", first, upto)
    liquidity = history.column(token, "liquidity_usd", first, upto)
    total_volume = float(volume.sum())
    market: dict[str, float | None] = _prices(history, token, upto, at)

    buys = sells = removed = None
    if not math.isnan(state.flow_usd):
        buys = int(np.count_nonzero(flow > 0))
        sells = int(np.count_nonzero(flow < 0))
        last_hour = history.since(token, upto, at - HOUR) - first
        market["flow_imbalance_24h"] = _ratio(float(flow.sum()), total_volume)
        market["flow_imbalance_1h"] = _ratio(
            float(flow[last_hour:].sum()), float(volume[last_hour:].sum())
        )
        market["buys_24h"], market["sells_24h"] = buys, sells
    if not math.isnan(state.liquidity_usd):
        removed_usd = -float(np.minimum(change, 0.0).sum())
        removed = _ratio(removed_usd, float(liquidity.max()) + removed_usd) if len(change) else 0.0
        market["turnover_24h"] = _ratio(total_volume, state.liquidity_usd)
    born = instrument.created_at
    if born is None and buys is not None:
        born = history.first_known_at(token)
    trading = RecentTrading(removed, buys, sells, None if born is None else at - born)
    scores = rug_scores(facts, trading)
    return Snapshot(
        instrument=instrument,
        at=at,
        state=state,
        volume_24h_usd=total_volume,
        market=market,
        facts=facts,
        rug_scores=scores,
        rug_risk=combined_risk(scores),
        sentiment=sentiment_of(facts.sentiment, earlier_sentiment),
    )


def _prices(history: MarketHistory, token: int, upto: int, at: int) -> dict[str, float | None]:
    """Returns over windows, hourly volatility and drawdown of the last 24 h."""
    hourly = history.at_moments(token, "price_usd", upto, at - _HOURS_BACK)
    now = hourly[-1]
    found: dict[str, float | None] = {
        f"return_{hours}h": known(float(now / hourly[24 - hours] - 1.0)) for hours in (1, 6, 24)
    }
    seen = hourly[~np.isnan(hourly)]
    found["volatility_1h"] = _volatility(seen)
    found["drawdown_24h"] = float(1.0 - now / seen.max()) if len(seen) else None
    return found


def _volatility(hourly: Floats) -> float | None:
    """Standard deviation of hourly log returns, from at least three of them."""
    if len(hourly) < 4:
        return None
    logs = np.log(hourly)
    returns = logs[1:] - logs[:-1]
    away = returns - returns.sum() / len(returns)
    return math.sqrt(float((away * away).sum()) / len(returns))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
