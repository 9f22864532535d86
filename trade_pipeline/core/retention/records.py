"""The record of an artifact's end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.records import PlainRow
from trade_pipeline.core.validation import require_count, require_moment, require_text


@dataclass(frozen=True, slots=True)
class Tombstone(PlainRow):
    """That an artifact's bytes were removed, and why; its address goes on to prove what it was.

    Attributes:
        removal: counts those of one address: the same bytes may be stored again.
        kind: ``expired`` (its time was over) or ``erased`` (somebody wanted it gone).
    """

    TABLE: ClassVar[str] = "artifact_tombstones"
    KEY: ClassVar[tuple[str, ...]] = ("address", "removal")
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "address", "removal", "removed_at", "size_bytes", "kind", "reason", "by_whom",
    )  # fmt: skip

    address: str
    removal: int
    removed_at: datetime
    size_bytes: int
    kind: str
    reason: str
    by_whom: str

    def __post_init__(self) -> None:
        for name in ("address", "reason", "by_whom"):
            require_text(name, getattr(self, name))
        require_count("removal", self.removal)
        require_count("size_bytes", self.size_bytes, (1 << 63) - 1)
        require_moment("removed_at", self.removed_at)
        if self.kind not in ("expired", "erased"):
            raise InvalidRecord("kind", self.kind, "expired or erased")
