"""Building the feature table of a session: what is stored is compared, what is missing is added.

A vector depends on the market before its decision and on the session's records before it, and on no
other decision.  So the days of a session can be built apart, in any order, wherever a worker is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from trade_pipeline.core.dataset.decisions import Decisions, read_decisions
from trade_pipeline.core.dataset.feature_table import RowsDone, feature_vectors
from trade_pipeline.core.features.hot import HotFeatures
from trade_pipeline.core.features.registry import NAMES, definitions, feature_set
from trade_pipeline.core.features.vector import differing_bits, feature_row, matrix_of
from trade_pipeline.core.ledger.bulk import append_bulk, lock_chain
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.session.backtest import rug_risk_of
from trade_pipeline.core.session.stored import read_session, require_market, settings_of
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database, loss_reported
from trade_pipeline.core.store.store import Store

_TOLD = 10
_NO_VECTORS = np.empty(0, np.int64), np.empty((0, len(NAMES)))


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored value that its recomputation does not give."""

    uuid: str
    feature: str
    stored: float
    recomputed: float


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """What building a session's table did.

    Attributes:
        rows: decisions that were asked for; ``new_rows`` of them had no vector of this feature set.
        differences: values that were stored at the decision and come out different now.
        table: address of the table as a Parquet artifact.
        published: tokens whose newest vector the cache took.
        missing_share: unknown values, of all.
    """

    session_id: str
    feature_set: str
    rows: int
    new_rows: int
    differences: list[Difference]
    table: str
    published: int
    missing_share: float
    seconds: float

    def facts(self) -> dict[str, Any]:
        """The result for programs, with the first differences."""
        return asdict(self) | {
            "differences": len(self.differences),
            "first_differences": [asdict(one) for one in self.differences[:_TOLD]],
        }


def build_features(
    database: Database,
    artifacts: ArtifactStore,
    feed: MarketFeed,
    session_id: str,
    *,
    between: tuple[int, int] | None = None,
    hot: HotFeatures | None = None,
    progress: RowsDone | None = None,
) -> FeatureBuild:
    """Compute the vectors of a session's decisions from its market, and compare or store them.

    Decisions of before this feature set get a vector of it, on a chain of its own; stored ones are
    never replaced.

    Args:
        feed: the market that the session ran on.
        between: only decisions from the first moment on and before the second, microseconds.
        hot: where the newest vector of each token goes, too; None: nowhere.

    Raises:
        BadConfig: no such session, or it ran on another market.
        BadMarketData: the market is wrong.
        StoreUnavailable: the database cannot be reached.
    """
    started = time.perf_counter()
    with loss_reported(), database.connect(autocommit=True) as connection:
        session = read_session(connection, session_id)
        require_market(session, feed)
        settings = settings_of(artifacts, session)
        decisions = read_decisions(connection, session_id)
        if between is not None:
            decisions = decisions.between(*between)
        vectors, known_at = feature_vectors(
            feed,
            settings,
            decisions.instrument,
            decisions.at,
            own=decisions.own,
            rug_risk=rug_risk_of(artifacts, settings),
            progress=progress,
        )
        chain_id = f"features:{session_id}:{feature_set()}"
        with connection.transaction():
            # What is stored must not change until what is missing has been added.
            lock_chain(connection, chain_id)
            stored = stored_vectors(connection, decisions)
            record_artifact(
                connection, artifacts, definitions(), media_type="application/json",
                alias=f"feature-set:{feature_set()}",
            )  # fmt: skip
            missing = np.flatnonzero(np.isnan(stored).all(axis=1)).tolist()
            append_bulk(
                connection,
                chain_id,
                [feature_row(decisions.uuid[n], int(known_at[n]), vectors[n]) for n in missing],
            )
            data = parquet_of(decisions, known_at, vectors)
            table = record_artifact(
                connection, artifacts, data, media_type="application/vnd.apache.parquet"
            )
    published = 0 if hot is None else _publish(hot, session.market, decisions, known_at, vectors)
    return FeatureBuild(
        session_id=session_id,
        feature_set=feature_set(),
        rows=len(decisions),
        new_rows=len(missing),
        differences=differences(decisions, stored, vectors),
        table=table,
        published=published,
        missing_share=float(np.isnan(vectors).mean()) if vectors.size else 0.0,
        seconds=time.perf_counter() - started,
    )


def _publish(
    hot: HotFeatures, market: str, decisions: Decisions, known_at: Ints, vectors: Floats
) -> int:
    """Put the newest vector of each token into the cache; how many it took."""
    newest = {name: row for row, name in enumerate(decisions.instrument)}
    rows = list(newest.values())
    return len(rows) if hot.put(market, list(newest), known_at[rows], vectors[rows]) else 0


def stored_vectors(connection: psycopg.Connection, decisions: Decisions) -> Floats:
    """The stored vectors of decisions; a row of NaN where there is none of this feature set."""
    if not len(decisions):
        return np.empty((0, len(NAMES)))
    rows = connection.execute(
        "SELECT uuid, content FROM trade.feature_rows "
        "WHERE feature_set = %s AND uuid >= %s AND uuid <= %s",
        (feature_set(), min(decisions.uuid), max(decisions.uuid)),
    )
    place = {uuid: n for n, uuid in enumerate(decisions.uuid)}
    stored = np.full((len(decisions), len(NAMES)), np.nan)
    for uuid, content in rows:
        if uuid in place:
            stored[place[uuid]] = matrix_of([orjson.loads(content)["vector"]])[0]
    return stored


def differences(decisions: Decisions, stored: Floats, recomputed: Floats) -> list[Difference]:
    """Where stored vectors and recomputed ones differ in a bit; vectors without a store do not."""
    there = np.asarray(~np.isnan(stored).all(axis=1))
    rows, columns = np.nonzero(differing_bits(stored, recomputed) & there[:, None])
    return [
        Difference(
            str(decisions.uuid[row]), NAMES[column],
            float(stored[row, column]), float(recomputed[row, column]),
        )
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]  # fmt: skip


def parquet_of(decisions: Decisions, known_at: Ints, vectors: Floats) -> bytes:
    """A feature table as Parquet: uuid, instrument, decided_at, known_at and the features."""
    moments = pa.timestamp("us", tz="UTC")
    table = pa.table(
        {
            "uuid": pa.array(map(str, decisions.uuid), pa.string()),
            "instrument": pa.array(decisions.instrument, pa.string()),
            "decided_at": pa.array(decisions.at, moments),
            "known_at": pa.array(known_at, moments),
            **{name: vectors[:, column] for column, name in enumerate(NAMES)},
        }
    )
    return _written(table)


def joined(store: Store, session_id: str, builds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a session's days, in their order, as those of a single build of all of them.

    Its table is the very same, byte for byte.

    Args:
        builds: of `FeatureBuild.facts`.
    """
    nothing = parquet_of(Decisions([], [], np.empty(0, np.int64), {}), *_NO_VECTORS)
    parts = [pq.read_table(BytesIO(store.artifacts.get(one["table"]))) for one in builds]
    parts.append(pq.read_table(BytesIO(nothing)))
    data = _written(pa.concat_tables(parts).combine_chunks())
    with store.database.connect() as connection:
        table = record_artifact(
            connection, store.artifacts, data, media_type="application/vnd.apache.parquet"
        )
        connection.commit()
    rows = sum(one["rows"] for one in builds)
    missing = sum(one["missing_share"] * one["rows"] for one in builds)
    return {
        "session_id": session_id,
        "feature_set": feature_set(),
        **{
            name: sum(one[name] for one in builds)
            for name in ("rows", "new_rows", "differences", "published", "seconds")
        },
        "first_differences": [one for part in builds for one in part["first_differences"]][:_TOLD],
        "table": table,
        "missing_share": missing / rows if rows else 0.0,
    }


def _written(table: pa.Table) -> bytes:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
