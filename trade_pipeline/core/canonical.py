"""Canonical bytes and content addresses.

A record's canonical form is UTF-8 JSON with sorted keys, no white space, and numbers in the
shortest form that reads back to the same double.  These bytes are stored and hashed as they are:
nothing is ever serialised a second time to check a hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, cast

import orjson

ADDRESS_PREFIX = "sha256:"

# UUIDs, enumerations and aware datetimes have native forms in orjson.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(sorted(f.name for f in fields(kind)))


def canonical_bytes(content: Any) -> bytes:
    """The canonical bytes of a dataclass, dict or list.  NaN, which is unknown, becomes null.

    Raises:
        TypeError: for a value that has no canonical form.
    """
    if is_dataclass(content):
        # orjson sorts the keys of dicts, not the fields of dataclasses.
        content = {
            name: getattr(content, name) for name in _field_names(cast(Hashable, type(content)))
        }
    return orjson.dumps(content, option=_OPTIONS)


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
