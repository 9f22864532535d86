"""Which accounts somebody wants to be traded, and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import orjson
import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.config import LiveConfig


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
        return LiveConfig.parse(orjson.loads(self.settings))


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
