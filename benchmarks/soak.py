"""Paper trading under a served Dagster for half an hour, watched from outside: one command.

    python benchmarks/soak.py [--minutes 30] [--speed 60] [--under dev|up] [--kill]
        [--market uniswap-v2 --data FOLDER --start 2021-05-01] [--screenshot FILE.png]

Asks for a session as a user does and looks every few seconds at its lease, its records and the
memory of the worker, the daemon and the webserver.  It fails on memory that grows after the
warm-up, on a finding that nothing explains, on a lease without a holder for longer than 30 s, and
on an epoch without a session.  ``--kill`` kills the worker in the middle.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
from report.record import computed, measured

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.session import live_session_id
from trade_pipeline.core.live.status import live_status
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.defs.conftest import free_port
from trade_pipeline_tests.reliability.serving import Serving, wait_for

ACCOUNT = "paper"
LOOK_SECONDS = 5.0
WITHOUT_HOLDER_SECONDS = 30.0
# Growth from the end of the warm-up (a quarter of the time) to the end.
GROWTH_MB = 100.0
START_SECONDS = 120.0


@dataclass(slots=True)
class Looks:
    """What was seen.

    Attributes:
        memory: of each process, (seconds, MiB) by its name and pid.
        without: the longest time without a holder, seconds.
    """

    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    without: float = 0.0
    last: dict[str, Any] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--under", choices=("dev", "up"), default="dev")
    parser.add_argument("--market", default="simulated")
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--start", type=date.fromisoformat, default=date(2022, 1, 1))
    parser.add_argument("--screenshot", type=Path, default=None)
    parser.add_argument("--kill", action="store_true", help="kill the worker in the middle")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be used")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        with Store.open(Settings(home=home, _env_file=None)) as store:
            serving = Serving(options.under, home, store, free_port())
            try:
                faults = soak(serving, options)
            finally:
                serving.close()
    computed("live.soak_faults", len(faults), size=f"{options.minutes:g} minutes")
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


def soak(serving: Serving, options: argparse.Namespace) -> list[str]:
    """Trade, look, and tell what is wrong."""
    print(f"{serving.url} answers after {serving.start():.0f} s", flush=True)
    ask_for_sessions(serving.home, options)
    taken = wait_for(lambda: serving.holder(ACCOUNT)[0] is not None, START_SECONDS, "a session")
    print(f"a session after {taken:.0f} s", flush=True)
    looks = watch(serving, 60 * options.minutes, kill=options.kill)
    if options.screenshot is not None:
        take_screenshot(f"{serving.url}/assets/live_session", options.screenshot)
        take_screenshot(
            f"{serving.url}/runs", options.screenshot.with_stem(f"{options.screenshot.stem}_runs")
        )
    return faults_of(serving, looks)


def ask_for_sessions(home: Path, options: argparse.Namespace) -> None:
    """What a user types; the market is long enough by far."""
    days = int(options.minutes * options.speed / 1440) + 2
    command = [
        sys.executable, "-m", "trade_pipeline.cli", "live", "start", "--account", ACCOUNT,
        "--market", options.market, "--start", f"{options.start}", "--speed", f"{options.speed}",
        "--end", f"{options.start + timedelta(days=days)}",
        *(["--data", str(options.data.resolve())] if options.data else []),
        "--set", "trading.strategy.universe.min_volume_24h_usd=2000",
        "--set", "trading.strategy.universe.min_liquidity_usd=5000",
        "--set", "trading.strategy.signal.min_confidence=0.2",
        "--set", "trading.strategy.signal.min_move_24h=0",
    ]  # fmt: skip
    subprocess.run(command, env=os.environ | {"TRADE_PIPELINE_HOME": str(home)}, check=True)


def watch(serving: Serving, seconds: float, *, kill: bool) -> Looks:
    """Look until the time is over; a line a minute."""
    looks, began = Looks(), time.monotonic()
    held, told = began, began
    while (now := time.monotonic()) - began < seconds:
        with serving.store.database.connect("trade_reader") as connection:
            (looks.last,) = live_status(connection)
        if looks.last["holder"] is not None:
            held = now
            looks.runs.add(looks.last["holder"])
        looks.without = max(looks.without, now - held)
        for name, process in watched(serving):
            megabytes = resident(process)
            if megabytes is not None:
                looks.memory.setdefault(name, []).append((now - began, megabytes))
        if now - told >= 60:
            told = now
            print_minute((now - began) / 60, serving, looks)
        if kill and now - began > seconds / 2:
            kill = False
            for worker in serving.workers():
                print("the worker is killed", flush=True)
                worker.kill()
        time.sleep(LOOK_SECONDS)
    return looks


def watched(serving: Serving) -> list[tuple[str, psutil.Process]]:
    """The processes whose memory counts, by kind and pid: a successor is another one."""
    kinds = {
        "worker": serving.workers(),
        "daemon": serving.processes("dagster._daemon", "run"),
        "webserver": serving.processes("dagster_webserver"),
        "code server": serving.processes("api grpc"),
    }
    return [(f"{kind} {one.pid}", one) for kind, found in kinds.items() for one in found]


def resident(process: psutil.Process) -> float | None:
    """MiB that a process alone keeps; None: it has ended."""
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return None


def print_minute(minute: float, serving: Serving, looks: Looks) -> None:
    told = serving.told(ACCOUNT)
    memory = ", ".join(
        f"{name} {rows[-1][1]:.0f}"
        for name, rows in looks.memory.items()
        if rows[-1][0] > 60 * minute - 2 * LOOK_SECONDS
    )
    print(
        f"{minute:5.1f} min  epoch {looks.last['epoch']}  market {told.get('market_time')}  "
        f"events {told.get('events')}  decisions {told.get('decisions')}  "
        f"dropped {told.get('dropped_looks')}  open {told.get('open_positions')}  "
        f"findings {looks.last['findings']} ({looks.last['unexplained']} unexplained)  "
        f"MiB: {memory}",
        flush=True,
    )


def faults_of(serving: Serving, looks: Looks) -> list[str]:
    """What must not be, and the summary."""
    faults = []
    with serving.store.database.connect("trade_reader") as connection:
        findings = connection.execute(
            "SELECT kind, explained, count(*) FROM trade.reconciliations WHERE account = %s "
            "GROUP BY 1, 2 ORDER BY 1",
            (ACCOUNT,),
        ).fetchall()
        sessions = {
            found for (found,) in connection.execute("SELECT session_id FROM trade.sessions")
        }
    measured("live.soak_without_holder_s", [looks.without])
    print(f"longest time without a holder      {looks.without:8.1f} s")
    if looks.without > WITHOUT_HOLDER_SECONDS:
        faults.append(f"nobody held the lease for {looks.without:.0f} s")
    for kind, explained, number in findings:
        print(f"finding {kind:<26} {number:8}")
        if not explained:
            faults.append(f"{number} findings of the kind {kind} explain nothing")
    for epoch in range(1, looks.last["epoch"] + 1):
        if live_session_id(ACCOUNT, epoch) not in sessions:
            faults.append(f"epoch {epoch} has no session")
    statuses = serving.runs()
    print(f"epochs {looks.last['epoch']}, runs {sorted(statuses.values())}")
    started = [run for run, status in statuses.items() if status == "STARTED"]
    if started != [looks.last["holder"]]:
        faults.append(f"runs {started} say they run, {looks.last['holder']} holds the lease")
    for name, rows in looks.memory.items():
        first, last = growth(rows)
        print(f"{name:<26} {first:8.0f} to {last:.0f} MiB")
        if last - first > GROWTH_MB:
            faults.append(f"{name} grew by {last - first:.0f} MiB after its warm-up")
    return faults


def growth(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median of the second quarter of the looks, and of the last one."""
    values = [megabytes for _, megabytes in rows]
    quarter = max(1, len(values) // 4)
    second, last = values[quarter : 2 * quarter] or values[:1], values[-quarter:]
    return sorted(second)[len(second) // 2], sorted(last)[len(last) // 2]


def take_screenshot(url: str, out: Path) -> None:
    """What a user sees, by Chromium.

    Raises:
        BadConfig: there is none on this machine.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise BadConfig(f"screenshot={out}: no chromium on this machine")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", f"--user-data-dir={profile}", "--window-size=1500,900",
                "--virtual-time-budget=20000", f"--screenshot={out.resolve()}", url,
            ],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
    print(f"screenshot {out}")


if __name__ == "__main__":
    main()
