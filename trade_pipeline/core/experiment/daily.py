"""The sessions of an experiment by day: the same days of the same markets for every variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import psycopg

from trade_pipeline.core.experiment.definition import Metric
from trade_pipeline.core.experiment.design import World
from trade_pipeline.core.ids import uuid7_floor
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.training.clustered import LAG_DAYS, Interval, clustered

# Days of a block at least: trades of a day reach into the two after it.  Longer ones, up to a
# week, where enough blocks are left.
_SHORTEST, _LONGEST, _BLOCKS = LAG_DAYS + 1, 7, 20


@dataclass(frozen=True, slots=True)
class Panel:
    """What every variant earned by the UTC day of the decision.

    Attributes:
        day: (days,) places in time, increasing; worlds of their own are laid end to end, with gaps.
        block: (days,) which days belong together, from 0.
        trades, returns, pnl: (days, variants) closed trades, the sum of their returns (fractions,
            after costs), and of their profit and loss (USD).
    """

    day: Ints
    block: Ints
    trades: Ints
    returns: Floats
    pnl: Floats

    def values(self, metric: Metric) -> Floats:
        """(days, variants) values whose mean over the days is the metric.

        They differ from it by each day's influence on it (the infinitesimal jackknife).  A column
        is NaN where the metric is unknown: without trades, or without a spread.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            if metric == "pnl_per_day":
                return self.pnl
            if metric == "mean_return":
                count = self.trades.sum(axis=0).astype(np.float64)
                mean = self.returns.sum(axis=0) / count
                found = mean + (self.returns - mean * self.trades) * len(self.day) / count
            else:
                found = _sharpe_by_day(self.pnl, _ratio(self.pnl))
        values: Floats = np.where(np.isfinite(found), found, math.nan)
        return values

    def interval(self, metric: Metric, column: int) -> Interval:
        """A variant's metric, clustered by day with its neighbours (see `clustered`)."""
        values = self.values(metric)[:, column]
        mean = float(values.mean())
        influence = (values - mean) / len(values)
        # A day without a trade tells nothing of the return of one, and a lot of the day's profit.
        telling = self.trades[:, column] > 0 if metric == "mean_return" else values == values
        days = self.day[telling]
        return clustered(mean, influence[telling], days, np.arange(len(days)))

    def against(self, metric: Metric, base: int) -> tuple[Floats, Floats]:
        """The differences of the metric to the baseline's by day; they add up over the days.

        Returns:
            (days, other variants) parts of the difference as they are if there truly is none, and
            the part of an advantage that would fall on each day: that of its trades, or of its
            time.
        """
        others = [n for n in range(self.pnl.shape[1]) if n != base]
        even = np.full((len(self.day), len(others)), 1 / len(self.day))
        if metric == "pnl_per_day":
            return (self.pnl[:, others] - self.pnl[:, [base]]) * even, even
        with np.errstate(divide="ignore", invalid="ignore"):
            if metric == "sharpe":
                own, its = self.pnl[:, others], self.pnl[:, [base]]
                # Where there is no difference both have this ratio; each one's own would take an
                # advantage for noise.
                ratio = (_ratio(own) + _ratio(its)) / 2
                return (_sharpe_by_day(own, ratio) - _sharpe_by_day(its, ratio)) * even, even
            count, total = self.trades.sum(axis=0).astype(np.float64), self.returns.sum(axis=0)
            # Where there is no difference all have this mean, so that few trades are few
            # observations, however alike they are.
            mean = (total[others] + total[base]) / (count[others] + count[base])
            own, its = (
                (self.returns[:, some] - mean * self.trades[:, some]) / count[some]
                for some in (others, [base])
            )
            return own - its, self.trades[:, others] / count[others]


def _ratio(pnl: Floats) -> Floats:
    """The Sharpe ratio of each column's days."""
    ratio: Floats = pnl.mean(axis=0) / pnl.std(axis=0)
    return ratio


def _sharpe_by_day(pnl: Floats, ratio: Floats) -> Floats:
    """Values whose mean is the Sharpe ratio, and which differ from it by each day's influence.

    Args:
        ratio: the one that the influence is computed at.
    """
    mean, spread = pnl.mean(axis=0), pnl.std(axis=0)
    scaled = (pnl - mean) / spread
    values: Floats = mean / spread + scaled - ratio / 2 * (scaled**2 - 1)
    return values


def read_panel(
    connection: psycopg.Connection,
    worlds: Sequence[World],
    sessions: Sequence[Mapping[str, str]],
    variants: Sequence[str],
) -> Panel:
    """The days of some worlds.

    Recordings share the calendar, because one market moves the other; each simulated world has days
    of its own.

    Args:
        sessions: of each world, the session of every variant.
    """
    rows: dict[tuple[int, date], int] = {}
    places: list[int] = []
    owner = [-1 if world.recorded else n for n, world in enumerate(worlds)]
    offset = 0
    for stretch in sorted(set(owner)):
        mine = [world for n, world in enumerate(worlds) if owner[n] == stretch]
        days = sorted(
            {
                world.start + timedelta(days=n)
                for world in mine
                for n in range((world.end - world.start).days)
            }
        )
        for one in days:
            rows[stretch, one] = len(places)
            places.append(offset + (one - days[0]).days)
        offset = places[-1] + 1 + LAG_DAYS + 1
    shape = (len(places), len(variants))
    trades, returns, pnl = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    for n, (world, by_variant) in enumerate(zip(worlds, sessions, strict=True)):
        for column, variant in enumerate(variants):
            for when, count, gained, usd in _days(connection, by_variant[variant], world):
                row = rows[owner[n], when]
                trades[row, column] += count
                returns[row, column] += gained
                pnl[row, column] += usd
    day = np.array(places, np.int64)
    return Panel(day, blocks_of(day), trades, returns, pnl)


def blocks_of(day: Ints) -> Ints:
    """Which block each day belongs to: days that are neighbours, and never over a gap."""
    size = max(_SHORTEST, min(_LONGEST, len(day) // _BLOCKS))
    block = np.zeros(len(day), np.int64)
    length = 1
    for n in range(1, len(day)):
        length = length + 1 if day[n] == day[n - 1] + 1 and length < size else 1
        block[n] = block[n - 1] + (length == 1)
    return block


def _days(
    connection: psycopg.Connection, session_id: str, world: World
) -> list[tuple[date, int, float, float]]:
    """Closed trades of a session by the UTC day of their decision: how many, returns, USD."""
    rows = connection.execute(
        """
        WITH traded AS (
            SELECT uuid, (decided_at AT TIME ZONE 'UTC')::date AS day FROM trade.candidates
            WHERE session_id = %(session)s AND decision = 'enter'
              AND uuid >= %(low)s AND uuid < %(high)s
        ), realised AS (
            SELECT DISTINCT ON (uuid) uuid, day, realized_pnl_percent / 100 AS gained, pnl_usd
            FROM trade.outcomes JOIN traded USING (uuid)
            WHERE kind = 'realised' AND uuid >= %(low)s AND uuid < %(high)s
            ORDER BY uuid, revision DESC
        )
        SELECT day, count(*), sum(gained ORDER BY uuid)::float8,
               sum(coalesce(pnl_usd, 0) ORDER BY uuid)::float8
        FROM realised GROUP BY day ORDER BY day
        """,
        {
            "session": session_id,
            "low": uuid7_floor(world.first_moment),
            "high": uuid7_floor(world.end_moment),
        },
    )
    return [(day, int(count), gained, usd) for day, count, gained, usd in rows]
