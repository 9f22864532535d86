"""Between which values a second run of the same size on the same machine is expected to lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
# Nothing that was timed is said to be more exact: the repetitions of one run share what the machine
# does meanwhile.  Of 52 figures measured again on a quiet machine 10 % held 40, and 25 % holds 48.
LEAST = 0.25
# A single repetition says nothing of its spread.
SINGLE = 0.40
# A factor of so much to each side says that nothing is known.
_WIDEST = math.log(1e6)


def of_repetitions(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and where the median of as many new repetitions will lie.

    The prediction interval of Student's t of the values' logarithms (of the values themselves where
    one is not positive), widened to hold every value and at least ``LEAST`` of the median.
    """
    found = np.asarray(values, dtype=np.float64)
    middle = float(np.median(found))
    if len(found) == 1:
        reach = SINGLE * abs(middle)
        return middle, middle - reach, middle + reach
    t = float(stats.t.ppf((1 + LEVEL) / 2, len(found) - 1)) * math.sqrt(2 / len(found))
    if found.min() > 0:
        reach = min(t * float(np.log(found).std(ddof=1)), _WIDEST)
        low, high = middle * math.exp(-reach), middle * math.exp(reach)
    else:
        reach = t * float(found.std(ddof=1))
        low, high = middle - reach, middle + reach
    least = LEAST * abs(middle)
    return (
        middle,
        min(low, float(found.min()), middle - least),
        max(high, float(found.max()), middle + least),
    )


def of_share(found: int, of: int) -> tuple[float, float, float]:
    """A share in percent with its exact interval (Clopper and Pearson)."""
    told = stats.binomtest(found, of).proportion_ci(LEVEL, method="exact")
    return 100 * found / of, 100 * float(told.low), 100 * float(told.high)
