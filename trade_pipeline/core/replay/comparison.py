"""Compares the records that a session makes again with its stored ones, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.records import (
    ExecutionRecord,
    FeatureRow,
    OrderEvent,
    Record,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.replay.difference import (
    ABSENT,
    CAUSAL,
    Difference,
    FieldDifference,
    added_fields,
    first_difference,
)
from trade_pipeline.core.replay.stored import StoredRecord

LIMIT = 100
# What a trade may have several of.
_MANY = ("executions", "outcomes")


class Enough(Exception):
    """Nothing that is still to come would be compared."""


@dataclass(slots=True)
class _Computed:
    kind: type[Record]
    seq: int
    content: bytes
    columns: tuple[Any, ...]


@dataclass(slots=True)
class _Side:
    """What one side has of each trade, and its records that wait for the other's."""

    trades: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    many: Counter[tuple[str, UUID]] = field(default_factory=Counter)
    waiting: dict[tuple[Any, ...], Any] = field(default_factory=dict)


class Comparison:
    """Takes the place of a session's journal, and writes nothing.

    Records are compared in their place in the chain: canonical content, its hash, and every column
    beside it.  Where the places no longer agree, records of the same trade (instrument and moment)
    find each other, so that one record more or less makes no difference of all after it.

    Args:
        stored: the stored records in the order of the chain.
        newer_code: fields that the stored records do not have, and that say nothing, are no
            difference: they are named in ``added``.
        only: stop after this trade, and keep its differences and the first one before it.
        length: of the chain, where the session was stopped on its way: no more is compared.

    Attributes:
        compared: records that were computed and compared.
        trades: stored decisions that were reached; ``different`` the UUIDs of those that differ.
        differences: the first `LIMIT`, in order; ``found`` counts all of them.
    """

    def __init__(
        self,
        session_id: str,
        stored: Iterator[StoredRecord],
        *,
        newer_code: bool = False,
        only: UUID | None = None,
        only_until: int = 0,
        length: int | None = None,
    ) -> None:
        self._session_id = session_id
        self._stored = stored
        self._next = next(stored, None)
        self._newer_code = newer_code
        self._only, self._only_until = only, only_until
        self._length = length
        self._seq = 0
        self._there, self._here = _Side(), _Side()
        self._skipped = self._over = False
        self.compared = 0
        self.trades = 0
        self.found = 0
        self.different: set[str] = set()
        self.differences: list[Difference] = []
        self.added: set[str] = set()

    def append(self, record: Record) -> None:
        """Compare the chain's next record.

        Raises:
            Enough: what follows would not be compared.
        """
        seq, self._seq = self._seq, self._seq + 1
        if self._length is not None and seq >= self._length:
            raise Enough
        content = canonical_bytes(record)
        while (stored := self._next) is not None and stored.seq < seq:
            self._take(stored)
        columns = record.row()
        if stored is not None and stored.seq == seq:
            if (
                stored.kind is type(record)
                and stored.content.encode() == content
                and stored.columns == columns
                and stored.content_hash == sha256(content)
            ):
                self._next = next(self._stored, None)
                self._note(self._there, stored.kind, columns)
                self._note(self._here, stored.kind, columns)
                self.trades += stored.kind is TradeCandidate
                self.compared += 1
                self._look_for_the_end(record, seq)
                return
            self._take(stored)
        self._offer(_Computed(type(record), seq, content, columns))
        self._look_for_the_end(record, seq)

    def finish(self, *, whole: bool = True) -> None:
        """Say what was stored and not computed, and the other way round.

        Args:
            whole: the session was computed to its end.
        """
        if whole:
            while self._next is not None:
                self._take(self._next)
        self._pair_by_place()
        for stored in self._there.waiting.values():
            self._one_sided(stored, whole)
        for computed in self._here.waiting.values():
            self._one_sided(computed, whole)
        self.differences = _ordered(self.differences)

    def _take(self, stored: StoredRecord) -> None:
        """The next stored record waits for the one that is computed in its place."""
        self._next = next(self._stored, None)
        self.trades += stored.kind is TradeCandidate
        key = self._note(self._there, stored.kind, stored.columns)
        computed = self._here.waiting.pop(key, None)
        if computed is None:
            self._put(self._there, key, stored)
        else:
            self._pair(stored, computed)

    def _offer(self, computed: _Computed) -> None:
        key = self._note(self._here, computed.kind, computed.columns)
        stored = self._there.waiting.pop(key, None)
        if stored is None:
            self._put(self._here, key, computed)
        else:
            self._pair(stored, computed)

    @staticmethod
    def _put(side: _Side, key: tuple[Any, ...], record: Any) -> None:
        while key in side.waiting:
            # Two of what there should be one of.
            key = (*key, "again")
        side.waiting[key] = record

    @staticmethod
    def _note(side: _Side, kind: type[Record], columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a record is about, whatever it is called: the key by which the sides meet."""
        named = dict(zip(kind.COLUMNS, columns, strict=True))
        uuid = named.get("uuid")
        if uuid is None:
            return (kind.TABLE, named.get("slot"))
        if kind is TradeCandidate:
            side.trades[uuid] = (named["instrument"], named["decided_at"])
        number = 0
        if kind.TABLE in _MANY:
            number = side.many[kind.TABLE, uuid]
            side.many[kind.TABLE, uuid] += 1
        return (kind.TABLE, side.trades.get(uuid, uuid), number)

    def _pair(self, stored: StoredRecord, computed: _Computed) -> None:
        self.compared += 1
        found = self._difference(stored, computed)
        if found is not None:
            self._differs(stored, found.field, found.stored, found.computed)

    def _difference(self, stored: StoredRecord, computed: _Computed) -> FieldDifference | None:
        kind = stored.kind
        if kind is not computed.kind:
            return FieldDifference("", kind.TABLE, computed.kind.TABLE)
        added: frozenset[str] = frozenset()
        if stored.content.encode() != computed.content:
            try:
                there = stored.document
            except orjson.JSONDecodeError:
                return FieldDifference("content", stored.content, computed.content.decode())
            here = orjson.loads(computed.content)
            if self._newer_code:
                added = added_fields(kind, there, here)
                self.added |= {f"{kind.TABLE}.{name}" for name in added}
            found = first_difference(kind, there, here, ignored=added)
            if found is not None:
                return found
            if not added:
                return FieldDifference("content", stored.content, computed.content.decode())
        for name, there, here in zip(kind.COLUMNS, stored.columns, computed.columns, strict=True):
            if there != here:
                return FieldDifference(f"column {name}", _plain(there), _plain(here))
        if not added and not stored.hash_holds:
            right = sha256(computed.content).hex()
            return FieldDifference("column content_hash", stored.content_hash.hex(), right)
        return None

    def _pair_by_place(self) -> None:
        """Records whose trade or moment was changed still stand where they stood."""
        places = {(one.kind, one.seq): key for key, one in self._here.waiting.items()}
        for key, stored in list(self._there.waiting.items()):
            place = places.get((stored.kind, stored.seq))
            if place is not None and not self._newer_code:
                del self._there.waiting[key]
                self._pair(stored, self._here.waiting.pop(place))

    def _one_sided(self, one: StoredRecord | _Computed, whole: bool) -> None:
        stored = isinstance(one, StoredRecord)
        self.trades += not stored and one.kind is TradeCandidate
        if not whole and stored and self._only is None:
            return
        self._differs(one, "", ABSENT if not stored else "there", "there" if not stored else ABSENT)

    def _differs(
        self, one: StoredRecord | _Computed, name: str, stored: Any, computed: Any
    ) -> None:
        named = dict(zip(one.kind.COLUMNS, one.columns, strict=True))
        uuid = named.get("uuid")
        self.found += 1
        if uuid is not None:
            self.different.add(str(uuid))
        mine = self._only is None or uuid == self._only
        if len(self.differences) < LIMIT or (self._only is not None and mine):
            self.differences.append(
                Difference(
                    self._session_id, None if uuid is None else str(uuid), one.kind.TABLE,
                    _which(one.kind, named), name, stored, computed, one.seq,
                )
            )  # fmt: skip

    def _look_for_the_end(self, record: Record, seq: int) -> None:
        if self._only is None:
            return
        if getattr(record, "uuid", None) == self._only:
            if isinstance(record, TradeCandidate):
                self._skipped = record.decision == "skip"
            elif isinstance(record, FeatureRow):
                self._over = self._skipped
            elif isinstance(record, ExecutionRecord):
                refused = record.event is OrderEvent.REJECTED
                self._over = self._over or (refused and record.leg == "entry")
            else:
                self._over = self._over or isinstance(record, TradeOutcome)
        if self._over and seq >= self._only_until:
            raise Enough


def _which(kind: type[Record], named: dict[str, Any]) -> str:
    """Which record of its kind it is, in words."""
    if kind is ExecutionRecord:
        return f"{named['leg']} {named['event']}, order {named['order_id']}"
    if kind is TradeOutcome:
        return f"{named['kind']}, revision {named['revision']}"
    slot = named.get("slot")
    return "" if slot is None else f"slot {slot.isoformat()}"


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _ordered(differences: list[Difference]) -> list[Difference]:
    """By trade, in the order of the chain; within one, what others follow from comes first."""
    first: dict[str | None, int] = {}
    for one in differences:
        place = one.uuid or f"seq {one.seq}"
        first[place] = min(first.get(place, one.seq), one.seq)

    def order(one: Difference) -> tuple[int, int, int]:
        rank = CAUSAL.index(one.record) if one.record in CAUSAL else len(CAUSAL)
        return first[one.uuid or f"seq {one.seq}"], rank, one.seq

    return sorted(differences, key=order)


def explained(differences: list[Difference], why: str) -> list[Difference]:
    """Differences with what explains those that nothing else does."""
    return [one if one.why is not None else replace(one, why=why) for one in differences]
