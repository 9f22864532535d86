"""Which stored sessions a run works on, and the markets that they ran on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.stored import market_of, sessions_on, settings_of
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.trades import SessionsConfig


def sessions_with_markets(
    store: Store, config: SessionsConfig, start: datetime, end: datetime
) -> Iterator[tuple[Session, MarketFeed]]:
    """Sessions that decided in a range, each with its market; a recording is opened once.

    Raises:
        BadConfig: there is none, or none that ran on the recording.
    """
    with store.database.connect("trade_reader") as connection:
        sessions = sessions_on(connection, config.market, start, end)
    if config.session is not None:
        sessions = [one for one in sessions if one.session_id == config.session]
    data, mentions = (None if f is None else Path(f) for f in (config.data, config.mentions))
    feed: MarketFeed | None = None
    found = 0
    for session in sessions:
        if feed is None or config.market == "simulated":
            opened = market_of(session, settings_of(store.artifacts, session), data, mentions)
            # Sessions of one simulation share what was generated for an earlier one.
            if feed is None or opened.content_address() != feed.content_address():
                feed = opened
        if feed.content_address() == session.market_address:
            found += 1
            yield session, feed
    if not found:
        which = "" if config.session is None else f", session={config.session!r}"
        raise BadConfig(
            f"market={config.market!r}, data={config.data!r}{which}: no session between {start} "
            f"and {end} "
            "ran on this market; materialise trade_candidates for these days first"
        )
