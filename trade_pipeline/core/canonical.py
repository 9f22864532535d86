"""Canonical bytes and content addresses.

A record's canonical form is UTF-8 JSON with sorted keys, no white space, and numbers in the shortest
form that reads back to the same double.  These bytes are stored and hashed as they are: nothing is
ever serialised a second time to check a hash.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

ADDRESS_PREFIX = "sha256:"

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY


def _encode(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_bytes(content: dict[str, Any] | list[Any]) -> bytes:
    """The canonical bytes of JSON-like content.

    Raises:
        TypeError: for a value that JSON cannot hold.
    """
    return orjson.dumps(content, default=_encode, option=_OPTIONS)


def sha256(data: bytes) -> bytes:
    """The 32 byte SHA-256 digest."""
    return hashlib.sha256(data).digest()


def address_of(data: bytes) -> str:
    """The content address (``sha256:<64 hex digits>``) of some bytes."""
    return ADDRESS_PREFIX + hashlib.sha256(data).hexdigest()


def is_address(text: str) -> bool:
    """Whether a text is a content address (and not a readable alias of one)."""
    digest = text.removeprefix(ADDRESS_PREFIX)
    return len(digest) == 64 and digest != text and all(c in "0123456789abcdef" for c in digest)


def known(value: float) -> float | None:
    """A float for a record: NaN, which means unknown in columns, becomes null."""
    return None if math.isnan(value) else value


def utc_text(moment: datetime) -> str:
    """A datetime in canonical text: UTC, microseconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
