"""What a field of a record must be; each raises an error that names the field and the value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeGuard
from uuid import UUID

from trade_pipeline.core.errors import InvalidConfidence, InvalidPrice, InvalidRecord, NaiveDatetime

_LONGEST_NAME = 200


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that has canonical bytes."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def require_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf
) -> None:
    """A finite number within bounds, or None."""
    if value is None:
        return
    if not _is_number(value) or not low <= value <= high:
        bounds = "" if low == -math.inf else f" of at least {low:g}"
        bounds = f" in {low:g}..{high:g}" if high != math.inf else bounds
        raise InvalidRecord(name, value, f"a finite number{bounds}")


def require_count(name: str, value: object, high: int = (1 << 31) - 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise InvalidRecord(name, value, f"a whole number in 0..{high}")


def require_price(name: str, value: object) -> None:
    """A finite positive price."""
    if not _is_number(value) or value <= 0:
        raise InvalidPrice(name, value, "a finite positive price")


def require_confidence(name: str, value: object) -> None:
    """A number in 0..1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidConfidence(name, value, "a number in 0..1")


def require_moment(name: str, value: object) -> None:
    """A datetime with a time zone, or None."""
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidRecord(name, value, "a datetime with a time zone")
    if value.utcoffset() is None:
        raise NaiveDatetime(name, value, "a datetime with a time zone")


def is_text(value: object) -> TypeGuard[str]:
    """Whether PostgreSQL can hold it: no NUL, and no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def shown_name(text: str) -> str | None:
    """A name that somebody else gave, as it is stored and shown; None: nothing is left of it.

    A token may be named by a page of text, by control characters, or by what turns the direction of
    writing: it shall not hide among others, nor keep them from being read.
    """
    kept = "".join(c for c in text[:_LONGEST_NAME] if c.isprintable()).strip()
    return kept or None


def require_text(name: str, value: object) -> None:
    """A text that is not empty and holds no NUL, which PostgreSQL cannot store."""
    if not is_text(value) or not value:
        raise InvalidRecord(name, value, "a text that is not empty and holds no NUL")


def require_text_or_none(name: str, value: object) -> None:
    """A text that PostgreSQL can hold, or None."""
    if value is not None and not is_text(value):
        raise InvalidRecord(name, value, "a text that holds no NUL")


def require_uuid(value: object) -> None:
    """A UUID."""
    if not isinstance(value, UUID):
        raise InvalidRecord("uuid", value, "a UUID")


def require_scores(name: str, value: object) -> None:
    """A mapping from names to finite numbers."""
    if not isinstance(value, Mapping):
        raise InvalidRecord(name, value, "a mapping from name to score")
    for key, score in value.items():
        require_text(f"{name} key", key)
        require_number(f"{name}[{key}]", score)


def require_facts(name: str, value: object) -> None:
    """A mapping from names to numbers, truths or texts."""
    if not isinstance(value, Mapping):
        raise InvalidRecord(name, value, "a mapping from name to fact")
    for key, fact in value.items():
        require_text(f"{name} key", key)
        if isinstance(fact, str):
            require_text_or_none(f"{name}[{key}]", fact)
        elif not isinstance(fact, bool):
            require_number(f"{name}[{key}]", fact)


def require_member(kind: type[StrEnum], name: str, value: object) -> None:
    """A member of an enumeration."""
    if not isinstance(value, kind):
        raise InvalidRecord(name, value, "one of " + ", ".join(kind))


def require_value(name: str, value: object) -> None:
    """Anything but None."""
    if value is None:
        raise InvalidRecord(name, value, "a finite number")


def require_amount(name: str, value: object) -> None:
    """A finite number of at least zero, and not None."""
    require_value(name, value)
    require_number(name, value, 0)
