"""How fast facts are joined as they were known, and a feature table is computed, side by side.

    python benchmarks/features.py [--candidates 1000000] [--feast]

As-of join: 1,440,000 rows x 20 columns (1,000 tokens, one row a minute of a day) asked by 10,000
(token, moment) pairs, beside `pandas.merge_asof` on the same arrays, each with the sorting that it
needs, in alternating runs.  With --feast also Feast's historical features from the same rows, in an
environment of its own under the system's temporary folder.

Feature table: the vectors of candidates of a simulated exchange-like market of hourly bars.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from report.record import measured

from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import HOUR, Floats
from trade_pipeline.core.market.facts import FactTable
from trade_pipeline.core.session.config import TradingConfig

TOKENS, ROWS_EACH, COLUMNS, PAIRS, ROUNDS = 1_000, 1_440, 20, 10_000, 5
TABLES = 3
MINUTE = HOUR // 60
START = 1_640_995_200_000_000  # 2022-01-01
FEAST = "feast==0.67.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--feast", action="store_true", help="install Feast and compare with it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark") as folder:
        _join(Path(folder), options.feast)
        _table(Path(folder), options.candidates)


def _join(folder: Path, with_feast: bool) -> None:
    rng = np.random.default_rng(7)
    token = np.tile(np.arange(TOKENS, dtype=np.int32), ROWS_EACH)
    at = np.repeat(START + np.arange(ROWS_EACH) * MINUTE, TOKENS)
    values = {f"f{i:02d}": rng.standard_normal(len(token)) for i in range(COLUMNS)}
    who = rng.integers(0, TOKENS, PAIRS).astype(np.int32)
    when = START + rng.integers(0, ROWS_EACH * MINUTE, PAIRS)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = FactTable(token, at, at, values).as_of(who, when)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        expected = _merge_asof(token, at, values, who, when)
        theirs.append(time.perf_counter() - started)
        for name, column in expected.items():
            np.testing.assert_array_equal(found[name], column)
    table = FactTable(token, at, at, values)
    asked = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        table.as_of(who, when)
        asked.append(time.perf_counter() - started)
    mine, pandas_s = statistics.median(ours), statistics.median(theirs)
    print(f"as-of join, {len(token):,} rows x {COLUMNS} for {PAIRS:,} pairs (median of {ROUNDS})")
    print(f"  facts, prepared and asked   {mine:.3f} s")
    print(f"  facts, asked again          {statistics.median(asked):.3f} s")
    print(f"  pandas.merge_asof           {pandas_s:.3f} s, ratio {mine / pandas_s:.2f}")
    size = f"{len(token):,} rows, {PAIRS:,} pairs"
    measured("features.join_s", ours, size=size)
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    measured("features.join_x", ratios, size=size)
    if with_feast:
        seconds = _feast(folder, token, at, values, who, when)
        if seconds is not None:
            measured("features.join_feast_x", [seconds / mine], size=size)
        told = "does not install here" if seconds is None else f"{seconds:.1f} s, "
        print(f"  {FEAST:<26}  {told}" + (f"{seconds / mine:.0f} x" if seconds else ""))


def _merge_asof(
    token: np.ndarray, at: np.ndarray, values: dict[str, Floats], who: np.ndarray, when: np.ndarray
) -> dict[str, Floats]:
    rows = pd.DataFrame({"token": token, "at": at, **values}).sort_values("at")
    pairs = pd.DataFrame({"token": who, "at": when}).sort_values("at")
    joined = pd.merge_asof(pairs, rows, on="at", by="token").set_index(pairs.index).sort_index()
    return {name: joined[name].to_numpy() for name in values}


def _feast(
    folder: Path,
    token: np.ndarray,
    at: np.ndarray,
    values: dict[str, Floats],
    who: np.ndarray,
    when: np.ndarray,
) -> float | None:
    moment = pa.timestamp("us", tz="UTC")
    rows = {"token": token.astype(np.int64), "event_timestamp": pa.array(at, moment), **values}
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    pairs = {"token": who.astype(np.int64), "event_timestamp": pa.array(when, moment)}
    pq.write_table(pa.table(pairs), folder / "pairs.parquet")
    home = Path(tempfile.gettempdir()) / "feast-environment"
    python = home / "bin" / "python"
    if not python.exists():
        made = [
            sys.executable,
            "-m",
            "uv",
            "venv",
            "--quiet",
            "--python",
            sys.executable,
            str(home),
        ]
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
        if any(subprocess.run(c, check=False).returncode for c in (made, [*install, FEAST])):
            return None
    script = Path(__file__).with_name("feast_join.py")
    done = subprocess.run(
        [python, script, folder, *values], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr[-2_000:], file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def _table(folder: Path, candidates: int) -> None:
    feed = HourlyBars(_recording(folder, candidates))
    instruments, moments = [], []
    for batch in feed.batches(*(bound + 1 for bound in feed.span())):
        instruments.append(batch.token)
        moments.append(batch.known_at)
    token, at = np.concatenate(instruments), np.concatenate(moments)
    pick = np.sort(np.random.default_rng(7).choice(len(token), candidates, replace=False))
    names = [feed.instruments[t].name for t in token[pick].tolist()]
    taken = []
    for _ in range(TABLES):
        started = time.perf_counter()
        vectors, _ = feature_vectors(feed, TradingConfig(), names, at[pick])
        taken.append(time.perf_counter() - started)
    seconds = statistics.median(taken)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"feature table, {len(vectors):,} candidates x {vectors.shape[1]} features")
    print(f"  {seconds:.1f} s, {len(vectors) / seconds:,.0f} a second; peak memory {peak:,.0f} MiB")
    size = f"{len(vectors):,} candidates x {vectors.shape[1]}"
    measured("features.table_s", taken, size=size)
    measured("features.table_peak_mib", [peak], size=size)


def _recording(folder: Path, candidates: int) -> Path:
    """Hourly bars of 100 pairs, a tenth more than are asked about."""
    pairs = 100
    hours = candidates * 11 // 10 // pairs + 200
    rng = np.random.default_rng(7)
    token = np.tile(np.arange(pairs), hours)
    opened = np.repeat(START + np.arange(hours) * HOUR, pairs)
    walk = np.exp(np.cumsum(rng.normal(0, 0.02, (hours, pairs)), axis=0)).ravel()
    close = walk * (1 + rng.normal(0, 0.005, len(walk)))
    table = pa.table(
        {
            "symbol": pa.array([f"C{t:03d}USDT" for t in range(pairs)]).take(pa.array(token)),
            "timestamp": pa.array(opened, pa.timestamp("us", tz="UTC")),
            "open": walk,
            "high": np.maximum(walk, close) * 1.01,
            "low": np.minimum(walk, close) * 0.99,
            "close": close,
            "volume": rng.lognormal(10, 1, len(walk)),
            "market_cap": close * 1e7,
            "market_cap_src": pa.array(["coingecko_daily"] * len(walk)),
        }
    )
    (folder / "ohlcv_1h").mkdir()
    pq.write_table(table, folder / "ohlcv_1h" / "2022Q1.parquet")
    return folder


if __name__ == "__main__":
    main()
