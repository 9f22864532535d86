"""Labelled decisions made up for the tests of training."""

from __future__ import annotations

import numpy as np
import pandas as pd

FEATURES = ("return_24h", "rug_risk", "heuristic_confidence", "volatility_24h", "holders",
            "reference_return_24h")  # fmt: skip


def labelled(
    rows: int = 2_400, seed: int = 0, signal: float = 1.0, per_day: int = 20
) -> pd.DataFrame:
    """Some decisions a day about one of eight tokens; ``volatility_24h`` tells of the return.

    ``holders`` is unknown in one row of three.
    """
    draw = np.random.default_rng(seed)
    number = np.arange(rows)
    decided = pd.Timestamp("2021-01-01", tz="UTC") + pd.to_timedelta(
        number * 24 * 60 // per_day, unit="min"
    )
    volatility = draw.normal(size=rows)
    frame = pd.DataFrame(
        {
            "market": "spot-1h",
            "instrument": [f"token-{n % 8}" for n in number],
            "decided_at": pd.Series(decided).dt.as_unit("us"),
            "return_24h": draw.choice([-0.1, 0.1], rows) + draw.normal(0, 0.01, rows),
            "rug_risk": draw.uniform(0, 0.5, rows),
            "heuristic_confidence": draw.uniform(0, 1, rows),
            "volatility_24h": volatility,
            "holders": np.where(number % 3 == 0, np.nan, draw.normal(size=rows)),
            "reference_return_24h": draw.normal(0, 0.02, rows),
            "target_return": np.clip(
                0.1 * signal * np.tanh(volatility) + draw.normal(0, 0.15, rows), -0.9, 0.9
            ),
        }
    )
    hours = draw.integers(1, 48, rows)
    frame["label_end"] = frame["decided_at"] + pd.to_timedelta(hours, unit="h").as_unit("us")
    frame["realised_return"] = np.where(number % 5 == 0, frame["target_return"], np.nan)
    frame.attrs["features"] = list(FEATURES)
    return frame
