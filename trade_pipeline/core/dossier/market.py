"""The token's market around a trade: what a live session recorded, a tape, or the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg

from trade_pipeline.core.dossier.facts import Content, Dossier, MarketAround
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.execution.amm import AmmVenue
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.archive import archived_events
from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.outcome.events import read_events
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.config import BAR_MARKETS
from trade_pipeline.core.session.stored import market_of, read_session, require_market
from trade_pipeline.core.store.artifacts import ArtifactStore

# How much is shown before the decision and after the end at least, and of a trade still open.
_BESIDE = 6 * HOUR
_OPEN = timedelta(hours=48)
_READ = ("price_usd", "liquidity_usd", "reserve_token", "reserve_quote", "quote_usd", "low_usd")
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
    read: Callable[[], _Events]
    if dossier.live is not None:
        account = dossier.live["account"]
        if data is not None:
            raise BadConfig(
                f"data={str(data)!r}: the market of a live session is what account {account} "
                "recorded, in the database"
            )
        read = lambda: _recorded(  # noqa: E731
            connection, artifacts, account, dossier.candidate, run, start, end
        )
    elif run["mode"] == "backtest":
        if run["market"] != "simulated" and data is None:
            return replace(
                dossier,
                market_note=f"The session ran on a recording of {run['market']}; name its folder "
                "(--data, or data in the job's config) to see the market around the trade.",
            )
        session = read_session(connection, run["session_id"])
        read = lambda: _of_session(dossier, session, data, mentions, start, end)  # noqa: E731
    else:
        return replace(
            dossier, market_note="No market was recorded for trades of the Python API."
        )
    events = read()
    if not len(events.times):
        return replace(
            dossier,
            market_note=f"{events.origin} holds no event of {dossier.candidate['instrument']} "
            f"between {moment_of(start).isoformat()} and {moment_of(end).isoformat()}.",
        )
    market = MarketAround(
        events.times, events.columns["price_usd"], _fetched(dossier, events),
        events.columns["liquidity_usd"], events.origin,
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


def _of_session(
    dossier: Dossier,
    session: Session,
    data: Path | None,
    mentions: Path | None,
    start: int,
    end: int,
) -> _Events:
    if dossier.settings is None:
        raise BadConfig(f"session_id={session.session_id!r}: its settings are not at hand")
    feed = market_of(session, dossier.settings, data, mentions)
    require_market(session, feed)
    name = dossier.candidate["instrument"]
    token = next((n for n, one in enumerate(feed.instruments) if one.name == name), None)
    if token is None:
        raise BadMarketData(f"instrument={name!r}: this market does not have it")
    events, _ = read_events(feed, {token: (start, end)})
    origin = f"the simulator, seed {session.seed}" if data is None else f"the recording in {data}"
    found = events.get(token)
    if found is None:
        return _Events(np.empty(0, np.int64), {}, origin)
    return _Events(found.times, {name: found.column(name) for name in _READ}, origin)


def _recorded(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    account: str,
    candidate: Content,
    run: Content,
    start: int,
    end: int,
) -> _Events:
    """What an account recorded: rows of the database, and archived months."""
    first, last, name = moment_of(start), moment_of(end), candidate["instrument"]
    rows = connection.execute(
        _RECORDED.encode(), (account, run["market"], name, first, last)
    ).fetchall()
    found = {(micros(row[0]), row[1]): row[2:] for row in rows}
    for table in archived_events(connection, artifacts, account, run["market"], first, last):
        mine = [n for n, one in enumerate(table["instrument"].to_pylist()) if one == name]
        part = table.take(mine).select(["known_at", "number", *_READ])
        for at, number, *values in zip(*(column.to_pylist() for column in part), strict=True):
            found[micros(at), number] = tuple(values)
    keys = sorted(found)
    table = np.array([found[key] for key in keys], np.float64).reshape(len(keys), len(_READ))
    return _Events(
        np.array([at for at, _ in keys], np.int64),
        dict(zip(_READ, table.T, strict=True)),
        f"what account {account} recorded",
    )


def _fetched(dossier: Dossier, events: _Events) -> Floats:
    """What a sale of the whole position would have fetched per token; NaN where nobody can tell."""
    unknown: Floats = np.full(len(events.times), np.nan)
    tokens = max((one.tokens for one in dossier.orders if one.leg == "entry"), default=0.0)
    if not tokens or dossier.settings is None:
        return unknown
    market = str(dossier.run["market"])
    if market in BAR_MARKETS:
        kept: Floats = events.columns["price_usd"] * (1.0 - dossier.settings.bars.spread / 2)
        return kept
    venue = dossier.settings.venue(market)
    if not isinstance(venue, AmmVenue) or dossier.live is not None:
        return unknown
    reserves = (events.columns[name] for name in ("reserve_token", "reserve_quote", "quote_usd"))
    return venue.values_usd(tokens, *reserves) / tokens
