"""The model registry: models, the holdout windows they used, their evaluations, their eligibility.

Everything about the models of one market is one chain, so its order is the order of events.  The
database has the last word on eligibility (``sql/0010_models.sql``): it counts for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import orjson
import psycopg

from trade_pipeline.core.errors import BadConfig, RecordConflict, TradePipelineError
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk, lock_chain
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.training.record import (
    EligibleModel,
    GateVerdict,
    HoldoutWindow,
    ModelEvaluation,
    ModelRecord,
    Verdict,
    model_version,
)


class NotEligible(TradePipelineError):
    """A model that does not meet what the database requires of a deployed one."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One stored model in a list of them.

    Attributes:
        evaluation: result of the newest one: ``passed``, ``failed`` or ``none``.
        stage: of the newest deployment; None: it was never deployed.
    """

    version: str
    short_name: str
    market: str
    kind: str
    dataset: str
    recorded_at: datetime
    evaluation: str
    eligible: bool
    stage: str | None


def record_model(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    model_bytes: bytes,
    *,
    name: str,
    market: str,
    kind: str,
    dataset_version: str,
    feature_set: str,
    code_version: str,
    environment: str,
    seed: int,
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    inputs: Sequence[str],
    trials: int,
    parent: str | None = None,
) -> ModelRecord:
    """Store a model and its file; see `ModelRecord` for the fields.

    A version that is stored already stays as it is: it names its content.

    Args:
        connection: as ``trade_writer``.
        model_bytes: the file, JSON.

    Returns:
        The record as it is stored.

    Raises:
        psycopg.errors.ForeignKeyViolation: the dataset or the parent is not stored; no row was
            written.
    """
    with connection.transaction():
        record = ModelRecord(
            model_version="",
            artifact=record_artifact(
                connection, artifacts, model_bytes, media_type="application/json"
            ),
            name=name,
            market=market,
            kind=kind,
            dataset_version=dataset_version,
            feature_set=feature_set,
            code_version=code_version,
            environment=environment,
            seed=seed,
            params=params,
            config=config,
            metrics=metrics,
            inputs=inputs,
            trials=trials,
            parent=parent,
        )
        record = replace(record, model_version=model_version(asdict(record)))
        lock_chain(connection, _chain_id(record))
        stored = connection.execute(
            "SELECT 1 FROM trade.models WHERE model_version = %s", (record.model_version,)
        ).fetchone()
        if stored is None:
            append_now(connection, read_chain(connection, _chain_id(record)), record)
    return read_model(connection, record.model_version)


def read_model(connection: psycopg.Connection, name: str) -> ModelRecord:
    """The record of a model, by its version or its short name.

    Raises:
        BadConfig: no model, or more than one, has this version or short name.
        RecordConflict: the stored content is not what the version covers.
    """
    rows = connection.execute(
        "SELECT model_version, content FROM trade.models "
        "WHERE model_version = %(name)s OR short_name = %(name)s",
        {"name": name},
    ).fetchall()
    if not rows:
        raise BadConfig(f"model={name!r}: no such model is stored")
    if len(rows) > 1:
        versions = ", ".join(sorted(version for version, _ in rows))
        raise BadConfig(f"model={name!r}: several have this short name: {versions}")
    version, content = rows[0][0], orjson.loads(rows[0][1])
    if model_version(content) != version:
        raise RecordConflict("models", version)
    return ModelRecord(**content)


def list_models(connection: psycopg.Connection) -> list[StoredModel]:
    """Every stored model, the oldest first."""
    return [
        StoredModel(*row)
        for row in connection.execute(
            "SELECT m.model_version, m.short_name, m.market, m.kind, d.short_name, m.recorded_at, "
            "CASE e.passed WHEN true THEN 'passed' WHEN false THEN 'failed' ELSE 'none' END, "
            "EXISTS (SELECT FROM trade.eligible_models l WHERE l.model_version = m.model_version), "
            "(SELECT p.stage FROM trade.deployments p WHERE p.model_version = m.model_version "
            "ORDER BY p.deployment_id DESC LIMIT 1) "
            "FROM trade.models m JOIN trade.datasets d USING (dataset_version) "
            "LEFT JOIN LATERAL (SELECT passed FROM trade.model_evaluations e "
            "WHERE e.model_version = m.model_version ORDER BY evaluation DESC LIMIT 1) e ON true "
            "ORDER BY m.recorded_at, m.chain_seq, m.model_version"
        )
    ]


def newest_model(connection: psycopg.Connection) -> str:
    """The version that was stored last.

    Raises:
        BadConfig: none is stored.
    """
    row = connection.execute(
        "SELECT model_version FROM trade.models ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise BadConfig("no model is stored: train one first")
    return str(row[0])


def newest_eligible(connection: psycopg.Connection) -> str:
    """The version that became eligible last.

    Raises:
        BadConfig: none did.
    """
    row = connection.execute(
        "SELECT model_version FROM trade.eligible_models "
        "ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise BadConfig("no model is eligible: its gates come first")
    return str(row[0])


def last_evaluated(connection: psycopg.Connection) -> str:
    """The version that its gates judged last.

    Raises:
        BadConfig: none was judged.
    """
    row = connection.execute(
        "SELECT model_version FROM trade.model_evaluations "
        "ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise BadConfig("no model was evaluated: materialise model_evaluation first")
    return str(row[0])


def active_model(connection: psycopg.Connection, market: str | None = None) -> ModelRecord | None:
    """The model that is in production, the last that came there where several accounts have one.

    Args:
        market: of the model; None: any.
    """
    row = connection.execute(
        "SELECT model_version FROM trade.deployed WHERE slot = 'production' "
        "AND (%(market)s::text IS NULL OR market = %(market)s) ORDER BY deployment_id DESC LIMIT 1",
        {"market": market},
    ).fetchone()
    return None if row is None else read_model(connection, row[0])


def diff_models(one: ModelRecord, other: ModelRecord) -> list[tuple[str, Any, Any]]:
    """The fields in which two models differ: (path with dots, value of one, value of the other).

    What only one of them has is None in the other.
    """
    left, right = dict(_flat(asdict(one))), dict(_flat(asdict(other)))
    return [
        (path, left.get(path), right.get(path))
        for path in left | right
        if left.get(path) != right.get(path)
    ]


def trials_before(connection: psycopg.Connection, market: str, besides: str) -> int:
    """What was tried before on a market: every choice among them may have been luck.

    Hyper-parameter trials of the models, and settings of the sessions in experiments.

    Args:
        besides: a model's version; what was stored after it does not count either.
    """
    row = connection.execute(
        "WITH known AS (SELECT coalesce((SELECT recorded_at FROM trade.models "
        "WHERE model_version = %(besides)s), 'infinity') AS until) "
        "SELECT (SELECT coalesce(sum((content::jsonb ->> 'trials')::bigint), 0) "
        "FROM trade.models, known WHERE market = %(market)s AND model_version <> %(besides)s "
        "AND recorded_at <= until) "
        "+ (SELECT count(DISTINCT s.params_ptr) FROM known, trade.experiment_sessions e "
        "JOIN trade.sessions s USING (session_id) WHERE s.market = %(market)s "
        "AND e.recorded_at <= until)",
        {"market": market, "besides": besides},
    ).fetchone()
    assert row is not None
    return int(row[0])


def use_holdout(
    connection: psycopg.Connection, record: ModelRecord, first: datetime, last: datetime
) -> None:
    """Record the time on which a model will be judged; call it before anything there is read.

    Once is enough.

    Args:
        first, last: of the time that is looked at, labels included; both belong to it.

    Raises:
        RecordConflict: the model has another window.
        BadConfig: a model that is named was judged on some of this time.
    """
    window = HoldoutWindow(record.model_version, record.market, first, last)
    try:
        with connection.transaction():
            lock_chain(connection, _chain_id(record))
            stored = connection.execute(
                "SELECT first_at, last_at FROM trade.holdout_windows WHERE model_version = %s",
                (record.model_version,),
            ).fetchone()
            if stored is None:
                append_now(connection, read_chain(connection, _chain_id(record)), window)
            elif stored != (first, last):
                raise RecordConflict("holdout_windows", record.model_version)
    except psycopg.errors.ExclusionViolation:
        users = holdout_users(connection, record.market, first, last, record.model_version)
        raise BadConfig(
            f"holdout={first.isoformat()}..{last.isoformat()}: used by {', '.join(users)}"
        ) from None


def holdout_users(
    connection: psycopg.Connection, market: str, first: datetime, last: datetime, besides: str
) -> list[str]:
    """Short names of the models but ``besides`` that used some of this time on a market."""
    rows = connection.execute(
        "SELECT DISTINCT m.short_name FROM trade.holdout_windows w "
        "JOIN trade.models m USING (model_version) "
        "WHERE w.market = %s AND w.model_version <> %s "
        "AND tstzrange(w.first_at, w.last_at, '[]') && tstzrange(%s, %s, '[]') ORDER BY 1",
        (market, besides, first, last),
    )
    return [str(name) for (name,) in rows]


def record_evaluation(
    connection: psycopg.Connection,
    version: str,
    verdicts: Sequence[Verdict],
    evaluated_at: datetime,
) -> int:
    """Store what all gates said of a model; returns the number of this evaluation, from 0.

    It passed when every verdict did.

    Raises:
        BadConfig: no such model, or a required gate said nothing.
    """
    record = read_model(connection, version)
    required = {
        str(name)
        for (name,) in connection.execute(
            "SELECT name FROM trade.required_verdicts WHERE kind = 'gate'"
        )
    }
    if missing := sorted(required - {verdict.name for verdict in verdicts}):
        raise BadConfig(f"verdicts on {record.short_name}: missing {', '.join(missing)}")
    with connection.transaction():
        lock_chain(connection, _chain_id(record))
        newest = newest_evaluation(connection, version)
        number = 0 if newest is None else newest[0] + 1
        passed = all(verdict.passed for verdict in verdicts)
        append_bulk(
            connection,
            _chain_id(record),
            [
                ModelEvaluation(version, number, passed, evaluated_at),
                *(
                    GateVerdict(version, number, v.name, v.passed, v.reasons, v.numbers)
                    for v in verdicts
                ),
            ],
        )
    return number


def newest_evaluation(
    connection: psycopg.Connection, version: str
) -> tuple[int, bool, dict[str, GateVerdict]] | None:
    """A model's newest evaluation: its number, whether it passed, and the verdicts by gate."""
    row = connection.execute(
        "SELECT evaluation, passed FROM trade.model_evaluations WHERE model_version = %s "
        "ORDER BY evaluation DESC LIMIT 1",
        (version,),
    ).fetchone()
    if row is None:
        return None
    verdicts = connection.execute(
        "SELECT gate, content FROM trade.gate_verdicts "
        "WHERE model_version = %s AND evaluation = %s ORDER BY chain_seq",
        (version, row[0]),
    )
    return row[0], row[1], {gate: GateVerdict(**orjson.loads(text)) for gate, text in verdicts}


def record_eligible(connection: psycopg.Connection, version: str, evaluation: int) -> bool:
    """Record that a model passed an evaluation, its newest; whether that is new.

    Raises:
        BadConfig: no such model.
        NotEligible: what the database misses.
    """
    record = read_model(connection, version)
    try:
        with connection.transaction():
            lock_chain(connection, _chain_id(record))
            chain = read_chain(connection, _chain_id(record))
            append_now(connection, chain, EligibleModel(version, evaluation))
    except psycopg.errors.UniqueViolation:
        # The database asks for everything else first: the model is eligible, and stays it.
        return False
    except psycopg.IntegrityError as error:
        raise NotEligible(error.diag.message_primary or str(error)) from None
    return True


def is_eligible(connection: psycopg.Connection, version: str) -> bool:
    """Whether a model may be deployed."""
    return (
        connection.execute(
            "SELECT 1 FROM trade.eligible_models WHERE model_version = %s", (version,)
        ).fetchone()
        is not None
    )


def _chain_id(record: ModelRecord) -> str:
    return f"model:{record.market}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings and sequences as (path with dots, plain value)."""
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        children = dict(enumerate(value)).items()
    else:
        yield path, value
        return
    for name, child in children:
        yield from _flat(child, f"{path}.{name}" if path else str(name))
