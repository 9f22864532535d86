"""All records that a verification has read, ordered by chain and number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.ledger.scan import HASHES, Scanned
from trade_pipeline.core.ledger.tables import RecordTable


class Collected:
    """All records, ordered by chain and number."""

    def __init__(self, tables: list[RecordTable]) -> None:
        self.tables = [table.name for table in tables]
        self._numbers: dict[str, int] = {}
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []
        self._hashes: list[bytearray] = []
        self.chain: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.seq: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.table: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self.recorded: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.hashes = b""
        self.bounds: dict[str, tuple[int, int]] = {}

    def add(self, piece: Scanned) -> None:
        """Add what was read."""
        if not piece.seq:
            return
        own = [self._numbers.setdefault(name, len(self._numbers)) for name in piece.chains]
        chain = np.array(own, np.int32)[np.frombuffer(piece.chain, np.int32)]
        table = np.full(len(chain), self.tables.index(piece.table), np.uint8)
        seq = np.frombuffer(piece.seq, np.int64)
        self._parts.append((chain, seq, table, np.frombuffer(piece.recorded, np.int64)))
        self._hashes.append(piece.hashes)

    def order(self) -> None:
        """Bring what was added into order."""
        if not self._parts:
            return
        chain, seq, table, recorded = (
            np.concatenate(parts) for parts in zip(*self._parts, strict=True)
        )
        order = np.lexsort((table, seq, chain))
        rows = np.frombuffer(b"".join(self._hashes), np.uint8).reshape(-1, HASHES)
        self._parts, self._hashes = [], []
        self.chain, self.seq, self.table = chain[order], seq[order], table[order]
        self.recorded, self.hashes = recorded[order], rows[order].tobytes()
        names = list(self._numbers)
        starts = np.flatnonzero(np.r_[True, np.diff(self.chain) != 0])
        for first, last in zip(starts, np.r_[starts[1:], len(self.chain)], strict=True):
            self.bounds[names[self.chain[first]]] = (int(first), int(last))

    def leaf(self, at: int) -> bytes:
        """What a head's tree holds of a record."""
        return self.hashes[at * HASHES : at * HASHES + 32]

    def chain_hash(self, at: int) -> bytes:
        """A record's chain hash."""
        return self.hashes[at * HASHES + 64 : (at + 1) * HASHES]

    def places(self, chain_id: str, first: int, last: int) -> tuple[int, int]:
        """Where a range of a chain's records lies, the end excluded."""
        begin, end = self.bounds.get(chain_id, (0, 0))
        seqs = self.seq[begin:end]
        return (
            begin + int(np.searchsorted(seqs, first)),
            begin + int(np.searchsorted(seqs, last, side="right")),
        )
