"""The token's market around a trade: what a live session recorded, a tape, or the simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from trade_pipeline.core.dossier.facts import Dossier, MarketAround
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.execution.amm import AmmVenue
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.archive import archived_events
from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.outcome.events import read_events
from trade_pipeline.core.session.stored import market_of, read_session, require_market
from trade_pipeline.core.store.artifacts import ArtifactStore

# How much is shown before the decision and after the end at least, and of a trade still open.
_BESIDE = 6 * HOUR
_OPEN = timedelta(hours=48)
_READ = ("price_usd", "liquidity_usd", "reserve_token", "reserve_quote", "quote_usd")
_RECORDED = (
    f"SELECT known_at, number, {', '.join(_READ)} FROM trade.market_series "
    "WHERE account = %s AND market = %s AND instrument = %s AND known_at >= %s AND known_at < %s "
    "ORDER BY known_at, number"
)


@dataclass(frozen=True, slots=True)
class _Events:
    times: Ints
    columns: dict[str, Floats]
    origin: str
    symbol: str | None


def around(
    dossier: Dossier,
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    *,
    data: Path | None = None,
    mentions: Path | None = None,
) -> Dossier:
    """The dossier with the market around the trade, or why it is not at hand.

    Args:
        data, mentions: folders of the recording that a backtest ran on; see `market_of`.

    Raises:
        BadConfig: the folder is not the market that the session ran on, or one is given where no
            recording is needed.
        BadMarketData: the recording is damaged.
    """
    start, end = window(dossier)
    run = dossier.run
    if dossier.live is not None:
        if data is not None:
            raise BadConfig(
                f"data={str(data)!r}: the market of a live session is what account "
                f"{dossier.live['account']} recorded, in the database"
            )
        events = _recorded(dossier, dossier.live["account"], connection, artifacts, start, end)
    elif run["mode"] != "backtest":
        return replace(
            dossier, market_note="No market is recorded for trades that no session decided."
        )
    elif dossier.settings is None or run["range_start"] is None:
        return replace(
            dossier,
            market_note="The settings of the session are not at hand, so its market cannot be "
            "opened again.",
        )
    elif run["market"] != "simulated" and data is None:
        return replace(
            dossier,
            market_note=f"The session ran on a recording of {run['market']}; name its folder "
            "(--data DIR, or data in the job's config) to see the market around the trade.",
        )
    else:
        session = read_session(connection, run["session_id"])
        feed = market_of(session, dossier.settings, data, mentions)
        require_market(session, feed)
        origin = f"the recording in {data}" if data else f"the simulator, seed {session.seed}"
        events = _of_token(feed, dossier.candidate["instrument"], origin, start, end)
    if not len(events.times):
        return replace(
            dossier,
            market_note=f"{events.origin} holds no event of {dossier.candidate['instrument']} "
            f"between {moment_of(start).isoformat()} and {moment_of(end).isoformat()}.",
        )
    market = MarketAround(
        events.times, events.columns["price_usd"], _fetched(dossier, events),
        events.columns["liquidity_usd"], events.origin, events.symbol,
    )  # fmt: skip
    return replace(dossier, market=market, market_note=f"Read from {events.origin}.")


def window(dossier: Dossier) -> tuple[int, int]:
    """From when to when the market is shown, microseconds: the trade, and some of both sides."""
    decided = datetime.fromisoformat(dossier.candidate["decided_at"])
    ends = [decided]
    ends += [one.ended_at for one in dossier.orders if one.ended_at is not None]
    outcome = dossier.realised or dossier.shadow
    if outcome is not None and outcome["closed_at"]:
        ends.append(datetime.fromisoformat(outcome["closed_at"]))
    elif dossier.candidate["decision"] == "enter" or outcome is None:
        ends.append(decided + _OPEN)
    first, last = micros(decided), micros(max(ends))
    beside = max(_BESIDE, (last - first) // 4)
    return first - beside, last + beside


def _of_token(feed: MarketFeed, name: str, origin: str, start: int, end: int) -> _Events:
    token = next((n for n, one in enumerate(feed.instruments) if one.name == name), None)
    if token is None:
        raise BadMarketData(f"instrument={name!r}: {origin} does not have it")
    found = read_events(feed, {token: (start, end)})[0].get(token)
    symbol = feed.instruments[token].symbol
    if found is None:
        return _Events(np.empty(0, np.int64), {}, origin, symbol)
    return _Events(found.times, {name: found.column(name) for name in _READ}, origin, symbol)


def _recorded(
    dossier: Dossier,
    account: str,
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    start: int,
    end: int,
) -> _Events:
    """What an account recorded: rows of the database, and archived months."""
    first, last = moment_of(start), moment_of(end)
    market, name = dossier.run["market"], dossier.candidate["instrument"]
    rows = connection.execute(_RECORDED.encode(), (account, market, name, first, last)).fetchall()
    found = {(micros(row[0]), row[1]): row[2:] for row in rows}
    for table in archived_events(connection, artifacts, account, market, first, last):
        mine = table.filter(pc.equal(table["instrument"].cast(pa.string()), name))
        columns = (mine[column].to_pylist() for column in ("known_at", "number", *_READ))
        for at, number, *told in zip(*columns, strict=True):
            found[micros(at), number] = tuple(told)
    keys = sorted(found)
    values = np.array([found[key] for key in keys], np.float64).reshape(len(keys), len(_READ))
    symbol = connection.execute(
        "SELECT symbol FROM trade.market_instruments "
        "WHERE account = %s AND market = %s AND name = %s",
        (account, market, name),
    ).fetchone()
    return _Events(
        np.array([at for at, _ in keys], np.int64),
        dict(zip(_READ, values.T, strict=True)),
        f"what account {account} recorded",
        None if symbol is None else symbol[0],
    )


def _fetched(dossier: Dossier, events: _Events) -> Floats:
    """What a sale of the whole position would have fetched per token; NaN where nobody can tell."""
    unknown: Floats = np.full(len(events.times), np.nan)
    tokens = max((one.tokens for one in dossier.orders if one.leg == "entry"), default=0.0)
    if not tokens or dossier.settings is None:
        return unknown
    venue = dossier.settings.venue(dossier.run["market"])
    if not isinstance(venue, AmmVenue):
        kept: Floats = events.columns["price_usd"] * (1.0 - dossier.settings.bars.spread / 2)
        return kept
    token, quote = events.columns["reserve_token"], events.columns["reserve_quote"]
    value = venue.values_usd(tokens, token, quote, events.columns["quote_usd"]) / tokens
    return np.where(np.isnan(token) | np.isnan(quote), np.nan, value)
