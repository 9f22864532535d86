"""The columns of the records' tables as the catalogue shows them."""

from __future__ import annotations

import dagster as dg

from trade_pipeline.core.ledger.chain import LEDGER_COLUMNS
from trade_pipeline.core.records import Record

# Columns by SQL type; all others are double precision.
_TYPES = {
    "uuid": ("uuid",),
    "text": (
        "arm", "canary_version", "chain_id", "content", "contract_address", "created_by",
        "decision", "event", "instrument", "kind", "leg", "model_version", "order_id",
        "params_ptr", "reason", "session_id", "termination_reason",
    ),
    "timestamp with time zone": ("closed_at", "decided_at", "known_at", "occurred_at"),
    "bigint": ("chain_seq", "decision_no", "holders"),
    "integer": ("revision", "sequence"),
    "bytea": ("chain_hash", "content_hash", "feature_hash"),
}  # fmt: skip
_TYPE_OF = {column: kind for kind, columns in _TYPES.items() for column in columns}


def column_schema(record: type[Record]) -> dg.TableSchema:
    """A table's columns: those of the ledger first, then the record's own."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=_TYPE_OF.get(name, "double precision"),
                constraints=dg.TableColumnConstraints(nullable=name not in record.KEY),
            )
            for name in (*LEDGER_COLUMNS, *record.COLUMNS)
        ]
    )
