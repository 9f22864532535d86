"""What a session looked at, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from trade_pipeline.core.strategy.opinion import Opinions


@dataclass(slots=True)
class SessionCounts:
    """What a session looked at.

    Attributes:
        events: market events, those of the warm-up before the start included.
        evaluated: tokens by slot that were looked at; ``failed`` of them by filter.
        candidates: by decision and reason.
        final_cash_usd: the account when everything is closed.
        canary_errors: candidates at which the canary failed.
        prediction_seconds: mean by version of what a model's prediction of a candidate took.
    """

    events: int = 0
    evaluated: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    candidates: Counter[tuple[str, str]] = field(default_factory=Counter)
    final_cash_usd: float = 0.0
    canary_errors: int = 0
    _predicted: Counter[str] = field(default_factory=Counter, compare=False)
    _seconds: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def prediction_seconds(self) -> dict[str, float]:
        return {name: self._seconds[name] / rows for name, rows in self._predicted.items()}

    def note_predictions(self, opinions: Opinions) -> None:
        """Add the time that the models took for some candidates."""
        for one in (opinions.production, opinions.canary):
            if one is not None and one.by.model is not None:
                self._predicted[one.by.version] += len(one.confidence)
                before = self._seconds.get(one.by.version, 0.0)
                self._seconds[one.by.version] = before + one.seconds
