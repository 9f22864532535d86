"""Decisions computed again from what is stored of each: snapshot, feature vector and models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from trade_pipeline.core.canonical import known
from trade_pipeline.core.errors import BadConfig, TradePipelineError
from trade_pipeline.core.features.registry import FEATURES, NAMES, feature_set
from trade_pipeline.core.features.rug_risk import RugRisk
from trade_pipeline.core.features.vector import matrix_of, vector_hash
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.replay.difference import FieldDifference
from trade_pipeline.core.replay.stored import StoredRecord
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION, heuristic_confidence
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.opinion import INDEX, DecidingModel, Opinion
from trade_pipeline.core.strategy.rules import FAILED, PREFIX, RuleFailed, look_at, rules_of
from trade_pipeline.core.strategy.traffic import arm

# Models are asked before the strategy's own records are put into a vector.
OWN = [INDEX[one.name] for one in FEATURES if one.source == "own records"]
# Fields of the research beside the features that tell the same.
_SAME = {
    "initial_market_cap": "market_cap_usd",
    "liquidity_usd": "liquidity_usd",
    "volume_24h_usd": "volume_24h_usd",
    "rug_risk": "rug_risk",
    "sentiment": "sentiment_level",
    "sentiment_momentum": "sentiment_momentum",
    "sentiment_consensus": "sentiment_consensus",
}
# Protections that depend on what open positions were worth; they come before a cooldown.
_NEED_THE_MARKET = ("max_drawdown", "daily_loss_limit")
# Reasons of decisions that passed every gate.
_PASSED = ("signal", "stake_too_small")

# A table, and the first field of it that differs.
Found = tuple[str, FieldDifference]


@dataclass(slots=True)
class Decided:
    """A stored decision and what the records before it tell.

    Attributes:
        own: the features of the strategy's own records by name; None: not known.
        position_open, full, cooling: whether the arm had a position in the token, no free slot, or
            a cooldown of the token; None: not known.
        found: what differs; ``uncomputed``: what was not computed, and why.
    """

    candidate: StoredRecord
    research: StoredRecord | None = None
    features: StoredRecord | None = None
    own: Mapping[str, float] | None = None
    position_open: bool | None = None
    full: bool | None = None
    cooling: bool | None = None
    found: list[Found] = field(default_factory=list)
    uncomputed: list[str] = field(default_factory=list)

    def differs(self, record: str, name: str, stored: Any, computed: Any) -> None:
        """Note a difference, unless both are the same bit for bit."""
        if type(stored) is not type(computed) or repr(stored) != repr(computed):
            self.found.append((record, FieldDifference(name, stored, computed)))


class Models:
    """A session's models, from the artifact store."""

    def __init__(self, connection: psycopg.Connection, artifacts: ArtifactStore) -> None:
        self._connection, self._artifacts = connection, artifacts
        self._known: dict[str, DecidingModel | str] = {
            HEURISTIC_VERSION: DecidingModel(HEURISTIC_VERSION)
        }
        self._rug_risk: RugRisk | str | None = None

    def of(self, version: str) -> DecidingModel | str:
        """The model of a version, or why it cannot be had."""
        if version not in self._known:
            self._known[version] = self._read(version)
        return self._known[version]

    def rug_risk(self, address: str) -> RugRisk | str:
        """The model of the rug probability under an address, or why it cannot be had."""
        if self._rug_risk is None:
            try:
                self._rug_risk = RugRisk.from_bytes(self._artifacts.get(address))
            except (FileNotFoundError, TradePipelineError) as error:
                self._rug_risk = f"model {address} cannot be read: {error}"
        return self._rug_risk

    def _read(self, version: str) -> DecidingModel | str:
        row = self._connection.execute(
            "SELECT artifact FROM trade.models WHERE model_version = %s", (version,)
        ).fetchone()
        if row is None:
            return f"model {version} is not registered"
        try:
            return DecidingModel(version, TradeModel.from_bytes(self._artifacts.get(row[0])))
        except (FileNotFoundError, TradePipelineError) as error:
            return f"model {version} cannot be read: {error}"


def decide_again(decisions: Sequence[Decided], settings: TradingConfig, models: Models) -> None:
    """Compute decisions again as far as what is stored of them allows, and note what differs."""
    whole = []
    for one in decisions:
        if one.research is None or one.features is None:
            one.uncomputed.append("everything: no snapshot or feature vector is stored")
        elif one.features.column("feature_set") != feature_set():
            stored = one.features.column("feature_set")
            one.uncomputed.append(f"score: feature set {stored} is not this code's")
        else:
            whole.append(one)
    if not whole:
        return
    vectors = matrix_of([one.features.document["vector"] for one in whole if one.features])
    for one, vector in zip(whole, vectors, strict=True):
        _check_vector(one, vector)
    heuristic = heuristic_confidence({name: vectors[:, n] for n, name in enumerate(NAMES)})
    asked = vectors.copy()
    asked[:, OWN] = np.nan
    if settings.rug_risk_model is not None:
        _check_rug_probability(whole, vectors, settings.rug_risk_model, models)
    opinions = _Opinions(asked, heuristic, models)
    for row, one in enumerate(whole):
        told = float(vectors[row, INDEX["heuristic_confidence"]])
        one.differs("feature_rows", "vector.heuristic_confidence", told, float(heuristic[row]))
        _check_decision(one, row, opinions, settings, vectors[row])


def _check_vector(one: Decided, vector: Floats) -> None:
    assert one.features is not None
    assert one.research is not None
    digest = vector_hash(vector)
    one.differs("feature_rows", "vector_hash", one.features.document["vector_hash"], digest)
    one.differs("candidates", "feature_hash", one.candidate.document["feature_hash"], digest)
    for name, value in (one.own or {}).items():
        stored = known(float(vector[INDEX[name]]))
        one.differs("feature_rows", f"vector.{name}", stored, known(value))
    research = one.research.document
    for name, feature in _SAME.items():
        one.differs("research_docs", name, research[name], known(float(vector[INDEX[feature]])))
    for name, value in research["market"].items():
        if name in INDEX:
            computed = known(float(vector[INDEX[name]]))
            one.differs("research_docs", f"market.{name}", value, computed)


def _check_rug_probability(
    decisions: Sequence[Decided], vectors: Floats, address: str, models: Models
) -> None:
    risk = models.rug_risk(address)
    if isinstance(risk, str):
        for one in decisions:
            one.uncomputed.append(f"rug probability: {risk}")
        return
    at = np.array([micros(one.candidate.column("decided_at")) for one in decisions])
    computed = risk.probability(vectors, at)
    for row, one in enumerate(decisions):
        stored = known(float(vectors[row, INDEX["rug_probability"]]))
        probability = known(float(computed[row]))
        one.differs("feature_rows", "vector.rug_probability", stored, probability)


class _Opinions:
    """What models say of all rows, asked once each."""

    def __init__(self, vectors: Floats, heuristic: Floats, models: Models) -> None:
        self._vectors, self._heuristic, self._models = vectors, heuristic, models
        self._said: dict[str, Opinion | str] = {}

    def of(self, version: str) -> Opinion | str:
        if version not in self._said:
            self._said[version] = self._ask(version)
        return self._said[version]

    def _ask(self, version: str) -> Opinion | str:
        by = self._models.of(version)
        if isinstance(by, str):
            return by
        if by.model is None:
            return Opinion(by, self._heuristic)
        inputs = by.inputs_of(self._vectors)
        confidence = by.model.predict(inputs).confidence
        return Opinion(by, confidence, by.model.inputs, by.model.contributions(inputs))


def _check_decision(
    one: Decided, row: int, opinions: _Opinions, settings: TradingConfig, vector: Floats
) -> None:
    candidate = one.candidate.document
    beside = candidate["canary"]
    if beside is not None:
        _check_canary(one, row, candidate, beside, opinions, settings)
    said = opinions.of(candidate["model_version"])
    if isinstance(said, str):
        one.uncomputed.append(f"score: {said}")
        return
    confidence = float(said.confidence[row])
    one.differs("candidates", "confidence", candidate["confidence"], confidence)
    told = said.told(row)
    stored = candidate["contributions"]
    for name in sorted({*(told or {}), *(stored or {})}):
        one.differs(
            "candidates", f"contributions.{name}", (stored or {}).get(name), (told or {}).get(name)
        )
    entry = said.by.entry_confidence(settings.strategy.signal)
    _check_gates(one, confidence, entry, settings, vector)


def _check_canary(
    one: Decided,
    row: int,
    candidate: Mapping[str, Any],
    beside: Mapping[str, Any],
    opinions: _Opinions,
    settings: TradingConfig,
) -> None:
    if settings.canary is None:
        one.uncomputed.append("arm: the settings name no canary")
    else:
        at = micros(one.candidate.column("decided_at"))
        drawn = arm(candidate["instrument"], at, settings.canary)
        canary = drawn.canary and "canary_error" not in beside
        one.differs("candidates", "arm", candidate["arm"], "canary" if canary else "production")
        one.differs("candidates", "propensity", candidate["propensity"], drawn.propensity)
    for name, version in (("production", beside["production_model"]), ("canary", beside["model"])):
        if beside[name]["confidence"] is None:
            one.uncomputed.append("score of the canary: it failed")
            continue
        said = opinions.of(version)
        if isinstance(said, str):
            one.uncomputed.append(f"score of the {name} model: {said}")
            continue
        stored, computed = beside[name]["confidence"], float(said.confidence[row])
        one.differs("candidates", f"canary.{name}.confidence", stored, computed)


def _check_gates(
    one: Decided, confidence: float, entry: float, settings: TradingConfig, vector: Floats
) -> None:
    """The decision's gates in their order, as far as they are known without the market."""
    assert one.research is not None
    candidate, research = one.candidate.document, one.research.document
    stored, signal = candidate["reason"], settings.strategy.signal
    move = research["market"]["return_24h"]
    gates = (
        ("position_open", one.position_open),
        ("rug_risk", research["rug_risk"] > signal.max_rug_risk),
        ("low_volatility", abs(math.nan if move is None else move) < signal.min_move_24h),
        ("low_confidence", confidence < entry),
        _own_rule(one, confidence, settings, vector),
        ("cooldown", one.cooling),
        ("no_free_slot", one.full),
    )
    names = [name for name, _ in gates]
    from_elsewhere = stored not in (*names, *_PASSED)
    for name, holds in gates:
        if holds is None:
            if stored == name:
                one.uncomputed.append(f"decision: {name} depends on the whole account")
                return
        elif holds:
            if from_elsewhere and name in ("cooldown", "no_free_slot"):
                # Another protection, which comes before these.
                break
            one.differs("candidates", "reason", stored, name)
            one.differs("candidates", "decision", candidate["decision"], "skip")
            one.differs("candidates", "stake_usd", candidate["stake_usd"], None)
            return
        elif stored == name:
            one.differs("candidates", "reason", stored, f"not {name}")
            return
    if stored in _NEED_THE_MARKET:
        one.uncomputed.append("decision: what open positions were worth needs the market")
    elif stored in _PASSED:
        one.uncomputed.append("stake: the account's equity and the pool's depth need the market")
    else:
        one.uncomputed.append(f"decision: {stored} came from outside of the strategy")


def _own_rule(
    one: Decided, confidence: float, settings: TradingConfig, vector: Floats
) -> tuple[str, bool | None]:
    """The gate of an own rule: its reason, and whether it refuses; None: not known."""
    candidate = one.candidate
    stored = str(candidate.document["reason"])
    by_rule = stored if stored.startswith(PREFIX) else PREFIX
    try:
        rules = rules_of(settings.strategy)
        if rules is None:
            return PREFIX, False
        at = micros(candidate.column("decided_at"))
        name = str(candidate.document["instrument"])
        refusal = rules.refusal(look_at(name, at, confidence, vector))
    except RuleFailed:
        return FAILED, True
    except BadConfig as error:
        one.uncomputed.append(f"own rule: {error}")
        return by_rule, None
    return (by_rule, False) if refusal is None else (refusal, True)


def chunks(decisions: Iterator[Decided], size: int = 1_000) -> Iterator[list[Decided]]:
    """Decisions in groups for which a model is asked at once."""
    group: list[Decided] = []
    for one in decisions:
        group.append(one)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
