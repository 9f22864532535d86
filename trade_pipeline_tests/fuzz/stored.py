"""Readers of models, of what stands in the cache, and of values for records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pandas as pd

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.features.hot import HotFeatures
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.features.rug_classifier import RugClassifier, RugSettings
from trade_pipeline.core.features.rug_risk import INPUTS, RugRisk
from trade_pipeline.core.ledger.columns import Columns
from trade_pipeline.core.ledger.scan import differing
from trade_pipeline.core.ledger.tables import RecordTable
from trade_pipeline.core.records import OrderEvent, Record, TerminationReason
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.scorers import Trees
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.fuzz.parser import Parser


def parsers() -> list[Parser]:
    """The readers."""
    return [*_models(), *_records(), _cache()]


def _models() -> list[Parser]:
    model, risk = _trade_model().to_bytes(), _rug_risk()
    vectors = np.linspace(-1, 1, len(NAMES))[None, :]
    row = pd.DataFrame({name: [0.5] for name in risk.models[0].names})

    def trade(data: bytes) -> object:
        read = TradeModel.from_bytes(data)
        return read.predict(np.full((1, len(read.inputs)), np.nan)), read.to_bytes()

    def rug(data: bytes) -> object:
        return RugRisk.from_bytes(data).probability(vectors, np.array([1 << 50]))

    def classifier(data: bytes) -> object:
        read = RugClassifier.from_bytes(data)
        return read.probability(row) if set(read.names) <= set(row) else None

    return [
        Parser("trade model", "json", [model], trade, 3),
        Parser("rug risk", "json", [risk.to_bytes()], rug, 3),
        Parser("rug classifier", "json", [risk.models[0].to_bytes()], classifier, 3),
    ]


def _trade_model() -> TradeModel:
    import xgboost as xgb

    random = np.random.default_rng(0)
    names = ("heat", "age", "flow")
    frame = pd.DataFrame(random.normal(size=(80, 3)), columns=list(names))
    frame.loc[::5, "age"] = np.nan
    preparation = Preparation.fit(frame, names, np.array([3.0, 2.0, 1.0]), 3)
    matrix = preparation.transform(frame)
    target = frame["heat"].to_numpy()

    def fit(objective: str, label: Any) -> xgb.Booster:
        given = {"objective": objective, "max_depth": 2, "nthread": 1}
        return xgb.train(given, xgb.DMatrix(matrix, label), 2)

    trees = Trees(fit("reg:squarederror", target), fit("binary:logistic", target > 0))
    return TradeModel("simulated", preparation, trees, 0.01, 1.0, 0.0, 0.5)


def _rug_risk() -> RugRisk:
    random = np.random.default_rng(0)
    rows = 60
    features = pd.DataFrame(random.normal(size=(rows, 2)), columns=list(INPUTS[:2]))
    rug = features[INPUTS[0]].to_numpy() > 0
    blocks = np.array_split(np.arange(rows), 2)
    settings = RugSettings(rounds=2, depth=2, seeds=(0,), column_share=1.0)
    folds = [(blocks[0], blocks[1]), (blocks[1], blocks[0])]
    fitted = RugClassifier.fit(features, rug, folds=folds, settings=settings)
    return RugRisk([0, 1 << 49], [fitted, fitted])


def _records() -> list[Parser]:
    """What the Python API is given becomes a record's canonical bytes, or is refused."""
    uuid = samples.candidate().uuid
    found = []
    for one in (
        samples.session(), samples.candidate(), samples.research(uuid), samples.fill(uuid),
        samples.sale(uuid), samples.outcome(uuid),
    ):  # fmt: skip
        names = [field.name for field in fields(one)]
        told = orjson.dumps({n: getattr(one, n) for n in names if getattr(one, n) is not None},
                            default=str)  # fmt: skip
        name = f"{type(one).TABLE} ({getattr(one, 'leg', '')})".replace(" ()", "")
        found.append(Parser(f"record {name}", "json", [told], _reader(type(one)), 8))
    return [*found, _columns()]


def _columns() -> Parser:
    """A content from the database against the columns beside it, as `verify` compares them."""
    kinds = {
        "uuid": "uuid", "decided_at": "timestamptz", "confidence": "float8",
        "session_id": "text", "decision_no": "int8", "feature_hash": "bytea",
    }  # fmt: skip
    columns = Columns(RecordTable("candidates", tuple(kinds.items()), (), ("uuid",), ()))
    one = samples.candidate()
    values = (one.uuid.bytes, 0, 0.75, "s", 0, None)
    return Parser(
        "content of a candidate", "json", [canonical_bytes(one)],
        lambda data: differing(columns, data, values), 10,
    )  # fmt: skip


def _reader(kind: type[Record]) -> Callable[[bytes], object]:
    enums: dict[str, Any] = {"event": OrderEvent, "termination_reason": TerminationReason}

    def value(name: str, told: Any) -> Any:
        """As a caller has it: moments, UUIDs and members are no texts; the rest stays."""
        try:
            if name == "uuid":
                return UUID(told)
            if name.endswith("_at") and isinstance(told, str):
                return datetime.fromisoformat(told)
            return enums[name](told) if name in enums else told
        except (ValueError, AttributeError, TypeError):
            return told

    def parse(data: bytes) -> object:
        try:
            told = orjson.loads(data)
        except ValueError:
            return None
        known = fields(kind)  # type: ignore[arg-type]
        required = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING}
        # Another name is an error of the program, which Python tells.
        if not isinstance(told, dict) or not required <= set(told) <= {f.name for f in known}:
            return None
        record = kind(**{name: value(name, one) for name, one in told.items()})
        return canonical_bytes(record), record.row()

    return parse


def _cache() -> Parser:
    class Told:
        content = b""

        def mget(self, keys: Any) -> list[bytes]:
            return [self.content]

        def pipeline(self, *_: Any, **__: Any) -> Any:
            return self

    told = Told()
    hot = HotFeatures(told, "set", ["a", "b"])  # type: ignore[arg-type]
    value = np.zeros(1, hot._value)
    value["known_at"], value["vector"] = 1 << 50, [0.5, np.nan]
    from trade_pipeline.core.features.hot import _checksum

    body = value.tobytes()

    def parse(data: bytes) -> object:
        told.content = data
        return hot.get("simulated", ["PEPE"])

    return Parser("cached features", "bytes", [body + _checksum(body)], parse, 8)
