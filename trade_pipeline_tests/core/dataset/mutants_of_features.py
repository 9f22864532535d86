"""Features that are computed from the market and see what they must not."""

from __future__ import annotations

import numpy as np

from trade_pipeline.core.market.event import Floats
from trade_pipeline_tests.core.dataset.made_market import HORIZON, View
from trade_pipeline_tests.core.dataset.planting import market_leak


def until(values: Floats, at: int) -> float:
    """The last known value up to an hour."""
    known = values[: at + 1]
    known = known[~np.isnan(known)]
    return float(known[-1]) if len(known) else np.nan


# What a market cut off at the decision does not show.

cut_off = market_leak("compare_vectors")


@cut_off
def future_bar(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return until(price, at + 1) / price[at] - 1


@cut_off
def centred_average(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float(np.nanmean(price[max(at - 3, 0) : at + 4]) / price[at] - 1)


@cut_off
def window_with_the_exit(view: View, token: int, at: int) -> float:
    window = view.price(token)[max(at - 24, 0) : at + HORIZON + 1]
    return float(np.nanstd(np.diff(np.log(window))))


@cut_off
def lowest_price_of_the_label(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float(np.nanmin(price[at : at + HORIZON + 1]) / price[at])


@cut_off
def highest_price_of_the_label(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float(np.nanmax(price[at : at + HORIZON + 1]) / price[at])


@cut_off
def price_by_the_price_at_label_end(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float(price[at] / until(price, at + HORIZON))


@cut_off
def future_volume(view: View, token: int, at: int) -> float:
    return float(np.nansum(view.volume(token)[at + 1 : at + 7]))


@cut_off
def volume_of_the_whole_day(view: View, token: int, at: int) -> float:
    return float(np.nansum(view.volume(token)[at // 24 * 24 : at // 24 * 24 + 24]))


@cut_off
def rank_on_the_next_day(view: View, token: int, at: int) -> float:
    prices = view.prices()
    moves = prices[:, min(at + 24, prices.shape[1] - 1)] / prices[:, at] - 1
    known = moves[~np.isnan(moves)]
    return float((known < moves[token]).mean()) if len(known) else np.nan


@cut_off
def mean_of_the_market_tomorrow(view: View, token: int, at: int) -> float:
    prices = view.prices()
    moves = prices[:, min(at + 24, prices.shape[1] - 1)] / prices[:, at]
    return float(np.nanmean(moves)) if not np.isnan(moves).all() else np.nan


@cut_off
def sentiment_filled_backwards(view: View, token: int, at: int) -> float:
    facts = view.sentiment(token)
    later = facts.value[facts.hour >= at]
    return float(later[0]) if len(later) else np.nan


@cut_off
def late_fact_backdated(view: View, token: int, at: int) -> float:
    facts = view.sentiment(token)
    recent = facts.value[(facts.hour <= at) & (facts.hour > at - 12)]
    return float(recent.mean()) if len(recent) else np.nan


@cut_off
def revised_market_cap(view: View, token: int, at: int) -> float:
    facts = view.supply(token)
    about = facts.value[facts.hour == facts.hour[facts.hour <= at].max()]
    return float(view.price(token)[at] * about[-1])


@cut_off
def standardised_over_the_whole_history(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float((price[at] - np.nanmean(price)) / np.nanstd(price))


@cut_off
def hours_to_the_last_trade(view: View, token: int, at: int) -> float:
    return float(np.flatnonzero(~np.isnan(view.price(token)))[-1] - at)


@market_leak("delay_sensitive_features")
def known_only_after_its_delay(view: View, token: int, at: int) -> float:
    return float(view.feed(token)[at])


@market_leak("delay_sensitive_features")
def half_of_it_known_only_after_its_delay(view: View, token: int, at: int) -> float:
    price = view.price(token)
    return float(view.feed(token)[at] + 0.5 * np.log(price[at] / until(price, max(at - 6, 0))))
