"""What rests on the records asks first whether they are untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trade_pipeline.core.ledger.heads import LedgerBroken
from trade_pipeline.core.ledger.report import LedgerReport
from trade_pipeline.core.ledger.verify import verify_url

if TYPE_CHECKING:
    from trade_pipeline.core.store.store import Store


def require_intact(store: Store) -> LedgerReport:
    """Verify the whole ledger.

    Raises:
        LedgerBroken: something is wrong with it.
        StoreUnavailable: it cannot be read.
    """
    report = verify_url(store.database.url("trade_reader"), store.artifacts.heads)
    if not report.intact:
        raise LedgerBroken(f"the ledger is not untouched: {report.verdict}")
    return report
