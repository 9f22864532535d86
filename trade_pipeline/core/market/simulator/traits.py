"""What scanners and social media would tell about a simulated token: noisy signs of its fate.

A token is scanned at fixed intervals from its birth.  A scan uses only the events up to its own
time, and its noise is drawn for the token's whole life, so that no fact depends on how long the
market runs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY, HOUR, SENTIMENT, Floats, Ints
from trade_pipeline.core.market.simulator.config import Fate, SimulatorConfig
from trade_pipeline.core.market.simulator.plan import GAIN_FACTOR, PoolPlan
from trade_pipeline.core.market.simulator.pool import DEVELOPER_SELL, TRADE, PoolHistory

SOURCES = {"twitter": 0.5, "telegram": 0.7, "reddit": 0.9}
"""The sources of sentiment, with how noisy each is."""

DANGER = {
    Fate.HONEST: 0.0,
    Fate.PUMP_AND_DUMP: 0.5,
    Fate.SLOW_RUG: 0.8,
    Fate.HARD_RUG: 1.0,
    Fate.HONEYPOT: 0.9,
}
"""How much a fate shows in a token's traits, before noise."""

COLUMNS = (
    "holders", "top_holders_share", "developer_share", "sell_tax", "failed_sell_share",
    *(SENTIMENT + source for source in SOURCES),
    "lp_creator_share", "lp_locked_share", "lp_burned_share", "contract_verified", "audited",
    "mintable", "buy_tax", "market_cap_estimated",
)  # fmt: skip
"""What is told of a token, as in `MarketFeed.facts_at`."""

SCANNED = 5 + len(SOURCES)
"""How many of them, the first, change from scan to scan."""

_ROW = {name: row for row, name in enumerate(COLUMNS)}

SCANS_OF_NOISE = 8
"""Over how many scans the noise of a sentiment is averaged."""


class TokenTraits:
    """The facts about one token, at any moment."""

    def __init__(
        self, config: SimulatorConfig, history: PoolHistory, rng: np.random.Generator
    ) -> None:
        self._config = config
        self._history = history
        self._rng = rng
        self._created_at = history.plan.created_at
        self._interval = int(config.scan_minutes * 60_000_000)
        danger = _shown_danger(config, history.plan)
        self._danger = danger * (1 - config.trait_noise) + 0.5 * config.trait_noise
        self._draw_contract()
        self._draw_liquidity_owners()
        self._scans = self._scan()

    def at(self, moments: Ints) -> Floats:
        """What the last scan up to each moment knew: a row for each of `COLUMNS`.

        Before the token's birth that is nothing.
        """
        age = moments - self._created_at
        row = np.clip(age // self._interval, 0, len(self._scans) - 1)
        bound = age >= self._locked_from
        locked, burned = np.where(bound, self._locked, 0.0), np.where(bound, self._burned, 0.0)
        lp_known = 1.0 if self._lp_known else np.nan
        found = np.empty((len(COLUMNS), len(age)))
        found[:SCANNED] = self._scans[row].T
        if not self._holders_known:
            found[_ROW["holders"]] = np.nan
        found[_ROW["lp_creator_share"]] = np.round(self._owned - locked - burned, 4) * lp_known
        found[_ROW["lp_locked_share"]] = locked * lp_known
        found[_ROW["lp_burned_share"]] = burned * lp_known
        found[_ROW["contract_verified"]] = _since(self._verified, age, self._verified_from)
        found[_ROW["audited"]] = _since(self._audited, age, self._audited_from)
        found[_ROW["mintable"]] = _known(self._mintable)
        found[_ROW["buy_tax"]] = _known(self._buy_tax)
        found[_ROW["market_cap_estimated"]] = 0.0 if self._history.plan.supply_known else np.nan
        found[:, age < 0] = np.nan
        return found

    def _happens(self, probability: float) -> bool:
        return float(self._rng.random()) < probability

    def _shows(self, when_honest: float, when_scam: float) -> bool:
        """A trait whose probability moves with the token's danger."""
        return self._happens(when_honest + (when_scam - when_honest) * self._danger)

    def _unless_missing(self, trait: bool) -> bool | None:
        return None if self._happens(self._config.missing_share) else trait

    def _draw_contract(self) -> None:
        plan, rng = self._history.plan, self._rng
        self._verified = self._unless_missing(self._shows(0.9, 0.5))
        self._verified_from = int(rng.exponential(2 * HOUR))
        self._audited = self._unless_missing(self._shows(0.3, 0.04))
        self._audited_from = int(rng.exponential(2 * DAY))
        self._mintable = self._unless_missing(self._shows(0.08, 0.4))
        wrong = self._happens(0.1)
        self._taxes_known = not self._happens(self._config.missing_share)
        self._buy_tax = (0.0 if wrong else plan.buy_tax) if self._taxes_known else None
        self._reported_sell_tax = 0.0 if wrong else plan.sell_tax
        caught_after = float(rng.exponential(3 * HOUR))
        caught = self._happens(0.6) and plan.blocked_at is not None
        self._block_seen_at = (plan.blocked_at or 0) + caught_after if caught else math.inf

    def _draw_liquidity_owners(self) -> None:
        rng = self._rng
        self._lp_known = not self._happens(self._config.missing_share)
        self._holders_known = not self._happens(self._config.missing_share / 2)
        self._owned = round(float(rng.uniform(0.9, 1.0)), 4)
        share = round(float(rng.uniform(0.6, 1.0)) * self._owned, 4)
        is_locked, is_burned = self._shows(0.8, 0.08), self._shows(0.4, 0.03)
        self._locked = share if is_locked else 0.0
        self._burned = share if is_burned and not is_locked else 0.0
        self._locked_from = int(rng.exponential(HOUR))

    def _scan(self) -> Floats:
        """One row a scan, of the first `SCANNED` of `COLUMNS`."""
        history, plan, rng = self._history, self._history.plan, self._rng
        age: Ints = np.arange(plan.life // self._interval + 1) * self._interval
        seen = np.searchsorted(history.time, self._created_at + age, "right") - 1
        traded = history.action == TRADE
        change = np.diff(history.reserve_quote, prepend=history.reserve_quote[0])
        buys = np.cumsum(traded & (change > 0))[seen]
        sells = np.cumsum(traded & (change < 0))[seen]

        early_holders = float(rng.exponential(40)) if plan.outside_tokens > 0 else 0.0
        holders = 2 + early_holders + buys * rng.uniform(0.4, 0.8) - sells * 0.3
        holders = np.maximum(np.floor(holders), 1.0)

        tokens = np.diff(history.reserve_token, prepend=history.reserve_token[0])
        sold = np.cumsum(np.where(history.action == DEVELOPER_SELL, tokens, 0.0))[seen]
        developer = (plan.developer_tokens - sold) / plan.supply
        developer = np.clip(developer * rng.uniform(0.85, 1.15), 0.0, 1.0)
        tendency = 0.2 + 0.4 * self._danger + 0.15 * float(rng.standard_normal())
        others = np.clip(tendency * (1.2 - 0.08 * np.log1p(holders)), 0.02, 0.98)
        top = developer + (1 - developer) * others + rng.normal(0.0, 0.01, len(age))

        tax = np.where(age >= self._block_seen_at, 1.0, self._reported_sell_tax)
        failed = np.searchsorted(history.failed_sells, self._created_at + age, "right")
        attempts = failed + sells
        usual = float(rng.uniform(0.01, 0.1))
        failed_share = usual + (1 - usual) * failed / np.maximum(attempts, 1)

        columns = [
            holders,
            self._maybe(np.clip(top, 0.0, 1.0)),
            self._maybe(developer) if plan.supply_known else np.full(len(age), np.nan),
            tax if self._taxes_known else np.full(len(age), np.nan),
            self._maybe(np.where(attempts >= 5, failed_share, np.nan)),
            *(self._sentiment(age, seen, noise) for noise in SOURCES.values()),
        ]
        return np.round(np.column_stack(columns), 4)

    def _maybe(self, column: Floats) -> Floats:
        """The column, or nothing known at all."""
        missing = self._happens(self._config.missing_share)
        return np.full(len(column), np.nan) if missing else column

    def _sentiment(self, age: Ints, seen: npt.NDArray[np.intp], noise: float) -> Floats:
        """A source's level in 0..1: promotion, the past day's price, and noise of its own."""
        history, plan, rng = self._history, self._history.plan, self._rng
        covered = not self._happens(self._config.sentiment_missing_share)
        price = np.log(history.reserve_quote / history.reserve_token)[seen]
        day = max(1, DAY // self._interval)
        before = np.concatenate((np.full(min(day, len(price)), price[0]), price[:-day]))
        promotion = np.where(age < plan.promotion, GAIN_FACTOR[plan.fate], -0.4)
        draws = np.cumsum(rng.standard_normal(len(age)))
        earlier = np.concatenate((np.zeros(SCANS_OF_NOISE), draws))[: len(draws)]
        passing = (draws - earlier) / math.sqrt(SCANS_OF_NOISE)
        lasting = float(rng.standard_normal())
        mood = 0.7 * promotion + 0.6 * np.tanh(price - before) + noise * (passing + lasting)
        gaps = rng.random(len(age)) < 0.05
        level = 0.5 + 0.5 * np.tanh(mood / 2)
        return np.where(gaps | (not covered), np.nan, level)


def _shown_danger(config: SimulatorConfig, plan: PoolPlan) -> float:
    """How dangerous a token looks: as it is, until the regime changes."""
    danger = DANGER[plan.fate]
    changed = config.regime_change_at
    if changed is None or plan.created_at < micros(changed):
        return danger
    return danger + (1 - 2 * danger) * config.regime_strength


def _known(value: float | None) -> float:
    """A number or truth of a column; None, which is unknown, is NaN."""
    return math.nan if value is None else float(value)


def _since(trait: bool | None, age: Ints, since: int) -> Floats:
    """A trait that only becomes true at some age."""
    return np.where(age >= since, _known(trait), np.nan if trait is None else 0.0)
