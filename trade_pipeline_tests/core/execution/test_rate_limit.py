"""The token bucket: a mean rate, urgent requests first, and pauses that the venue asks for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from trade_pipeline.core.execution.rate_limit import RateLimit, urgent


def test_urgent_requests_overtake_those_that_wait() -> None:
    passed: list[str] = []

    async def take(limit: RateLimit, name: str, is_urgent: bool = False) -> None:
        with urgent(is_urgent):
            await limit.take()
        passed.append(name)

    async def all_of_them() -> None:
        limit = RateLimit(200, 1)
        entries = [asyncio.create_task(take(limit, f"entry {n}")) for n in range(3)]
        await asyncio.sleep(0)
        exits = [asyncio.create_task(take(limit, f"exit {n}", True)) for n in range(2)]
        await asyncio.gather(*entries, *exits)

    asyncio.run(all_of_them())
    assert passed.index("exit 0") < passed.index("exit 1") < passed.index("entry 1")
    assert passed.index("entry 1") < passed.index("entry 2")


def test_requests_beyond_the_burst_wait_for_the_rate_and_pauses_hold_all() -> None:
    async def measured() -> tuple[float, float]:
        loop, limit = asyncio.get_running_loop(), RateLimit(100, 2)
        start = loop.time()
        for _ in range(6):
            await limit.take()
        spent = loop.time()
        limit.pause(0.1)
        with urgent(True):
            await limit.take()
        return spent - start, loop.time() - spent

    at_rate, paused = asyncio.run(measured())
    assert at_rate >= 0.039
    assert paused >= 0.099


def test_who_gives_up_waiting_takes_no_one_s_turn_and_a_dear_request_is_paid_in_full() -> None:
    async def all_of_them() -> float:
        limit = RateLimit(100, 1)
        await limit.take()
        with suppress(TimeoutError):
            await asyncio.wait_for(limit.take(), 0.001)
        await asyncio.wait_for(limit.take(cost=20), 5)
        start = asyncio.get_running_loop().time()
        await asyncio.wait_for(limit.take(), 5)
        return asyncio.get_running_loop().time() - start

    assert asyncio.run(all_of_them()) >= 0.19
