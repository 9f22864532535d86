"""The market port: what a session may know, in the order in which it could know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Instrument, Ints, MarketBatch, TradeRules


class KnownMarket(Protocol):
    """What a market knows of its instruments besides their events.

    Attributes:
        kind: ``uniswap-v2``, ``spot-1h`` or ``simulated``; what was learned on one kind is never
            taken for another.
        instruments: what `MarketBatch.token` and the ``token`` arguments index.
    """

    kind: str
    instruments: Sequence[Instrument]

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """What was known about tokens at moments (``known_at <= at``), a row a pair.

        Returns:
            Columns of `FACT_NAMES` (truths as 0 and 1) and ``sentiment:<source>``; NaN is unknown.
            A column that is not there is one that this market never knows.
        """
        ...

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """How often tokens had been named in messages by some moments, a row a pair.

        Returns:
            ``mentions_<hours>h`` for 1, 24, 48 and 168 and ``messages_<hours>h`` (all messages) for
            24; NaN is unknown.  No column where a market has no such counts.
        """
        ...

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        """Addresses of the stored answers that `facts_at` was read from; a recording has none."""
        ...

    def rules(self, token: int) -> TradeRules:
        """What the token's contract does to trades, where the market knows it."""
        ...


class EventsOnly:
    """A market of whose instruments nothing is known besides their events.

    What another one knows it overrides: recordings and simulations ask nobody, so that there are no
    answers behind their facts, and what a contract does to trades is mostly not known before.
    Nobody was away from a market that no session recorded.
    """

    away: Sequence[tuple[int, int]] = ()

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return {}

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return {}

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        return ()

    def rules(self, token: int) -> TradeRules:
        return TradeRules()


class MarketFeed(KnownMarket, Protocol):
    """A market that can be read from a start to an end.

    Attributes:
        away: ranges (microseconds, their end excluded) of whose events the session that recorded
            them was told only later, as history: nothing is decided in them.
    """

    away: Sequence[tuple[int, int]]

    def content_address(self) -> str:
        """The address of the market's content: the same address, the same events."""
        ...

    def span(self) -> tuple[int, int]:
        """When its first and its last event were known, in microseconds since 1970-01-01 UTC."""
        ...

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        """Events with ``start <= known_at < end``, in order.

        Raises:
            BadMarketData: the recording is missing, incomplete, out of order, or impossible.
        """
        ...

    def until(self, moment: int) -> MarketFeed:
        """The same market with nothing in it that was not known by a moment.

        It proves that an answer looks at nothing later: it is the same from both.
        """
        ...
