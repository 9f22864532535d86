"""The rows that a contract is judged on: the newest of a session, and all that repeat a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import numpy as np
import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.dataset.frame import kind_of
from trade_pipeline.core.dataset.membership import read_dataset
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import matrix_of, vector_hash
from trade_pipeline.core.records import (
    ExecutionRecord,
    FeatureRow,
    Record,
    ResearchDocument,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.report.expectations import Contract, Unique
from trade_pipeline.core.session.stored import read_session

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 50_000
# Keys that repeat, at most; one is enough to fail.
_REPEATED = 20
# What `vector_columns` calls a vector that is as it should be.
VECTOR = f"{len(NAMES)} numbers"


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a table.

    Attributes:
        frame: the newest rows and every row whose key repeats, with the session's facts.
        rows: how many the session, or the dataset, has in all.
        source: whose rows they are.
    """

    frame: pd.DataFrame
    rows: int
    source: str


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the rows of an asset are.

    Attributes:
        chains: that hold a session's rows; ``{}`` stands for the session.
        time: the column that says when it happened.
        only: the rows of the table that belong to the asset.
        more: columns that are computed.
        unpack: makes columns of the records' contents.
    """

    record: type[Record]
    time: LiteralString
    chains: tuple[str, ...] = ("{}",)
    only: LiteralString = "true"
    more: LiteralString = ""
    unpack: Callable[[Sequence[str]], Mapping[str, Any]] | None = None


def score_columns(contents: Sequence[str]) -> Mapping[str, Any]:
    """The lowest and the highest of all scores of each research document; NaN: it has none."""
    scores = [
        [*document["rugpull_heuristic_scores"].values(),
         *document["social_sentiment_scores"].values()]
        for document in map(orjson.loads, contents)
    ]  # fmt: skip
    return {
        "lowest_score": _column("float8", [min(found, default=None) for found in scores]),
        "highest_score": _column("float8", [max(found, default=None) for found in scores]),
    }


def vector_columns(contents: Sequence[str]) -> Mapping[str, Any]:
    """What each feature row's vector is made of, its hash, and its values by feature.

    ``vector`` is `VECTOR`, or tells what else it is; then the row has no values.
    """
    vectors = [orjson.loads(content)["vector"] for content in contents]
    numbers = {float, int, type(None)}
    sound = [len(v) == len(NAMES) and set(map(type, v)) <= numbers for v in vectors]
    matrix = np.full((len(vectors), len(NAMES)), np.nan)
    matrix[sound] = matrix_of([v for v, good in zip(vectors, sound, strict=True) if good])
    return {
        "vector": _column(
            "text",
            [
                VECTOR if good else f"{len(v)} values: {orjson.dumps(v[:3]).decode()} ..."
                for v, good in zip(vectors, sound, strict=True)
            ],
        ),
        "hash_of_vector": _column(
            "text",
            [vector_hash(row) if good else None for row, good in zip(matrix, sound, strict=True)],
        ),
        **{name: matrix[:, column] for column, name in enumerate(NAMES)},
    }


_SOURCES = {
    "research_documents": _Source(ResearchDocument, "known_at", unpack=score_columns),
    "trade_candidates": _Source(
        TradeCandidate,
        "decided_at",
        # The milliseconds in a UUIDv7 are its first 13 characters.
        more=", left(t.uuid::text, 13) AS uuid_moment"
        ", left(trade.uuid7_floor(t.decided_at)::text, 13) AS decided_moment",
    ),
    "trade_executions": _Source(ExecutionRecord, "occurred_at"),
    "trade_outcomes": _Source(TradeOutcome, "closed_at", only="t.kind = 'realised'"),
    "shadow_outcomes": _Source(
        TradeOutcome, "closed_at", chains=("{}", "shadow:{}"), only="t.kind = 'shadow'"
    ),
    "trade_features": _Source(
        FeatureRow,
        "known_at",
        chains=("{}", "features:{}:" + feature_set()),
        only="t.feature_set = %(feature_set)s",
        unpack=vector_columns,
    ),
}


def read_sample(
    connection: psycopg.Connection,
    contract: Contract,
    session_id: str,
    limit: int = SAMPLE_ROWS,
) -> Sample:
    """Rows of a session for a contract: the newest of its chain, and all whose key repeats.

    The columns are those of the table and: ``decided_at`` of the candidate in the same session,
    ``recorded_at``, ``mode``, ``range_start`` and ``range_end`` of the session, ``kind_of_session``
    (simulated, recorded, live or manual), ``hours_since_newest`` (of a paper or live session: from
    its newest row to its end, or to now), and what the contents are unpacked to.

    Raises:
        BadConfig: no such session is stored.
    """
    session = read_session(connection, session_id)
    source = _SOURCES[contract.asset]
    parameters = {
        "session": session_id,
        "chains": [chain.format(session_id) for chain in source.chains],
        "feature_set": feature_set(),
        "limit": limit,
    }
    counted = connection.execute(
        sql.SQL(
            "SELECT count(*), extract(epoch FROM coalesce((SELECT recorded_at "
            "FROM trade.session_ends WHERE session_id = %(session)s), now()) - max({time})) / 3600 "
            "FROM {rows}"
        ).format(time=sql.Identifier("t", source.time), rows=_rows(source)),
        parameters,
    ).fetchone()
    assert counted is not None
    rows, hours = counted
    queries = [
        _select(source) + sql.SQL(" ORDER BY t.chain_seq DESC, t.chain_id LIMIT %(limit)s"),
        *(
            _select(source) + _repeating(source, rule.columns)
            for rule in contract.rules
            if isinstance(rule, Unique)
        ),
    ]
    frame = _frame([connection.execute(query, parameters) for query in queries])
    if source.unpack is not None:
        unpacked = source.unpack(frame.pop("content").tolist())
        frame = frame.assign(**unpacked)
    lasts = session.mode in ("paper", "live")
    moments = {name: getattr(session, name) for name in ("range_start", "range_end")}
    return Sample(
        frame.assign(
            mode=session.mode,
            kind_of_session=kind_of(session.market, session.mode),
            hours_since_newest=np.nan if hours is None or not lasts else float(hours),
            **{name: _column("timestamptz", [at] * len(frame)) for name, at in moments.items()},
        ),
        rows,
        f"session {session_id}",
    )


def read_members(connection: psycopg.Connection, dataset: str, limit: int = SAMPLE_ROWS) -> Sample:
    """The newest members of a dataset (its version or short name), and all that are in it twice.

    The columns: uuid, split, ``decided_at``, ``label_end`` (of the newest label), ``recorded_at``
    of the dataset, ``kind_of_session``, and ``earlier_split_end``: the last decision of the splits
    before.

    Raises:
        BadConfig: no such dataset is stored.
    """
    record = read_dataset(connection, dataset)
    cursor = connection.execute(
        """
        WITH members AS (
            SELECT m.uuid, m.split, c.decided_at,
                   array_position(ARRAY['train', 'validation', 'test', 'holdout'], m.split) AS place
            FROM trade.dataset_members m JOIN trade.candidates c USING (uuid)
            WHERE m.dataset_version = %(version)s
        )
        SELECT m.uuid, m.split, m.decided_at, d.recorded_at,
               (SELECT o.closed_at FROM trade.outcomes o
                WHERE o.uuid = m.uuid AND o.kind = %(label)s
                ORDER BY o.revision DESC LIMIT 1) AS label_end,
               max(m.decided_at) OVER (ORDER BY m.place RANGE BETWEEN UNBOUNDED PRECEDING
                                       AND 1 PRECEDING) AS earlier_split_end,
               count(*) OVER () AS members
        FROM members m JOIN trade.datasets d ON d.dataset_version = %(version)s
        ORDER BY count(*) OVER (PARTITION BY m.uuid) DESC, m.uuid DESC LIMIT %(limit)s
        """,
        {"version": record.dataset_version, "label": record.config["label"], "limit": limit},
    )
    frame = _frame([cursor])
    rows = int(frame.pop("members").max()) if len(frame) else 0
    return Sample(frame.assign(kind_of_session=record.kind), rows, f"dataset {record.short_name}")


def _rows(source: _Source) -> sql.Composed:
    """The rows of a session, after FROM."""
    return sql.SQL(
        "trade.{table} t LEFT JOIN trade.candidates c "
        "ON c.uuid = t.uuid AND c.chain_id = %(session)s "
        "WHERE t.chain_id = ANY(%(chains)s) AND {only}"
    ).format(table=sql.Identifier(source.record.TABLE), only=sql.SQL(source.only))


def _select(source: _Source) -> sql.Composed:
    names = [*source.record.COLUMNS, "recorded_at", "chain_id", "chain_seq"]
    if source.unpack is not None:
        names.append("content")
    columns = [sql.Identifier("t", name) for name in names]
    if "decided_at" not in names:
        columns.append(sql.Identifier("c", "decided_at"))
    return sql.SQL("SELECT {columns}{more} FROM {rows}").format(
        columns=sql.SQL(", ").join(columns), more=sql.SQL(source.more), rows=_rows(source)
    )


def _repeating(source: _Source, key: Sequence[str]) -> sql.Composed:
    """The condition that a row's key is that of another row of the session."""
    return sql.SQL(
        " AND ({key}) IN (SELECT {key} FROM {rows} GROUP BY {key} HAVING count(*) > 1 LIMIT {most})"
    ).format(
        key=sql.SQL(", ").join(sql.Identifier("t", name) for name in key),
        rows=_rows(source),
        most=_REPEATED,
    )


def _frame(cursors: Sequence[psycopg.Cursor[tuple[Any, ...]]]) -> pd.DataFrame:
    """What queries of the same columns found, each row once, typed as the database says."""
    import pandas as pd

    description = cursors[0].description
    assert description is not None
    found = list(dict.fromkeys(row for cursor in cursors for row in cursor.fetchall()))
    columns = list(zip(*found, strict=True)) or [()] * len(description)
    return pd.DataFrame(
        {
            one.name: _column(psycopg.adapters.types[one.type_code].name, values)
            for one, values in zip(description, columns, strict=True)
        }
    )


def _column(kind: str, values: Sequence[Any]) -> pd.Series[Any]:
    """Values of a SQL type in a column of pandas; what has no type of its own stays as it is."""
    import pandas as pd

    if kind == "timestamptz":
        moments = pd.to_datetime(pd.Series(values, dtype="object"), utc=True)
        return moments.astype("datetime64[us, UTC]")
    if kind in ("uuid", "bytea"):
        values = [None if v is None else v.hex() if kind == "bytea" else str(v) for v in values]
    return pd.Series(values, dtype=_TYPES.get(kind, "object"))


_TYPES = {
    "uuid": "str",
    "bytea": "str",
    "text": "str",
    "float8": "float64",
    "int4": "Int64",
    "int8": "Int64",
}
