"""How a line of the monitoring comes to its verdict."""

from __future__ import annotations

from collections.abc import Mapping

from trade_pipeline.core.canary.guardrails import Guardrail

NOT_JUDGED = "not judged yet: "


def verdict(name: str, holds: bool, reason: str, numbers: Mapping[str, float]) -> Guardrail:
    """A line that was judged; the reason is kept where it does not hold."""
    return Guardrail(name, holds, "" if holds else reason, numbers)


def not_judged(name: str, missing: str, numbers: Mapping[str, float]) -> Guardrail:
    """A line for which there is too little to judge it: nothing is broken."""
    return Guardrail(name, True, NOT_JUDGED + missing, numbers)
