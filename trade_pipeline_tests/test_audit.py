"""What is installed has no weakness that is known, and its bill of materials lists all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PROGRAMS = Path(sys.executable).parent
# Weaknesses that are known and do not concern this product, with the reason.
IGNORED: dict[str, str] = {}
# Of the answer for a package; all of them together take longer.
SECONDS = 10
UNREACHABLE = (
    "ConnectionError", "Connection error", "Max retries", "timed out", "Timeout", "ServiceError",
    "Failed to establish", "Name or service not known", "Temporary failure", "HTTPError",
)  # fmt: skip


def pinned() -> set[tuple[str, str]]:
    """Names and versions of the lock, those of other platforms and Pythons included."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE)
    return {(normal(name), version) for name, version in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_pinned_package_has_a_known_weakness(tmp_path: Path) -> None:
    command = [PROGRAMS / "pip-audit", "-r", LOCK, "--disable-pip", "--no-deps",
               "--progress-spinner", "off", "-f", "json", "--timeout", str(SECONDS),
               "--cache-dir", tmp_path / "cache"]  # fmt: skip
    for name in IGNORED:
        command += ["--ignore-vuln", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the weaknesses that are known cannot be had within two minutes")
    try:
        told = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        assert any(word in done.stderr for word in UNREACHABLE), done.stderr[-2000:]
        pytest.skip(f"the weaknesses that are known cannot be had: {last[:200]}")
    weak = {
        f"{one['name']} {one['version']}": [
            f"{v['id']}: fixed in {v['fix_versions']}" for v in one["vulns"]
        ]
        for one in told["dependencies"]
        if one.get("vulns")
    }  # fmt: skip
    assert weak == {}, "update the lock (`make lock`), or add the weakness with a reason to IGNORED"


def bill(file: Path) -> dict[str, object]:
    """The bill of materials as `make sbom` writes it."""
    made = subprocess.run(
        ["make", "--no-print-directory", "sbom", f"SBOM={file}"],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    told: dict[str, object] = json.loads(file.read_text())
    return told


def test_the_bill_of_materials_lists_what_the_lock_pins_and_is_the_same_again(
    tmp_path: Path,
) -> None:
    told = bill(tmp_path / "sbom.json")
    assert told["bomFormat"] == "CycloneDX"
    components: list[dict[str, str]] = told["components"]  # type: ignore[assignment]
    listed = {(normal(one["name"]), one["version"]) for one in components}
    assert listed == pinned()
    # Neither a time nor a number of its own makes it another one.
    assert "serialNumber" not in told
    assert "timestamp" not in told["metadata"]  # type: ignore[operator]
