"""Compares what is decided again of a live account with what its sessions stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.records import (
    FeatureRow,
    Record,
    ResearchDocument,
    TradeCandidate,
)
from trade_pipeline.core.replay.account import LiveAccount, LiveTrade
from trade_pipeline.core.replay.comparison import LIMIT
from trade_pipeline.core.replay.difference import ABSENT, CAUSAL, Difference, first_difference
from trade_pipeline.core.replay.scoring import OWN
from trade_pipeline.core.replay.stored import StoredRecord, trade_records
from trade_pipeline.core.session.version import code_version

# What a trade has one of.
_ONCE = (TradeCandidate.TABLE, ResearchDocument.TABLE, FeatureRow.TABLE)
# What depends on the account, and so on fills that only an exchange knows.
_OF_ACCOUNT = frozenset({"decision", "reason", "stake_usd", "feature_hash"})
# Gates that come before those of the account.
_BEFORE_THE_ACCOUNT = {"rug_risk", "low_volatility", "low_confidence"}


@dataclass(slots=True)
class AccountReplay:
    """What became of an account's decisions.

    Attributes:
        compared: trades that were reached; ``records`` compared by session.
        differences: of each trade the one from which its others follow.
    """

    account: LiveAccount
    compared: set[UUID] = field(default_factory=set)
    records: Counter[str] = field(default_factory=Counter)
    differences: dict[UUID, Difference] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class LiveComparison:
    """Compares what is decided again with what the sessions stored, by UUID."""

    def __init__(
        self,
        connection: psycopg.Connection,
        found: AccountReplay,
        sessions: set[str],
        clock: MarketClock,
        end: int,
    ) -> None:
        self._connection, self._found = connection, found
        self._account = found.account
        self._sessions = sessions
        self._params = {one.session_id: str(one.params_ptr) for one in found.account.sessions}
        self._clock, self._end = clock, end
        self._seen: Counter[tuple[str, UUID]] = Counter()
        self._place = 0

    def append(self, record: Record) -> None:
        """Compare a record of a trade; those of the session in memory are its own affair."""
        uuid = getattr(record, "uuid", None)
        # At the end positions are closed that the account left open.
        if uuid is None or self._clock.micros() >= self._end:
            return
        self._place += 1
        trade = self._account.trades.get(uuid)
        if trade is None:
            if isinstance(record, TradeCandidate):
                self._not_stored(record)
            return
        if trade.session_id not in self._sessions:
            return
        table = record.TABLE
        number = self._seen[table, uuid]
        self._seen[table, uuid] += 1
        if isinstance(record, TradeCandidate):
            self._found.compared.add(uuid)
            record = replace(
                record,
                session_id=trade.session_id,
                decision_no=trade.decision_no,
                params_ptr=self._params[trade.session_id],
            )
        elif isinstance(record, ResearchDocument):
            record = replace(record, raw_answers=tuple(trade.raw_answers))
        hashes = trade.hashes.get(table, [])
        self._found.records[trade.session_id] += 1
        content = canonical_bytes(record)
        if number < len(hashes) and sha256(content) == hashes[number]:
            return
        self._differs(trade, record, content, number)

    def finish(self, trades: list[LiveTrade], unheard: set[UUID]) -> None:
        """Say what the sessions stored and nobody would have decided, or done, again."""
        for trade in trades:
            if trade.uuid not in self._found.compared:
                if trade.at < self._end:
                    self._found.compared.add(trade.uuid)
                    self._note(trade, TradeCandidate.TABLE, "", "", "there", ABSENT)
                continue
            for table in ("executions", "outcomes"):
                stored, computed = len(trade.hashes.get(table, [])), self._seen[table, trade.uuid]
                if stored > computed and not self._account.at_exchange:
                    self._note(trade, table, f"number {computed + 1}", "", "there", ABSENT)
            if not self._account.was_on_duty(trade):
                told = trade.production if trade.canary is None else f"{trade.canary} (canary)"
                self._note(
                    trade, TradeCandidate.TABLE, "", "model_version", told, "was not deployed then"
                )
            if trade.uuid in unheard:
                self._note(
                    trade, TradeCandidate.TABLE, "", "reason", trade.reason, "no halt was in force"
                )

    def _differs(self, trade: LiveTrade, record: Record, content: bytes, number: int) -> None:
        if len(self._found.differences) > LIMIT and trade.uuid in self._found.differences:
            return
        stored = _nth(trade_records(self._connection, trade.uuid), record.TABLE, number)
        if stored is None:
            if not self._account.at_exchange:
                self._note(trade, record.TABLE, f"number {number + 1}", "", ABSENT, "there")
            return
        there, here = stored.document, orjson.loads(content)
        ignored = self._left_to_the_exchange(record, there, here)
        found = first_difference(type(record), there, here, ignored=ignored)
        if found is not None:
            key = "" if record.TABLE in _ONCE else f"number {number + 1}"
            self._note(trade, record.TABLE, key, found.field, found.stored, found.computed)
        elif not self._account.at_exchange:
            self._note(trade, record.TABLE, "", "content", stored.content, content.decode())

    def _not_stored(self, candidate: TradeCandidate) -> None:
        session = self._session_at(candidate)
        if session in self._sessions:
            self._found.differences[candidate.uuid] = Difference(
                session, str(candidate.uuid), TradeCandidate.TABLE, candidate.instrument, "",
                ABSENT, "there", self._place, self._why(),
            )  # fmt: skip

    def _session_at(self, candidate: TradeCandidate) -> str:
        """The session that traded the account at a moment."""
        begun = [
            one.session_id
            for one in self._account.sessions
            if one.range_start is not None and one.range_start <= candidate.decided_at
        ]
        return begun[-1] if begun else self._account.sessions[0].session_id

    def _note(
        self, trade: LiveTrade, table: str, key: str, name: str, stored: Any, computed: Any
    ) -> None:
        before = self._found.differences.get(trade.uuid)
        if before is None or CAUSAL.index(table) < CAUSAL.index(before.record):
            self._found.differences[trade.uuid] = Difference(
                trade.session_id, str(trade.uuid), table, key, name, stored, computed,
                self._place, self._why(trade),
            )  # fmt: skip

    def _left_to_the_exchange(
        self, record: Record, there: dict[str, Any], here: dict[str, Any]
    ) -> frozenset[str]:
        """Fields that follow from fills which only an exchange knows; vectors lose theirs."""
        if not self._account.at_exchange:
            return frozenset()
        if isinstance(record, FeatureRow):
            for document in (there, here):
                document["vector"] = [
                    None if number in OWN else value
                    for number, value in enumerate(document["vector"])
                ]
            return frozenset({"vector_hash"})
        if isinstance(record, TradeCandidate):
            told = {there["reason"], here["reason"]}
            if told & _BEFORE_THE_ACCOUNT and there["reason"] != "position_open":
                return frozenset({"feature_hash"})
            return _OF_ACCOUNT
        # The rationale tells the decision.
        return frozenset({"trade_rationale"})

    def _why(self, trade: LiveTrade | None = None) -> str | None:
        """What may explain a difference."""
        account, reasons = self._account, []
        if account.flattened:
            reasons.append("the account was flattened")
        if account.findings:
            reasons.append(
                "the venue and the records did not agree: " + ", ".join(account.findings)
            )
        if trade is not None and account.config_of(trade) is None:
            reasons.append("the account's limits are not stored")
        code = {one.code_version for one in account.sessions} - {code_version()}
        if code:
            stored = ", ".join(sorted(code))
            reasons.append(f"stored by code {stored}, replayed by code {code_version()}")
        return "; ".join(reasons) or None


def _nth(records: list[StoredRecord], table: str, number: int) -> StoredRecord | None:
    mine = [one for one in records if table == one.kind.TABLE]
    return mine[number] if number < len(mine) else None
