"""Readers of settings, experiments, requests, imports, proofs and heads."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from trade_pipeline import verify_proof
from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.config import read_file
from trade_pipeline.core.experiment.definition import read_definition
from trade_pipeline.core.experiment.design import Design, Variant, World
from trade_pipeline.core.imports.importing import ImportSettings, read_trades
from trade_pipeline.core.ledger.merkle import merkle_path, merkle_root
from trade_pipeline.core.ledger.stamps import stamp_of
from trade_pipeline.core.live.config import LiveConfig, ReplayConfig
from trade_pipeline.core.live.requests import LiveRequest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.head_files import Head, Range
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.imports import made
from trade_pipeline_tests.fuzz.parser import Parser

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def parsers(folder: Path) -> list[Parser]:
    """The readers; ``folder`` is where files are put that are read by name."""
    return [*_settings(folder), *_experiments(folder), *_imports(), *_ledger(folder)]


def _file(folder: Path, name: str, data: bytes) -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


def _settings(folder: Path) -> list[Parser]:
    replay = ReplayConfig(start=NOON - timedelta(days=2), end=NOON)
    live = LiveConfig(replay=replay).model_dump_json().encode()
    toml = (
        b'account = "paper"\nwindow_hours = 24.0 # hours\nmax_behind_seconds = 2\n\n[limits]\n'
        b'max_orders_per_minute = 10\n[replay]\nmarket = "simulated"\n'
        b"start = 2026-05-30T12:00:00Z\n"
        b'end = "2026-06-01T12:00:00Z"\n[trading.strategy.exits]\nstop_loss = 0.2\n'
    )
    yaml = (
        b"account: paper\nlimits:\n  max_orders_per_minute: 10\nreplay:"
        b""
        b" {start: 2026-05-30T12:00:00Z,\n  end: '2026-06-01T12:00:00Z'}\n"
        b"trading:\n  strategy:\n    exits: &a\n"
        b"      stop_loss: 0.15\n"
    )

    def reader(end: str):  # type: ignore[no-untyped-def]
        def parse(data: bytes) -> object:
            return LiveConfig.parse(read_file(_file(folder, f"live{end}", data))).model_dump_json()

        return parse

    def request(data: bytes) -> object:
        return LiveRequest("paper", True, data.decode("utf-8", "replace"), "a test", NOON).config()

    trading = TradingConfig().canonical()
    return [
        Parser("settings in TOML", "text", [toml], reader(".toml"), 6),
        Parser("settings in JSON", "json", [live], reader(".json"), 8),
        Parser("settings in YAML", "text", [yaml], reader(".yaml"), 3),
        Parser("live request", "json", [live], request, 8),
        Parser("strategy settings", "json", [trading], TradingConfig.from_json, 8),
    ]


def _experiments(folder: Path) -> list[Parser]:
    given = {
        "name": "stops",
        "description": "what a stop costs",
        "market": "simulated",
        "start": "2026-01-01",
        "end": "2026-01-08",
        "seeds": [1, 2],
        "set": {"strategy.exits.profit_target": 0.4},
        "grid": {"strategy.exits.stop_loss": [0.1, 0.2]},
        "metric": "sharpe",
    }
    toml = b"\n".join(
        f"{name} = {json.dumps(v)}".encode() for name, v in given.items() if not isinstance(v, dict)
    )
    toml += b'\n[set]\n"strategy.exits.profit_target" = 0.4\n'
    toml += b'[grid]\n"strategy.exits.stop_loss" = [0.1, 0.2]\n'
    yaml = b"\n".join(f"{name}: {json.dumps(v)}".encode() for name, v in given.items())
    yaml += b"\nvariants:\n  wide: {strategy.exits.stop_loss: 0.3}\n"

    def reader(end: str):  # type: ignore[no-untyped-def]
        return lambda data: read_definition(_file(folder, f"experiment{end}", data))

    world = World("simulated", samples.ADDRESS, date(2026, 1, 1), date(2026, 1, 8), 7)
    design = Design(
        "stops", "", "sharpe", "a", True, (world,),
        {n: Variant(samples.ADDRESS, {"strategy.exits.stop_loss": 0.1}) for n in "ab"},
    )  # fmt: skip
    return [
        Parser("experiment in YAML", "text", [yaml], reader(".yaml"), 3),
        Parser("experiment in TOML", "text", [toml], reader(".toml"), 3),
        Parser("experiment in JSON", "json", [json.dumps(given).encode()], reader(".json"), 4),
        Parser(
            "stored experiment", "json", [design.canonical()],
            lambda data: Design.from_bytes(data).canonical(), 8,
        ),
    ]  # fmt: skip


def _imports() -> list[Parser]:
    legacy = made.csv_of([made.legacy(), made.legacy(id="t-2", entry_fee="", size="5e3", pnl="")])
    rows = made.json_of([made.freqtrade(), made.freqtrade(trade_id=7)])
    orders = [
        {"ft_is_entry": entry, "order_filled_timestamp": at, "safe_price": price, "filled": size}
        for entry, at, price, size in (
            (True, 1704870900000, 0.001, 5e4), (True, 1704871900000, 0.001, 5e4),
            (False, 1704878100000, 0.0011, 1e5),
        )
    ]  # fmt: skip
    backtest = made.backtest_of(made.freqtrade(), made.freqtrade(orders=orders))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("backtest-result.json", backtest)
        archive.writestr("backtest-result_config.json", b"{}")

    def parse(data: bytes) -> object:
        return read_trades("file", data, ImportSettings(), now=made.NOW)

    return [
        Parser("import of CSV", "text", [legacy, made.csv_of([made.legacy()], ";")], parse, 8),
        Parser("import of JSON", "json", [rows, backtest], parse, 10),
        Parser("import of a zip file", "bytes", [packed.getvalue()], parse, 8),
    ]


def _ledger(folder: Path) -> list[Parser]:
    leaves = [sha256(bytes([n])) for n in range(5)]
    head = Head(
        3, NOON, sha256(b"before"), (Range("s", 0, 2, leaves[0]), Range("t", 5, 6, leaves[1])),
        5, merkle_root(leaves),
    )  # fmt: skip
    proof = _proof()
    file = folder / "proof.json"

    def check(data: bytes) -> object:
        file.write_bytes(data)
        return verify_proof.main([str(file)])

    return [
        Parser("head", "json", [head.to_bytes()], lambda d: Head.from_bytes(d, 3).to_bytes(), 10),
        Parser("proof", "json", [proof], check, 6),
        Parser("time stamp", "bytes", [_STAMP], stamp_of, 4),
    ]


def _proof() -> bytes:
    uuid = str(samples.candidate().uuid)
    records = []
    for number in range(4):
        content = canonical_bytes({"uuid": uuid, "n": number})
        records.append(
            {
                "table": "candidates", "chain_id": "s", "chain_seq": number,
                "content": content.decode(), "content_hash": sha256(content).hex(),
                "chain_hash": sha256(b"%d" % number).hex(), "recorded_micros": 1, "unhashed": [],
                "head": 0,
            }
        )  # fmt: skip
    leaves = [verify_proof.leaf_of(record) for record in records]
    for number, record in enumerate(records):
        record["path"] = [[side, one.hex()] for side, one in merkle_path(leaves, number)]
    head = Head(0, NOON, bytes(32), (Range("s", 0, 3, bytes(32)),), 4, merkle_root(leaves))
    return orjson.dumps(
        {
            "format": "trade-pipeline-proof/1", "uuid": uuid, "records": records,
            "heads": {"0": head.to_bytes().decode()}, "days": {},
        }
    )  # fmt: skip


# What an authority answered that stamped nothing: PKIStatusInfo with the status rejection.
_STAMP = bytes.fromhex("3005300302010a") + bytes.fromhex("30073005020102030100")
