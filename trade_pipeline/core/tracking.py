"""Trade tracking from Python: candidates, research, executions and outcomes under one UUID."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import canonical_bytes, is_address, sha256
from trade_pipeline.core.clock import Clock, SystemClock, now
from trade_pipeline.core.errors import (
    InvalidRecord,
    OutcomeBeforeExecution,
    RecordConflict,
    UnknownTrade,
)
from trade_pipeline.core.ids import uuid7, uuid7_micros
from trade_pipeline.core.ledger.anchor import anchor_now
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.records import (
    ExecutionRecord,
    Experiment,
    FeatureRow,
    Record,
    ResearchDocument,
    Session,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.report.performance import performance_metrics
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import record_artifact, resolve_alias
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.store import Store

# Records of one trade spread over this long at the most before new partitions are asked for.
_AHEAD = timedelta(days=62)

_T = TypeVar("_T")


class TradeTrackingSystem(Closing):
    """Stores and reads trades.  Every call that stores is one durable statement.

    Storing the same record twice is no error and no second row.

    Args:
        db_path: a folder with a store of its own; None: the store that the settings name.
        store: an open store to use instead; it stays open.
        clock: dates the candidates.

    Raises:
        StoreUnavailable: the database cannot be started or reached.
    """

    def __init__(
        self,
        db_path: str | Path | None = None,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._owned = store is None
        self.store = Store.of(db_path) if store is None else store
        self._lock = threading.RLock()
        self._connection = self._connect()
        started = self._clock.micros()
        self.session_id = uuid7(started, os.urandom(10)).hex
        self._chain = Chain(self.session_id)
        self._decisions = 0

    def create_candidate(
        self,
        instrument: str,
        model_version: str,
        confidence: float,
        params_ptr: str,
        created_by: str,
        *,
        decision: str = "enter",
        reason: str = "requested",
        stake_usd: float | None = None,
        research: Callable[[UUID], ResearchDocument] | None = None,
        features: Callable[[UUID], FeatureRow] | None = None,
    ) -> TradeCandidate:
        """Store a decision and give it its UUID.

        Args:
            research: makes the document behind the decision, to be stored in the same statement.
            features: makes the feature vector behind it, likewise.
            params_ptr: a content address, or a readable alias of one.  An alias that is new becomes
                the name of a document that says no more than the alias; `store_params` first gives
                it the real settings.

        Raises:
            InvalidRecord: a field holds a value that the records do not accept.
        """
        with self._lock:
            moment = self._clock.micros()
            candidate = TradeCandidate(
                uuid=uuid7(moment, os.urandom(10)),
                session_id=self.session_id,
                decision_no=self._decisions,
                instrument=instrument,
                decided_at=now(self._clock),
                model_version=model_version,
                confidence=confidence,
                params_ptr=params_ptr,
                created_by=created_by,
                decision=decision,
                reason=reason,
                stake_usd=stake_usd,
            )
            with_it = [make(candidate.uuid) for make in (research, features) if make is not None]
            for document in with_it:
                if document.uuid != candidate.uuid:
                    raise InvalidRecord("uuid", document.uuid, f"the trade's {candidate.uuid}")
                if isinstance(document, FeatureRow):
                    candidate = replace(candidate, feature_hash=document.vector_hash)
            address = self._address(params_ptr)
            if address != params_ptr:
                candidate = replace(candidate, params_ptr=address)
            self._append(candidate, *with_it)
            self._decisions += 1
            return candidate

    def store_research_document(self, research: ResearchDocument) -> None:
        """Store the snapshot behind a decision.

        Raises:
            UnknownTrade: no candidate has this UUID.
            RecordConflict: other research is stored for it.
        """
        self._append(research)

    def store_execution_record(self, execution: ExecutionRecord) -> None:
        """Store an event of an order.

        Raises:
            UnknownTrade: no candidate has this UUID.
            RecordConflict: the same event is stored with other content.
        """
        self._append(execution)

    def store_outcome(self, outcome: TradeOutcome) -> None:
        """Store what came of a trade.

        Raises:
            UnknownTrade: no candidate has this UUID.
            OutcomeBeforeExecution: a realised outcome without a fill, or closed before it.
            RecordConflict: this revision is stored with other content.
        """
        with self._lock:
            if outcome.kind == "realised":
                self._retried(lambda: self._require_fill(outcome))
            self._append(outcome)

    def store_params(self, params: dict[str, Any], alias: str | None = None) -> str:
        """Store settings; returns their content address, which ``params_ptr`` may name.

        Raises:
            RecordConflict: the alias names other settings already.
        """
        return self.store_artifact(canonical_bytes(params), "application/json", alias=alias)

    def store_artifact(
        self,
        data: bytes,
        media_type: str,
        *,
        expires_at: datetime | None = None,
        alias: str | None = None,
    ) -> str:
        """Store bytes and return their address; raw answers should name when they expire."""

        def store() -> str:
            with self._connection.transaction():
                return record_artifact(
                    self._connection,
                    self.store.artifacts,
                    data,
                    media_type=media_type,
                    expires_at=expires_at,
                    alias=alias,
                )

        return self._retried(store)

    def create_experiment(self, name: str, description: str = "") -> None:
        """Make an experiment and put this tracker's session into it."""
        Experiment(name, description)  # refused before anything is stored

        def create() -> None:
            if self._chain.seq == 0:
                append_now(self._connection, self._chain, self._session())
            link_experiment(self._connection, name, self.session_id, description)

        self._retried(create)

    def get_complete_trade_record(self, uuid: UUID | str) -> dict[str, Any]:
        """Everything stored under a trade's UUID: candidate, research, executions, outcomes.

        Raises:
            InvalidRecord: the text is no UUID.
            UnknownTrade: no candidate has this UUID.
        """
        key = uuid_of(uuid)
        return self._retried(lambda: complete_trade_record(self._connection, key))

    def get_performance_metrics(
        self, session_id: str | None = None, *, include_imported: bool = False
    ) -> dict[str, Any]:
        """Figures over all realised outcomes, or one session's; see `performance_metrics`."""
        return self._retried(
            lambda: performance_metrics(
                self._connection, session_id, include_imported=include_imported
            )
        )

    def close(self) -> None:
        """Cover the records with a head, and give the connection and the store back."""
        self._connection.close()
        if self._chain.seq:
            anchor_now(self._connect, self.store.artifacts.heads)
        if self._owned:
            self.store.close()

    def _connect(self) -> psycopg.Connection:
        return self.store.database.connect("trade_writer", autocommit=True)

    def _session(self) -> Session:
        return Session(self.session_id, "manual", "manual", code_version())

    def _address(self, params_ptr: str) -> str:
        if is_address(params_ptr):
            return params_ptr
        known = self._retried(lambda: resolve_alias(self._connection, params_ptr))
        return known or self.store_params({"alias": params_ptr}, alias=params_ptr)

    def _append(self, record: Record, *more: Record) -> None:
        # A statement that failed may have been committed: what is stored already is compared.
        self._retried(lambda: self._append_once(record, *more))

    def _retried(self, action: Callable[[], _T]) -> _T:
        """Do something alone, and once more when the connection was lost with the server."""
        with self._lock:
            try:
                return action()
            except psycopg.OperationalError:
                self._reconnect()
                return action()

    def _append_once(self, record: Record, *more: Record) -> None:
        first = () if self._chain.seq else (self._session(),)
        try:
            append_now(self._connection, self._chain, *first, record, *more)
        except psycopg.errors.UniqueViolation:
            if not self._compare(record):
                raise
        except psycopg.errors.ForeignKeyViolation as error:
            raise UnknownTrade(getattr(record, "uuid", None)) from error
        except psycopg.errors.CheckViolation as error:
            if error.diag.constraint_name is not None:
                raise
            # No partition yet for the month of this UUID.
            self._make_partitions(record)
            append_now(self._connection, self._chain, *first, record, *more)

    def _compare(self, record: Record) -> bool:
        """Whether a record's key is stored; another content under it is a conflict."""
        condition = sql.SQL(" AND ").join(
            sql.SQL("{} = %s").format(sql.Identifier(name)) for name in record.KEY
        )
        key = tuple(record.row()[record.COLUMNS.index(name)] for name in record.KEY)
        stored = self._connection.execute(
            sql.SQL("SELECT content, content_hash FROM trade.{} WHERE {}").format(
                sql.Identifier(record.TABLE), condition
            ),
            key,
        ).fetchone()
        content = canonical_bytes(record)
        if stored is None:
            return False
        if stored[1] == sha256(content):
            return True
        before, after = orjson.loads(stored[0]), orjson.loads(content)
        differing = [name for name in after if before.get(name) != after[name]]
        if differing:
            raise RecordConflict(record.TABLE, "/".join(map(str, key)), ", ".join(differing))
        return True  # 1 and 1.0 are the same number

    def _require_fill(self, outcome: TradeOutcome) -> None:
        row = self._connection.execute(
            "SELECT count(e.uuid), min(e.occurred_at) FROM trade.candidates c "
            "LEFT JOIN trade.executions e ON e.uuid = c.uuid "
            "AND e.event IN ('filled', 'partly_filled') WHERE c.uuid = %s GROUP BY c.uuid",
            (outcome.uuid,),
        ).fetchone()
        if row is None:
            raise UnknownTrade(outcome.uuid)
        fills, first_fill = row
        if not fills:
            raise OutcomeBeforeExecution(outcome.uuid, "no fill is stored for this trade yet")
        if outcome.closed_at is not None and first_fill and outcome.closed_at < first_fill:
            raise OutcomeBeforeExecution(
                outcome.uuid,
                f"closed_at={outcome.closed_at.isoformat()} is before its first fill at "
                f"{first_fill.astimezone(UTC).isoformat()}",
            )

    def _make_partitions(self, record: Record) -> None:
        uuid = getattr(record, "uuid", None)
        if not isinstance(uuid, UUID) or uuid.version != 7 or not self._may_follow(record, uuid):
            raise UnknownTrade(uuid)
        moment = datetime.fromtimestamp(uuid7_micros(uuid) / 1e6, UTC)
        self._connection.execute(
            "SELECT trade.ensure_partitions(%s, %s)", (moment, moment + _AHEAD)
        )

    def _may_follow(self, record: Record, uuid: UUID) -> bool:
        """Whether a record begins a trade or belongs to a stored one."""
        known = "SELECT 1 FROM trade.candidates WHERE uuid = %s"
        return isinstance(record, TradeCandidate) or bool(
            self._connection.execute(known, (uuid,)).fetchone()
        )

    def _reconnect(self) -> None:
        self._connection.close()
        self.store.database.ensure_running()
        self._connection = self._connect()
        self._chain = read_chain(self._connection, self.session_id)


def uuid_of(given: UUID | str) -> UUID:
    """A UUID from itself or from its text.

    Raises:
        InvalidRecord: the text is no UUID.
    """
    try:
        return given if isinstance(given, UUID) else UUID(given)
    except ValueError:
        raise InvalidRecord("uuid", given, "a UUID") from None


def complete_trade_record(connection: psycopg.Connection, uuid: UUID) -> dict[str, Any]:
    """See `TradeTrackingSystem.get_complete_trade_record`."""

    def contents(query: LiteralString) -> list[dict[str, Any]]:
        rows = connection.execute(query, (uuid,)).fetchall()
        return [orjson.loads(content) for (content,) in rows]

    candidates = contents("SELECT content FROM trade.candidates WHERE uuid = %s")
    if not candidates:
        raise UnknownTrade(uuid)
    research = contents("SELECT content FROM trade.research_docs WHERE uuid = %s")
    return {
        "uuid": str(uuid),
        "candidate": candidates[0],
        "research": research[0] if research else None,
        "executions": contents(
            "SELECT content FROM trade.executions WHERE uuid = %s ORDER BY chain_seq"
        ),
        "outcomes": contents(
            "SELECT content FROM trade.outcomes WHERE uuid = %s ORDER BY kind, revision"
        ),
    }
