"""Runs of a live session against the local exchange under random faults; prints what was found.

``python -m trade_pipeline_tests.core.live.chaos.run --runs 1000 [--seed 0] [--at-once 4]``
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg

from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.local_exchange.server import serve
from trade_pipeline_tests.core.live.chaos.audit import KEY, SECRET, Audit, audit
from trade_pipeline_tests.core.live.chaos.market import TOKENS
from trade_pipeline_tests.core.live.chaos.trader import trade
from trade_pipeline_tests.core.live.full_disk import full_disk

PAID = "1000"
PACE = 0.025
# A run that has not ended by then has failed.
LONGEST = 40.0
# Lines of its log that a failed run shows.
_SAID = 25
ORDERS = ["POST order", "DELETE order", "GET order"]
NETWORK: dict[str, dict[str, Any]] = {
    "cut_before": {"on": ORDERS, "probability": 0.2},
    "cut_after": {"on": ORDERS, "probability": 0.2},
    "duplicate_fill": {"probability": 0.5},
    "late_fill": {"on": ["POST order"], "probability": 0.4, "seconds": 0.15},
    "late_report": {"on": ["GET myTrades"], "probability": 0.5},
    "partial_fill": {"on": ["POST order"], "probability": 0.4, "seconds": 0.1},
    "too_many_requests": {"probability": 0.3, "seconds": 0.05},
    "server_error": {"probability": 0.15},
    "bad_json": {"on": ORDERS, "probability": 0.2},
    "slow_answer": {"on": ["POST order"], "probability": 0.3, "seconds": 0.3},
    "clock_skew": {"probability": 0.3, "milliseconds": 2_500},
}
EVENTS = (
    "session killed", "session stopped", "postgres killed", "exchange killed", "disk full",
    "read-only database", "clock jump",
)  # fmt: skip
FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Result:
    """What came of a run.

    Attributes:
        faults: those that were on, or happened.
        sessions: how many it took.
        said: what they logged.
    """

    faults: list[str]
    audit: Audit
    sessions: int
    ended: bool
    said: str


@dataclass
class Totals:
    """The sums over runs."""

    runs: int = 0
    runs_wrong: int = 0
    sessions: int = 0
    trades: int = 0
    orders: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, seed: int, result: Result) -> None:
        self.runs += 1
        self.sessions += result.sessions
        self.trades += result.audit.trades
        self.orders += result.audit.orders
        self.faults.update(result.faults)
        if not result.ended:
            result.audit.add("run without an end", str(seed))
        for kind, what in result.audit.wrong.items():
            self.wrong[kind] += len(what)
            self.examples.append(f"seed {seed}: {kind}: {what[:3]} under {result.faults}")
        if result.audit.wrong:
            self.runs_wrong += 1
            self.examples += result.said.splitlines()[-_SAID:]

    def join(self, other: Totals) -> None:
        """Add what came of other runs."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


def _exchange(folder: Path, port: int, ready: Any) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(folder, port, ready.send))


class LocalExchange:
    """The exchange in a process of its own, which can be killed and comes back."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        here, there = FORK.Pipe()
        self._process = FORK.Process(target=_exchange, args=(self._folder, self._port, there))
        self._process.start()
        self._port = here.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def restart(self) -> None:
        """Kill it, and start it again soon."""
        self.kill()
        time.sleep(0.1)
        self.start()

    def control(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/control/{what}", data, timeout=10) as answer:
            return json.loads(answer.read())


class Traders:
    """The sessions of an account, as processes; at most one is awake."""

    def __init__(self) -> None:
        self._current: BaseProcess | None = None
        self._asleep: list[BaseProcess] = []
        self.started = 0

    @property
    def at_work(self) -> bool:
        return self._current is not None and self._current.is_alive()

    @property
    def over(self) -> bool:
        """Whether a session has come to the end of the market."""
        return self._current is not None and self._current.exitcode == 0

    def start(self, arguments: tuple[Any, ...]) -> None:
        self._current = FORK.Process(target=trade, args=arguments)
        self._current.start()
        self.started += 1

    def kill(self) -> None:
        if self._current is not None:
            self._current.kill()

    def stop(self) -> None:
        """Put the session to sleep until somebody else has taken over."""
        if self._current is not None and self.at_work:
            os.kill(self._current.pid or 0, signal.SIGSTOP)
            self._asleep.append(self._current)
            self._current = None

    def wake(self) -> None:
        """Wake up all that sleep: each finds that it holds nothing any more."""
        for process in self._asleep:
            # The database may have ended it.
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGCONT)
        for process in self._asleep:
            process.join(10)
            process.kill()

    def end(self) -> None:
        """End what is left."""
        self.wake()
        if self._current is not None:
            self._current.kill()
            self._current.join()


class Chaos:
    """One server, on which one account after another is traded."""

    def __init__(self, server: EmbeddedPostgres, database: str, folder: Path) -> None:
        self._server, self._name, self._folder = server, database, folder
        for module in ("ccxt.async_support", "scipy.stats"):
            # Seconds of work that every session of its own would do again.
            importlib.import_module(module)

    def run(self, seed: int) -> Result:
        """One account from its start to its end."""
        chosen = random.Random(seed)
        account = f"run-{seed}"
        network = chosen.sample(sorted(NETWORK), chosen.choice([0, 1, 1, 2]))
        events = chosen.sample(EVENTS, chosen.choice([0, 1, 1, 2, 3]) or int(not network))
        exchange = LocalExchange(self._folder / account)
        try:
            for number in range(TOKENS):
                exchange.control("listing", {"base": f"T{number}"})
            exchange.control("account", {"key": KEY, "secret": SECRET, "deposits": {"USDT": PAID}})
            faults = [{"kind": kind} | NETWORK[kind] for kind in network]
            exchange.control("faults", {"seed": seed, "faults": faults})
            sessions, ended = self._trade(seed, account, exchange, events, chosen)
            exchange.control("faults", {})
            with self._connect() as connection:
                found = audit(connection, account, exchange.control("state"), PAID)
            said = (self._folder / f"{account}.log").read_text(errors="replace")
            return Result([*network, *events], found, sessions, ended, said)
        finally:
            exchange.kill()

    def _trade(
        self,
        seed: int,
        account: str,
        exchange: LocalExchange,
        events: list[str],
        chosen: random.Random,
    ) -> tuple[int, bool]:
        """Sessions one after the other, and what happens to them, until one comes to the end."""
        jump = None
        due: list[tuple[float, Callable[[], None]]] = []
        url = self._server.url("postgres", self._name)
        traders = Traders()
        actions = {
            "session killed": traders.kill,
            "session stopped": traders.stop,
            "postgres killed": self._kill_postgres,
            "exchange killed": exchange.restart,
            "disk full": self._fill_disk,
            "read-only database": self._refuse_writes,
        }
        for event in events:
            for _ in range(chosen.choice([1, 1, 2, 3])):
                at = chosen.uniform(0.05, 1.5)
                if event == "clock jump":
                    jump = (at, chosen.choice([-30.0, -2.0, 2.0, 30.0]))
                else:
                    due.append((at, actions[event]))
        due.sort(key=lambda one: one[0], reverse=True)
        arguments = (url, self._folder / "artifacts", account, exchange.url, seed, PACE, jump)
        began = time.monotonic()
        while time.monotonic() - began < LONGEST and not traders.over:
            if not traders.at_work:
                # In no hurry where the world is broken.
                time.sleep(0.05 if traders.started < 20 else 0.3)
                traders.start(arguments)
            while due and time.monotonic() - began >= due[-1][0]:
                due.pop()[1]()
            time.sleep(0.01)
        traders.end()
        return traders.started, traders.over

    def _kill_postgres(self) -> None:
        if (pid := self._server.status().pid) is not None:
            os.kill(pid, signal.SIGKILL)
        self._server.ensure_running()

    def _fill_disk(self) -> None:
        """What the database says for a while when its disk is full."""
        tables = ("order_intents", "executions", "candidates")
        with self._connect() as connection, full_disk(connection, *tables):
            time.sleep(0.3)

    def _refuse_writes(self) -> None:
        """What happens where a failover or an administrator makes it read-only for a while."""
        with self._connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            for how, seconds in (("on", 0.7), ("off", 0.0)):
                connection.execute(
                    f"ALTER SYSTEM SET default_transaction_read_only = {how}".encode()
                )
                connection.execute("SELECT pg_reload_conf()")
                time.sleep(seconds)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._server.url("postgres", self._name), autocommit=True)


def run_all(folder: Path, seeds: Sequence[int], at_once: int = 1) -> Totals:
    """A run of each seed.  Those at once have servers of their own: they kill and fill them."""
    totals = Totals()
    with ProcessPoolExecutor(at_once, mp_context=SPAWN) as pool:
        shares = [(folder / f"share{n}", seeds[n::at_once]) for n in range(at_once)]
        for part in pool.map(_run_share, *zip(*shares, strict=True)):
            totals.join(part)
    return totals


def _run_share(folder: Path, seeds: Sequence[int]) -> Totals:
    folder.mkdir()
    totals = Totals()
    # Of its own: it is killed.
    with EmbeddedPostgres(folder / "postgres") as server:
        Database.embedded(server.folder).close()
        chaos = Chaos(server, "trade_pipeline", folder)
        for seed in seeds:
            totals.add(seed, chaos.run(seed))
            if totals.runs % 10 == 0:
                print(f"{folder.name}: {totals.runs} {dict(totals.wrong)}", flush=True)
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.runs)
    with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
        totals = run_all(Path(folder), seeds, options.at_once)
    report(totals)
    sys.exit(bool(totals.wrong))


def report(totals: Totals) -> None:
    """Print the sums."""
    print(
        f"{totals.runs} runs, {totals.sessions} sessions, {totals.orders} orders, "
        f"{totals.trades} trades"
    )
    for kind, number in sorted(totals.faults.items()):
        print(f"  under {kind}: {number} runs")
    print("wrong:", dict(totals.wrong) or "nothing")
    for example in totals.examples[:200]:
        print(" ", example)


if __name__ == "__main__":
    main()
