"""compose.yaml: what each service may, who reaches whom, and that its commands are such."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.settings import SECRETS_DIR, Settings
from trade_pipeline_tests.deploy.commands import check_command
from trade_pipeline_tests.deploy.composition import DEPLOY, PROGRAMS, interpolated, read_compose

FILE = read_compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
PRODUCT = sorted(name for name, service in SERVICES.items() if "build" in service)
SETTINGS = {f"TRADE_PIPELINE_{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR}
# Of the images and libraries themselves.
KNOWN = re.compile(
    r"^(POSTGRES_(PASSWORD_FILE|INITDB_ARGS)|AWS_(ENDPOINT_URL|DEFAULT_REGION|"
    r"SHARED_CREDENTIALS_FILE)|XDG_(DATA|CONFIG)_HOME)$"
)


def _words(name: str, key: str) -> list[str]:
    found = SERVICES[name]["command"] if key == "command" else SERVICES[name]["healthcheck"]["test"]
    # Where the image puts it: see the Dockerfile.
    image = {"/etc/trade-pipeline/workspace.yaml": str(DEPLOY / "workspace.yaml")}
    return [image.get(word, word) for word in (interpolated(str(word)) for word in found)]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What secrets.sh makes; hashing is another test's."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run(
        [str(DEPLOY / "secrets.sh"), str(folder)], env=os.environ | {"CADDY": "echo hash"},
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_the_file_is_what_the_specification_of_compose_says() -> None:
    done = subprocess.run(
        [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec",
         str(DEPLOY / "compose.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_nothing_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    if name == "proxy":
        assert service["cap_add"] == ["NET_BIND_SERVICE"]
    else:
        assert "cap_add" not in service
        # The image's own user is 10001.
        assert name in PRODUCT or service["user"].partition(":")[0] not in ("0", "root")


def test_only_the_proxy_is_reached_from_outside_and_it_reaches_only_the_ui() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert set(SERVICES["proxy"]["networks"]) == {"outside", "ui"}
    on_ui = {name for name, service in SERVICES.items() if "ui" in service["networks"]}
    assert on_ui == {"proxy", "webserver"}
    assert set(SERVICES["webserver"]["networks"]) == {"data", "ui"}
    assert FILE["networks"]["ui"]["internal"] is True
    assert FILE["networks"]["data"]["internal"] is True
    for name in ("postgres", "broker", "cache", "store"):
        assert SERVICES[name]["networks"] == ["data"]


def test_who_trades_has_no_other_work_and_time_to_end() -> None:
    queues = {
        name: words[words.index("-Q") + 1]
        for name in PRODUCT
        if "-Q" in (words := _words(name, "command"))
    }
    assert queues == {"batch": "batch", "live": "live"}
    # The sessions of a worker that is told to end take a few seconds; batch runs are let finish.
    assert SERVICES["live"]["stop_grace_period"] == "60s"
    assert SERVICES["batch"]["stop_grace_period"].endswith("m")
    assert "webserver" not in SERVICES["live"]["depends_on"]
    assert "daemon" not in SERVICES["live"]["depends_on"]
    assert "code" not in SERVICES["live"]["depends_on"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_again_and_tells_its_health_or_ends_once(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
    for other, asked in service.get("depends_on", {}).items():
        once = SERVICES[other]["restart"] == "no"
        wanted = "service_completed_successfully" if once else "service_healthy"
        assert asked["condition"] == wanted, other


@pytest.mark.parametrize("name", PRODUCT)
def test_the_command_of_a_service_is_one_of_an_installed_program(name: str) -> None:
    words = _words(name, "command")
    if words[0] == "python":
        compile(words[2], name, "exec")
    else:
        check_command(words)


@pytest.mark.parametrize("name", [name for name in PRODUCT if SERVICES[name]["restart"] != "no"])
def test_the_health_check_of_a_service_is_a_command_of_an_installed_program(name: str) -> None:
    kind, *words = _words(name, "healthcheck")
    words = shlex.split(words[0]) if kind == "CMD-SHELL" else words
    if words[0] == "python":
        compile(words[2], name, "exec")
    else:
        check_command(words)


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_read_by_somebody(name: str) -> None:
    files = (DEPLOY / "Caddyfile").read_text() + (DEPLOY / "workspace.yaml").read_text()
    for variable in SERVICES[name].get("environment", {}):
        if variable.startswith("TRADE_PIPELINE_"):
            assert variable in SETTINGS
        else:
            assert KNOWN.match(variable) or re.search(rf"(\{{\$|env: ){variable}\b", files), (
                variable
            )


def test_every_secret_is_made_and_mounted_and_for_as_few_as_can_be(secrets: Path) -> None:
    declared = {name: Path(one["file"]).name for name, one in FILE["secrets"].items()}
    assert {name: name for name in declared} == declared
    mounted = {one for service in SERVICES.values() for one in service.get("secrets", ())}
    assert mounted == set(declared)
    # The password in clear is for who logs in, and in no container.
    assert {file.name for file in secrets.iterdir()} == mounted | {"ui_password"}
    users = {
        one: {name for name, service in SERVICES.items() if one in service.get("secrets", ())}
        for one in declared
    }
    assert users["trade_pipeline_admin_database_url"] == {"migrate"}
    assert users["postgres_password"] == {"postgres"}
    assert users["ui_users"] == {"proxy"}


def test_secrets_are_for_nobody_else_and_no_two_are_the_same(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((secrets / "ui_password").stat().st_mode) == 0o600
    passwords = [file.read_text() for file in secrets.iterdir() if file.name.endswith("_password")]
    assert len(passwords) == len(set(passwords))
    assert all(len(one.strip()) >= 32 for one in passwords)
    for name in ("app", "migrator", "dagster"):
        password = (secrets / f"{name}_password").read_text().strip()
        assert sum(f":{password}@" in file.read_text() for file in secrets.iterdir()) == 1


def test_secrets_that_are_there_are_left_alone(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    again = subprocess.run(
        [str(DEPLOY / "secrets.sh"), str(secrets)], env=os.environ | {"CADDY": "echo hash"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before


def test_secrets_that_cannot_be_made_whole_are_not_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(DEPLOY / "secrets.sh"), str(tmp_path / "secrets")],
        env=os.environ | {"CADDY": "false"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["BATCH_RUNS", "LIVE_RUNS"])
def test_a_worker_has_as_many_processes_as_its_variable_says(variable: str) -> None:
    name = variable.partition("_")[0].lower()
    command = SERVICES[name]["command"]
    assert command[command.index("-c") + 1].startswith(f"${{{variable}:-")
