"""The market port: what a session may know, in the order in which it could know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from trade_pipeline.core.market.event import Instrument, MarketBatch, TokenFacts, TradeRules


class MarketFeed(Protocol):
    """A market that can be read from a start to an end.

    Attributes:
        kind: ``uniswap-v2``, ``spot-1h`` or ``simulated``; what was learned on one kind is never
            taken for another.
        instruments: what `MarketBatch.token` and the ``token`` arguments index.
    """

    kind: str
    instruments: Sequence[Instrument]

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

    def facts(self, token: int, at: int) -> TokenFacts:
        """What was known about a token at a moment (``known_at <= at``)."""
        ...

    def rules(self, token: int) -> TradeRules:
        """What the token's contract does to trades, where the market knows it."""
        ...
