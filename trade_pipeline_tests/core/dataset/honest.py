"""Honest, weak features of a made-up market: at an hour only what the view shows up to then."""

from __future__ import annotations

import numpy as np

from trade_pipeline.core.market.event import Floats
from trade_pipeline_tests.core.dataset.made_market import TOKENS, Facts, Feature, View


def change(hours: int) -> Feature:
    def feature(view: View, token: int, at: int) -> float:
        price = view.price(token)
        return float(price[at] / price[at - hours] - 1) if at >= hours else np.nan

    return feature


def volatility(view: View, token: int, at: int) -> float:
    price = view.price(token)[max(at - 24, 0) : at + 1]
    return float(np.diff(np.log(price)).std())


def drawdown(view: View, token: int, at: int) -> float:
    window = view.price(token)[max(at - 72, 0) : at + 1]
    return float(1 - window[-1] / np.nanmax(window))


def volume_24h(view: View, token: int, at: int) -> float:
    return float(view.volume(token)[max(at - 23, 0) : at + 1].sum())


def holders(view: View, token: int, at: int) -> float:
    return float(view.holders(token)[at])


def holders_growth(view: View, token: int, at: int) -> float:
    known = view.holders(token)
    return float(known[at] / known[at - 24] - 1) if at >= 24 else np.nan


def sentiment(view: View, token: int, at: int) -> float:
    facts = view.sentiment(token)
    recent = facts.value[(facts.known <= at) & (facts.hour > at - 12)]
    return float(recent.mean()) if len(recent) else np.nan


def newest(facts: Facts, at: int) -> float:
    """The value about the newest hour up to a moment; of these the one known last."""
    rows = np.flatnonzero((facts.known <= at) & (facts.hour <= at))
    return float(facts.value[rows[np.lexsort((facts.known[rows], facts.hour[rows]))[-1]]])


def market_cap(view: View, token: int, at: int) -> float:
    return float(view.price(token)[at]) * newest(view.supply(token), at)


def day_returns(view: View, at: int) -> Floats:
    prices = view.prices()
    return prices[:, at] / prices[:, at - 24] - 1 if at >= 24 else np.full(TOKENS, np.nan)


def market_return(view: View, token: int, at: int) -> float:
    moves = day_returns(view, at)
    return float(np.nanmean(moves)) if not np.isnan(moves).all() else np.nan


def rank_in_market(view: View, token: int, at: int) -> float:
    moves = day_returns(view, at)
    known = moves[~np.isnan(moves)]
    return float((known < moves[token]).mean()) if len(known) else np.nan


def token_age(view: View, token: int, at: int) -> float:
    return float(at - view.market.listed[token])


def hour_of_day(view: View, token: int, at: int) -> float:
    return float(at % 24)


def day_of_week(view: View, token: int, at: int) -> float:
    return float(at // 24 % 7)


def buy_tax(view: View, token: int, at: int) -> float:
    return float(view.market.tax[token])


HONEST: dict[str, Feature] = {
    "return_1h": change(1),
    "return_24h": change(24),
    "return_72h": change(72),
    "volatility_24h": volatility,
    "drawdown_72h": drawdown,
    "volume_24h": volume_24h,
    "holders": holders,
    "holders_growth_24h": holders_growth,
    "sentiment": sentiment,
    "market_cap": market_cap,
    "market_return_24h": market_return,
    "rank_in_market": rank_in_market,
    "token_age": token_age,
    "hour_of_day": hour_of_day,
    "day_of_week": day_of_week,
    "buy_tax": buy_tax,
}
