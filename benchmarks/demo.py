"""How long the demo takes: a campaign from its first trade to its automatic rollback.

python benchmarks/demo.py [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from report.record import measured

PATIENCE = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    taken = []
    for _ in range(parser.parse_args().runs):
        # The server's watchdog leaves its folder a moment after the last user.
        with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as home:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "trade_pipeline.cli", "demo", "--no-ui"],
                env=os.environ | {"TRADE_PIPELINE_HOME": home}, check=True, timeout=PATIENCE,
            )  # fmt: skip
            taken.append(time.perf_counter() - started)
            print(f"{taken[-1]:.0f} s", flush=True)
    measured("models.campaign_s", taken)


if __name__ == "__main__":
    main()
