"""A token bucket in front of a venue; what is urgent goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count

_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)


@contextmanager
def urgent(is_urgent: bool) -> Iterator[None]:
    """Requests made inside wait only for other urgent ones."""
    token = _URGENT.set(is_urgent)
    try:
        yield
    finally:
        _URGENT.reset(token)


class RateLimit:
    """Lets requests through at a mean rate."""

    def __init__(self, per_second: float, burst: float) -> None:
        """A full bucket.

        Args:
            per_second: units of cost that come back.
            burst: units that may be spent at once.
        """
        self._rate, self._burst = per_second, burst
        self._tokens = burst
        self._counted_at = 0.0
        self._paused_until = 0.0
        self._waiting: list[tuple[int, int, float, asyncio.Future[None]]] = []
        self._number = count()
        self._pump: asyncio.Task[None] | None = None

    def pause(self, seconds: float) -> None:
        """Let nothing through for a time, because the venue asks for it."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    async def take(self, cost: float = 1.0) -> None:
        """Wait for one's turn.  A cost above the burst needs a full bucket, and owes the rest."""
        turn = asyncio.get_running_loop().create_future()
        entry = (0 if _URGENT.get() else 1, next(self._number), cost, turn)
        heappush(self._waiting, entry)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._serve())
        await turn

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            now = loop.time()
            gained = (now - self._counted_at) * self._rate
            self._tokens, self._counted_at = min(self._burst, self._tokens + gained), now
            _, _, cost, turn = self._waiting[0]
            if turn.done():
                # Who waited has given up.
                heappop(self._waiting)
                continue
            wait = max(
                self._paused_until - now, (min(cost, self._burst) - self._tokens) / self._rate
            )
            if wait > 0:
                # Somebody more urgent may come meanwhile.
                await asyncio.sleep(wait)
                continue
            heappop(self._waiting)
            self._tokens -= cost
            turn.set_result(None)
