"""Hash chains: each record carries the hash of its content and of the record before it.

One chain per writer, so that chains never contend.  ``chain_hash = SHA-256(previous chain_hash,
table, content_hash)``; the first record follows 32 zero bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.records import Record

GENESIS = bytes(32)
LEDGER_COLUMNS = ("chain_id", "chain_seq", "content", "content_hash", "chain_hash")


@dataclass(slots=True)
class Chain:
    """The end of a chain, and how it grows.

    Attributes:
        seq: number of the next record.
        head: chain hash of the newest record.
    """

    chain_id: str
    seq: int = 0
    head: bytes = GENESIS

    def link(self, record: Record) -> tuple[Any, ...]:
        """Append a record: its values for `LEDGER_COLUMNS` followed by its own columns."""
        content = canonical_bytes(record)
        content_hash = sha256(content)
        self.head = sha256(self.head + record.TABLE.encode() + content_hash)
        row = (self.chain_id, self.seq, content.decode(), content_hash, self.head, *record.row())
        self.seq += 1
        return row
