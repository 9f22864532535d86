"""The columns of features that the user added."""

from __future__ import annotations

from collections.abc import Mapping

from trade_pipeline.core.extensions.feature import compute_feature, declared_features
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.windows import EventWindows

_ADDED = [one for one in declared_features() if one.name in NAMES]


def added_columns(windows: EventWindows, known: Mapping[str, Floats]) -> dict[str, Floats]:
    """The added features of some decisions; each may read the built-in ones and not one another.

    Args:
        known: the columns of the built-in features.

    Raises:
        BadConfig: a function fails, or does not give a number a decision.
    """
    return {one.name: compute_feature(one, windows, known) for one in _ADDED}
