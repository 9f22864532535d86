"""Shadow outcomes: what the strategy's own exits would have made of every candidate of a session.

They are the labels of the learning: of entered and of skipped candidates alike, at one reference
stake, on executable prices and after all costs.  A label exists from when the trade has ended; the
market goes on after a session's end, so a session's end closes none.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel, ConfigDict, Field

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.ledger.bulk import append_bulk, lock_chain
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.outcome.events import read_events
from trade_pipeline.core.outcome.replay import ShadowMarket, longest_life
from trade_pipeline.core.records import Session, TradeOutcome
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.stored import read_session, require_market, settings_of
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database, loss_reported

# Whoever watches hears of the labels after this many at the latest.
PROGRESS_ROWS = 512

Progress = Callable[[int, int], None]


class LabelConfig(BaseModel):
    """What labels are made with, besides the session's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stake_usd: float | None = Field(
        None, gt=0, description="stake of every shadow, USD; unset: the session's largest at first"
    )


@dataclass(frozen=True, slots=True)
class LabelRun:
    """What a labelling did.

    Attributes:
        labelled: candidates whose shadow has ended; ``new`` of them had no label before, and the
            label of ``corrected`` was another one.
        unended: candidates whose shadow had not ended when the market's data did, for a run on a
            longer recording, or never found a buyer on its exchange.
        refused: labelled candidates whose entry the venue refused, by reason.
        seconds: wall time.
        unrecorded: candidates of a live session whose moment is not in what was recorded.
    """

    session_id: str
    candidates: int
    labelled: int
    new: int
    corrected: int
    unended: int
    refused: Mapping[str, int]
    seconds: float
    unrecorded: int = 0


def label_session(
    database: Database,
    artifacts: ArtifactStore,
    feed: MarketFeed,
    session_id: str,
    *,
    config: LabelConfig | None = None,
    between: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> LabelRun:
    """Make the shadow outcomes of a session's candidates that can be known by now.

    Running it again changes nothing; a label that comes out different is stored as the next
    revision.  A label depends on no other candidate, so that days can be labelled apart.

    Args:
        feed: the market that the session ran on; of a live session a recording of its account.
            No trade is followed into a hole of a recording.
        between: only candidates from the first moment on and before the second, microseconds.
        progress: called with (candidates so far, all candidates) now and then.

    Raises:
        BadConfig: no such session, or it ran on another market.
        BadMarketData: the market is wrong.
        StoreUnavailable: the database cannot be reached.
    """
    started = time.perf_counter()
    with loss_reported(), database.connect(autocommit=True) as connection:
        session = read_session(connection, session_id)
        require_market(session, feed, _account(connection, session))
        trading = settings_of(artifacts, session)
        candidates = _candidates(connection, feed, session_id, between)
        outcomes, refused = [], Counter[str]()
        number, unrecorded = 0, 0
        if session.mode != "backtest" and isinstance(feed, RecordedMarket):
            candidates, unrecorded = _recorded(feed, candidates)
        for data_end, part in _parts(feed, candidates):
            market = _market(feed, trading, config or LabelConfig(), part, data_end)
            for uuid, token, at in part:
                number += 1
                shadow = market.shadow(uuid, token, at)
                if shadow.outcome is not None:
                    outcomes.append(shadow.outcome)
                if shadow.refused is not None:
                    refused[shadow.refused] += 1
                if progress is not None and (
                    number % PROGRESS_ROWS == 0 or number == len(candidates)
                ):
                    progress(number, len(candidates))
        new, corrected = _store(connection, session_id, outcomes)
    return LabelRun(
        session_id=session_id,
        candidates=number + unrecorded,
        labelled=len(outcomes),
        new=new,
        corrected=corrected,
        unended=number - len(outcomes),
        refused=dict(refused),
        seconds=time.perf_counter() - started,
        unrecorded=unrecorded,
    )


def summed(session_id: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a session's days together.

    Args:
        runs: `LabelRun`s as mappings.
    """
    numbers = ("candidates", "labelled", "new", "corrected", "unended", "seconds", "unrecorded")
    refused = sum((Counter(one["refused"]) for one in runs), Counter[str]())
    return {
        "session_id": session_id,
        **{name: sum(one[name] for one in runs) for name in numbers},
        "refused": dict(refused),
    }


def unlabelled_sessions(connection: psycopg.Connection) -> list[str]:
    """Backtests that ran to their end and have a candidate without shadow outcome, oldest first."""
    rows = connection.execute(
        """
        SELECT session_id FROM trade.sessions s JOIN trade.session_ends USING (session_id)
        WHERE s.mode = 'backtest' AND EXISTS (
            SELECT FROM trade.candidates c
            WHERE c.chain_id = s.session_id AND NOT EXISTS (
                SELECT FROM trade.outcomes o WHERE o.uuid = c.uuid AND o.kind = 'shadow'))
        ORDER BY s.recorded_at, session_id
        """
    )
    return [str(session) for (session,) in rows]


def _account(connection: psycopg.Connection, session: Session) -> str | None:
    """Whose live session it is; None: of nobody."""
    row = connection.execute(
        "SELECT account FROM trade.live_decisions WHERE chain_id = %s LIMIT 1",
        (session.session_id,),
    ).fetchone()
    return None if row is None else str(row[0])


def _candidates(
    connection: psycopg.Connection,
    feed: MarketFeed,
    session_id: str,
    between: tuple[int, int] | None,
) -> list[tuple[UUID, int, int]]:
    """UUID, token and moment of each decision (of a range of moments), in their order."""
    tokens = {instrument.name: token for token, instrument in enumerate(feed.instruments)}
    # An instrument of which nothing was recorded has no token.
    start, end = (None, None) if between is None else map(moment_of, between)
    rows = connection.execute(
        "SELECT uuid, instrument, decided_at FROM trade.candidates WHERE chain_id = %s "
        "AND uuid >= coalesce(trade.uuid7_floor(%s::timestamptz), %s) "
        "AND uuid < coalesce(trade.uuid7_floor(%s::timestamptz), %s) ORDER BY chain_seq",
        (session_id, start, UUID(int=0), end, UUID(int=(1 << 128) - 1)),
    )
    return [(uuid, tokens.get(instrument, -1), micros(at)) for uuid, instrument, at in rows]


def _recorded(
    feed: RecordedMarket, candidates: Sequence[tuple[UUID, int, int]]
) -> tuple[list[tuple[UUID, int, int]], int]:
    """Live decisions in a recording's range whose moment is in it, and how many are not."""
    since = (feed.manifest.decided or feed.manifest.covered[0])[0]
    asked = [one for one in candidates if one[2] >= since]
    last = max((at for _, _, at in asked), default=since)
    known = {
        moment
        for batch in feed.batches(since, last + 1)
        for moment in zip(batch.token.tolist(), batch.known_at.tolist(), strict=True)
    }
    kept = [one for one in asked if one[1:] in known]
    return kept, len(asked) - len(kept)


def _parts(
    feed: MarketFeed, candidates: Sequence[tuple[UUID, int, int]]
) -> Iterator[tuple[int, list[tuple[UUID, int, int]]]]:
    """The candidates by how long the market is known from them on, without a hole."""
    if not isinstance(feed, RecordedMarket):
        yield feed.span()[1], list(candidates)
        return
    # What was recorded before it, between and after it is in no range.
    begins = [start for start, _ in feed.manifest.covered]
    parts: dict[int, list[tuple[UUID, int, int]]] = {}
    for one in candidates:
        parts.setdefault(bisect_right(begins, one[2]) - 1, []).append(one)
    for row, part in sorted(parts.items()):
        yield (feed.manifest.covered[row][1] - 1 if row >= 0 else begins[0]), part


def _market(
    feed: MarketFeed,
    trading: TradingConfig,
    config: LabelConfig,
    candidates: list[tuple[UUID, int, int]],
    data_end: int,
) -> ShadowMarket:
    strategy = trading.strategy
    life = longest_life(strategy.exits)
    windows: dict[int, tuple[int, int]] = {}
    for _, token, at in candidates:
        first, _ = windows.get(token, (at, at))
        windows[token] = (first, at + life)
    events, quotes = read_events(feed, windows)
    return ShadowMarket(
        strategy,
        trading.venue(feed.kind),
        feed,
        events,
        quotes,
        data_end=data_end,
        stake_usd=config.stake_usd or strategy.small_fund_usd * strategy.sizing.max_fraction,
    )


def _store(
    connection: psycopg.Connection, session_id: str, outcomes: list[TradeOutcome]
) -> tuple[int, int]:
    """Append what is not stored as it is; returns how many are new and how many corrected."""
    if not outcomes:
        return 0, 0
    asked = [outcome.uuid for outcome in outcomes]
    chain_id = f"shadow:{session_id}"
    with connection.transaction():
        # What is stored must not change until what is missing has been added.
        lock_chain(connection, chain_id)
        stored = {
            uuid: (revision, content)
            for uuid, revision, content in connection.execute(
                "SELECT DISTINCT ON (o.uuid) o.uuid, o.revision, o.content "
                "FROM trade.outcomes o JOIN trade.candidates c USING (uuid) "
                "WHERE c.chain_id = %s AND o.kind = 'shadow' AND o.uuid BETWEEN %s AND %s "
                "ORDER BY o.uuid, o.revision DESC",
                (session_id, min(asked), max(asked)),
            )
        }
        new, corrected = [], []
        for outcome in outcomes:
            revision, content = stored.get(outcome.uuid, (-1, ""))
            if revision < 0:
                new.append(outcome)
            elif canonical_bytes(replace(outcome, revision=revision)) != content.encode():
                corrected.append(replace(outcome, revision=revision + 1))
        append_bulk(connection, chain_id, [*new, *corrected])
    return len(new), len(corrected)
