"""Experiments in the store: their designs, and which of their sessions have run to their end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from trade_pipeline.core.errors import BadConfig, StoreUnavailable
from trade_pipeline.core.experiment.design import Design
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact

_DEFINITION = "SELECT content::jsonb ->> 'definition' FROM trade.experiments WHERE experiment = %s"


def begin_experiment(
    connection: psycopg.Connection, artifacts: ArtifactStore, design: Design
) -> str:
    """Store an experiment's design under its name; once is enough.  Returns its address.

    Raises:
        BadConfig: the name is that of another experiment.
    """
    address = record_artifact(
        connection, artifacts, design.canonical(), media_type="application/json"
    )
    link_experiment(connection, design.name, None, design.description, address)
    row = connection.execute(_DEFINITION, (design.name,)).fetchone()
    assert row is not None
    if row[0] != address:
        told = "without a definition" if row[0] is None else f"as {row[0]}"
        raise BadConfig(
            f"name={design.name!r}: an experiment of this name is stored {told}, and this one is "
            f"{address}; give it another name, sessions that both hold are not run again"
        )
    connection.commit()
    return address


def read_design(connection: psycopg.Connection, artifacts: ArtifactStore, name: str) -> Design:
    """The design of a stored experiment.

    Raises:
        BadConfig: no such experiment is stored, or it has no design.
        ArtifactDamaged: its design was changed.
    """
    row = connection.execute(_DEFINITION, (name,)).fetchone()
    if row is None:
        known = [one for (one,) in connection.execute(
            "SELECT experiment FROM trade.experiments ORDER BY recorded_at DESC LIMIT 10"
        )]  # fmt: skip
        raise BadConfig(
            f"experiment={name!r}: none of this name is stored"
            + (f"; the newest are {', '.join(known)}" if known else "")
        )
    if row[0] is None:
        raise BadConfig(
            f"experiment={name!r}: its sessions were put together by hand; only what "
            "`experiment run` made says which of them may be compared"
        )
    try:
        return Design.from_bytes(artifacts.get(row[0]))
    except FileNotFoundError:
        raise BadConfig(
            f"experiment={name!r}: its design {artifacts.uri(row[0])} is missing"
        ) from None


def finished(connection: psycopg.Connection, session_ids: Iterable[str]) -> set[str]:
    """Those of some sessions that are stored to their end."""
    rows = connection.execute(
        "SELECT session_id FROM trade.session_ends WHERE session_id = ANY(%s)",
        (list(session_ids),),
    )
    return {session_id for (session_id,) in rows}


def sessions_of(
    connection: psycopg.Connection, design: Design
) -> tuple[str | None, Mapping[tuple[int, str], str]]:
    """The finished sessions of an experiment, by (place of the world, variant).

    Returns:
        All are of one version of the code, which comes first: the newest under which every session
        has finished, or else the newest; None where none has finished.
    """
    place = {(w.address, w.start, w.end, w.seed): n for n, w in enumerate(design.worlds)}
    variant = {one.params_ptr: name for name, one in design.variants.items()}
    found: dict[str, dict[tuple[int, str], str]] = {}
    rows = connection.execute(
        "SELECT s.session_id, s.code_version, s.market_address, s.range_start, s.range_end, "
        "s.seed, s.params_ptr "
        "FROM trade.experiment_sessions e JOIN trade.sessions s USING (session_id) "
        "JOIN trade.session_ends USING (session_id) WHERE e.experiment = %s "
        "ORDER BY s.recorded_at DESC, s.session_id",
        (design.name,),
    )
    for session_id, code, address, start, end, seed, params in rows:
        world, name = place.get((address, _day(start), _day(end), seed)), variant.get(params)
        # Somebody may have put other sessions into it by hand.
        if world is not None and name is not None:
            found.setdefault(code, {})[world, name] = session_id
    wanted = len(design.worlds) * len(design.variants)
    for code, sessions in found.items():
        if len(sessions) == wanted:
            return code, sessions
    return next(iter(found.items()), (None, {}))


def trials_before(connection: psycopg.Connection, design: Design, kind: str) -> int:
    """How many other settings experiments had tried on a kind of market when this one began."""
    row = connection.execute(
        "SELECT count(DISTINCT s.params_ptr) FROM trade.experiment_sessions e "
        "JOIN trade.sessions s USING (session_id) WHERE s.market = %s AND e.experiment <> %s "
        "AND NOT s.params_ptr = ANY(%s) AND e.recorded_at < "
        "(SELECT recorded_at FROM trade.experiments WHERE experiment = %s)",
        (kind, design.name, [one.params_ptr for one in design.variants.values()], design.name),
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Listed:
    """An experiment in a list; its ``definition`` is None when it was put together by hand."""

    experiment: str
    begun: datetime
    sessions: int
    definition: str | None
    description: str


def experiments(connection: psycopg.Connection) -> list[Listed]:
    """Every stored experiment, the newest first."""
    rows = connection.execute(
        "SELECT x.experiment, x.recorded_at, "
        "(SELECT count(*) FROM trade.experiment_sessions e WHERE e.experiment = x.experiment), "
        "x.content::jsonb ->> 'definition', x.description "
        "FROM trade.experiments x ORDER BY x.recorded_at DESC, x.experiment"
    )
    return [Listed(name, begun.astimezone(UTC), *rest) for name, begun, *rest in rows]


@contextmanager
def only_runner(connection: psycopg.Connection, name: str) -> Iterator[None]:
    """Be the only command that runs an experiment, as long as the block and the connection last.

    Raises:
        StoreUnavailable: another one runs it.
    """
    key = (f"experiment-run:{name}",)
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key).fetchone()
    connection.commit()
    if row is None or not row[0]:
        raise StoreUnavailable(f"experiment {name} is being run by another command")
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)
        connection.commit()


def _day(moment: Any) -> date:
    day: date = moment.astimezone(UTC).date()
    return day
