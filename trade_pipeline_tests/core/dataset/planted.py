"""The trade frame of decisions about a made-up market, with honest, weak features.

A feature is a function of what a `View` shows of the market, so cutting the market off and looking
at it later by a delay are real computations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline_tests.core.dataset.honest import HONEST
from trade_pipeline_tests.core.dataset.made_market import (
    COST,
    HORIZON,
    HOURS,
    RUG_RETURN,
    START,
    STOP,
    TARGET,
    TOKENS,
    Feature,
    Market,
    View,
    make_market,
)


@dataclass(frozen=True, slots=True)
class Planted:
    """A labelled trade frame and the market behind it.

    Attributes:
        token, hour: of each row.
    """

    market: Market
    frame: pd.DataFrame
    token: Ints
    hour: Ints
    cache: dict[str, Floats] = field(default_factory=dict)

    def column(self, feature: Feature, *, cut: bool = False, delay: int = 0) -> Floats:
        """A feature of every row; with ``cut`` on a market that ends at the decision."""
        found = np.empty(len(self.token))
        for row, (token, hour) in enumerate(zip(self.token, self.hour, strict=True)):
            at = int(hour) - delay
            if at < self.market.listed[token]:
                found[row] = np.nan
                continue
            found[row] = feature(View(self.market, at if cut or delay else None), int(token), at)
        return found

    def recomputed(
        self, features: Mapping[str, Feature], *, cut: bool = False, delay: int = 0
    ) -> pd.DataFrame:
        """The rows with some features recomputed and the honest ones as they are then."""
        columns = {}
        for name, feature in (HONEST | dict(features)).items():
            key = f"{name}/{cut}/{delay}"
            if name in features:
                columns[name] = self.column(feature, cut=cut, delay=delay)
            else:
                if key not in self.cache:
                    self.cache[key] = self.column(feature, cut=cut, delay=delay)
                columns[name] = self.cache[key]
        return self._with(columns)

    def with_columns(self, columns: Mapping[str, Floats]) -> pd.DataFrame:
        """The clean frame with columns added as features."""
        honest = {name: self.frame[name].to_numpy() for name in HONEST}
        return self._with(honest | dict(columns))

    def _with(self, columns: Mapping[str, Floats]) -> pd.DataFrame:
        rest = self.frame.drop(columns=list(HONEST))
        made = pd.concat([rest, pd.DataFrame(dict(columns), index=rest.index)], axis=1)
        made.attrs["features"] = list(columns)
        return made


def make_planted(seed: int) -> Planted:
    """Decisions about a made-up market, labelled, sorted by (decided_at, uuid)."""
    market = make_market(seed)
    rng = np.random.default_rng(seed + 1_000_000)
    rows: list[dict[str, Any]] = []
    for token in range(TOKENS):
        traded = np.flatnonzero(~np.isnan(market.price[token]))
        for at in traded[6:-2]:
            if at >= HOURS - HORIZON - 1 or rng.random() > 1 / 9:
                continue
            end, fraction, reason = _outcome(market, token, int(at))
            rows.append(
                {"uuid": str(UUID(bytes=rng.bytes(16), version=4)), "token": token, "hour": int(at),
                 "end": end, "target_return": fraction, "reason": reason}
            )  # fmt: skip
    made = pd.DataFrame(rows).sort_values(["hour", "uuid"], ignore_index=True)
    frame = pd.DataFrame(
        {
            "session_id": "session",
            "market": "simulated",
            "kind": "simulated",
            "instrument": np.array(market.addresses)[made["token"]],
            "decided_at": _times(made["hour"].to_numpy()),
            "slot": _times(made["hour"].to_numpy()),
            "decision": "skip",
            "feature_set": "planted",
            "target_return": made["target_return"],
            "profit": made["target_return"] > 0,
            "rug": (made["reason"] == "rugpull_exit") | (made["target_return"] <= RUG_RETURN),
            "label_end": _times(made["end"].to_numpy()),
        }
    ).set_index(pd.Index(made["uuid"], name="uuid"))
    planted = Planted(
        market,
        frame.assign(**dict.fromkeys(HONEST, np.nan)),
        made["token"].to_numpy(np.int64),
        made["hour"].to_numpy(np.int64),
    )
    clean = planted.recomputed({})
    return Planted(market, clean, planted.token, planted.hour, planted.cache)


def _outcome(market: Market, token: int, at: int) -> tuple[int, float, str]:
    """When a shadow trade ended, what it returned after costs, and why it ended."""
    price = market.price[token]
    for hour in range(at + 1, at + HORIZON + 1):
        if np.isnan(price[hour]):
            return hour - 1, float(price[hour - 1] / price[at] - 1 - COST), "delisted"
        move = float(price[hour] / price[at] - 1)
        if hour == market.rugged[token]:
            return hour, move - COST, "rugpull_exit"
        if move <= STOP or move >= TARGET:
            return hour, move - COST, "stop_loss" if move < 0 else "profit_target"
    return at + HORIZON, move - COST, "max_hold"


def _times(hours: Ints) -> pd.Series[Any]:
    seconds = hours * 3600 + int(START.timestamp())
    return pd.Series(pd.to_datetime(seconds, unit="s", utc=True)).astype("datetime64[us, UTC]")
