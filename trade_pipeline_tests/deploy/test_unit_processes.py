"""The units of one machine as processes: UI and sessions end one by one, behind one login."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from report.record import measured

from trade_pipeline.core.live.lease import holder_is_connected, read_lease
from trade_pipeline.core.live.supervision import holder_of
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.defs.conftest import free_port
from trade_pipeline_tests.deploy.composition import DEPLOY, PROGRAMS
from trade_pipeline_tests.deploy.ui import ACTIVE, Ui
from trade_pipeline_tests.deploy.units import PROGRAMS as INSTALLED
from trade_pipeline_tests.deploy.units import STATE, Unit
from trade_pipeline_tests.reliability.serving import gone, wait_for

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="three minutes: make reliability runs it"),
]
ACCOUNT = "paper"
PATIENCE = 400.0
QUIET_SECONDS = 8.0
_SESSION = """
[replay]
market = "simulated"
start = 2022-01-01T00:00:00Z
end = 2022-02-01T00:00:00Z
seed = 3
speed = 300

[trading.strategy.universe]
min_volume_24h_usd = 2000
min_liquidity_usd = 5000

[trading.strategy.signal]
min_confidence = 0.2
max_rug_risk = 0.95
min_move_24h = 0

[trading.strategy.protections]
daily_loss_limit = 1
max_drawdown = 1

[trading.simulator]
pools_per_day = 30
burn_in_days = 2
trades_max = 800
"""
_SENSOR = """
{ sensorOrError(sensorSelector: {repositoryLocationName: "trade_pipeline",
  repositoryName: "__repository__", sensorName: "live_session_sensor"}) {
  __typename ... on Sensor { id } } }
"""
_STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"


class Machine:
    """The units of one machine, started by hand, with the paths of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.etc = folder / "state", folder / "etc"
        self.port, self.https = free_port(), free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.measured: list[tuple[str, float]] = []
        for place in (self.home, self.etc / "secrets", self.etc / "accounts"):
            place.mkdir(parents=True)
        (self.etc / "accounts/paper.toml").write_text(_SESSION)
        hashed = subprocess.run(
            [str(PROGRAMS / "caddy"), "hash-password", "--bcrypt-cost", "4"],
            input="secret\n", capture_output=True, text=True, check=True,
        )  # fmt: skip
        (self.etc / "ui_users").write_text(f"operator {hashed.stdout}")
        authority = folder / "data/caddy/pki/authorities/local/root.crt"
        self.ui = Ui(self.https, authority, "operator", "secret")

    def local(self, text: str) -> str:
        """A path of the units as it is here."""
        for there, here in (
            (INSTALLED, PROGRAMS), (STATE, self.home), ("/etc/trade-pipeline", self.etc),
        ):  # fmt: skip
            text = text.replace(there, str(here))
        return text

    def environment(self, unit: Unit) -> dict[str, str]:
        """What the unit sets, and its file of the environment; nothing of this process."""
        given = {key: self.local(value) for key, value in unit.environment().items()}
        return {"PATH": "/usr/bin:/bin", "TRADE_PIPELINE_UI_PORT": str(self.port)} | given

    def run(self, name: str, key: str) -> None:
        """A command that ends."""
        unit = Unit.read(name)
        done = subprocess.run(
            [self.local(word) for word in unit.command(key)], env=self.environment(unit),
            cwd=self.home, timeout=PATIENCE, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    def start(self, name: str) -> None:
        """A command that stays."""
        unit = Unit.read(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [self.local(word) for word in unit.command()], env=self.environment(unit),
                cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def stop(self, name: str) -> float:
        """End a unit by its own signal, which is no failure of it; the seconds."""
        unit, process = Unit.read(name), self.running.pop(name)
        below = psutil.Process(process.pid).children(recursive=True)
        began = time.monotonic()
        process.send_signal(signal.Signals[unit.one("KillSignal")])
        process.wait(PATIENCE)
        well = {0, *map(int, unit.settings.get("SuccessExitStatus", ()))}
        assert process.returncode in well, self.log(name)
        assert gone([one for one in below if "postgres" not in " ".join(_words(one))])
        return time.monotonic() - began

    def start_proxy(self) -> None:
        """Caddy, as the distribution's own unit runs it."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "UI_HTTP_PORT": str(free_port()),
            "UI_HTTPS_PORT": str(self.https),
            "UI_HEALTH_PORT": str(free_port()),
            "UI_USERS_FILE": str(self.etc / "ui_users"),
            "TRADE_PIPELINE_UI_PORT": str(self.port),
        }
        with (self.folder / "proxy.log").open("wb") as log:
            self.running["proxy"] = subprocess.Popen(
                [str(PROGRAMS / "caddy"), "run", "--config", str(DEPLOY / "Caddyfile"),
                 "--adapter", "caddyfile"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self.ui.authority.exists, 60, "the proxy's certificate")

    def serves(self) -> bool:
        """Whether the UI answers who logs in."""
        process = self.running["trade-pipeline"]
        assert process.poll() is None, self.log("trade-pipeline")
        try:
            return self.ui.status_logged_in() == 200
        except OSError:
            return False

    def session(self) -> tuple[str | None, int]:
        """Who holds the account's lease now, and the newest epoch."""
        with (
            Database.embedded(self.home / "postgres") as database,
            database.connect("trade_reader") as connection,
        ):
            lease = read_lease(connection, ACCOUNT)
            held = holder_of(lease, holder_is_connected(connection, ACCOUNT))
        return held, 0 if lease is None else lease.epoch

    def market_time(self) -> str:
        """How far the session told that it has come; nothing while it has not told."""
        with (
            Database.embedded(self.home / "postgres") as database,
            database.connect("trade_reader") as connection,
        ):
            lease = read_lease(connection, ACCOUNT)
        return str((dict(lease.told) if lease else {}).get("market_time") or "")

    def goes_on(self, session: tuple[str | None, int]) -> None:
        """The same session trades on, and Dagster started no other."""
        reached = self.market_time()
        time.sleep(QUIET_SECONDS)
        assert self.session() == session
        assert self.market_time() > reached
        assert self.running["trade-pipeline-live@"].poll() is None

    def log(self, name: str) -> str:
        """The end of what a unit has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """Whatever is left ends."""
        for process in self.running.values():
            process.terminate()
            process.wait(PATIENCE)
        self.run("trade-pipeline-database", "ExecStop")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="units"))
    folder.chmod(0o755)
    made = Machine(folder)
    try:
        yield made
    finally:
        for what, seconds in made.measured:
            print(f"units   {what:<60} {seconds:6.1f} s")
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_session_of_its_own_unit_outlives_ui_and_daemon_and_only_who_logs_in_sees_them(
    machine: Machine,
) -> None:
    machine.run("trade-pipeline-database", "ExecStart")
    machine.start_proxy()
    machine.start("trade-pipeline")
    machine.measured.append(
        ("`up` to the UI behind its login", wait_for(machine.serves, PATIENCE, "the UI"))
    )
    measured("operations.unit_serves_s", [machine.measured[-1][1]])
    assert machine.ui.status() == 401
    assert machine.ui.status("/graphql") == 401

    found = machine.ui.ask(_SENSOR)["sensorOrError"]
    assert machine.ui.ask(_STOP, id=found["id"])["stopSensor"]["__typename"] != "PythonError"

    machine.start("trade-pipeline-live@")
    took = wait_for(lambda: machine.market_time() != "", PATIENCE, "a session")
    machine.measured.append(("start of live@paper to a session that trades", took))
    session = machine.session()
    assert session == ("command line", 1)

    machine.measured.append(("trade-pipeline: ended", machine.stop("trade-pipeline")))
    machine.goes_on(session)
    machine.start("trade-pipeline")
    machine.measured.append(("... and serves again", wait_for(machine.serves, PATIENCE, "the UI")))
    machine.goes_on(session)

    process = machine.running["trade-pipeline-live@"]
    process.kill()
    process.wait()
    machine.start("trade-pipeline-live@")
    took = wait_for(
        lambda: machine.session() == ("command line", 2), PATIENCE, "a successor"
    )  # fmt: skip
    machine.measured.append(("SIGKILL of live@paper: a successor holds the lease", took))
    measured("operations.unit_successor_s", [took])
    wait_for(lambda: machine.market_time() != "", PATIENCE, "the successor's trading")

    machine.measured.append(("live@paper: ended", machine.stop("trade-pipeline-live@")))
    assert machine.session() == (None, 2)
    assert not ACTIVE & set(machine.ui.runs("live_job").values())
    machine.measured.append(("trade-pipeline: ended", machine.stop("trade-pipeline")))
    machine.run("trade-pipeline-database", "ExecStop")
