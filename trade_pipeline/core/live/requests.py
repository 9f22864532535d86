"""Which accounts somebody wants to be traded, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.lease import LeaseLost


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """The newest request about an account."""

    account: str
    wanted: bool
    settings: str
    by_whom: str
    recorded_at: datetime

    def config(self) -> LiveConfig:
        """The settings.

        Raises:
            BadConfig: they are of another time.
        """
        return LiveConfig.from_json(self.settings)


def order_session(
    connection: psycopg.Connection, config: LiveConfig, *, by: str, wanted: bool = True
) -> None:
    """Ask for sessions of an account, or for their end."""
    connection.execute(
        "INSERT INTO trade.live_requests (account, wanted, settings, by_whom) "
        "VALUES (%s, %s, %s, %s)",
        (config.account, wanted, config.model_dump_json(), by),
    )


def end_sessions(connection: psycopg.Connection, account: str, *, by: str) -> None:
    """Ask for the end of an account's sessions; its positions stay open.

    Raises:
        BadConfig: nobody asked for any.
    """
    order_session(connection, require_request(connection, account).config(), by=by, wanted=False)


@contextmanager
def asked(connection: psycopg.Connection, config: LiveConfig, *, by: str) -> Iterator[None]:
    """Ask for an account's sessions while the block lasts, as long as nobody took them over.

    Only a process that is killed leaves its request standing, for whoever watches the accounts.
    """
    order_session(connection, config, by=by)
    try:
        yield
    except LeaseLost:
        # The request is that of the session that holds the lease now.
        raise
    except BaseException:
        _withdraw(connection, config, by)
        raise
    _withdraw(connection, config, by)


def _withdraw(connection: psycopg.Connection, config: LiveConfig, by: str) -> None:
    if require_request(connection, config.account).wanted:
        order_session(connection, config, by=by, wanted=False)


def newest_request(connection: psycopg.Connection, account: str) -> LiveRequest | None:
    """What was last asked for an account."""
    row = connection.execute(
        "SELECT account, wanted, settings, by_whom, recorded_at FROM trade.live_requests "
        "WHERE account = %s ORDER BY request_id DESC LIMIT 1",
        (account,),
    ).fetchone()
    return None if row is None else LiveRequest(*row)


def require_request(connection: psycopg.Connection, account: str) -> LiveRequest:
    """The same.

    Raises:
        BadConfig: nobody asked for sessions of this account.
    """
    request = newest_request(connection, account)
    if request is None:
        raise BadConfig(f"account={account!r}: no session was ever started; see `live start`")
    return request


def requests(connection: psycopg.Connection) -> list[LiveRequest]:
    """The newest request of every account."""
    rows = connection.execute(
        "SELECT DISTINCT ON (account) account, wanted, settings, by_whom, recorded_at "
        "FROM trade.live_requests ORDER BY account, request_id DESC"
    ).fetchall()
    return [LiveRequest(*row) for row in rows]
