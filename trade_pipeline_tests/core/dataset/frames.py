"""Trade frames made up for the tests of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START

FEATURES = ["momentum", "noise", "sparse", "flat", "unknown"]
VERSIONS = dict.fromkeys(FEATURES, "1")
HOUR = pd.Timedelta(hours=1)


def trade_frame(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A decision an hour about one of three tokens; labels of up to 12 h, each tenth executed.

    The UUIDs are those of `samples.candidate`.  ``momentum`` tells something of the return,
    ``sparse`` is missing in one row of four, ``flat`` is constant and ``unknown`` always missing.
    """
    draw = np.random.default_rng(seed)
    number = np.arange(rows)
    decided = pd.Series(pd.DatetimeIndex([START + timedelta(hours=int(n)) for n in number]))
    decided = decided.dt.as_unit("us")
    momentum = draw.normal(size=rows)
    returns = 0.1 * momentum + draw.normal(0, 0.2, rows)
    ends = decided + pd.to_timedelta(draw.integers(60, 12 * 60, rows), unit="min").as_unit("us")
    executed = number % 10 == 0
    frame = pd.DataFrame(
        {
            "session_id": "s",
            "market": "uniswap-v2",
            "kind": "recorded",
            "instrument": [f"token-{n % 3}" for n in number],
            "decided_at": decided,
            "slot": decided.dt.floor("30min"),
            "decision": np.where(executed, "enter", "skip"),
            "feature_set": "set-1",
            "shadow_return": returns,
            "shadow_end": ends,
            "shadow_reason": np.where(returns > 0, "profit_target", "stop_loss"),
            "realised_return": np.where(executed, returns - 0.01, np.nan),
            "realised_end": ends.where(pd.Series(executed)),
            "realised_reason": pd.Series(np.where(executed, "max_hold", None), dtype=object),
            "momentum": momentum,
            "noise": draw.normal(size=rows) * 1e3 + 7,
            "sparse": np.where(draw.random(rows) < 0.25, np.nan, draw.normal(size=rows)),
            "flat": 3.25,
            "unknown": np.nan,
        }
    )
    frame.index = pd.Index([str(samples.candidate(int(n)).uuid) for n in number], name="uuid")
    frame.attrs["features"] = list(FEATURES)
    return frame


def labels_over(spans: Sequence[tuple[float, float]], **columns: Any) -> pd.DataFrame:
    """Labelled rows sorted by time, from (hour of the decision, hours of life)."""
    ordered = sorted(spans)
    decided = pd.Series([START + timedelta(hours=at) for at, _ in ordered], dtype="object")
    decided = pd.to_datetime(decided, utc=True).dt.as_unit("us")
    life = pd.to_timedelta([hours for _, hours in ordered], unit="h").as_unit("us")
    frame = pd.DataFrame({"decided_at": decided, "label_end": decided + life, **columns})
    frame.index = pd.Index([f"{number:04}" for number in range(len(frame))], name="uuid")
    return frame
