"""After a restore to an earlier moment: the heads that reach beyond it are moved out of the way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.clock import Clock, now
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.heads import LedgerBroken, writing_alone
from trade_pipeline.core.ledger.report import Behind
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import HeadFiles

Progress = Callable[[int, int], None]


def set_heads_aside(
    database: Database,
    files: HeadFiles,
    clock: Clock,
    *,
    reason: str,
    by: str,
    progress: Progress | None = None,
) -> tuple[Behind, str]:
    """Move the heads that cover what the database does not hold into a folder beside the others.

    They are kept there with a note.  The next head follows the last one that holds.

    Args:
        reason: why the database is older than its heads; ``by``: who says so.  Both are noted.
        progress: of the verification.

    Returns:
        which heads were moved, and the folder.

    Raises:
        BadConfig: the reason is empty, or no head reaches beyond the database.
        LedgerBroken: more is wrong than that the newest records are missing.
        StoreUnavailable: the database cannot be reached.
    """
    if not reason.strip():
        raise BadConfig(f"reason={reason!r}: it is kept beside the heads and may not be empty")
    with database.connect(autocommit=True) as connection, writing_alone(connection):
        report = verify_url(database.url("trade_reader"), files, progress)
        behind = report.behind
        if report.intact:
            raise BadConfig("no head reaches beyond the database: there is nothing to set aside")
        if behind is None:
            raise LedgerBroken(f"the ledger is not untouched: {report.verdict}")
        at = now(clock)
        folder = f"superseded-{at:%Y%m%dT%H%M%SZ}"
        files.set_aside(behind.first - 1, folder, _note(behind, at, reason, by))
    return behind, folder


def _note(behind: Behind, at: datetime, reason: str, by: str) -> bytes:
    return canonical_bytes(
        {
            "first": behind.first,
            "last": behind.last,
            "missing_records": behind.missing,
            "at": at,
            "reason": reason,
            "by": by,
        }
    )
