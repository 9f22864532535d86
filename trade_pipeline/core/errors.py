"""What can go wrong with what a user gave us.

Every class is one kind of mistake, and its message names the field and the value.  The command line
turns each of them into exit code 2.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHOWN = 200
# Twenty problems of a file with the values to see them by.
_LONGEST = 4000


def shown(value: object) -> str:
    """A value for a message: on one line, whatever it holds, and not longer than can be read."""
    limits = reprlib.Repr()
    limits.maxlevel, limits.maxstring, limits.maxother, limits.maxlong = 4, _SHOWN, _SHOWN, 700
    limits.maxdict = limits.maxlist = limits.maxtuple = limits.maxset = 20
    # Python does not write out whole numbers of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 2000:
        return f"a whole number of {value.bit_length()} bits"
    text = limits.repr(value)
    return text if len(text) <= 4 * _SHOWN else f"{text[: 4 * _SHOWN]}..."


def first_problem(error: ValidationError, whole: str = "the file") -> str:
    """The first thing that is wrong with a document: its field, value and why, for a message.

    Args:
        whole: what the document is called where it is wrong as a whole.
    """
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"])) or whole
    return f"{where}={shown(problem['input'])}: {problem['msg']}"


def printable(text: str) -> str:
    """A text as any terminal and page may show it: no control characters, nothing invisible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class TradePipelineError(Exception):
    """The root of every error that a user can cause and mend.

    Its message may quote what somebody else wrote, so it is shown printable and not for ever.
    """

    def __str__(self) -> str:
        text = printable(super().__str__()[: _LONGEST + 1])
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class InvalidRecord(TradePipelineError, ValueError):
    """A field of a record holds a value that the records do not accept."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={shown(value)}: expected {expected}")
        self.field = field
        self.value = value


class InvalidPrice(InvalidRecord):
    """A price that is not finite and positive."""


class InvalidConfidence(InvalidRecord):
    """A confidence outside 0..1."""


class NaiveDatetime(InvalidRecord):
    """A datetime without a time zone."""


class UnknownTrade(TradePipelineError, LookupError):
    """A UUID that names no stored candidate."""

    def __init__(self, uuid: object) -> None:
        super().__init__(f"uuid={str(uuid)!r}: no candidate is stored under this UUID")
        self.uuid = uuid


class OutcomeBeforeExecution(TradePipelineError):
    """A realised outcome for a trade whose execution is not stored, or is later than its close."""

    def __init__(self, uuid: object, why: str) -> None:
        super().__init__(f"uuid={str(uuid)!r}: {why}")
        self.uuid = uuid


class RecordConflict(TradePipelineError):
    """Different content under a key that is stored already."""

    def __init__(self, table: str, key: object, field: str | None = None) -> None:
        where = f" (field {field})" if field else ""
        super().__init__(f"{table}: key {key!s} is stored with different content{where}")
        self.table = table
        self.key = key


class ReplayMismatch(TradePipelineError):
    """A session that was run again decided something else than its stored records say."""


class BadMarketData(TradePipelineError, ValueError):
    """A recording that is missing, incomplete, out of order, or holds impossible values."""


class BadConfig(TradePipelineError, ValueError):
    """A setting that does not exist or holds an impossible value."""


class StoreUnavailable(TradePipelineError):
    """The database cannot be reached or is not prepared."""


class MigrationEdited(TradePipelineError):
    """A migration that was applied has been changed afterwards."""
