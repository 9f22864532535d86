"""The image: what it is built from, and what it may."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from trade_pipeline_tests.deploy.composition import DEPLOY, PROGRAMS, ROOT, read_compose

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
RUNTIME = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
# A number for each part that a release changes, and no name that moves.
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*$")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _images() -> list[str]:
    """Every image that a file names and that others publish."""
    found = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    found += [
        service["image"]
        for service in read_compose()["services"].values()
        if "build" not in service
    ]
    found += re.findall(r"image: (\S+)", (DEPLOY / "kubernetes.yaml").read_text())
    found += re.findall(r"(\S+:\S+) caddy\}", (DEPLOY / "secrets.sh").read_text())
    return sorted(set(found))


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [str(PROGRAMS / "hadolint"), str(DEPLOY / "Dockerfile")], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("image", _images())
def test_every_image_is_of_one_version(image: str) -> None:
    assert PINNED.match(image), image


def test_the_proxy_is_of_one_version_wherever_it_is_named() -> None:
    assert len([image for image in _images() if image.startswith("caddy:")]) == 1


def test_the_build_installs_what_the_lock_says_and_nothing_for_development() -> None:
    installs = re.findall(r"uv pip install(.*?)(?:\n[A-Z]|\Z)", DOCKERFILE, re.DOTALL)
    assert len(installs) == 2
    # uv checks the hashes of a constraint's file as those of a requirement.
    assert "--constraint requirements.lock" in installs[0]
    assert "--no-deps" in installs[1]
    assert "--build-constraint requirements.lock" in installs[1]
    extras = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert set(extras) == set(_project()["project"]["optional-dependencies"]) - {"dev"}


def test_the_image_runs_as_nobody_special_and_asks_after_its_health() -> None:
    assert re.search(r"^USER 10001:10001$", RUNTIME, re.MULTILINE)
    assert "--uid 10001" in RUNTIME
    assert "HEALTHCHECK" in RUNTIME
    assert RUNTIME.index("USER 10001") > RUNTIME.rindex("RUN ")


def test_the_build_gets_all_that_the_wheel_holds_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    admitted = {line[1:] for line in lines if line.startswith("!")}
    wheel = _project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in (*wheel["force-include"], *wheel["packages"], "requirements.lock"):
        assert name in admitted or any(
            re.fullmatch(one.replace("*", ".*"), name) for one in admitted
        ), name
    for name in admitted:
        assert list(ROOT.glob(name)), name
    for name in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in name.split():
            assert source == "." or source in admitted, source


def test_no_file_of_a_deployment_holds_a_password() -> None:
    for file in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile", DEPLOY / "Caddyfile"):
        text = file.read_text()
        assert not re.search(r"(?i)(password|secret|key)\w*[:=] *[\"']?[0-9a-f]{16}", text), file
        assert "$2a$" not in text, file
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_code_server_is_found_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    monkeypatch.setenv("CODE_SERVER_HOST", "code.example.org")
    monkeypatch.setenv("CODE_SERVER_PORT", "4321")
    (found,) = location_origins_from_yaml_paths([str(DEPLOY / "workspace.yaml")])
    assert (found.host, found.port) == ("code.example.org", 4321)
    # The state of schedules and sensors goes with the location's name.
    (local,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert found.location_name == local["python_module"]["location_name"]
