"""The units of systemd: what they start, how they end, and what they may."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from trade_pipeline.settings import SECRETS_DIR, Settings
from trade_pipeline_tests.deploy.commands import check_command
from trade_pipeline_tests.deploy.composition import PROGRAMS
from trade_pipeline_tests.deploy.units import NAMES, STATE, Unit, path_of
from trade_pipeline_tests.deploy.units import PROGRAMS as INSTALLED

SETTINGS = {f"TRADE_PIPELINE_{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR}
SESSIONS = ("trade-pipeline", "trade-pipeline-live@")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the units, whose programs are those of this installation."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    folder = tmp_path_factory.mktemp("units")
    # The path of this installation may have spaces, at which systemd ends a program's name.
    programs = tmp_path_factory.mktemp("installed") / "bin"
    programs.symlink_to(PROGRAMS)
    for name in NAMES:
        text = path_of(name).read_text().replace(INSTALLED, str(programs))
        (folder / f"{name.replace('@', '@paper')}.service").write_text(text)
    return folder


def _analyze(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_systemd_takes_the_units_as_they_are(units: Path) -> None:
    files = [f"./{file.name}" for file in units.iterdir()]
    done = _analyze("verify", "--man=no", *files, folder=units)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_may_little_by_systemds_own_measure(units: Path, name: str) -> None:
    file = f"./{name.replace('@', '@paper')}.service"
    # 0 is all confined, 10 nothing; it is 1.9 where only the network is open.
    done = _analyze("security", "--offline=true", "--threshold=20", file, folder=units)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_a_command_that_there_is(name: str) -> None:
    unit = Unit.read(name)
    for key in ("ExecStart", "ExecStop"):
        if key in unit.settings:
            words = unit.command(key)
            assert words[0] == f"{INSTALLED}/trade-pipeline"
            check_command(words)
    assert set(unit.environment()) <= SETTINGS
    assert unit.environment()["TRADE_PIPELINE_HOME"] == STATE == unit.one("WorkingDirectory")
    assert f"/var/lib/{unit.one('StateDirectory')}" == STATE


@pytest.mark.parametrize("name", SESSIONS)
def test_what_trades_is_told_to_end_before_it_is_killed_and_is_started_again(name: str) -> None:
    unit = Unit.read(name)
    assert unit.one("KillMode") == "mixed"
    assert int(unit.one("TimeoutStopSec")) >= 60
    assert unit.one("Restart") in ("on-failure", "always")
    # Never given up.
    assert unit.one("StartLimitIntervalSec") == "0"


@pytest.mark.parametrize("name", SESSIONS)
def test_what_uses_the_embedded_servers_reaches_their_sockets(name: str) -> None:
    unit, database = Unit.read(name), Unit.read("trade-pipeline-database")
    assert unit.one("PrivateTmp") == database.one("PrivateTmp") == "yes"
    assert unit.one("JoinsNamespaceOf") == "trade-pipeline-database.service"
    assert "trade-pipeline-database.service" in unit.one("After").split()
    # A database elsewhere has no such unit.
    assert "Requires" not in unit.settings


def test_a_session_of_its_own_depends_on_neither_ui_nor_daemon() -> None:
    unit = Unit.read("trade-pipeline-live@")
    for key in ("After", "Wants", "Requires", "PartOf", "BindsTo"):
        assert "trade-pipeline.service" not in " ".join(unit.settings.get(key, [])).split()
