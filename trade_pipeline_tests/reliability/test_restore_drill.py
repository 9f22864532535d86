"""A store is lost and comes back: the whole drill, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trade_pipeline_tests.conftest import KILLS

DRILL = Path(__file__).resolve().parents[2] / "benchmarks" / "restore_drill.py"


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="minutes: make reliability runs it")
def test_a_lost_database_and_half_of_the_artifacts_come_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DRILL), "--json", "--keep", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["store"]["models"] > 0
    assert facts["store"]["deployments"] > 1
    assert facts["lost"]["artifacts"] == facts["restored"]["artifacts"] > 0
    assert facts["lost"]["heads"] == facts["restored"]["heads"] > 0
    assert facts["restored"]["intact"]
    assert facts["restored"]["identical"] == facts["restored"]["trades replayed"] > 0
    print(done.stdout)
