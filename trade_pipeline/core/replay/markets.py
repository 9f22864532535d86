"""The markets that are at hand for a replay: simulated ones, and recordings in given folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.recorded import MANIFEST, RecordedMarket
from trade_pipeline.core.market.source import market_in
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.stored import market_of, require_market

SIMULATED = "simulated"


class NotAtHand(Exception):
    """A session's market cannot be had; the message says why."""


class Markets:
    """Opens the market that a session ran on.

    Args:
        folders: of recordings.
        mentions: for spot-1h, a folder with hourly counts of mentions.
        strict: a folder of the session's kind with another content is refused; else it is only not
            the one that is looked for.
    """

    def __init__(
        self, folders: Sequence[Path] = (), mentions: Path | None = None, *, strict: bool = False
    ) -> None:
        self._folders = [(folder, market_in(folder)) for folder in folders]
        self._mentions = mentions
        self._strict = strict
        self._opened: dict[Path, MarketFeed] = {}

    def of(self, session: Session, settings: TradingConfig) -> MarketFeed:
        """The market of a session.

        Raises:
            NotAtHand: it is not there.
            BadConfig: a folder holds another one (where that is refused).
            BadMarketData: a recording is missing or wrong.
        """
        refused: BadConfig | None = None
        for folder, kind in self._folders:
            if kind != session.market:
                refused = refused or BadConfig(
                    f"data={str(folder)!r}: holds {kind!r}, session {session.session_id} ran on "
                    f"{session.market!r}"
                )
                continue
            feed = self._opened.get(folder)
            if feed is None:
                feed = market_of(session, settings, folder, self._mentions)
                self._opened[folder] = feed
            try:
                require_market(session, feed)
            except BadConfig as other:
                refused = other
            else:
                return feed
        if session.market == SIMULATED:
            return self._simulated(session, settings)
        if refused is not None and self._strict:
            raise refused
        why = "give --data" if refused is None else "no --data holds it"
        raise NotAtHand(
            f"market {session.market} {session.market_address or 'of a live session'} is not at "
            f"hand; {why}"
        )

    def recording(self, account: str, market: str) -> RecordedMarket | None:
        """What a live account recorded of a market, where a folder holds it."""
        for folder, kind in self._folders:
            if kind == market and (folder / MANIFEST).is_file():
                recorded = RecordedMarket(folder)
                if recorded.manifest.account == account:
                    return recorded
        return None

    def _simulated(self, session: Session, settings: TradingConfig) -> MarketFeed:
        try:
            feed = market_of(session, settings, None)
            require_market(session, feed)
        except (BadConfig, BadMarketData) as changed:
            raise NotAtHand(
                f"the simulated market of this code is another one: {changed}"
            ) from None
        return feed
