"""The research behind many decisions at once: everything that was known, in columns.

One function serves the decision about one candidate and the table of all of them.  It uses only
arithmetic that IEEE 754 rounds exactly (no logarithms), so that the same events give the same bits
on every machine.  NaN is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import DAY, FACT_NAMES, HOUR, SENTIMENT, Floats, Ints
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.windows import EventWindows
from trade_pipeline.core.research.rug import combined_risk, rug_scores
from trade_pipeline.core.research.sentiment import sentiment_columns

# The pair that moves the others, on an exchange; on pools it is the quote token itself.
REFERENCE = "BTC/USDT"
SENTIMENT_LAG = 6 * HOUR
SUPPLY_ROUNDING = 1e-9
SOURCES = ("coingecko", "reddit", "telegram", "twitter")


class Researcher:
    """Answers what was known about tokens of a market at some moments.

    Args:
        history: holds the events so far; it may grow between the questions.
    """

    def __init__(self, feed: KnownMarket, history: MarketHistory) -> None:
        self._feed = feed
        self._history = history
        self._created_at = np.empty(0)
        names = [instrument.name for instrument in feed.instruments]
        self._reference = names.index(REFERENCE) if REFERENCE in names else None

    def windows(self, token: npt.NDArray[np.int32], at: Ints) -> EventWindows:
        """The events behind some (token, moment) pairs, sorted by both."""
        return EventWindows(self._history, token, at)

    def columns(self, windows: EventWindows, facts: Mapping[str, Floats]) -> dict[str, Floats]:
        """Everything that can be said about each pair; the names are those of the features.

        Args:
            facts: `KnownMarket.facts_at` of the pairs.
        """
        facts = _with_missing(facts, len(windows))
        found = dict(_prices(windows))
        found.update(_trading(windows))
        found.update(_liquidity(windows))
        found.update(self._reference_moves(windows))
        found.update({name: facts[name] for name in FACT_NAMES})
        found.update(_changes(facts, self._facts(windows, DAY)))
        found.update(_supply(windows))
        age = (windows.at - self._created()[windows.token]) / HOUR
        found["token_age_hours"] = age
        found.update(_sentiment(facts, self._facts(windows, SENTIMENT_LAG), len(windows)))
        found.update(_mentions(self._feed.mentions_at(windows.token, windows.at), len(windows)))
        scores = rug_scores(
            {
                **facts,
                "removed_share": found["liquidity_removed_24h"],
                "buys": found["buys_24h"],
                "sells": found["sells_24h"],
                "age_hours": age,
            }
        )
        found.update({f"rug_{name}": score for name, score in scores.items()})
        found["rug_risk"] = combined_risk(scores)
        return found

    def _created(self) -> Floats:
        """When each instrument's trading began; a market that arrives gets more of them."""
        known = len(self._created_at)
        if known < len(self._feed.instruments):
            unknown = float("nan")
            new = [
                unknown if one.created_at is None else float(one.created_at)
                for one in self._feed.instruments[known:]
            ]
            self._created_at = np.append(self._created_at, new)
        return self._created_at

    def _facts(self, windows: EventWindows, ago: int) -> dict[str, Floats]:
        """The facts as they were known some time ago."""
        facts = self._feed.facts_at(windows.token, windows.at - ago)
        return _with_missing(facts, len(windows))

    def _reference_moves(self, windows: EventWindows) -> Iterator[tuple[str, Floats]]:
        for hours in (1, 24):
            if self._reference is None:
                now, then = windows.quote_at(0), windows.quote_at(hours * HOUR)
            else:
                at, back = np.unique(windows.at, return_inverse=True)
                token = np.full(len(at), self._reference, np.int32)
                moves = EventWindows(self._history, token, at)
                now = moves.as_of("price_usd")[back]
                then = moves.as_of("price_usd", hours * HOUR)[back]
            yield f"reference_return_{hours}h", now / then - 1.0


def _with_missing(facts: Mapping[str, Floats], length: int) -> dict[str, Floats]:
    """Facts with those that the market never knows as NaN."""
    missing = np.full(length, np.nan)
    return dict.fromkeys(FACT_NAMES, missing) | dict(facts)


def _prices(windows: EventWindows) -> Iterator[tuple[str, Floats]]:
    hourly = windows.hourly("price_usd", 72)
    now = hourly[:, -1]
    for hours in (1, 6, 24, 72):
        yield f"return_{hours}h", now / hourly[:, 72 - hours] - 1.0
    # Against the middle of both prices, as a logarithm would, but rounded exactly.
    moves = (hourly[:, 1:] - hourly[:, :-1]) / (0.5 * (hourly[:, 1:] + hourly[:, :-1]))
    for hours in (6, 24, 72):
        yield f"volatility_{hours}h", _deviation(moves[:, 72 - hours :])
    for hours in (24, 72):
        # fmax and fmin pass over what is unknown.
        high = np.fmax.reduce(hourly[:, 72 - hours :], axis=1)
        low = np.fmin.reduce(hourly[:, 72 - hours :], axis=1)
        yield f"drawdown_{hours}h", 1.0 - now / high
        yield f"recovery_{hours}h", now / low - 1.0
    yield "bar_range_1h", (windows.as_of("high_usd") - windows.as_of("low_usd")) / now


def _trading(windows: EventWindows) -> Iterator[tuple[str, Floats]]:
    volume, flow = windows.columns["volume_usd"], windows.columns["flow_usd"]
    total = {hours: windows.total(volume, hours * HOUR) for hours in (1, 6, 24)}
    for hours, usd in total.items():
        yield f"volume_{hours}h_usd", usd
        yield f"flow_imbalance_{hours}h", _ratio(windows.total(flow, hours * HOUR), usd)
    yield "volume_acceleration", _ratio(24.0 * total[1], total[24])
    yield "volume_to_market_cap_24h", _ratio(total[24], windows.as_of("market_cap_usd"))
    yield "turnover_24h", _ratio(total[24], windows.as_of("liquidity_usd"))
    known = ~np.isnan(windows.as_of("flow_usd"))
    buys = np.where(known, windows.total((flow > 0).astype(np.float64), DAY), np.nan)
    sells = np.where(known, windows.total((flow < 0).astype(np.float64), DAY), np.nan)
    yield "buys_24h", buys
    yield "sells_24h", sells
    yield "buy_share_24h", _ratio(buys, buys + sells)
    largest = windows.highest(volume, DAY)
    yield "largest_trade_share_24h", np.where(known, _ratio(largest, total[24]), np.nan)
    yield "mean_trade_24h_usd", _ratio(total[24], buys + sells)


def _liquidity(windows: EventWindows) -> Iterator[tuple[str, Floats]]:
    liquidity = windows.columns["liquidity_usd"]
    removed = -np.minimum(windows.columns["liquidity_change_usd"], 0.0)
    now = windows.as_of("liquidity_usd")
    yield "liquidity_usd", now
    yield "market_cap_usd", windows.as_of("market_cap_usd")
    yield "market_cap_to_liquidity", _ratio(windows.as_of("market_cap_usd"), now)
    for hours in (1, 24):
        before = windows.as_of("liquidity_usd", hours * HOUR)
        yield f"liquidity_change_{hours}h", _ratio(now, before) - 1.0
    gone = windows.total(removed, DAY)
    most = np.fmax(windows.highest(liquidity, DAY), now)
    yield "liquidity_removed_24h", _ratio(gone, most + gone)
    peak = np.fmax(windows.highest(liquidity, 3 * DAY), now)
    yield "liquidity_from_peak_72h", 1.0 - _ratio(now, peak)


def _supply(windows: EventWindows) -> Iterator[tuple[str, Floats]]:
    supply = windows.as_of("market_cap_usd") / windows.as_of("price_usd")
    before = windows.as_of("market_cap_usd", DAY) / windows.as_of("price_usd", DAY)
    change = _ratio(supply, before) - 1.0
    # The supply is a quotient here, whose rounding is no change of it.
    yield "supply_change_24h", np.where(np.abs(change) < SUPPLY_ROUNDING, 0.0, change)
    yield "supply_in_pool_share", _ratio(windows.as_of("reserve_token"), supply)


def _changes(
    now: Mapping[str, Floats], before: Mapping[str, Floats]
) -> Iterator[tuple[str, Floats]]:
    yield "holders_growth_24h", _ratio(now["holders"] - before["holders"], before["holders"])
    for name in ("developer_share", "lp_creator_share", "lp_locked_share", "top_holders_share"):
        yield f"{name}_change_24h", now[name] - before[name]


def _sentiment(
    now: Mapping[str, Floats], earlier: Mapping[str, Floats], length: int
) -> dict[str, Floats]:
    missing = np.full(length, np.nan)
    by_source = {f"sentiment_{source}": now.get(SENTIMENT + source, missing) for source in SOURCES}
    return by_source | sentiment_columns(now, earlier, length)


def _mentions(known: Mapping[str, Floats], length: int) -> Iterator[tuple[str, Floats]]:
    missing = np.full(length, np.nan)
    hour, day, two_days, week = (
        known.get(f"mentions_{hours}h", missing) for hours in (1, 24, 48, 168)
    )
    yield "mentions_1h", hour
    yield "mentions_24h", day
    # One more on both sides, so that a first mention after a silent week is a burst and finite.
    yield "mention_burst_1h", (hour + 1.0) / (week / 168.0 + 1.0)
    yield "mention_burst_24h", (day + 1.0) / (week / 7.0 + 1.0)
    yield "mention_momentum_24h", day - (two_days - day)
    yield "mention_share_24h", _ratio(day, known.get("messages_24h", missing))


def _deviation(moves: Floats) -> Floats:
    """Standard deviation of the known moves of each row, from at least three of them."""
    known = ~np.isnan(moves)
    count = known.sum(axis=1)
    enough = count >= 3
    divisor = np.where(enough, count, 1)
    mean = _sum(np.where(known, moves, 0.0)) / divisor
    away = np.where(known, moves - mean[:, None], 0.0)
    return np.where(enough, np.sqrt(_sum(away * away) / divisor), np.nan)


def _sum(rows: Floats) -> Floats:
    """The sum of each row, from left to right: `numpy.sum` adds in another order here and there."""
    return np.add.accumulate(rows, axis=1)[:, -1]


def _ratio(part: Floats, whole: Floats) -> Floats:
    """A share; unknown of a whole that is unknown or not positive."""
    there = whole > 0
    return np.where(there, part / np.where(there, whole, 1.0), np.nan)
