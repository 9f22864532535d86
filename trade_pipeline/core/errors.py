"""What can go wrong with what a user gave us.

Every class is one kind of mistake, and its message names the field and the value.  The command line
turns each of them into exit code 2.
"""

from __future__ import annotations


class TradePipelineError(Exception):
    """The root of every error that a user can cause and mend."""


class InvalidRecord(TradePipelineError, ValueError):
    """A field of a record holds a value that the records do not accept."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={value!r}: expected {expected}")
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
