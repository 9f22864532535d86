"""Made-up but valid trades: real records, chained, in sessions that overlap in time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import vector_hash
from trade_pipeline.core.ids import client_order_id, micros, trade_uuid
from trade_pipeline.core.ledger.bulk import copy_rows, move_head
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.records import (
    ExecutionRecord,
    FeatureRow,
    OrderEvent,
    Record,
    ResearchDocument,
    Session,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)

MARKET = "simulated"
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
# A session lasts this long, so that the sessions of a month are mixed in every index.
LASTS = timedelta(days=31)
_TOKENS = 400
# One in so many decisions enters; as many share a raw answer.
_ENTERED, _SHARED = 5, 100
_BATCH = 5_000
_REASONS = (
    TerminationReason.STOP_LOSS, TerminationReason.PROFIT_TARGET, TerminationReason.MAX_HOLD,
    TerminationReason.RUGPULL_EXIT,
)  # fmt: skip
_HEURISTICS = (
    "liquidity_locked", "holder_concentration", "honeypot", "deployer_history",
)  # fmt: skip
_MARKET = (
    "return_1h", "return_24h", "volatility_24h", "volume_1h_usd", "flow_1h_usd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """One session to load.

    Attributes:
        number: names it; ``month``: counted from `FIRST`.
        trades: decisions in it, evenly over its time.
        model: version that decides.
        canary, production: of a canary that was compared; None: there was none.
    """

    number: int
    month: int
    trades: int
    params: str
    model: str
    canary: str | None = None

    @property
    def session_id(self) -> str:
        return hashlib.sha256(f"benchmark {self.number}".encode()).hexdigest()[:32]

    @property
    def start(self) -> datetime:
        months = FIRST.month - 1 + self.month
        # No two sessions decide at the same moments.
        begin = datetime(FIRST.year + months // 12, months % 12 + 1, 1, tzinfo=UTC)
        return begin + timedelta(milliseconds=self.number)

    def decided_at(self, place: int) -> datetime:
        """When decision ``place`` was taken."""
        return self.start + place * (LASTS / self.trades)

    def token(self, place: int) -> str:
        return f"token-{place * 7919 % _TOKENS}"

    def uuid(self, place: int) -> UUID:
        """The UUID of decision ``place``."""
        at = micros(self.decided_at(place))
        return trade_uuid(self.session_id, self.token(place), place, at)


def raw_answer(spec: SessionSpec, place: int) -> str:
    """The address of the raw answer that a decision read."""
    return address_of(f"{spec.session_id} {place // _SHARED}".encode())


def records_of(spec: SessionSpec, first: int = 0, end: int | None = None) -> Iterator[Record]:
    """The records of a session's decisions, in their order."""
    draw = np.random.default_rng((spec.number, first))
    end = spec.trades if end is None else end
    vectors = draw.normal(size=(end - first, len(NAMES))).round(1)
    # What was unknown: some of every vector is.
    vectors[draw.random(vectors.shape) < 0.2] = np.nan
    numbers = draw.random((end - first, 12)).round(4).tolist()
    for place in range(first, end):
        yield from _trade(spec, place, vectors[place - first], numbers[place - first])


def session_of(spec: SessionSpec) -> Session:
    """The record that begins a session's chain."""
    return Session(
        spec.session_id, "backtest", MARKET, "benchmark", range_start=spec.start,
        range_end=spec.start + LASTS, seed=spec.number, params_ptr=spec.params,
    )  # fmt: skip


def _trade(spec: SessionSpec, place: int, vector: Any, number: list[float]) -> Iterator[Record]:
    uuid, at, token = spec.uuid(place), spec.decided_at(place), spec.token(place)
    enters = place % _ENTERED == 0
    digest = vector_hash(vector)
    canary = None
    if spec.canary is not None:
        canary = {
            "arm": "production",
            "propensity": 0.9,
            "model": spec.canary,
            "production_model": spec.model,
            "production": {"confidence": number[0], "stake": number[1]},
            "canary": {"confidence": number[2], "stake": number[3]},
        }
    yield TradeCandidate(
        uuid, spec.session_id, place, token, at, spec.model, number[0], spec.params,
        "trade_pipeline", "enter" if enters else "skip", "entered" if enters else "confidence",
        100.0 if enters else None, propensity=1.0 if canary is None else 0.9,
        canary_version=spec.canary, feature_hash=digest,
        contributions={name: number[n] for n, name in enumerate(NAMES[:4])}, canary=canary,
    )  # fmt: skip
    yield ResearchDocument(
        uuid, f"0x{place * 7919 % _TOKENS:040x}", 1e6 * (1 + number[4]),
        {name: number[n] for n, name in enumerate(_HEURISTICS)},
        {"twitter": number[5], "telegram": number[6], "reddit": number[7]},
        "momentum", price_usd=0.001 * (1 + number[8]),
        liquidity_usd=80_000.0, volume_24h_usd=250_000.0, holders=1_000 + place % 900,
        known_at=at, rug_risk=number[9], sentiment=number[10],
        market={name: number[n] for n, name in enumerate(_MARKET)},
        facts={"lp_locked": True, "owner_renounced": place % 2 == 0, "pool_age_hours": number[3]},
        raw_answers=[raw_answer(spec, place)],
    )  # fmt: skip
    yield FeatureRow(uuid, feature_set(), at, vector.tolist(), digest)
    reason = _REASONS[place % len(_REASONS)]
    gain = 60 * (number[11] - 0.5)
    ended = at + timedelta(hours=1 + 40 * number[2])
    held = (ended - at).total_seconds()
    if enters:
        for leg, moment in (("entry", at), ("exit", ended)):
            price = {f"{leg}_price": 0.001}
            order = client_order_id(uuid, leg)
            yield ExecutionRecord(
                uuid, order, size=1e5, leg=leg, event=OrderEvent.SUBMITTED, occurred_at=moment
            )
            yield ExecutionRecord(
                uuid, order, size=1e5, leg=leg, slippage=0.01, occurred_at=moment, value_usd=100.0,
                costs_usd={"gas": 1.5, "fee": 0.3}, inside_usd={"pool_fee": 0.3, "impact": 0.2},
                latency_metrics={"submit": 12.0, "fill": 800.0}, **price,
            )  # fmt: skip
        yield TradeOutcome(
            uuid, gain, held, reason, closed_at=ended, pnl_usd=gain, worst_percent=-12.5,
            best_percent=18.25, fees_usd=1.8, exit_impact=0.002,
        )  # fmt: skip
    yield TradeOutcome(
        uuid, gain, held, reason, "shadow", closed_at=ended, worst_percent=-12.5,
        best_percent=18.25, fees_usd=1.8, exit_impact=0.002,
    )  # fmt: skip


def load_session(url: str, spec: SessionSpec) -> int:
    """Load a session with all of its records; returns how many.

    As superuser without triggers, foreign keys among them: the rows keep what these ask for, and
    ten million trades are background here, no measurement.
    """
    chain, made = Chain(spec.session_id), 0
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        copy_rows(cursor, Session, [chain.link(session_of(spec))])
        with cursor.copy(
            "COPY trade.artifacts (address, uri, size_bytes, media_type, expires_at) FROM STDIN"
        ) as copy:
            for place in range(0, spec.trades, _SHARED):
                address = raw_answer(spec, place)
                expires = spec.decided_at(place) + timedelta(days=365)
                copy.write_row((address, f"file:///{address}", 2_000, "application/json", expires))
        for first in range(0, spec.trades, _BATCH):
            rows: dict[type[Record], list[tuple[Any, ...]]] = {}
            for record in records_of(spec, first, min(first + _BATCH, spec.trades)):
                rows.setdefault(type(record), []).append(chain.link(record))
            for kind, values in rows.items():
                copy_rows(cursor, kind, values)
                made += len(values)
        move_head(cursor, -1, spec.session_id, chain.seq - 1, chain.head)
    return made
