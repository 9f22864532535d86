"""Where a record that was computed again differs from the stored one: the first field, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from typing import Any, cast

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.records import FeatureRow, Record

# What a field holds that is not there.
ABSENT = "(absent)"
# Said last: names and hashes follow from something else that differs.
_DERIVED = ("feature_hash", "vector_hash", "uuid", "session_id", "decision_no", "order_id")
# In the order in which one follows from the other.
CAUSAL = ("sessions", "feature_rows", "research_docs", "candidates", "executions", "outcomes")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first field in which a record differs.

    Attributes:
        uuid: of the trade; None for a record of the session itself.
        record: its table; ``key`` says which one of it.
        field: path into the canonical content, or ``column NAME`` of a column beside it.
        stored, computed: the field's values; `ABSENT` where there is none.
        seq: place in the session's chain.
        why: what explains it, where that is known.
    """

    session_id: str
    uuid: str | None
    record: str
    key: str
    field: str
    stored: Any
    computed: Any
    seq: int
    why: str | None = None

    @property
    def text(self) -> str:
        """The difference as people read it."""
        whose = f"session {self.session_id}" if self.uuid is None else f"trade {self.uuid}"
        which = f" ({self.key})" if self.key else ""
        what = f"{whose}: {self.record}{which}: "
        if self.field == "":
            there = "is stored and was not computed"
            what += there if self.computed == ABSENT else "was computed and is not stored"
        else:
            what += f"{self.field}: stored {self.stored!r}, computed {self.computed!r}"
        return what if self.why is None else f"{what}; {self.why}"

    def facts(self) -> dict[str, Any]:
        """The difference for programs."""
        return asdict(self) | {"text": self.text}


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A path into a record's content, and both values."""

    field: str
    stored: Any
    computed: Any


def first_difference(
    kind: type[Record],
    stored: Mapping[str, Any],
    computed: Mapping[str, Any],
    *,
    ignored: frozenset[str] = frozenset(),
) -> FieldDifference | None:
    """The first field of two contents that differs bit for bit, in the order of the record.

    Args:
        ignored: top-level fields that are not compared.
    """
    order = [name for name in _field_order(kind) if name in stored or name in computed]
    order += sorted((stored.keys() | computed.keys()) - set(order))
    for name in order:
        if name not in ignored:
            found = _first(name, stored.get(name, ABSENT), computed.get(name, ABSENT))
            if found is not None:
                return _feature_named(kind, found, stored, computed)
    return None


def added_fields(
    kind: type[Record], stored: Mapping[str, Any], computed: Mapping[str, Any]
) -> frozenset[str]:
    """Fields that newer code gives a record, where they say no more than that there is nothing."""
    return frozenset(
        name
        for name in computed.keys() - stored.keys()
        if name in (defaults := _defaults(kind))
        and canonical_bytes(defaults[name]) == canonical_bytes(computed[name])
    )


def _first(path: str, stored: Any, computed: Any) -> FieldDifference | None:
    if isinstance(stored, dict) and isinstance(computed, dict):
        pairs = [(f"{path}.{key}", key) for key in sorted(stored.keys() | computed.keys())]
        found = (_first(p, stored.get(k, ABSENT), computed.get(k, ABSENT)) for p, k in pairs)
    elif isinstance(stored, list) and isinstance(computed, list):
        length = max(len(stored), len(computed))
        padded = [one + [ABSENT] * (length - len(one)) for one in (stored, computed)]
        found = (_first(f"{path}[{n}]", *pair) for n, pair in enumerate(zip(*padded, strict=True)))
    else:
        # The type counts, and the sign of a zero.
        same = type(stored) is type(computed) and repr(stored) == repr(computed)
        return None if same else FieldDifference(path, stored, computed)
    return next((one for one in found if one is not None), None)


def _feature_named(
    kind: type[Record],
    found: FieldDifference,
    stored: Mapping[str, Any],
    computed: Mapping[str, Any],
) -> FieldDifference:
    """An element of a vector by its feature's name, where both are of this code's features."""
    known = feature_set()
    number = found.field.removeprefix("vector[").removesuffix("]")
    if (
        kind is not FeatureRow
        or not number.isdecimal()
        or not stored.get("feature_set") == computed.get("feature_set") == known
        or int(number) >= len(NAMES)
    ):
        return found
    return FieldDifference(f"vector.{NAMES[int(number)]}", found.stored, found.computed)


@cache
def _field_order(kind: Any) -> tuple[str, ...]:
    names = [one.name for one in fields(kind)]
    return tuple(sorted(names, key=lambda name: name in _DERIVED))


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    found = {}
    for one in fields(cast(Any, kind)):
        if one.default is not MISSING:
            found[one.name] = one.default
        elif one.default_factory is not MISSING:
            found[one.name] = one.default_factory()
    return found
