"""How far a confidence is from what happens, by tenths of it and with its level taken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.market.event import Floats

_TENTHS = 10


@dataclass(frozen=True, slots=True)
class Tenth:
    """Candidates of like confidence: what was promised, and what came, as shares."""

    promised: float
    true: float
    rows: int


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """What a confidence promises beside what happens.

    Attributes:
        error: mean over candidates of the distance by tenths, the level taken off.
        level: how many more profits it promises than there are, as a share; it changes with the
            market.
    """

    error: float
    level: float
    tenths: Sequence[Tenth]


def calibration_error(confidence: Floats, won: Floats) -> CalibrationError:
    """The expected calibration error of some candidates, at least one.

    Args:
        won: 1 where a candidate made a profit, else 0.
    """
    level = float(np.mean(confidence - won))
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(_TENTHS, len(won)))
    tenths = [
        Tenth(float(confidence[rows].mean()), float(won[rows].mean()), len(rows)) for rows in groups
    ]
    error = sum(one.rows * abs(one.promised - one.true - level) for one in tenths) / len(won)
    return CalibrationError(error, level, tenths)
