"""Whatever ends around a session that trades: nobody trades unseen, and the next one goes on.

A serving costs 15 s to start, so that each test walks through all the ends of its kind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import pytest
from report.record import measured

from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.session.stored import CONFIG
from trade_pipeline_tests.defs.conftest import free_port
from trade_pipeline_tests.reliability.serving import Kind, Serving, gone, wait_for

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="six minutes: make reliability runs it"),
]
ACCOUNT = "paper"
# From the end of a session to its successor's lease, where Dagster lives on.
SUCCESSOR_SECONDS = 30.0
# From a command's end to the end of the last of its processes: runs end within 15 s.
LEFT_SECONDS = 30.0
QUIET_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Before:
    """A session that trades, before something ends."""

    holder: str
    epoch: int
    worker: psutil.Process
    open_positions: int


class Watched:
    """A serving with a session that trades, and what was measured of it."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.measured: list[tuple[str, str, float]] = []

    def trading(self) -> Before:
        """The one session that trades, and its one process."""
        wait_for(self._settled, 60, "one session and one run that say the same")
        holder, epoch = self.serving.holder(ACCOUNT)
        assert holder is not None
        (worker,) = self.serving.workers()
        return Before(holder, epoch, worker, self._open())

    def goes_on(self, what: str, before: Before) -> None:
        """The same session trades on, and its run says so."""
        reached = self.serving.told(ACCOUNT)["market_time"]
        time.sleep(QUIET_SECONDS)
        assert self.serving.holder(ACCOUNT) == (before.holder, before.epoch)
        assert self.serving.told(ACCOUNT)["market_time"] > reached
        now = self.trading()
        assert (now.holder, now.epoch, now.worker) == (before.holder, before.epoch, before.worker)
        self.measured.append((what, "the same session after", QUIET_SECONDS))

    def succeeded(self, what: str, before: Before, seconds: float) -> None:
        """A successor holds the lease in time, with the positions; nobody else seems to trade."""
        taken = wait_for(
            lambda: self.serving.holder(ACCOUNT)[0] not in (None, before.holder),
            seconds, f"{what}: a successor",
        )  # fmt: skip
        self.measured.append((what, "successor holds the lease", taken))
        if what == "SIGKILL of the run":
            measured("live.successor_s", [taken], size="up, dev")
        assert gone([before.worker])
        after = self.trading()
        assert after.epoch == before.epoch + 1
        started, unexplained = self._found(after.epoch)
        assert started >= min(1, before.open_positions)
        assert unexplained == 0

    def ended(self, what: str, before: Before) -> None:
        """The command and everything it started has ended; afterwards it is started again."""
        began = time.monotonic()
        self.serving.wait()
        wait_for(lambda: gone(self.serving.processes()), LEFT_SECONDS, f"{what}: all have ended")
        self.measured.append((what, "nothing of it is left", time.monotonic() - began))
        assert self.serving.holder(ACCOUNT) == (None, before.epoch)
        self.serving.start()
        self.succeeded(f"{what}, started again", before, SUCCESSOR_SECONDS)

    def _settled(self) -> bool:
        holder, _ = self.serving.holder(ACCOUNT)
        active = {run for run, status in self.serving.runs().items() if status in _ACTIVE}
        told = self.serving.told(ACCOUNT)
        return (
            active == {holder}
            and len(self.serving.workers()) == 1
            and told.get("open_positions", 0) > 0
        )

    def _open(self) -> int:
        return int(self.serving.told(ACCOUNT)["open_positions"])

    def _found(self, epoch: int) -> tuple[int, int]:
        """The positions that a session began with, and its findings that explain nothing."""
        with self.serving.store.database.connect("trade_reader") as connection:
            rows = connection.execute(
                "SELECT kind, explained, content FROM trade.reconciliations "
                "WHERE account = %s AND epoch = %s",
                (ACCOUNT, epoch),
            ).fetchall()
        (start,) = [orjson.loads(content) for kind, _, content in rows if kind == "start"]
        return start["facts"]["open_positions"], sum(not explained for _, explained, _ in rows)


_ACTIVE = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}


@pytest.fixture
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    """A session under ``request.param`` that trades, asked for by the command."""
    kind: Kind = request.param
    home = tmp_path / "home"
    with Store.open(Settings(home=home, _env_file=None)) as store:
        serving = Serving(kind, home, store, free_port())
        made = Watched(serving)
        try:
            made.measured.append(("start", "the UI answers", serving.start()))
            began = time.monotonic()
            _ask_for_a_session(home)
            wait_for(lambda: serving.holder(ACCOUNT)[0] is not None, 60, "a session")
            made.measured.append(("start", "live start to the lease", time.monotonic() - began))
            yield made
        finally:
            serving.close()
            for what, event, seconds in made.measured:
                print(f"{kind:<4} {what:<40} {event:<26} {seconds:6.1f} s")
            shutil.rmtree(home / "dagster", ignore_errors=True)


def _ask_for_a_session(home: Path) -> None:
    config = home / "config.json"
    config.write_bytes(orjson.dumps({"trading": CONFIG.model_dump(mode="json")}))
    subprocess.run(
        [
            sys.executable, "-m", "trade_pipeline.cli", "live", "start", "--market", "simulated",
            "--start", "2022-01-01", "--end", "2022-02-01", "--speed", "300", "--seed", "3",
            "--config", str(config),
        ],
        env=os.environ | {"TRADE_PIPELINE_HOME": str(home)},
        check=True,
    )  # fmt: skip


def _ends(serving: Serving) -> dict[str, Callable[[], None]]:
    """What ends the command itself, or is the end of it."""
    return {
        "SIGKILL of the daemon": lambda: serving.daemon().kill(),
        "Ctrl-C": lambda: serving.signal(signal.SIGINT, group=True),
        "SIGINT to the command alone": lambda: serving.signal(signal.SIGINT),
        "SIGTERM": lambda: serving.signal(signal.SIGTERM),
        "SIGKILL of the command": lambda: serving.signal(signal.SIGKILL),
    }


@pytest.mark.parametrize("watched", ["up", "dev"], indirect=True)
def test_a_session_goes_on_or_has_a_successor_whatever_ends(watched: Watched) -> None:
    serving = watched.serving
    before = watched.trading()
    serving.reload()
    watched.goes_on("reload of the code location", before)

    before = watched.trading()
    before.worker.kill()
    watched.succeeded("SIGKILL of the run", before, SUCCESSOR_SECONDS)

    before = watched.trading()
    serving.code_server(before.worker).kill()
    watched.goes_on("SIGKILL of the code server", before)
    before.worker.kill()
    if serving.kind == "dev":
        # It starts no new code server by itself; the UI shows that it is missing.
        serving.reload()
    # The daemon of `up` looks after its code server once a minute.
    watched.succeeded("SIGKILL of both", before, 60 + SUCCESSOR_SECONDS)

    for what, end in _ends(serving).items():
        before = watched.trading()
        end()
        watched.ended(what, before)
