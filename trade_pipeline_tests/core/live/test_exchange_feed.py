"""Hourly bars as they close: what arrives is what a recording of the same bars holds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from trade_pipeline.core.live.exchange_feed import ExchangeFeed
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.markets import ExchangeMarketConfig
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch
from trade_pipeline.core.market.providers.exchange import Exchange
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.local_exchange.candles import Candles
from trade_pipeline.local_exchange.faults import Fault, FaultPlan
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.server import ExchangeServer
from trade_pipeline.local_exchange.units import units
from trade_pipeline_tests.core.live.test_chain_feed import assert_same, whole

BEGIN = 1_700_006_400_000_000  # a full hour
HOURS = 110
BASES = ("AAA", "BBB", "CCC")
SUPPLY = 123_456.789
FAST = ClientConfig(
    requests=100_000, attempts=2, wait_initial_seconds=0, timeout_seconds=0.3, open_seconds=0
)


def bar(base: str, hour: int) -> tuple[str, str, str, str, str]:
    """Open, high, low, close and volume of a made bar, as decimal texts."""
    draw = np.random.default_rng([ord(base[0]), hour])
    opened, close = draw.uniform(0.8, 1.2, 2).round(6).tolist()
    high, low = round(max(opened, close) * 1.1, 6), round(min(opened, close) * 0.9, 6)
    return tuple(map(str, (opened, high, low, close, round(draw.uniform(10, 99), 1))))  # type: ignore[return-value]


def write_recording(
    folder: Path, *, market_cap_from: int = HOURS, hours: int = HOURS
) -> HourlyBars:
    """The recording of the same bars; from an hour on, their market caps are known."""
    rows = [(base, hour, *map(float, bar(base, hour))) for base in BASES for hour in range(hours)]
    columns = list(zip(*rows, strict=True))
    known = [base == "AAA" and hour >= market_cap_from for base, hour, *_ in rows]
    caps = [row[5] * SUPPLY if there else None for row, there in zip(rows, known, strict=True)]
    (folder / "ohlcv_1h").mkdir(parents=True)
    table = {
        "symbol": [f"{base}USDT" for base in columns[0]],
        "timestamp": pa.array([BEGIN + h * HOUR for h in columns[1]], pa.timestamp("us", tz="UTC")),
        **dict(zip(("open", "high", "low", "close", "volume"), columns[2:], strict=True)),
        "market_cap": pa.array(caps, pa.float64()),
        "market_cap_src": ["coingecko_daily" if there else "none" for there in known],
    }
    pq.write_table(pa.table(table), folder / "ohlcv_1h" / "2023Q4.parquet")
    return HourlyBars(folder)


def keys(events: MarketBatch) -> list[tuple[int, int]]:
    return list(zip(events.token.tolist(), events.event_time.tolist(), strict=True))


class MovedClock:
    """A clock that goes on by itself from where a test puts it."""

    def __init__(self, start: int) -> None:
        self._ahead = 0
        self.advance(start)

    def micros(self) -> int:
        return time.monotonic_ns() // 1_000 + self._ahead

    def advance(self, micros: int) -> None:
        self._ahead += max(0, micros - self.micros())


class Live:
    """The local exchange with made bars, and a feed of it whose clock the test moves."""

    def __init__(self, server: ExchangeServer, url: str, now: int, **config: Any) -> None:
        self.server, self.url = server, url
        self.clock = MovedClock(now)
        given = {
            "symbols": [f"{base}/USDT" for base in BASES], "delay_seconds": 1,
            "retry_seconds": 0.001, "look_seconds": 0.002, "gather_seconds": 0.5,
        } | config  # fmt: skip
        self.facts = FactLog(DAY)
        self.feed = ExchangeFeed(
            ExchangeMarketConfig.model_validate(given), self.clock, self.exchange, self.facts
        )

    def exchange(self) -> Exchange:
        options = {"options": {"fetchMarkets": {"types": ["spot"]}}, "rateLimit": 0.1}
        return Exchange("binance", self.clock, config=FAST, given=options, url=self.url)

    def fault(self, *kinds: str, count: int = 1) -> None:
        faults = [
            Fault.model_validate({"kind": k, "on": ["GET klines"], "count": count, "seconds": 0.4})
            for k in kinds
        ]
        self.server.faults.replace(FaultPlan(faults=faults))

    def close_hour(self, late: int = 2) -> None:
        """The next hour ends, and so many seconds more."""
        self.clock.advance(self.clock.micros() // HOUR * HOUR + HOUR + late * 1_000_000)

    async def read(
        self, since: int, resume: int, until: int, step: Callable[[], None] | None = None
    ) -> list[LiveBatch]:
        """Batches until a bar of each pair has come that closes at a moment."""
        found: list[LiveBatch] = []
        newest = dict.fromkeys(range(len(BASES)), 0)
        reading: Any = self.feed.read(since, resume)
        async for batch in reading:
            found.append(batch)
            newest.update(keys(batch.events))
            if min(newest.values()) >= until:
                break
            if min(newest.values()) == self.clock.micros() // HOUR * HOUR:
                (step or self.close_hour)()
        await reading.aclose()
        return found


@asynccontextmanager
async def served(folder: Path, now: int, **config: Any) -> AsyncIterator[Live]:
    server = ExchangeServer(folder)
    for base in BASES:
        server.exchange.list_symbol(Listing(base=base))
        candles = server.exchange.candles[f"{base}USDT"] = Candles()
        for hour in range(HOURS):
            opened, high, low, close, volume = bar(base, hour)
            start = (BEGIN + hour * HOUR) // 1_000
            for minute, price in enumerate((opened, high, low, close)):
                traded = units("volume", volume) if minute == 0 else 0
                candles.add(start + minute * 60_000, units("price", price), traded)
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Live(server, f"http://127.0.0.1:{runner.addresses[0][1]}", now, **config)
    finally:
        await runner.cleanup()


def with_live(folder: Path, now: int, test: Callable[[Live], Any], **config: Any) -> Any:
    async def run() -> Any:
        async with served(folder / "exchange", now, **config) as live:
            return await asyncio.wait_for(test(live), 30)

    return asyncio.run(run())


def recorded(folder: Path, **given: Any) -> MarketBatch:
    (batch,) = write_recording(folder / "recording", **given).batches(0, 2**62)
    return batch


NOW = BEGIN + 100 * HOUR + 600_000_000


def test_what_arrives_is_what_a_recording_holds_but_known_when_it_arrived(tmp_path: Path) -> None:
    async def read(live: Live) -> list[LiveBatch]:
        live.facts.note_supply(0, NOW, SUPPLY)
        return await live.read(BEGIN + HOUR, NOW, BEGIN + HOURS * HOUR)

    batches = with_live(tmp_path, NOW, read)
    found, bars = whole(batches), recorded(tmp_path, market_cap_from=100)
    assert_same(found, bars, but=("known_at",))
    for one in batches:
        if one.warm_up:
            assert (one.events.known_at == one.events.event_time).all()
        elif len(one.events):
            assert (one.events.known_at == one.upto - 1).all()
            assert (one.events.known_at > one.events.event_time).all()
            assert one.behind == 0
            assert one.events.token.tolist() == [0, 1, 2], "what closes at once is told at once"
    assert (np.diff(found.known_at) >= 0).all()


def test_a_reading_that_begins_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def read(live: Live) -> tuple[list[LiveBatch], list[LiveBatch]]:
        first = await live.read(BEGIN + HOUR, NOW, BEGIN + 103 * HOUR)
        for _ in range(3):
            live.close_hour()
        again = await live.read(BEGIN + HOUR, first[-1].upto, BEGIN + HOURS * HOUR)
        return first, again

    first, again = with_live(tmp_path, NOW, read)
    bars = recorded(tmp_path)
    assert_same(whole(again), bars, but=("known_at",))
    told = {(t, at) for one in first if not one.warm_up for t, at in keys(one.events)}
    later = {(t, at) for one in again if not one.warm_up for t, at in keys(one.events)}
    assert not told & later, "decided on twice"
    late = next(one for one in again if not one.warm_up)
    assert set(late.events.event_time.tolist()) == {BEGIN + 106 * HOUR}
    assert (late.events.known_at == late.upto - 1).all()


@pytest.mark.parametrize(
    "kind",
    ["too_many_requests", "server_error", "cut_before", "cut_after", "slow_answer", "bad_json"],
)
def test_faults_of_the_exchange_lose_and_double_nothing(tmp_path: Path, kind: str) -> None:
    async def read(live: Live) -> list[LiveBatch]:
        live.fault(kind, count=5)

        def step() -> None:
            live.fault(kind, count=5)
            live.close_hour()

        return await live.read(BEGIN + HOUR, NOW, BEGIN + 103 * HOUR, step)

    found = whole(with_live(tmp_path, NOW, read))
    bars = recorded(tmp_path, hours=103)
    order = np.lexsort((found.token, found.event_time))
    assert len(found) == len(bars)
    for name in ("event_time", "token", "price_usd", "open_usd", "high_usd", "volume_usd"):
        assert getattr(found, name)[order].tobytes() == getattr(bars, name).tobytes(), name


def test_time_goes_on_without_bars_and_the_reader_says_that_it_is_behind(tmp_path: Path) -> None:
    async def read(live: Live) -> list[LiveBatch]:
        found: list[LiveBatch] = []
        reading: Any = live.feed.read(BEGIN + HOUR, NOW)
        live.clock.advance(NOW + 1)
        async for batch in reading:
            found.append(batch)
            if not batch.warm_up and len(found) == 2:
                live.fault("server_error", count=10_000)
                live.close_hour()
            elif not batch.warm_up and len(found) < 9:
                live.clock.advance(live.clock.micros() + 50_000_000)
            elif len(found) >= 9:
                break
        await reading.aclose()
        assert set(live.feed.failures) == {f"{base}/USDT" for base in BASES}
        return found

    quiet = [one for one in with_live(tmp_path, NOW, read) if not one.warm_up]
    assert all(len(one.events) == 0 for one in quiet)
    assert max(np.diff([one.upto for one in quiet[1:]])) <= 60_000_000
    assert quiet[1].behind == 0
    assert quiet[-1].behind > 180


def test_a_pair_that_the_account_holds_is_followed_though_nobody_lists_it(tmp_path: Path) -> None:
    async def read(live: Live) -> list[str]:
        live.feed._held = lambda: ["CCC/USDT"]
        batches = await live.read(BEGIN + 99 * HOUR, NOW, BEGIN + 99 * HOUR)
        assert 2 in whole(batches).token
        return [one.name for one in live.feed.instruments]

    symbols = ["BBB/USDT", "AAA/USDT"]
    assert with_live(tmp_path, NOW, read, symbols=symbols) == [*symbols, "CCC/USDT"]


def test_a_supply_of_another_day_makes_an_estimate(tmp_path: Path) -> None:
    async def read(live: Live) -> Any:
        live.facts.note_supply(0, NOW, SUPPLY)
        token = np.zeros(3, np.int32)
        at = np.array([NOW - 1, NOW + DAY, NOW + DAY + 1])
        return live.feed.facts_at(token, at)["market_cap_estimated"].tolist()

    before, same_day, later = with_live(tmp_path, NOW, read)
    assert (math.isnan(before), math.isnan(same_day), later) == (True, True, 1.0)
