"""A session computed again from what is stored of each decision, where its market is not at hand.

The snapshot and the feature vector take the market's place: hashes, the features of the strategy's
own records, scores, contributions, arms, gates, and what results from fills are computed.  What
needs the market is listed with the reason, and counts as not computed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import psycopg

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.execution.book import to_micros, to_usd
from trade_pipeline.core.features.own_records import (
    OwnRecords,
    hours_since_last_close,
    own_columns,
)
from trade_pipeline.core.ids import micros
from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    FeatureRow,
    OrderEvent,
    ResearchDocument,
    Session,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.replay.comparison import LIMIT
from trade_pipeline.core.replay.difference import Difference, FieldDifference
from trade_pipeline.core.replay.raw import raw_answers_note
from trade_pipeline.core.replay.report import SessionReplay
from trade_pipeline.core.replay.scoring import Decided, Models, chunks, decide_again
from trade_pipeline.core.replay.stored import StoredRecord, session_records
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import ArtifactStore

_BAD_ENDS = (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT)
_FEATURES = "features from the market: the stored vector was taken"
_FILLS = "prices of fills, and the extremes between them: they need the market"


@dataclass(slots=True)
class _Trade:
    """A trade as its records tell it, in whole millionths of a USD."""

    uuid: UUID
    arm: str
    instrument: str
    bought: bool = False
    opened_at: datetime | None = None
    last_fill: datetime | None = None
    value_in: int = 0
    value_out: int = 0
    entry_costs: int = 0
    exit_costs: int = 0


@dataclass(slots=True)
class _Account:
    """What the records before a decision tell of a session's account."""

    own: OwnRecords = field(default_factory=OwnRecords)
    open: dict[UUID, _Trade] = field(default_factory=dict)
    cooling_until: dict[tuple[str, str], datetime] = field(default_factory=dict)


def replay_records(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    session: Session,
    settings: TradingConfig | None,
    why: str,
    *,
    only: UUID | None = None,
) -> SessionReplay:
    """Compute a session's decisions again from their own records.

    Args:
        settings: None: only hashes are checked.
        why: nothing more can be computed.
    """
    started = time.perf_counter()
    walk = _Walk(session, settings, only)
    models = Models(connection, artifacts)
    tally = _Tally(session)
    for group in chunks(walk.decisions(session_records(connection, session))):
        if settings is not None:
            decide_again(group, settings, models)
        for one in group:
            tally.add(one, scored=settings is not None)
    tally.own(walk.loose)
    notes = [why]
    if raw := raw_answers_note(connection, artifacts, walk.raw_answers):
        notes.append(raw)
    return tally.result(settings is not None, walk.records, notes, time.perf_counter() - started)


class _Walk:
    """Goes through a chain and gives each decision with what stood before it."""

    def __init__(self, session: Session, settings: TradingConfig | None, only: UUID | None) -> None:
        self._settings = settings
        # A live account goes on from session to session; a backtest's is its own.
        self._whole_account = session.mode == "backtest"
        self._only = only
        self._account = _Account()
        self._trades: dict[UUID, Decided] = {}
        self.records = 0
        self.raw_answers: list[str] = []
        # What belongs to no decision that was given.
        self.loose: list[tuple[StoredRecord, FieldDifference]] = []

    def decisions(self, records: Iterable[StoredRecord]) -> Iterator[Decided]:
        """Each decision, when all of its records were read."""
        for record in records:
            self.records += 1
            uuid = record.column("uuid")
            decided = self._trades.get(uuid)
            if record.kind is TradeCandidate:
                decided = self._trades[uuid] = self._begun(record)
            for found in _integrity(record):
                if decided is None:
                    self.loose.append((record, found))
                else:
                    decided.found.append((record.kind.TABLE, found))
            if decided is None:
                continue
            if record.kind is ResearchDocument:
                decided.research = record
                if self._only in (None, uuid):
                    self.raw_answers += record.document["raw_answers"]
            elif record.kind is FeatureRow:
                decided.features = record
                if decided.candidate.column("decision") == "skip":
                    yield from self._given(uuid)
            elif record.kind is ExecutionRecord:
                self._executed(uuid, record, decided)
            elif record.kind is TradeOutcome and record.column("kind") == "realised":
                self._closed(uuid, record, decided)
                yield from self._given(uuid)
        for uuid in list(self._trades):
            yield from self._given(uuid)

    def _given(self, uuid: UUID) -> Iterator[Decided]:
        one = self._trades.pop(uuid)
        if self._only in (None, uuid):
            yield one

    def _begun(self, record: StoredRecord) -> Decided:
        one = Decided(record)
        if self._whole_account and self._settings is not None:
            account, at = self._account, record.column("decided_at")
            arm, token = record.column("arm"), record.column("instrument")
            mine = [trade for trade in account.open.values() if trade.arm == arm]
            most = self._settings.strategy.sizing.max_positions
            until = account.cooling_until.get((arm, token))
            one.position_open = any(trade.instrument == token for trade in mine)
            one.full = len(mine) >= most
            one.cooling = until is not None and at < until
            one.own = self._own(micros(at))
        return one

    def _own(self, at: int) -> dict[str, float]:
        newest = self._account.own.newest()
        counts = [np.array([n]) for n in (*newest.counts(), len(self._account.open))]
        columns = own_columns(newest, *counts)
        columns["hours_since_last_close"] = hours_since_last_close(
            newest, counts[2], np.array([at])
        )
        return {name: float(values[0]) for name, values in columns.items()}

    def _executed(self, uuid: UUID, record: StoredRecord, decided: Decided) -> None:
        if self._settings is None:
            return
        content = record.document
        event, entry = OrderEvent(content["event"]), content["leg"] == "entry"
        self._account.own.order_event(event, content["slippage"])
        trade = self._account.open.get(uuid)
        if trade is None:
            if not entry or event is not OrderEvent.SUBMITTED:
                return
            named = decided.candidate
            trade = _Trade(uuid, named.column("arm"), named.column("instrument"))
            self._account.open[uuid] = trade
        costs = sum(to_micros(cost) for cost in content["costs_usd"].values())
        trade.entry_costs += costs if entry else 0
        trade.exit_costs += 0 if entry else costs
        if event in FILLS:
            at = record.column("occurred_at")
            value = to_micros(content["value_usd"])
            trade.opened_at = trade.opened_at or at
            trade.last_fill = at
            trade.bought = True
            trade.value_in += value if entry else 0
            trade.value_out += 0 if entry else value
        elif entry and event is not OrderEvent.SUBMITTED and not trade.bought:
            del self._account.open[uuid]

    def _closed(self, uuid: UUID, record: StoredRecord, decided: Decided) -> None:
        if self._settings is None:
            return
        content = record.document
        closed_at = record.column("closed_at")
        reason = TerminationReason(content["termination_reason"])
        self._account.own.closed(content["realized_pnl_percent"], reason, closed_at)
        trade = self._account.open.pop(uuid, None)
        if trade is None or not trade.bought or trade.opened_at is None:
            decided.uncomputed.append("outcome: its fills are in another session")
            return
        if reason in _BAD_ENDS:
            hours = self._settings.strategy.protections.cooldown_hours
            until = closed_at + timedelta(hours=hours)
            self._account.cooling_until[trade.arm, trade.instrument] = until
        costs = trade.entry_costs + trade.exit_costs
        pnl = trade.value_out - trade.value_in - costs
        computed = {
            "realized_pnl_percent": 100.0 * pnl / (trade.value_in + trade.entry_costs),
            "pnl_usd": to_usd(pnl),
            "fees_usd": to_usd(costs),
        }
        if not content["written_off"]:
            computed["time_in_market_seconds"] = (
                max(0, micros(trade.last_fill or trade.opened_at) - micros(trade.opened_at))
                / 1_000_000
            )
        for name, value in computed.items():
            decided.differs("outcomes", name, content[name], value)


def _integrity(record: StoredRecord) -> Iterator[FieldDifference]:
    """What of a row does not follow from its own content."""
    if not record.hash_holds:
        yield FieldDifference("column content_hash", record.content_hash.hex(), "another hash")
        return
    content = record.document
    for name, value in zip(record.kind.COLUMNS, record.columns, strict=True):
        if name in content and not (value is None and content[name] is None):
            plain = value.hex() if isinstance(value, bytes) else _plain(value)
            if plain != content[name]:
                yield FieldDifference(f"column {name}", plain, content[name])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
    return orjson.loads(canonical_bytes([value]))[0]


class _Tally:
    """Counts what was found."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._same_code = session.code_version == code_version()
        self._trades: Counter[str] = Counter()
        self._uncomputed: Counter[str] = Counter()
        self._differences: list[Difference] = []
        self._found = 0

    def add(self, one: Decided, *, scored: bool) -> None:
        """Count a decision."""
        self._trades["trades"] += 1
        entered = one.candidate.column("decision") == "enter"
        if scored:
            self._uncomputed.update([_FEATURES, *one.uncomputed] + [_FILLS] * entered)
        for table, found in one.found:
            self._differs(one.candidate, table, found)
        if one.found:
            self._trades["different"] += 1
        else:
            self._trades["in_part" if scored else "not_computed"] += 1

    def own(self, loose: Iterable[tuple[StoredRecord, FieldDifference]]) -> None:
        """Count what belongs to no decision."""
        for record, found in loose:
            self._differs(record, record.kind.TABLE, found)

    def _differs(self, record: StoredRecord, table: str, found: FieldDifference) -> None:
        self._found += 1
        if len(self._differences) >= LIMIT:
            return
        uuid = record.column("uuid")
        why = None
        if not self._same_code:
            why = f"stored by code {self._session.code_version}, replayed by code {code_version()}"
        self._differences.append(
            Difference(
                self._session.session_id, None if uuid is None else str(uuid), table, "",
                found.field, found.stored, found.computed, record.seq, why,
            )
        )  # fmt: skip

    def result(self, scored: bool, records: int, notes: list[str], seconds: float) -> SessionReplay:
        """All of it."""
        return SessionReplay(
            self._session,
            "records" if scored else "hashes",
            records=records,
            found=self._found,
            differences=tuple(sorted(self._differences, key=lambda one: one.seq)),
            uncomputed=dict(self._uncomputed.most_common()),
            notes=tuple(notes),
            seconds=seconds,
            trades=self._trades["trades"],
            different=self._trades["different"],
            in_part=self._trades["in_part"],
            not_computed=self._trades["not_computed"],
        )
