"""Blocking checks of the records: on a failure, what comes after them in the run does not start.

They look at every stored session, so that a later run cannot hide what is wrong with an earlier
one.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg

from trade_pipeline.core.report.integrity import (
    Check,
    Violation,
    candidates_without_research,
    cash_that_does_not_add_up,
    entries_without_end,
    records_from_the_future,
    trades_without_one_outcome,
    unfinished_sessions,
)
from trade_pipeline.defs.markdown import markdown_table
from trade_pipeline.defs.resources import TradeStore

_SHOWN = 50

# Check, its asset, what it asks, and who answers.
CHECKS: tuple[tuple[str, str, str, Check], ...] = (
    (
        "every_candidate_has_research", "research_documents",
        "The research behind every decision is stored.", candidates_without_research,
    ),
    (
        "nothing_from_the_future", "trade_candidates",
        "Research was known at the decision; orders and outcomes come after it.",
        records_from_the_future,
    ),
    (
        "every_entry_ends", "trade_executions",
        "Every entry is filled, rejected or cancelled; closed trades have their fills.",
        entries_without_end,
    ),
    (
        "one_outcome_per_closed_trade", "trade_outcomes",
        "Every filled trade has one realised outcome, its revisions without gap.",
        trades_without_one_outcome,
    ),
    (
        "cash_adds_up", "trade_outcomes",
        "Profit and loss of every trade, day and session follows from fills and costs to the cent.",
        cash_that_does_not_add_up,
    ),
)  # fmt: skip


@dg.multi_asset_check(
    name="record_integrity",
    specs=[
        dg.AssetCheckSpec(name, asset=asset, description=description, blocking=True)
        for name, asset, description, _ in CHECKS
    ],
    # Lets a user ask one of them in the UI, without a session.
    can_subset=True,
)
def record_integrity(
    context: dg.AssetCheckExecutionContext, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """Ask the whole store the questions of `trade_pipeline.core.report.integrity`."""
    with (
        store.open() as opened,
        opened.database.connect("trade_reader", autocommit=True) as connection,
    ):
        sessions = _count_sessions(connection)
        unfinished = unfinished_sessions(connection)
        asked = context.selected_asset_check_keys
        for name, asset, _, check in CHECKS:
            if dg.AssetCheckKey(dg.AssetKey(asset), name) in asked:
                yield _result(name, asset, check(connection), sessions, unfinished)


def _count_sessions(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM trade.sessions WHERE mode <> 'imported'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _result(
    name: str, asset: str, found: list[Violation], sessions: int, unfinished: list[str]
) -> dg.AssetCheckResult:
    bad_sessions = sorted({v.session_id for v in found})
    metadata: dict[str, Any] = {
        "sessions": sessions,
        "unfinished_sessions": ", ".join(unfinished[:_SHOWN]) or "none",
        "failing_sessions": len(bad_sessions),
    }
    description = f"{sessions} sessions asked, nothing found"
    if unfinished:
        description += f"; {len(unfinished)} without an end are asked about time only"
    if found:
        first = found[0]
        description = (
            f"{len(bad_sessions)} of {sessions} sessions fail, first session {first.session_id} "
            f"on {first.day}: {first.what}"
        )
        rows = [(v.session_id, v.day, v.what) for v in found[:_SHOWN]]
        if len(found) > _SHOWN:
            rows.append((f"... and {len(found) - _SHOWN} more", "", ""))  # type: ignore[arg-type]
        metadata["violations"] = dg.MetadataValue.md(
            markdown_table(["session", "UTC day", "what"], rows)
        )
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=metadata,
    )
