"""How long it takes to lose a store and have it back: one command, one run.

    python benchmarks/restore_drill.py [--sessions N] [--keep FOLDER] [--json]

Makes a store by a whole campaign (sessions, a model, its canary and its deployments; with
``--sessions`` that many backtests of a week alone), backs it up twice, destroys the database, every
second artifact and every second head, restores, verifies everything with its artifacts, and replays
every trade.  Everything is done by the command line, as a user would.  Exit code 1: something did
not come back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from report.record import measured

from trade_pipeline.core.store.artifacts import ArtifactStore

FIRST = date(2026, 1, 5)


class Drill:
    """A store in a folder, and what its commands said and took."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.place = folder / "backups"
        self.seconds: dict[str, float] = {}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TRADE_PIPELINE_")}
        self._environment = kept | {"TRADE_PIPELINE_HOME": str(self.home)}

    def run(self, step: str, *arguments: str) -> dict[str, Any]:
        """Run a command of the product; gives its facts."""
        print(f"{step} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "trade_pipeline.cli", *arguments], env=self._environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.seconds[step] = round(time.perf_counter() - began, 2)
        if done.returncode:
            sys.exit(
                f"{step} ended with code {done.returncode}: {done.stderr}{done.stdout[-2000:]}"
            )
        return json.loads(done.stdout) if "--json" in arguments else {}

    def destroy(self) -> tuple[int, int]:
        """Lose the database, and every second artifact and head; gives how many of these."""
        self.run("stop", "db", "stop")
        shutil.rmtree(self.home / "postgres")
        artifacts = ArtifactStore(str(self.home / "artifacts"))
        lost = sorted(artifacts.sizes())[::2]
        for address in lost:
            artifacts.remove(address)
        heads = sorted((self.home / "artifacts" / "heads").glob("0*/*.json"))[::2]
        for head in heads:
            head.unlink()
        return len(lost), len(heads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, help="backtests of a week in place of a campaign")
    parser.add_argument("--keep", type=Path, help="an empty folder in which everything stays")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    options = parser.parse_args()
    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="drill", ignore_cleanup_errors=True) as folder:
        drill = Drill(options.keep or Path(folder))
        facts = run(drill, options.sessions)
        drill.run("stop", "db", "stop")
    measured(
        "operations.restore_s",
        [facts["seconds"]["restore"]],
        size=f"{facts['store']['records']:,} records",
    )
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        for label, one in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{name} {label}".ljust(32), one)


def run(drill: Drill, sessions: int | None) -> dict[str, Any]:
    """Make, lose, restore, verify, replay; gives what was lost and what each step took."""
    drill.run("start", "db", "start")
    if sessions is None:
        drill.run("campaign", "campaign", "--json")
    else:
        for number in range(sessions):
            first = FIRST + timedelta(days=7 * number)
            drill.run(f"session {number}", "backtest", "--market", "simulated", "--json",
                      "--start", str(first), "--end", str(first + timedelta(days=7)))  # fmt: skip
        drill.run("head", "ledger", "head", "--json")
    place = str(drill.place)
    made = drill.run("backup", "backup", place, "--with-dagster", "--json")["manifest"]
    again = drill.run("backup again", "backup", place, "--with-dagster", "--json")["manifest"]
    artifacts, heads = drill.destroy()
    restored = drill.run("restore", "restore", place, "--with-dagster", "--json")
    verified = drill.run("verify", "verify", "--artifacts", "--json")
    replayed = drill.run("replay", "replay", "--all", "--json")
    if restored["manifest"]["tables"] != again["tables"]:
        sys.exit("the restored backup is not the newest one")
    return {
        "store": {
            "sessions": made["tables"]["sessions"],
            "candidates": made["tables"]["candidates"],
            "models": made["tables"]["models"],
            "deployments": made["tables"]["deployments"],
            "records": verified["records"],
            "runs of Dagster": (made["dagster"] or {}).get("runs", 0),
            "artifacts": made["artifacts"],
            "megabytes of artifacts": round(made["artifact_bytes"] / 1e6, 1),
            "megabytes of dumps": round(sum(f["size"] for f in made["files"].values()) / 1e6, 1),
            "heads": made["heads"]["last"] + 1,
        },
        "lost": {"artifacts": artifacts, "heads": heads, "database": "all of it"},
        "restored": {
            "artifacts": restored["artifacts"],
            "kept": restored["kept"],
            "heads": restored["heads"],
            "intact": verified["intact"],
            "trades replayed": replayed["trades"],
            "identical": replayed["identical"],
        },
        "new in the second backup": again["new_artifacts"],
        "seconds": drill.seconds,
    }


if __name__ == "__main__":
    main()
