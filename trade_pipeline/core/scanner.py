"""The strategy by itself: scan a market for low caps and record what it would do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from pydantic import SecretStr

from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.features.vector import feature_row
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.records import TradeCandidate
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import CREATED_BY, evaluator
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.decision import Decision, decide
from trade_pipeline.core.strategy.sizing import Account
from trade_pipeline.core.strategy.universe import universe_codes
from trade_pipeline.core.tracking import TradeTrackingSystem

# The market that is scanned where none is given: the simulator's, with this seed.
DEFAULT_SEED = 7


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A token that passes the universe filter, and what the strategy says to it now.

    Attributes:
        features: the feature vector; those of the strategy's own records are NaN.
    """

    instrument: str
    confidence: float
    decision: Decision
    snapshot: Snapshot
    features: Floats


class HighVolatilityLowCapStrategy:
    """Scans a market for volatile low caps.

    Args:
        small_fund_usd: what the strategy may risk.
        coinmarketcap_api_key, coingecko_api_key: for providers of live markets; a recorded or
            simulated market asks nobody.  They are kept secret and stored nowhere.
        config: all other settings; its ``small_fund_usd`` is replaced by the argument.
        market: what is scanned; None: a simulated market of the last two days.
        tracker: where candidates go; None: the store that the settings name, once it is needed.
    """

    def __init__(
        self,
        small_fund_usd: float = 1_000.0,
        coinmarketcap_api_key: str | None = None,
        coingecko_api_key: str | None = None,
        *,
        config: TradingConfig | None = None,
        market: MarketFeed | None = None,
        tracker: TradeTrackingSystem | None = None,
    ) -> None:
        given = config or TradingConfig()
        strategy = given.strategy.model_dump() | {"small_fund_usd": small_fund_usd}
        self.config = given.model_copy(update={"strategy": StrategyConfig.model_validate(strategy)})
        self.api_keys = {
            name: SecretStr(key)
            for name, key in (
                ("coinmarketcap", coinmarketcap_api_key),
                ("coingecko", coingecko_api_key),
            )
            if key
        }
        self._market = market
        self._tracker = tracker
        self._params_ptr: str | None = None

    async def scan_low_cap_opportunities(self, at: int | None = None) -> list[Opportunity]:
        """Every token that passes the universe filter, the most confident first.

        Args:
            at: market time in microseconds since 1970-01-01 UTC; None: now.
        """
        return await asyncio.to_thread(self._scan, SystemClock().micros() if at is None else at)

    async def create_trade_candidate(self, opportunity: Opportunity) -> TradeCandidate:
        """Store an opportunity as a candidate with its research, in one statement."""
        return await asyncio.to_thread(self._store, opportunity)

    def _scan(self, at: int) -> list[Opportunity]:
        if self._market is None:
            self._market = SimulatedMarket(SimulatorConfig(), DEFAULT_SEED, at - 2 * DAY, at)
        feed, strategy = self._market, self.config.strategy
        venue = self.config.venue(feed.kind)
        history = MarketHistory(len(feed.instruments))
        evaluating = evaluator(strategy, feed, history, venue)
        newest: dict[int, tuple[int, int, float]] = {}
        for batch in feed.batches(at - LOOKBACK, at + 1):
            upto = history.extend(batch).tolist()
            codes = universe_codes(batch, strategy.universe).tolist()
            for row, token in enumerate(batch.token.tolist()):
                newest[token] = (upto[row], codes[row], float(batch.quote_usd[row]))
        passed = np.array(sorted(t for t, (_, code, _) in newest.items() if not code), np.int32)
        if not len(passed):
            return []
        windows = evaluating.windows(passed, np.full(len(passed), at))
        windows = windows.select(evaluating.traded_enough(windows))
        if not len(windows):
            return []
        evaluations = evaluating.evaluate(windows)
        fund = strategy.small_fund_usd
        account = Account(cash_usd=fund, equity_usd=fund, drawdown=0.0, open_positions=0)
        found = []
        for row, token in enumerate(evaluations.token.tolist()):
            upto_now, _, quote_usd = newest[token]
            state = history.state(token, upto_now, quote_usd)
            snapshot, confidence = (
                evaluating.snapshot(evaluations, row, state),
                float(evaluations.confidence[row]),
            )
            decision = decide(
                strategy,
                snapshot,
                evaluations.vectors[row],
                confidence,
                account,
                entry_confidence=strategy.signal.min_confidence,
                position_open=False,
                protection=None,
                impact_capacity_usd=venue.impact_capacity_usd(state, strategy.sizing.max_impact),
            )
            name = snapshot.instrument.name
            found.append(
                Opportunity(name, confidence, decision, snapshot, evaluations.vectors[row])
            )
        return sorted(found, key=lambda o: (-o.confidence, o.instrument))

    def _store(self, opportunity: Opportunity) -> TradeCandidate:
        if self._tracker is None:
            self._tracker = TradeTrackingSystem()
        if self._params_ptr is None:
            self._params_ptr = self._tracker.store_params(self.config.model_dump(mode="json"))
        decision = opportunity.decision
        verb = "enter" if decision.enter else "skip"
        snapshot = opportunity.snapshot
        return self._tracker.create_candidate(
            instrument=opportunity.instrument,
            model_version=HEURISTIC_VERSION,
            confidence=opportunity.confidence,
            params_ptr=self._params_ptr,
            created_by=CREATED_BY,
            decision=verb,
            reason=decision.reason,
            stake_usd=decision.stake_usd,
            research=lambda uuid: snapshot.document(uuid, f"{verb}: {decision.reason}"),
            features=lambda uuid: feature_row(uuid, snapshot.at, opportunity.features),
        )
