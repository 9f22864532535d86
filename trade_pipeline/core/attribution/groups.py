"""Results by group of trades.  Nobody drew the groups: what they show is association, not cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from trade_pipeline.core.attribution.frame import read_ages, read_sentiment, read_signals
from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.execution.book import MICRO
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.report.performance import LIQUIDITY_BANDS, liquidity_band
from trade_pipeline.core.training.clustered import mean_interval

if TYPE_CHECKING:
    import pandas as pd

ASSOCIATION = (
    "Association, not cause: nobody drew which trades are in a group. The interval (95 %) is of "
    "the mean result of a trade, clustered by day and token, each for itself: of twenty groups "
    "without any difference one is expected to leave zero out."
)
# Parts that are shown together beside a group.
TOGETHER = {
    "market_usd": ("market_move",),
    "timing_usd": ("entry_timing", "exit_timing"),
    "costs_usd": (
        "own_impact", "slippage", "pool_fees", "venue_fees", "gas", "failed_orders",
    ),
    "rug_usd": ("rug_loss",),
    "unexplained_usd": ("unexplained",),
}  # fmt: skip
# So many tokens are named, those that moved the result most.
_TOKENS = 20
_AGES = ((1, "under 1 h"), (6, "1-6 h"), (24, "6-24 h"), (72, "1-3 days"), (168, "3-7 days"),
         (720, "7-30 days"), (np.inf, "over 30 days"))  # fmt: skip
_LEVELS = ((0.4, "under 0.4"), (0.6, "0.4-0.6"), (np.inf, "over 0.6"))
_UNKNOWN = "unknown"

Rows = list[dict[str, Any]]


def model_rows(trades: pd.DataFrame) -> Rows:
    """By the model that decided, and whether it had learned from what was before."""
    names = trades["model_version"].map(short_version)
    return _rows(trades, names + ", " + sample_of(trades))


def arm_rows(trades: pd.DataFrame) -> Rows:
    """By the arm that decided, whatever else differs between them; see `arm_effects`."""
    return _rows(trades, trades["arm"])


def token_rows(trades: pd.DataFrame) -> Rows:
    """The tokens that moved the result most, and all others together."""
    totals = trades.groupby("instrument")["result"].sum().abs()
    named = totals.sort_values(ascending=False, kind="stable").index[:_TOKENS]
    names = trades["instrument"].where(trades["instrument"].isin(named), "(all other tokens)")
    # A token's trades are one cluster of tokens: its interval is over days alone.
    return _rows(trades, names, by_token=False)


def hour_rows(trades: pd.DataFrame) -> Rows:
    """By the hour of the decision, UTC."""
    return _ordered(_rows(trades, trades["decided_at"].dt.strftime("%H:00")))


def reason_rows(trades: pd.DataFrame) -> Rows:
    """By why the trade ended, which was not known at the decision."""
    return _rows(trades, trades["termination_reason"])


def liquidity_rows(trades: pd.DataFrame) -> Rows:
    """By the pool's liquidity at the decision."""
    known = trades["liquidity_usd"].astype("float64")
    names = known.map(lambda usd: liquidity_band(None if np.isnan(usd) else usd))
    order = [liquidity_band(bound - 1.0) for bound in LIQUIDITY_BANDS]
    return _ordered(_rows(trades, names), [*order, liquidity_band(np.inf), liquidity_band(None)])


def session_rows(trades: pd.DataFrame) -> Rows:
    """By mode, market and session."""
    return _rows(trades, trades["mode"] + " " + trades["market"] + " " + trades["session_id"])


def age_rows(trades: pd.DataFrame, ages: pd.Series[float]) -> Rows:
    """By the time since the token's trading began."""
    names = _banded(ages.reindex(trades.index), _AGES)
    return _ordered(_rows(trades, _named(trades, names)), [*(name for _, name in _AGES), _UNKNOWN])


def sentiment_rows(trades: pd.DataFrame, said: pd.DataFrame) -> Rows:
    """By what each sentiment source said: a trade is in a group of every source that knew it."""
    said = said[said["uuid"].isin(trades.index)]
    names = said["source"] + ", " + _banded(said["level"], _LEVELS)
    rows = trades.loc[said["uuid"]]
    silent = trades[~trades.index.isin(said["uuid"])]
    return _ordered(_rows(rows, _named(rows, names)) + _rows(silent, _named(silent, "(no source)")))


def signal_rows(trades: pd.DataFrame, signals: pd.DataFrame) -> Rows:
    """What each feature gets of the results, by whether it spoke for the trade or against it.

    A trade's result is shared out in proportion to the absolute log odds of its features, the base
    left out; those that are not named with the decision are "(other features)".
    """
    import pandas as pd

    signals = signals[signals["uuid"].isin(trades.index)]
    place = trades.index.get_indexer(pd.Index(signals["uuid"]))
    sample = sample_of(trades).to_numpy()[place]
    said = np.where(signals["log_odds"].to_numpy(np.float64) >= 0, "for", "against")
    keys = signals["feature"] + "\0" + said + "\0" + sample
    usd, (day, token) = signals["usd"].to_numpy(np.float64), _clusters(trades)
    share = signals["share"].to_numpy(np.float64)
    found: Rows = []
    for key, rows in _members(keys):
        feature, spoke, learned = key.split("\0")
        found.append(
            {"group": feature, "spoke": spoke, "sample": learned}
            | _figures(usd[rows], day[place[rows]], token[place[rows]])
            | {"mean_share_pct": 100 * float(share[rows].mean())}
        )
    return sorted(found, key=lambda row: -abs(row["result_usd"]))


# What a person can ask for, in the order in which it is shown.
BY: dict[str, Callable[[pd.DataFrame], Rows]] = {
    "reason": reason_rows,
    "model": model_rows,
    "arm": arm_rows,
    "token": token_rows,
    "hour": hour_rows,
    "liquidity": liquidity_rows,
    "session": session_rows,
}
BY_MORE = ("age", "sentiment", "signal")
NAMES = (*BY, *BY_MORE)


def rows_by(
    connection: psycopg.Connection,
    trades: pd.DataFrame,
    name: str,
    sessions: Sequence[str] | None = None,
) -> Rows:
    """Rows of a group by one of `NAMES`.

    Args:
        trades: with a result, see `read_attribution`; ``sessions``: those they were read of.

    Returns:
        By group ``trades``, ``days`` on which they were decided, ``result_usd``, ``mean_usd`` of a
        trade between ``low_usd`` and ``high_usd`` (NaN where there is too little to tell), and the
        parts.
    """
    if name in BY:
        return BY[name](trades)
    if name == "age":
        return age_rows(trades, read_ages(connection, sessions))
    if name == "sentiment":
        return sentiment_rows(trades, read_sentiment(connection, sessions))
    return signal_rows(trades, read_signals(connection, sessions))


def sample_of(trades: pd.DataFrame) -> pd.Series[str]:
    """Whether each trade was decided after all that its model had learned from had ended."""
    import pandas as pd

    until = pd.to_datetime(trades["learned_until"], utc=True)
    learned = np.where(trades["decided_at"] > until, "out of sample", "in sample")
    return _named(trades, np.where(until.isna(), "learned from no trades", learned))


def short_version(version: str) -> str:
    """A version as people read it."""
    return version[7:15] if is_address(version) else version


def _named(trades: pd.DataFrame, names: Any) -> pd.Series[str]:
    import pandas as pd

    values = names if isinstance(names, str) else np.asarray(names)
    return pd.Series(values, index=trades.index, dtype=object)


def _rows(trades: pd.DataFrame, names: pd.Series[str], by_token: bool = True) -> Rows:
    """A row by name, the largest result (won or lost) first."""
    usd = trades["result"].to_numpy(np.float64) / MICRO
    percent = trades["realized_pnl_percent"].to_numpy(np.float64)
    together = {
        name: trades[list(parts)].to_numpy(np.float64).sum(axis=1)
        for name, parts in TOGETHER.items()
    }
    day, token = _clusters(trades)
    found = [
        {"group": name}
        | _figures(usd[rows], day[rows], token[rows] if by_token else day[rows])
        | {"mean_return_pct": float(percent[rows].mean())}
        | {part: float(values[rows].sum()) / MICRO for part, values in together.items()}
        for name, rows in _members(names)
    ]
    return sorted(found, key=lambda row: -abs(row["result_usd"]))


def _figures(usd: Floats, day: Ints, token: Ints) -> dict[str, Any]:
    interval = mean_interval(usd, np.ones(len(usd)), day, token)
    return {
        "trades": len(usd),
        "days": len(np.unique(day)),
        "result_usd": float(usd.sum()),
        "mean_usd": float(usd.mean()),
        "low_usd": interval.low,
        "high_usd": interval.high,
    }


def _clusters(trades: pd.DataFrame) -> tuple[Ints, Ints]:
    day = micros_of(trades["decided_at"]) // DAY
    return day, np.asarray(trades["instrument"].astype("category").cat.codes, np.int64)


def _members(names: pd.Series[str]) -> Iterator[tuple[str, Ints]]:
    """Places of the rows of each name."""
    for name, places in names.groupby(names.to_numpy()).indices.items():
        yield str(name), np.asarray(places, np.int64)


def _banded(numbers: pd.Series[float], bands: Sequence[tuple[float, str]]) -> Any:
    values = numbers.to_numpy(np.float64)
    names = np.array([name for _, name in bands] + [_UNKNOWN], dtype=object)
    place = np.searchsorted([bound for bound, _ in bands], values, side="right")
    return names[np.where(np.isnan(values), len(bands), np.minimum(place, len(bands)))]


def _ordered(rows: Rows, order: Sequence[str] | None = None) -> Rows:
    if order is None:
        return sorted(rows, key=lambda row: str(row["group"]))
    return sorted(rows, key=lambda row: order.index(row["group"]))
