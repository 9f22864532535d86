"""Files of trades as older bots write them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trade_pipeline.core.imports.importing import ImportRun, ImportSettings, import_trades
from trade_pipeline.core.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def legacy(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "instrument": "PEPE/USDT",
        "opened_at": "2024-01-10T07:15:00Z",
        "closed_at": "2024-01-10T09:15:00Z",
        "entry_price": "0.001",
        "exit_price": "0.0013",
        "size": "100000",
        "entry_fee": "0.1",
        "exit_fee": "0.2",
        "pnl": "29.7",
        "termination_reason": "profit_target",
        "id": "t-1",
        "confidence": "0.75",
        "model_version": "v1.2.3",
    }
    return given | changes


def freqtrade(**changes: Any) -> dict[str, Any]:
    """A trade as a backtest exports it: 100 USDT bought, sold for 110, a fee of 0.1 % each."""
    given: dict[str, Any] = {
        "pair": "PEPE/USDT",
        "stake_amount": 100.0,
        "amount": 100_000.0,
        "open_date": "2024-01-10 07:15:00+00:00",
        "close_date": "2024-01-10 09:15:00+00:00",
        "open_timestamp": 1704870900000,
        "close_timestamp": 1704878100000,
        "open_rate": 0.001,
        "close_rate": 0.0011,
        "fee_open": 0.001,
        "fee_close": 0.001,
        "profit_ratio": 0.09780220,
        "profit_abs": 9.79,
        "exit_reason": "roi",
        "is_open": False,
        "is_short": False,
        "leverage": 1.0,
        "funding_fees": 0.0,
        "enter_tag": "dip",
        "orders": [],
    }
    return given | changes


def csv_of(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def json_of(told: Any) -> bytes:
    return json.dumps(told).encode()


def backtest_of(*trades: Mapping[str, Any], **others: Sequence[Mapping[str, Any]]) -> bytes:
    strategies = {"Dips": {"trades": list(trades)}}
    strategies |= {name: {"trades": list(rows)} for name, rows in others.items()}
    return json_of({"strategy": strategies, "strategy_comparison": []})


def zip_of(result: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("backtest-result-2024_config.json", b'{"strategy": "Dips"}')
        archive.writestr("backtest-result-2024.json", result)
        archive.writestr("backtest-result-2024_Dips.py", b"class Dips: ...")
    return packed.getvalue()


def run(store: Store, data: bytes, **options: Any) -> ImportRun:
    """Import a file; options are settings, or those of `import_trades`."""
    of_run = {name: options.pop(name) for name in ("skip_known", "dry_run") if name in options}
    return import_trades(
        store.database, store.artifacts, "old.csv", data, ImportSettings(**options),
        now=NOW, **of_run,
    )  # fmt: skip
