"""A feature of one's own: which share of the last twelve hours closed higher than they opened."""

import numpy as np

from trade_pipeline.extend import Events, Known, feature


@feature(unit="share", window_hours=12, low=0, high=1)
def rising_hours_12h(events: Events, known: Known) -> np.ndarray:
    """Share of the last 12 hours in which the price rose."""
    # A row a decision, 13 prices each: 12 hours ago, 11 hours ago, ..., now.
    prices = events.hourly("price_usd", 12)
    rises = (np.diff(prices, axis=1) > 0).mean(axis=1)
    # Unknown where any of the prices is: a token that is younger than twelve hours.
    return np.where(np.isnan(prices).any(axis=1), np.nan, rises)
