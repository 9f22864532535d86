"""Experiments: batches of sessions.  Each experiment is the writer of its own chain."""

from __future__ import annotations

import psycopg

from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import lock_chain
from trade_pipeline.core.records import Experiment, ExperimentSession


def link_experiment(
    connection: psycopg.Connection,
    name: str,
    session_id: str | None,
    description: str = "",
    definition: str | None = None,
) -> None:
    """Make an experiment when it is new, and put a session into it; once is enough for both.

    Args:
        definition: address of what the experiment compares; used when it is new.
    """
    chain_id = f"experiment:{name}"
    experiment = Experiment(name, description, definition)
    with connection.transaction():
        # Two sessions may reach for the same experiment at once.
        lock_chain(connection, chain_id)
        chain = read_chain(connection, chain_id)
        if chain.seq == 0:
            append_now(connection, chain, experiment)
        if session_id is None:
            return
        linked = connection.execute(
            "SELECT 1 FROM trade.experiment_sessions WHERE experiment = %s AND session_id = %s",
            (name, session_id),
        ).fetchone()
        if linked is None:
            append_now(connection, chain, ExperimentSession(name, session_id))
