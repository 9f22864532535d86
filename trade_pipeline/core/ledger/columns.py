"""Whether a record's columns say what its content says: the hash covers the content alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.heads import EPOCH_2000
from trade_pipeline.core.ledger.tables import RecordTable

# How a column's binary form is read: times as microseconds since 2000, UUIDs as their bytes.
_READ_AS = {
    "text": "text", "bool": "bool", "int2": "int2", "int4": "int4", "int8": "int8",
    "float4": "float4", "float8": "float8", "bytea": "bytea", "timestamptz": "int8",
    "uuid": "bytea",
}  # fmt: skip

_Told = Callable[[dict[str, Any]], Any]


def _own_price(content: dict[str, Any]) -> Any:
    return content[f"{content['leg']}_price"]


def _all_costs(content: dict[str, Any]) -> Any:
    return math.fsum(content["costs_usd"].values())


# Columns that are not fields of the content but follow from them.
_DERIVED: dict[tuple[str, str], _Told] = {
    ("executions", "price"): _own_price,
    ("executions", "fees_usd"): _all_costs,
}


class Columns:
    """The columns of a table, compared with contents.

    Args:
        table: of the records.

    Raises:
        TradePipelineError: a column has a type that nobody here can read.
    """

    def __init__(self, table: RecordTable) -> None:
        told = [(name, kind) for name, kind in table.columns if name not in table.unhashed]
        for name, kind in told:
            if kind not in _READ_AS:
                raise TradePipelineError(f"{table.name}.{name}: type {kind} cannot be verified")
        self.names = tuple(name for name, _ in told)
        self.types = [_READ_AS[kind] for _, kind in told]
        self._plain = []
        self._converted = []
        for at, (name, kind) in enumerate(told):
            derived = _DERIVED.get((table.name, name))
            if derived is None and kind not in _FORMS:
                self._plain.append((at, name))
            else:
                self._converted.append((at, name, derived, _FORMS.get(kind, _same)))

    def differing(self, values: tuple[Any, ...], content: dict[str, Any]) -> str | None:
        """The first column whose value is not what the content tells, if any."""
        get = content.get
        for at, name in self._plain:
            value, told = values[at], get(name)
            # Unknown is NaN in a column and null in a content.
            if value != told and not (told is None and value != value):
                return name
        for at, name, derived, form in self._converted:
            value = values[at]
            try:
                told = get(name) if derived is None else derived(content)
                if value != (None if told is None else form(told)):
                    return name
            except (KeyError, TypeError, ValueError, AttributeError):
                return name
        return None


def _same(told: Any) -> Any:
    return told


def _moment(told: str) -> int:
    return micros(datetime.fromisoformat(told)) - EPOCH_2000


def _uuid(told: str) -> bytes:
    return bytes.fromhex(told.replace("-", ""))


_FORMS: dict[str, Callable[[Any], Any]] = {
    "timestamptz": _moment,
    "uuid": _uuid,
    "bytea": bytes.fromhex,
}
