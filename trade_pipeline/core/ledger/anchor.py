"""Heads along the way: at the end of a session, and every minute of a live one.

Nobody waits for a head and nothing fails because of one: what is not covered yet, the next head
covers, and until then `trade-pipeline verify` says how much that is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
from pydantic import SecretStr

from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.stamps import stamp_days
from trade_pipeline.core.store.head_files import HeadFiles

log = logging.getLogger("trade_pipeline.ledger")

# Seconds between the heads of a live session: with the writing, at least one each minute.
EVERY = 45.0
# How long the end of a live session waits for its last head.
_LAST = 15.0

Connect = Callable[[], psycopg.Connection]


def anchor_now(connect: Connect, files: HeadFiles) -> bool:
    """Cover what is not covered yet; whatever keeps it from that is logged.

    Args:
        connect: opens a connection in autocommit mode, as ``trade_writer``.
    """
    try:
        with connect() as connection:
            write_heads(connection, files)
    except Exception as error:  # noqa: BLE001
        # Any store of objects has errors of its own, and none may end a session.
        log.error("no head of the ledger is written to %s: %s", files.url, error)
        return False
    return True


@asynccontextmanager
async def anchored(
    connect: Connect, files: HeadFiles, timestamp_url: SecretStr | None = None, every: float = EVERY
) -> AsyncIterator[None]:
    """Heads at the beginning, during and at the end of a block, written by a thread of its own."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            anchor_now(connect, files)
            _stamp(files, timestamp_url)
            stopped.wait(every)
        anchor_now(connect, files)

    # What it still waits for when the process ends, the next head covers.
    thread = threading.Thread(target=work, name="ledger-heads", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        await asyncio.to_thread(thread.join, _LAST)


def _stamp(files: HeadFiles, url: SecretStr | None) -> None:
    try:
        stamp_days(files, url)
    except Exception as error:  # noqa: BLE001
        log.error("the ledger's days are not stamped: %s", error)
