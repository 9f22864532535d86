"""What people are told: one alert, and many as one message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

# In the order in which they are told: what needs somebody comes first.
Kind = Literal["halt", "reconciliation", "incident", "rollback", "gate", "exit", "entry"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Longer messages are read by nobody, and cut by some services.
LONGEST_MESSAGE = 3_000


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that happened.

    Attributes:
        title: what, in a few words; ``body``: the facts.
        at: when it was recorded.
    """

    kind: Kind
    title: str
    body: str
    at: datetime

    @property
    def dated(self) -> str:
        """The facts and their moment: a message may come late."""
        return f"{self.body} ({self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)"

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.dated}"


def join(alerts: Sequence[Alert]) -> tuple[str, str]:
    """Title and body of one message that tells all of them.

    What does not fit is told as numbers by kind; what needs somebody comes first.
    """
    if len(alerts) == 1:
        return alerts[0].title, alerts[0].dated
    ordered = sorted(alerts, key=lambda one: (KINDS.index(one.kind), one.at))
    parts: list[str] = []
    left = LONGEST_MESSAGE
    for alert in ordered:
        if parts and len(alert.text) > left:
            break
        parts.append(alert.text)
        left -= len(alert.text) + 2
    if rest := ordered[len(parts) :]:
        parts.append(f"and {counted(rest)} more: see `trade-pipeline status`")
    return f"trade_pipeline: {counted(alerts)}", "\n\n".join(parts)


def counted(alerts: Sequence[Alert]) -> str:
    """How many of each kind, such as ``1 halt, 3 exits``."""
    kinds = Counter(alert.kind for alert in alerts)
    return ", ".join(
        f"{kinds[kind]} {_plural(kind) if kinds[kind] > 1 else kind}"
        for kind in KINDS
        if kinds[kind]
    )


def _plural(kind: Kind) -> str:
    return "entries" if kind == "entry" else f"{kind}s"
