"""A backtest: one session over a recorded or simulated market, into the store."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig, NaiveDatetime
from trade_pipeline.core.ids import micros, session_id
from trade_pipeline.core.ledger.anchor import anchor_now
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.records import Session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.counts import SessionCounts
from trade_pipeline.core.session.engine import Progress, TradingSession
from trade_pipeline.core.session.stored import read_session, settings_of
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore, record_settings
from trade_pipeline.core.store.database import Database, loss_reported

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk
    from trade_pipeline.core.strategy.model import TradeModel

# The feature that a rug model makes.
RUG_PROBABILITY = "rug_probability"


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """What a backtest did; what came of its trades is in the store.

    Attributes:
        new_rows: records added; 0 when the session was stored already.
        seconds: wall time from the first event read to the last record durable.
        database_seconds: the part of it spent in the database.
        peak_memory_mb: largest resident memory of this process so far.
    """

    session: Session
    counts: SessionCounts
    new_rows: int
    seconds: float
    database_seconds: float
    peak_memory_mb: float

    @property
    def events_per_second(self) -> float:
        return self.counts.events / self.seconds


def backtest_session(
    feed: MarketFeed, start: datetime, end: datetime, seed: int, config: TradingConfig, params: str
) -> Session:
    """The session that these inputs determine.

    Raises:
        BadConfig: the end is not after the start.
        NaiveDatetime: a time without zone.
    """
    for name, moment in (("start", start), ("end", end)):
        if moment.utcoffset() is None:
            raise NaiveDatetime(name, moment, "a datetime with a time zone")
    if end <= start:
        raise BadConfig(f"end={end.isoformat()}: must be after start={start.isoformat()}")
    address = feed.content_address()
    return Session(
        session_id=session_id(
            mode="backtest",
            market=feed.kind,
            market_address=address,
            start=micros(start),
            end=micros(end),
            seed=seed,
            params=params,
            code=code_version(),
        ),
        mode="backtest",
        market=feed.kind,
        market_address=address,
        range_start=start.astimezone(UTC),
        range_end=end.astimezone(UTC),
        seed=seed,
        params_ptr=params,
        code_version=code_version(),
    )


def run_backtest(
    database: Database,
    artifacts: ArtifactStore,
    feed: MarketFeed,
    *,
    start: datetime,
    end: datetime,
    seed: int,
    config: TradingConfig,
    experiment: str | None = None,
    dagster_run_id: str | None = None,
    progress: Progress | None = None,
) -> BacktestRun:
    """Run a session, or replay a stored one; either way its records are complete afterwards.

    Raises:
        BadConfig, BadMarketData, NaiveDatetime: see there.
        ReplayMismatch: the stored session differs from this replay.
        StoreUnavailable: the database cannot be reached.
    """
    rug_risk = rug_risk_of(artifacts, config)
    with loss_reported(), database.connect() as connection:
        model = model_of(connection, artifacts, config, feed.kind)
        canary = canary_of(connection, artifacts, config, feed.kind)
        params = record_settings(connection, artifacts, config.canonical())
        connection.commit()
        session = backtest_session(feed, start, end, seed, config, params)
        started = time.perf_counter()
        # A position may outlive the range's last decision; its records keep the decision's UUID.
        with Journal(connection, session.session_id, first=start, last=end) as journal:
            counts = TradingSession(
                session,
                config,
                feed=feed,
                venue=config.venue(feed.kind),
                clock=MarketClock(micros(start)),
                journal=journal,
                rug_risk=rug_risk,
                model=model,
                canary=canary,
                progress=progress,
            ).run()
        seconds = time.perf_counter() - started
        if experiment is not None:
            link_experiment(connection, experiment, session.session_id)
        if dagster_run_id is not None:
            connection.execute(
                "INSERT INTO trade.session_runs (session_id, dagster_run_id) VALUES (%s, %s) "
                "ON CONFLICT DO NOTHING",
                (session.session_id, dagster_run_id),
            )
    anchor_now(lambda: database.connect(autocommit=True), artifacts.heads)
    return BacktestRun(
        session=session,
        counts=counts,
        new_rows=journal.new_rows,
        seconds=seconds,
        database_seconds=journal.database_seconds,
        peak_memory_mb=peak_memory_mb(),
    )


def rug_risk_of(artifacts: ArtifactStore, config: TradingConfig) -> RugRisk | None:
    """The model of the rug probability that settings name.

    Raises:
        BadConfig: nothing is stored under the address, or no such model.
    """
    if config.rug_risk_model is None:
        return None
    from trade_pipeline.core.features.rug_risk import RugRisk

    try:
        return RugRisk.from_bytes(artifacts.get(config.rug_risk_model))
    except FileNotFoundError:
        raise BadConfig(
            f"rug_risk_model={config.rug_risk_model!r}: no such artifact; learn one first "
            "(asset rug_risk_model)"
        ) from None


def model_of(
    connection: psycopg.Connection, artifacts: ArtifactStore, config: TradingConfig, market: str
) -> TradeModel | None:
    """The model that settings name to decide on a kind of market.

    Raises:
        BadConfig: no such model is registered or its file is missing, it was learned on another
            kind of market, or it reads rug probabilities and learned from those of another rug
            model.
        ArtifactDamaged: its file was changed.
    """
    if config.model is None:
        return None
    return _named_model(connection, artifacts, config, market, "model", config.model)


def canary_of(
    connection: psycopg.Connection, artifacts: ArtifactStore, config: TradingConfig, market: str
) -> TradeModel | None:
    """The model that settings name as the canary; refused as `model_of` does."""
    if config.canary is None:
        return None
    return _named_model(connection, artifacts, config, market, "canary.model", config.canary.model)


def _named_model(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    config: TradingConfig,
    market: str,
    field: str,
    version: str,
) -> TradeModel:
    from trade_pipeline.core.strategy.model import TradeModel

    named = f"{field}={version!r}"
    row = connection.execute(
        "SELECT artifact, dataset_version FROM trade.models WHERE model_version = %s", (version,)
    ).fetchone()
    if row is None:
        raise BadConfig(f"{named}: no such model is registered; train one first")
    artifact, dataset = row
    try:
        model = TradeModel.from_bytes(artifacts.get(artifact))
    except FileNotFoundError:
        raise BadConfig(f"{named}: its file {artifacts.uri(artifact)} is missing") from None
    except ArtifactDamaged as damaged:
        raise ArtifactDamaged(f"{named}: {damaged}") from None
    if model.market != market:
        raise BadConfig(
            f"{named}: was learned on {model.market!r}, and decides nowhere else "
            f"(this session: {market!r})"
        )
    if RUG_PROBABILITY in model.inputs:
        learned = _rug_risk_models(connection, artifacts, dataset)
        if learned != {config.rug_risk_model}:
            known = ", ".join(sorted(repr(name) for name in learned))
            raise BadConfig(
                f"rug_risk_model={config.rug_risk_model!r}: {named} reads "
                f"{RUG_PROBABILITY} and learned from that of {known}"
                + ("; set that one" if len(learned) == 1 else "; no session gives it all of them")
            )
    return model


def _rug_risk_models(
    connection: psycopg.Connection, artifacts: ArtifactStore, dataset: str
) -> set[str | None]:
    """The rug models of the sessions that decided a dataset's members; None: one had none."""
    named = connection.execute(
        "SELECT jsonb_array_elements_text(content::jsonb -> 'session_ids') FROM trade.datasets "
        "WHERE dataset_version = %s",
        (dataset,),
    )
    sessions = [read_session(connection, session_id) for (session_id,) in named.fetchall()]
    # Records made through the Python API have no settings, and so no rug model.
    return {
        None if one.params_ptr is None else settings_of(artifacts, one).rug_risk_model
        for one in sessions
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
