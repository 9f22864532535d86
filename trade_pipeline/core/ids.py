"""Identities: derived from what they name, so that a replay gives the same ones.

A trade's UUID is a UUIDv7 (RFC 9562): 48 bits of decision time in milliseconds, then 74 bits that
come from a hash instead of a random source.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from trade_pipeline.core.errors import BadConfig

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def day_of(name: str, text: str) -> datetime:
    """The beginning of a UTC day such as 2021-09-03.

    Raises:
        BadConfig: the text is no day; ``name`` says whose.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadConfig(f"{name}={text!r}: expected a day such as 2021-09-03") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def moment_of(micros_since_epoch: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01."""
    return _EPOCH + timedelta(microseconds=micros_since_epoch)


def uuid7(micros_since_epoch: int, entropy: bytes) -> UUID:
    """A UUIDv7 for a moment, with its random bits taken from ``entropy`` (at least 10 bytes)."""
    millis = micros_since_epoch // 1000
    if not 0 <= millis < 1 << 48:
        raise ValueError(f"micros_since_epoch={micros_since_epoch}: outside the range of a UUIDv7")
    rand = int.from_bytes(entropy[:10], "big")
    rand_a = rand & 0xFFF
    rand_b = (rand >> 12) & ((1 << 62) - 1)
    return UUID(int=millis << 80 | 7 << 76 | rand_a << 64 | 2 << 62 | rand_b)


def uuid7_micros(uuid: UUID) -> int:
    """The moment inside a UUIDv7, in microseconds (its resolution is a millisecond)."""
    return (uuid.int >> 80) * 1000


def uuid7_floor(moment: datetime) -> UUID:
    """The smallest UUID of a moment: bounds for range scans and partitions."""
    return UUID(int=(micros(moment) // 1000) << 80)


def trade_uuid(session_id: str, instrument: str, number: int, decided_at: int) -> UUID:
    """The UUID of a session's decision.

    Args:
        session_id: the session that decides.
        instrument: the token or pair.
        number: the session's decision number, from 0.
        decided_at: the decision's time in microseconds since 1970-01-01 UTC.
    """
    name = f"{session_id}\0{instrument}\0{number}".encode()
    return uuid7(decided_at, hashlib.sha256(name).digest())


def client_order_id(uuid: UUID, leg: str, attempt: int = 0) -> str:
    """The id under which a venue knows an order of a trade; a venue refuses a second one.

    32 characters, which is what the strictest of the common exchanges accept.
    """
    digest = hashlib.sha256(f"{uuid}\0{leg}\0{attempt}".encode()).hexdigest()
    return f"tp{digest[:30]}"


def session_id(**determinants: str | int | float | None) -> str:
    """A session's id: 32 hex digits of a hash over everything that determines the session."""
    text = "\0".join(f"{key}={determinants[key]}" for key in sorted(determinants))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
