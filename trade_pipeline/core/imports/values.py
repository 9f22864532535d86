"""Values of a row of somebody else's file, read strictly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.imports.problems import Refused

# No token was traded before; a moment outside is one in another unit.
_FIRST = datetime(2009, 1, 3, tzinfo=UTC)
_LONGEST_TEXT = 200
# Whatever is larger is no price, size or amount of money of a trade, and overflows in sums.
_LARGEST = 1e30
_TIME = "a time with a zone, such as 2021-09-03T12:00Z, or seconds or milliseconds since 1970"


class Row:
    """One row under the names that the format gives its fields.

    Args:
        values: as they stand in the file; a value that is empty or null is missing.
        columns: column by field where the file calls it something else.
        zone: of times without one; None: such times are refused.
        now: nothing has happened after it.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        columns: Mapping[str, str],
        zone: tzinfo | None,
        now: datetime,
    ) -> None:
        self._values = values
        self._columns = columns
        self._zone = zone
        self.now = now

    def get(self, field: str) -> Any:
        """A value as it stands in the file; None: missing."""
        value = self._values.get(self._columns.get(field, field))
        if isinstance(value, str):
            value = value.strip()
        return None if value == "" else value

    def refuse(self, field: str, expected: str) -> Refused:
        """The error of a value; the column's name where it is another one."""
        column = self._columns.get(field, field)
        name = field if column == field else f"{field} ({column})"
        return Refused(name, self._values.get(column), expected)

    def text(self, field: str) -> str | None:
        """A text of one line."""
        value = self.get(field)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_TEXT:
            raise self.refuse(field, f"a text of one line and at most {_LONGEST_TEXT} characters")
        return value

    def number(self, field: str, low: float = -_LARGEST) -> float | None:
        """A finite number of at least ``low``."""
        value = self.get(field)
        if value is None:
            return None
        found = math.nan
        # "1_000" and digits of other scripts are numbers to Python, and none that a bot writes.
        if isinstance(value, str) and value.isascii() and "_" not in value:
            try:
                found = float(value)
            except ValueError:
                found = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = float(value)
        if not low <= found <= _LARGEST:
            raise self.refuse(
                field,
                "a number" if low == -_LARGEST else f"a number of at least {low:g}",
            )
        return found

    def positive(self, field: str) -> float:
        """A number above 0 that must be there."""
        found = self.number(field)
        # What is smaller rounds to nothing when it is multiplied.
        if found is None or not found >= 1e-30:
            raise self.refuse(field, "a number above 0")
        return found

    def truth(self, field: str) -> bool:
        """Whether something holds; missing: it does not."""
        value = self.get(field)
        told = value.lower() if isinstance(value, str) else value
        if told in (None, False, 0, "false", "0", "no"):
            return False
        if told in (True, 1, "true", "1", "yes"):
            return True
        raise self.refuse(field, "true or false")

    def moment(self, field: str) -> datetime | None:
        """A time in UTC, between the first block of a chain and now."""
        value = self.get(field)
        if value is None:
            return None
        found = self._moment(field, value)
        if not _FIRST <= found <= self.now:
            raise self.refuse(field, f"a time between {_FIRST.date()} and now")
        return found

    def _moment(self, field: str, value: object) -> datetime:
        if isinstance(value, str):
            if (digits := _digits(value)) is not None:
                return self._since_1970(field, digits)
            try:
                found = datetime.fromisoformat(value)
                return self._placed(field, found).astimezone(UTC)
            except (ValueError, OverflowError):
                raise self.refuse(field, _TIME) from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._since_1970(field, float(value))
        raise self.refuse(field, _TIME)

    def _since_1970(self, field: str, number: float) -> datetime:
        # Seconds and milliseconds of the years in question are three digits apart.
        seconds = number / 1e3 if abs(number) >= 1e11 else number
        if not 0 <= seconds < 1e11:
            raise self.refuse(field, _TIME)
        return moment_of(round(seconds * 1e6))

    def _placed(self, field: str, found: datetime) -> datetime:
        if found.utcoffset() is not None:
            return found
        if self._zone is None:
            raise self.refuse(field, f"{_TIME}; or give --timezone")
        first, second = (found.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            raise self.refuse(field, f"a time that {self._zone} had once: give it with its zone")
        return first


def _digits(text: str) -> float | None:
    whole, _, part = text.partition(".")
    plain = whole.isascii() and whole.isdigit() and (not part or part.isdigit())
    return float(text) if plain and len(whole) >= 9 else None


def zone_of(name: str | None) -> tzinfo | None:
    """A zone by its name in the tz database.

    Raises:
        BadConfig: there is none of this name.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadConfig(
            f"timezone={name!r}: expected a name such as UTC or Europe/Berlin"
        ) from None


def seconds_between(first: datetime, last: datetime) -> float:
    """Seconds from one moment to another."""
    return (last - first) / timedelta(seconds=1)
