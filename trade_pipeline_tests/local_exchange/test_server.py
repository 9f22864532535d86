"""The exchange as a process: killed at any moment, it has lost nothing that it had accepted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from report.record import counted

from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.execution.orders import OrderStatus
from trade_pipeline.core.execution.venue_errors import VenueRefused
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.local_exchange.served import ACCOUNT, KEY, PEPE, SECRET, SYMBOL
from trade_pipeline_tests.local_exchange.served import intent as order


class Process:
    """The exchange as `trade-pipeline exchange serve` starts it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "trade_pipeline.cli", "exchange", "serve"]
        self._process = subprocess.Popen(
            [*command, "--data", str(folder), "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = "".join(self._process.stdout.readline() for _ in range(3))
        self.url = json.loads(told)["url"]

    def control(self, what: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/control/{what}", data), timeout=10) as answer:
            return json.load(answer)

    def kill(self, how: int = signal.SIGKILL) -> int:
        self._process.send_signal(how)
        code = self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


@contextmanager
def process(folder: Path, port: int = 0) -> Iterator[Process]:
    running = Process(folder, port)
    try:
        yield running
    finally:
        running.kill()


def prepare(exchange: Process) -> None:
    exchange.control("listing", {"base": "PEPE"})
    deposits = {"USDT": "100000"}
    exchange.control("account", {"key": KEY, "secret": SECRET, "deposits": deposits})
    exchange.control("price", {"symbol": PEPE, "price": "0.001"})


@pytest.mark.reliability
def test_orders_survive_the_exchange_s_death_and_none_is_doubled(tmp_path: Path) -> None:
    """Killed while orders arrive; each submission ends with exactly one order of its id."""

    async def trade(first: Process) -> None:
        account = replace(ACCOUNT, url=first.url, call_seconds=1.0, deadline_seconds=60.0)
        venue, running = CcxtVenue(account), first
        port = int(first.url.rpartition(":")[2])
        resting = order(price=Decimal("0.0009"), attempt=1_000)
        await venue.submit(resting)
        wanted = []
        for round_ in range(KILLS):
            batch = [order(amount="6000", attempt=10 * round_ + n) for n in range(6)]
            wanted += batch
            sent = [asyncio.create_task(venue.submit(one)) for one in batch]
            await asyncio.sleep(0.02 * round_)
            running.kill()
            running = await asyncio.to_thread(Process, tmp_path, port)
            states = await asyncio.gather(*sent)
            assert all(state.is_settled for state in states)
        assert (await venue.fetch(resting.client_order_id, SYMBOL)).status is (
            OrderStatus.ACKNOWLEDGED
        )
        state = running.control("state")
        stored = [o["clientOrderId"] for o in state["orders"]]
        assert sorted(stored) == sorted(one.client_order_id for one in [*wanted, resting])
        assert {asset: Decimal(n) for asset, n in state["held"].items()} == {
            "USDT": Decimal(100_000), "PEPE": Decimal(0)
        }  # fmt: skip
        balances = await venue.balances()
        fills = [
            fill
            for one in wanted
            for fill in (await venue.fetch(one.client_order_id, SYMBOL)).fills
        ]
        paid = sum(fill.value for fill in fills)
        got = sum(fill.amount - fill.fee for fill in fills)
        assert balances["USDT"].free + balances["USDT"].locked == 100_000 - paid
        assert balances["PEPE"].free == got
        await venue.close()
        running.kill()

    with process(tmp_path) as exchange:
        prepare(exchange)
        asyncio.run(trade(exchange))
    counted("live.exchange_kills", KILLS, KILLS)


def test_the_control_names_what_is_wrong_and_a_second_server_of_a_folder_is_refused(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as exchange:
        prepare(exchange)
        for what, body, named in (
            ("listing", {"base": "A", "step": "0"}, "step"),
            ("price", {"symbol": "NONE", "price": "1"}, "Invalid symbol"),
            ("price", {"symbol": PEPE, "price": "-1"}, "price"),
            ("faults", {"faults": [{"kind": "fire"}]}, "kind"),
        ):
            with pytest.raises(HTTPError) as raised:
                exchange.control(what, body)
            assert raised.value.code == 400
            assert named in raised.value.read().decode()
        command = [sys.executable, "-m", "trade_pipeline.cli", "exchange", "serve"]
        second = subprocess.run(
            [*command, "--data", str(tmp_path), "--port", "0"],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ,
        )  # fmt: skip
        assert second.returncode == 2
        assert "serves this folder" in second.stderr
        assert exchange.kill(signal.SIGINT) == 0


def test_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    async def ask(exchange: Process, secret: str) -> None:
        account = replace(ACCOUNT, url=exchange.url, secret=type(ACCOUNT.secret)(secret))
        venue = CcxtVenue(account)
        try:
            with pytest.raises(VenueRefused, match="AuthenticationError"):
                await venue.balances()
        finally:
            await venue.close()

    with process(tmp_path) as exchange:
        prepare(exchange)
        asyncio.run(ask(exchange, "another"))
