"""How often a canary is promoted, rolled back or expires, beside the usual rules: one command.

    python benchmarks/canary.py --data FOLDER [--canaries 2000]

Two models are trained on the first half of a real recording (``FOLDER/spot_1h``), each on every
second day and feature, and judge the same later candidates.  Canaries are drawn from their paired
decisions, two whole days at a time; the mean is set to the stated truth.  Beside the sequence over
blocks:

- averages after 48 h: promote if the mean return of the canary's trades (a tenth of the token
  windows) is not below that of production's;
- Mann-Whitney after 48 h: promote unless the canary's returns are lower at 5 %, as automated canary
  analysis does it (Kayenta), with 50 trades an arm at least, and with 5;
- the same sequence over single candidates, as if they were independent.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from gates import recorded_frame
from report.record import computed, counted
from scipy.stats import mannwhitneyu

from trade_pipeline.core.canary.blocks import PairedDecisions, block_values, stake_per_block
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.paired import judged_anew
from trade_pipeline.core.canary.power import (
    power_report,
    run_canaries,
    sample_blocks,
    sequences,
)
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.labels import labelled_decisions
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.train import train

CONFIG = CanaryConfig()
MARGIN = CONFIG.margin
LEARNED = 0.5
SHARE = 0.1
# What automated canary analysis asks for an arm, and what two days often have.
MIN_TRADES, FEW_TRADES = 50, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--canaries", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    frame = recorded_frame(
        options.data, datetime(2021, 4, 5, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
    )
    report(paired_decisions(frame), options.canaries, options.seed)


def paired_decisions(frame: pd.DataFrame) -> tuple[PairedDecisions, np.ndarray]:
    """What two models make of the later candidates, and a code per token."""
    features = list(frame.attrs["features"])
    rows, _ = labelled_decisions(frame, DatasetConfig())
    boundary = rows["decided_at"].iloc[int(LEARNED * len(rows))]
    early = rows[rows["label_end"] < boundary]
    later = rows[rows["decided_at"] >= boundary]
    day = early["decided_at"].dt.floor("D").astype("int64").to_numpy() // (86_400 * 1_000_000)
    models = []
    for half in (0, 1):
        config = TrainingConfig(trials=2, seed=half)
        models.append(train(early[day % 2 == half], features[half::2], "spot-1h", config).model)
    decisions = judged_anew(*models, later, StrategyConfig())
    return decisions, later.groupby("instrument").ngroup().to_numpy()


def report(paired: tuple[PairedDecisions, np.ndarray], canaries: int, seed: int) -> None:
    decisions, token = paired
    stake = stake_per_block(decisions, CONFIG.block_hours)
    until = int(decisions.ended_at.max()) + 2 * DAY
    values = block_values(decisions, until, CONFIG.block_hours, stake).value
    power = power_report(decisions, stake, CONFIG)
    same = float(np.mean(decisions.canary_stake == decisions.production_stake))
    correlation = float(np.corrcoef(decisions.canary_stake, decisions.production_stake)[0, 1])
    print(
        f"{len(decisions.at):,} candidates on {power.blocks} days, equal stakes {same:.0%}, "
        f"correlation of stakes {correlation:.2f}"
    )
    print(
        f"paired spread of a day {power.spread:.4f}, variance ratio {power.variance_ratio:.2f}, "
        f"design effect of candidates {power.design_effect:.1f}; the true mean here "
        f"{values.mean():+.4f}"
    )
    size = f"{len(decisions.at):,} candidates"
    computed("canary.days", power.blocks, size=size)
    computed("canary.spread", power.spread, size=size)
    computed("canary.design_effect", power.design_effect, size=size)
    days = sample_blocks(values, CONFIG, canaries, seed) - values.mean()
    print(f"{canaries:,} canaries a row, looked at every day    by day 28            by day 56")
    for name, effect in (("2.25 worse", -MARGIN), ("equal", 0.0), ("2.25 better", MARGIN)):
        _row(f"blocks, {name}", days + effect, power.variance_ratio)
    naive = _singles(decisions, canaries, seed)
    print("single candidates as if independent, 28 days:")
    for name, effect in (("2.25 worse", -MARGIN), ("equal", 0.0)):
        _naive_row(name, naive, effect)
    print("after 48 h:")
    for name, effect in (("2.25 worse", -MARGIN), ("equal", 0.0), ("2.25 better", MARGIN)):
        _after_two_days(name, decisions, token, canaries, seed, effect)


def _row(name: str, values: Floats, ratio: float) -> None:
    found = run_canaries(values, CONFIG, ratio)
    cells = []
    for day in (28, 56):
        done = found.days <= day
        promoted, back = (done & (found.verdict == sign) for sign in (1, -1))
        for what, there in (("promoted", promoted), ("rolled_back", back)):
            counted(f"canary.{name.split()[-1]}_{what}_{day}", there.sum(), len(there))
        cells.append(f"promoted {promoted.mean():6.1%}, rolled back {back.mean():6.1%}")
    print(f"  {name:<22}" + "   ".join(cells))


def _singles(decisions: PairedDecisions, canaries: int, seed: int) -> Floats:
    """Per candidate, the stake-weighted difference of random stretches of 28 days."""
    more = decisions.canary_stake - decisions.production_stake
    value = (
        more * (decisions.returns - decisions.returns.mean()) / decisions.production_stake.mean()
    )
    draw = np.random.default_rng([seed, 1])
    last = decisions.at.searchsorted(decisions.at[-1] - 28 * DAY)
    count = min(2_000, int(28 * len(value) / ((decisions.at[-1] - decisions.at[0]) / DAY)))
    starts = draw.integers(0, min(last, len(value) - count), canaries)
    return np.stack([value[start : start + count] for start in starts]) - value.mean()


def _naive_row(name: str, values: Floats, effect: float) -> None:
    low, high = sequences(values + effect, CONFIG.level)
    # Nobody looks before some candidates are there.
    harmed = (high[:, MIN_TRADES:] < 0).any(axis=1)
    promoted = (low[:, MIN_TRADES:] >= -MARGIN).any(axis=1)
    if effect == 0:
        counted("canary.singles_equal_harmed", harmed.sum(), len(harmed), size="28 days")
    print(f"  {name:<22}promoted at some look {promoted.mean():6.1%}, harm {harmed.mean():6.1%}")


def _after_two_days(
    name: str,
    decisions: PairedDecisions,
    token: np.ndarray,
    canaries: int,
    seed: int,
    effect: float,
) -> None:
    """Two days, a tenth of the tokens to the canary, what each arm would enter."""
    draw = np.random.default_rng([seed, 2])
    promoted, trades = 0, []
    ranked, judged = (dict.fromkeys((MIN_TRADES, FEW_TRADES), 0) for _ in range(2))
    for start in draw.integers(0, decisions.at.searchsorted(decisions.at[-1] - 2 * DAY), canaries):
        end = decisions.at.searchsorted(decisions.at[start] + 2 * DAY)
        part = slice(start, end)
        canary = (draw.random(token.max() + 1) < SHARE)[token[part]]
        mine = canary & (decisions.canary_stake[part] > 0)
        theirs = ~canary & (decisions.production_stake[part] > 0)
        one, other = decisions.returns[part][mine] + effect, decisions.returns[part][theirs]
        trades.append(len(one))
        if len(one) and len(other):
            promoted += one.mean() >= other.mean()
        for least in judged:
            if min(len(one), len(other)) >= least:
                judged[least] += 1
                ranked[least] += mannwhitneyu(one, other, alternative="less").pvalue >= 0.05
    truth = name.split()[-1]
    counted(f"canary.averages_{truth}_promoted", promoted, canaries)
    # Where so few trades are enough to judge at all.
    counted(f"canary.mann_whitney_{truth}_promoted", ranked[FEW_TRADES], judged[FEW_TRADES])
    told = ", ".join(
        f"{ranked[least] / max(1, judged[least]):6.1%} of the {judged[least] / canaries:.0%} with "
        f"{least}"
        for least in judged
    )
    print(
        f"  {name:<22}averages promote {promoted / canaries:6.1%}; Mann-Whitney promotes {told} "
        f"(median {np.median(trades):.0f} candidates of the canary)"
    )


if __name__ == "__main__":
    main()
