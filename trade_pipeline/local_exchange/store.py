"""What the exchange keeps in its folder: SQLite, written and synced before anything is answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.local_exchange.accounts import Balance
from trade_pipeline.local_exchange.candles import Candles
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.orders import Order, Trade

# Amounts are texts: whole units may exceed SQLite's integers.
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (key TEXT PRIMARY KEY, secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deposits (key TEXT NOT NULL, asset TEXT NOT NULL, amount TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS balances (
    account TEXT, asset TEXT, free TEXT NOT NULL, locked TEXT NOT NULL, PRIMARY KEY (account, asset)
);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trades (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS listings (symbol TEXT PRIMARY KEY, body TEXT NOT NULL, last TEXT);
CREATE TABLE IF NOT EXISTS candles (
    symbol TEXT, minute INTEGER, body TEXT NOT NULL, PRIMARY KEY (symbol, minute)
);
"""

ListingState = tuple[Listing, int | None, Candles]


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that was stored."""

    secrets: dict[str, str]
    deposited: dict[str, int]
    balances: dict[tuple[str, str], Balance]
    orders: list[Order]
    trades: list[Trade]
    listings: list[ListingState]


class FolderInUse(TradePipelineError):
    """Another process holds the folder."""


class ExchangeStore:
    """The database of an exchange; one process at a time uses it."""

    def __init__(self, folder: Path) -> None:
        """Open or make it.

        Raises:
            FolderInUse: another exchange serves this folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "exchange.sqlite", isolation_level=None, timeout=2)
        try:
            # Locked by this process until it ends; a commit returns when it is on the disk.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            raise FolderInUse(f"{folder}: another exchange serves this folder ({error})") from None

    def load(self) -> Stored:
        """Read everything."""
        rows = self._db.execute
        deposited: dict[str, int] = {}
        for asset, amount in rows("SELECT asset, amount FROM deposits"):
            deposited[asset] = deposited.get(asset, 0) + int(amount)
        candles: dict[str, list[Any]] = {}
        for symbol, body in rows("SELECT symbol, body FROM candles ORDER BY minute"):
            candles.setdefault(symbol, []).append(tuple(json.loads(body)))
        return Stored(
            dict(rows("SELECT key, secret FROM accounts").fetchall()),
            deposited,
            {(a, s): Balance(int(f), int(o)) for a, s, f, o in rows("SELECT * FROM balances")},
            [Order(**json.loads(b)) for (b,) in rows("SELECT body FROM orders ORDER BY id")],
            [Trade(**json.loads(b)) for (b,) in rows("SELECT body FROM trades ORDER BY id")],
            [
                (
                    Listing.model_validate_json(body),
                    None if last is None else int(last),
                    Candles(candles.get(symbol, ())),
                )
                for symbol, body, last in rows("SELECT symbol, body, last FROM listings")
            ],
        )

    def save_account(self, key: str, secret: str) -> None:
        """Part of the next `save`."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (key, secret))

    def save_deposit(self, key: str, asset: str, amount: int) -> None:
        """Part of the next `save`."""
        self._begin()
        self._db.execute("INSERT INTO deposits VALUES (?, ?, ?)", (key, asset, str(amount)))

    def save(
        self,
        balances: dict[tuple[str, str], Balance],
        orders: Iterable[Order],
        trades: Iterable[Trade],
        listings: Iterable[ListingState],
    ) -> None:
        """Store changes in one transaction; it is on the disk when this returns."""
        self._begin()
        many = self._db.executemany
        many(
            "INSERT OR REPLACE INTO balances VALUES (?, ?, ?, ?)",
            [(a, s, str(b.free), str(b.locked)) for (a, s), b in balances.items()],
        )
        many(
            "INSERT OR REPLACE INTO orders VALUES (?, ?)",
            [(order.id, json.dumps(asdict(order))) for order in orders],
        )
        many(
            "INSERT INTO trades VALUES (?, ?)",
            [(trade.id, json.dumps(asdict(trade))) for trade in trades],
        )
        for listing, last, candles in listings:
            many(
                "INSERT OR REPLACE INTO listings VALUES (?, ?, ?)",
                [(listing.symbol, listing.model_dump_json(), None if last is None else str(last))],
            )
            many(
                "INSERT OR REPLACE INTO candles VALUES (?, ?, ?)",
                [(listing.symbol, at, json.dumps(c)) for at, c in candles.touched.items()],
            )
            candles.touched = {}
        self._db.execute("COMMIT")

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        self._db.close()
