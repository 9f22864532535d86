"""What becomes of a canary: promote, extend, roll back or expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trade_pipeline.core.canary.blocks import Blocks
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.canary.sequence import Sequence as ConfidenceSequence
from trade_pipeline.core.canary.sequence import confidence_sequence
from trade_pipeline.core.market.event import DAY, HOUR

Verdict = Literal["promote", "extend", "rollback", "expired"]


@dataclass(frozen=True, slots=True)
class CanaryDecision:
    """What becomes of a canary at a look.

    Attributes:
        reasons: of the verdict; for ``extend``, what is missing.
        sequence: of the block values, points per unit of production's stake as a fraction.
        numbers: what was looked at.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    sequence: ConfidenceSequence
    numbers: Mapping[str, object]


def decide_canary(
    blocks: Blocks,
    guardrails: Sequence[Guardrail],
    started: int,
    now: int,
    config: CanaryConfig,
    variance_ratio: float = 1.0,
    *,
    entries: int,
) -> CanaryDecision:
    """The verdict at a look; looking often costs nothing, because the sequence holds at every look.

    Harm is shown when the whole interval lies below zero; it may be promoted when the whole
    interval lies above ``-margin``.  Harm and guardrails come first, then the promotion, then the
    age: at the last look everything counts.

    Args:
        started, now: market time, microseconds.
        variance_ratio: see `confidence_sequence`; known before the canary.
        entries: candidates that the canary stakes on: one that never does shows nothing.
    """
    sequence = confidence_sequence(blocks.value, config.level, variance_ratio)
    count, hours = len(blocks.value), (now - started) / HOUR
    mean, low, high = (
        (float(ends[-1]) for ends in (sequence.mean, sequence.low, sequence.high))
        if count
        else (float("nan"), float("-inf"), float("inf"))
    )
    numbers = {
        "blocks": count, "waiting": blocks.waiting,
        "candidates": int(blocks.candidates.sum()), "entries": entries,
        "hours": hours, "mean": mean, "low": low, "high": high, "margin": config.margin,
        "variance_ratio": variance_ratio,
    }  # fmt: skip

    def verdict(name: Verdict, *reasons: str) -> CanaryDecision:
        return CanaryDecision(name, reasons, sequence, numbers)

    broken = [f"{one.name}: {one.reason}" for one in guardrails if not one.passed]
    if broken:
        return verdict("rollback", *broken)
    if high < 0:
        return verdict(
            "rollback", f"harm is shown: {mean:+.4f} per unit stake, at most {high:+.4f}"
        )
    missing = []
    if now < started:
        missing.append(f"the clock stands {-hours:.1f} hours before the canary's start")
    elif hours < config.min_hours:
        missing.append(f"{hours:.1f} hours, needs {config.min_hours}")
    if count < config.min_blocks:
        missing.append(f"{count} closed blocks, needs {config.min_blocks}")
    if entries < config.min_entries:
        missing.append(f"stakes on {entries} candidates, needs {config.min_entries}")
    if not np.isfinite(blocks.value).all():
        missing.append("the value of a block is unknown")
    if not low >= -config.margin:
        missing.append(
            f"may be {-low:.4f} per unit stake worse, allowed {config.margin:.4f}"
            if np.isfinite(low)
            else "too few blocks to tell anything"
        )
    if not missing:
        return verdict("promote", f"not inferior: {mean:+.4f} per unit stake, at least {low:+.4f}")
    if now - started >= config.max_days * DAY:
        return verdict("expired", f"{config.max_days} days are over", *missing)
    return verdict("extend", *missing)
