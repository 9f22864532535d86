"""Something in the database that is known in this process as soon as it changes."""

from __future__ import annotations

import threading
from typing import LiteralString, Self

import psycopg
from psycopg import sql

from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.database import Database


class Listening(Closing):
    """Reads something again whenever a channel tells of it, while the ``with`` block lasts.

    What is read, `_read` says.  It is called at the beginning, where its errors are raised, and
    then in a thread of its own, which goes on after every error.

    Args:
        channel: of NOTIFY.
        poll_seconds: a notification that was missed is made up for within this time.
        retry_seconds: wait after an error.
    """

    def __init__(
        self,
        database: Database,
        channel: LiteralString,
        name: str,
        *,
        poll_seconds: float,
        retry_seconds: float,
    ) -> None:
        self._database = database
        self._listen = sql.SQL("LISTEN {}").format(sql.Identifier(channel))
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        with self._database.connect("trade_reader") as connection:
            self._read(connection)
        self._thread.start()
        return self

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self, connection: psycopg.Connection) -> None:
        raise NotImplementedError

    def _failed(self, error: Exception) -> None:
        """It could not be read; it will be tried again."""

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with self._database.connect("trade_reader", autocommit=True) as connection:
                    connection.execute(self._listen)
                    while not self._ended.is_set():
                        self._read(connection)
                        for _ in connection.notifies(timeout=self._poll_seconds, stop_after=1):
                            pass
            except Exception as error:  # noqa: BLE001 (a watch that ends would never know again)
                self._failed(error)
                self._ended.wait(self._retry_seconds)
