"""The rules of a strategy of the user's own, asked and checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.extensions.load import class_of, error_line
from trade_pipeline.core.extensions.strategy import Held, Look, Strategy
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.strategy.config import RULES, StrategyConfig

# Of the reasons that own rules give for a skipped candidate.
PREFIX = "rule:"
# A rule failed in a session that must not end for it.
FAILED = "rule_failed"

_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PLAIN = (bool, int, float, str)

T = TypeVar("T")


class RuleFailed(BadConfig):
    """The user's rule raised an error or gave what cannot be."""


class Rules:
    """A user's `Strategy`.

    Raises:
        RuleFailed: by each question, where the answer is an error or makes no sense.
    """

    def __init__(self, reference: str, own: Strategy) -> None:
        self._own, self._named = own, f"strategy {reference}"
        self.has_exits = type(own).leaves is not Strategy.leaves

    def refusal(self, look: Look) -> str | None:
        """Why a candidate is skipped, with `PREFIX`; None: it is bought."""
        where = f"enters() of {look.instrument} at {look.at.isoformat()}"
        found = self._ask(where, lambda: self._own.enters(look))
        if isinstance(found, str) and _REASON.fullmatch(found):
            return PREFIX + found
        if found is True or found is False:
            return None if found else f"{PREFIX}refused"
        raise RuleFailed(
            f"{self._named}: {where} gave {found!r}: expected True, False, or a reason of at most "
            "40 small letters, digits and _"
        )

    def stake(self, look: Look, usd: float, most: float) -> float:
        """The stake in USD from what the sizing says, at most ``most``."""
        where = f"stake() of {look.instrument} at {look.at.isoformat()}"
        found = self._ask(where, lambda: self._own.stake(look, usd))
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise RuleFailed(f"{self._named}: {where} gave {found!r}: expected a number")
        if not (math.isfinite(found) and found >= 0):
            raise RuleFailed(
                f"{self._named}: {where} gave {found!r}: expected a finite amount >= 0"
            )
        return min(float(found), most)

    def leaves(self, held: Held) -> bool:
        """Whether a position is sold now."""
        where = f"leaves() of {held.instrument} at {held.at.isoformat()}"
        found = self._ask(where, lambda: self._own.leaves(held))
        if found is True or found is False:
            return found
        raise RuleFailed(f"{self._named}: {where} gave {found!r}: expected True or False")

    def _ask(self, where: str, question: Callable[[], T]) -> T:
        try:
            found = question()
        except Exception as error:
            raise RuleFailed(f"{self._named}: {where}: {error_line(error)}") from error
        # Numbers and truths of numpy are as good.
        return found.item() if hasattr(found, "item") and hasattr(found, "dtype") else found


def rules_of(config: StrategyConfig) -> Rules | None:
    """The own rules that settings name; None: there are none.

    Raises:
        BadConfig: no such class in a named module, or a setting that it does not have.
    """
    if config.rules is None:
        return None
    return _rules(config.rules, json.dumps(dict(config.rule_settings), sort_keys=True))


@lru_cache(maxsize=64)
def _rules(reference: str, settings: str) -> Rules:
    kind = class_of(reference, Strategy, RULES)
    own = kind()
    for name, value in json.loads(settings).items():
        setattr(own, name, _setting(kind, reference, name, value))
    return Rules(reference, own)


def _setting(kind: type[Strategy], reference: str, name: str, value: Any) -> Any:
    """A setting in the type of its default.

    Raises:
        BadConfig: the class has no such setting, or the value does not fit it.
    """
    known = {
        one: getattr(kind, one)
        for one in dir(kind)
        if not one.startswith("_") and isinstance(getattr(kind, one), _PLAIN)
    }
    field = f"strategy.rule_settings.{name}={value!r}"
    if name not in known:
        there = ", ".join(known) or "none"
        raise BadConfig(f"{field}: {reference} has no such setting (it has {there})")
    try:
        return TypeAdapter(type(known[name])).validate_python(value)
    except ValidationError as error:
        raise BadConfig(f"{field}: {error.errors(include_url=False)[0]['msg']}") from None


def look_of(snapshot: Snapshot, confidence: float, vector: Floats) -> Look:
    """A candidate as own rules see it.

    Args:
        vector: its features, in the order of the registry.
    """
    return look_at(snapshot.instrument.name, snapshot.at, confidence, vector)


def look_at(instrument: str, at: int, confidence: float, vector: Floats) -> Look:
    """The same of a stored candidate; ``at`` in microseconds since 1970-01-01 UTC."""
    known: Mapping[str, float] = dict(zip(NAMES, vector.tolist(), strict=True))
    return Look(instrument, moment_of(at), confidence, known)
