"""A canary beside production: two accounts, both opinions of every candidate, one that may fail."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, cast
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.market.event import DAY, HOUR, Floats
from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    FeatureRow,
    Record,
    ResearchDocument,
    SessionEnd,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.session import engine
from trade_pipeline.core.session.backtest import backtest_session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import TradingSession
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.model import Prediction, TradeModel
from trade_pipeline.core.strategy.opinion import DecidingModel, Models
from trade_pipeline.core.strategy.scorers import Trees
from trade_pipeline.core.strategy.traffic import Traffic, arm
from trade_pipeline.core.training.policy import idle_stakes
from trade_pipeline_tests.core.session.test_session import (
    EAGER,
    START,
    Run,
    config_of,
    market,
    simulated,
    swap,
)

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FUND = 4_000.0
LONG = 24 * 365


@functools.cache
def trained(feature: str, entry: float = 0.4) -> TradeModel:
    """A small model that is the more confident the higher a feature is."""
    names = (feature, "volatility_24h")
    draw = np.random.default_rng(0)
    x = draw.normal(0.3, 0.5, (400, 2)).astype(np.float32)
    y = (x[:, 0] + draw.normal(0, 0.2, 400) > 0.3).astype(np.float32)
    given = {"max_depth": 2, "nthread": 1, "base_score": 0.5}
    rows = xgb.DMatrix(x, y, nthread=1)
    return TradeModel(
        market="simulated",
        preparation=Preparation(names, (1.0, 1.0), (0.0, 0.0), (), (0.0, 0.0), (1.0, 1.0)),
        scorer=Trees(
            xgb.train(given, rows, 2),
            xgb.train(given | {"objective": "binary:logistic"}, rows, 12),
        ),
        base_return=0.0,
        slope=1.0,
        offset=0.0,
        entry_confidence=entry,
    )


def production() -> TradeModel:
    return trained("return_24h")


def canary() -> TradeModel:
    return trained("drawdown_24h", 0.3)


def with_canary(config: TradingConfig, *, model: str | None = OLD, **traffic: Any) -> TradingConfig:
    """With a fund of which also a part is large enough for trades."""
    strategy = config.strategy.model_copy(update={"small_fund_usd": FUND})
    return config.model_copy(
        update={
            "strategy": strategy,
            "model": model,
            "canary": Traffic(model=NEW, **({"share": 0.25} | traffic)),
        }
    )


def without_canary(config: TradingConfig) -> TradingConfig:
    return config.model_copy(update={"canary": None})


def traded(
    feed: Any,
    config: TradingConfig,
    *,
    old: TradeModel | None = None,
    new: TradeModel | None = None,
    deployed: Callable[[], Models] | None = None,
    hours: float = 72,
    journal: Any = None,
    start: int = START,
) -> Run:
    end = start + int(hours * HOUR)
    params = address_of(config.canonical())
    session = backtest_session(feed, moment_of(start), moment_of(end), 1, config, params)
    records: list[Record] = []

    class Both:
        def append(self, record: Record) -> None:
            records.append(record)
            if journal is not None:
                journal.append(record)

    session_run = TradingSession(
        session,
        config,
        feed=feed,
        venue=config.venue(feed.kind),
        clock=MarketClock(start),
        journal=cast(Journal, Both()),
        model=old,
        canary=new,
        deployed=deployed,
    )
    return Run(session_run.run(), records)


EAGER_CANARY = with_canary(EAGER, window_hours=6)


@functools.cache
def whole(seed: int = 1) -> Run:
    """A simulated market with a canary; nobody changes it."""
    return traded(simulated(seed), EAGER_CANARY, old=production(), new=canary())


@functools.cache
def alone(seed: int = 1) -> Run:
    """The same without the canary."""
    return traded(simulated(seed), without_canary(EAGER_CANARY), old=production())


def candidates(found: Run) -> list[TradeCandidate]:
    return found.of(TradeCandidate)


def told(candidate: TradeCandidate) -> dict[str, Any]:
    assert candidate.canary is not None
    return dict(candidate.canary)


def records_of(found: Run) -> list[bytes]:
    return [canonical_bytes(record) for record in found.records]


# Traffic


def test_the_arm_of_a_candidate_is_its_tokens_and_its_model_decides() -> None:
    found = candidates(whole())
    assert {candidate.arm for candidate in found} == {"canary", "production"}
    for candidate in found:
        traffic = EAGER_CANARY.canary
        assert traffic is not None
        drawn = arm(candidate.instrument, micros(candidate.decided_at), traffic)
        by, entry = (NEW, 0.3) if drawn.canary else (OLD, 0.4)
        name = "canary" if drawn.canary else "production"
        assert (candidate.arm, candidate.propensity) == (name, 0.25 if drawn.canary else 0.75)
        assert (candidate.model_version, candidate.canary_version) == (by, NEW)
        both = told(candidate)
        assert (both["arm"], both["propensity"], both["model"]) == (
            candidate.arm, candidate.propensity, NEW,
        )  # fmt: skip
        assert both[name]["confidence"] == candidate.confidence
        if candidate.reason in ("low_confidence", "signal"):
            assert (candidate.confidence < entry) == (candidate.reason == "low_confidence")


def test_each_decision_tells_what_moved_the_model_that_made_it() -> None:
    for candidate in candidates(whole()):
        assert candidate.contributions is not None
        own = "drawdown_24h" if candidate.arm == "canary" else "return_24h"
        assert own in candidate.contributions
        odds = sum(candidate.contributions.values())
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(candidate.confidence, abs=1e-5)


def test_what_is_known_of_candidates_is_the_same_with_and_without_a_canary() -> None:
    """Only what the strategy itself did is different."""
    ones, others = candidates(alone()), candidates(whole())
    assert [(c.instrument, c.decided_at) for c in ones] == [
        (c.instrument, c.decided_at) for c in others
    ]
    assert [c.confidence for c in ones] == [told(c)["production"]["confidence"] for c in others]
    for one, other in zip(alone().of(ResearchDocument), whole().of(ResearchDocument), strict=True):
        same = {f.name for f in fields(one)} - {"uuid", "trade_rationale"}
        assert all(getattr(one, name) == getattr(other, name) for name in same)
    assert all(
        (c.arm, c.propensity, c.canary_version, c.canary) == ("production", 1.0, None, None)
        for c in ones
    )


def test_the_records_are_the_same_in_every_run_and_however_the_market_is_parted() -> None:
    expected = records_of(whole())
    again = traded(simulated(1), EAGER_CANARY, old=production(), new=canary())
    assert records_of(again) == expected
    with mock.patch.object(engine, "PART_ROWS", 1_234):
        parted = traded(simulated(1), EAGER_CANARY, old=production(), new=canary())
    assert records_of(parted) == expected
    assert parted.counts == whole().counts


# Accounts


def tokens_in(traffic: Traffic, *, canary: bool, at: int = START) -> list[int]:
    """Tokens of a market made by hand that are in an arm at a moment."""
    return [n for n in range(8) if arm(f"token-{n}", at, traffic).canary is canary]


def split(share: float = 0.5, **strategy: dict[str, Any]) -> TradingConfig:
    """Each token drawn once, some for each arm."""
    for salt in map(str, range(100)):
        config = with_canary(
            config_of(**strategy), model=None, share=share, window_hours=LONG, salt=salt
        )
        if min(map(len, arms_of(config))) >= (3 if share == 0.5 else 1):
            return config
    raise AssertionError("no salt draws some for each arm")


def arms_of(config: TradingConfig) -> tuple[list[int], list[int]]:
    """The tokens of production, and those of the canary."""
    assert config.canary is not None
    return tokens_in(config.canary, canary=False), tokens_in(config.canary, canary=True)


@dataclass(frozen=True)
class Says:
    """A model that says what a test tells it."""

    confidence: Callable[[Floats], Any]
    inputs: tuple[str, ...] = ("return_24h",)
    entry_confidence: float = 0.0
    contributing: Callable[[Floats], Any] = lambda rows: (
        np.zeros(len(rows)),
        np.zeros((len(rows), 1)),
    )

    def predict(self, features: Floats) -> Prediction:
        return Prediction(np.zeros(len(features)), self.confidence(features))

    def contributions(self, features: Floats) -> Any:
        return self.contributing(features)


def says(confidence: Callable[[Floats], Any], **given: Any) -> TradeModel:
    return cast(TradeModel, Says(confidence, **given))


def sure(value: float = 1.0) -> TradeModel:
    return says(lambda rows: np.full(len(rows), value))


def test_each_arm_trades_with_its_part_of_the_fund() -> None:
    for share in (0.1, 0.25, 0.5):
        config = split(share)
        production, trial = arms_of(config)
        pools = [swap(0, 0.1, token=production[0]), swap(60_000_000, 0.1, token=trial[0])]
        found = candidates(traded(market(*pools), config, old=sure(), new=sure(), hours=1))
        stakes = {c.arm: c.stake_usd for c in found}
        for name, part in (("canary", share), ("production", 1 - share)):
            # A fifth of it, and half for a volatility that nobody knows.
            assert stakes[name] == pytest.approx(part * FUND * 0.2 * 0.5)


def test_the_arms_have_slots_of_their_own() -> None:
    config = split(sizing={"max_positions": 2})
    ours, theirs = arms_of(config)
    rows = [swap(n * 60_000_000, 0.1, token=t) for n, t in enumerate([*ours[:3], *theirs[:3]])]
    found = candidates(traded(market(*rows), config, new=sure(), hours=1))
    reasons = [(c.arm, c.reason) for c in found]
    for name in ("production", "canary"):
        assert [r for a, r in reasons if a == name] == ["signal", "signal", "no_free_slot"]


def test_a_token_that_the_canary_holds_is_not_bought_again_by_it() -> None:
    config = split(universe={"pool_interval_minutes": 60})
    _, theirs = arms_of(config)
    rows = [swap(hour * HOUR, 0.1, token=theirs[0]) for hour in range(3)]
    found = candidates(traded(market(*rows), config, new=sure(), hours=3))
    assert [(c.arm, c.reason) for c in found] == [
        ("canary", "signal"),
        ("canary", "position_open"),
        ("canary", "position_open"),
    ]


def test_losses_of_the_canary_stop_the_canary_alone() -> None:
    config = split(protections={"daily_loss_limit": 0.01}, sizing={"max_fraction": 0.2})
    ours, theirs = arms_of(config)
    rows = [
        swap(0, 0.1, token=theirs[0]),
        swap(HOUR, 0.05, token=theirs[0]),
        swap(2 * HOUR, 0.1, token=ours[0]),
        swap(2 * HOUR, 0.1, token=theirs[1]),
    ]
    found = traded(market(*rows), config, new=sure(), hours=3)
    reasons = {c.instrument: c.reason for c in candidates(found)}
    assert found.of(TradeOutcome)[0].termination_reason is TerminationReason.STOP_LOSS
    assert reasons[f"token-{theirs[1]}"] == "daily_loss_limit"
    assert reasons[f"token-{ours[0]}"] == "signal"


def test_the_cash_of_both_arms_adds_up_to_the_records() -> None:
    moved = 0.0
    for record in whole().of(ExecutionRecord):
        moved -= sum(record.costs_usd.values())
        if record.event in FILLS:
            assert record.value_usd is not None
            moved += record.value_usd * (1 if record.leg == "exit" else -1)
    assert moved != 0
    assert whole().counts.final_cash_usd == pytest.approx(FUND + moved, abs=1e-4)
    (end,) = whole().of(SessionEnd)
    assert end.final_cash_usd == whole().counts.final_cash_usd


def flipping() -> tuple[TradingConfig, int]:
    """Settings, and a token that is the canary's for an hour and production's in the next."""
    base = config_of(universe={"pool_interval_minutes": 60}, exits={"max_hold_hours": 2})
    config = with_canary(base, model=None, share=0.5, window_hours=1)
    assert config.canary is not None
    first, then = (
        tokens_in(config.canary, canary=c, at=START + h * HOUR) for h, c in ((0, True), (1, False))
    )
    return config, next(token for token in first if token in then)


def test_a_token_may_be_open_in_both_books_and_both_hear_of_its_fall() -> None:
    config, token = flipping()
    falls = HOUR + HOUR // 2
    rows = [swap(at, 0.1, token=token) for at in (0, HOUR)] + [swap(falls, 0.05, token=token)]
    found = traded(market(*rows), config, new=sure(), hours=3)
    assert [(c.arm, c.decision) for c in candidates(found)] == [
        ("canary", "enter"),
        ("production", "enter"),
    ]
    ends = found.of(TradeOutcome)
    assert [end.termination_reason for end in ends] == [TerminationReason.STOP_LOSS] * 2
    assert len({end.uuid for end in ends}) == 2
    assert {end.closed_at for end in ends} == {moment_of(START + falls + 13_200_000)}


def test_timers_of_both_books_fire_in_the_order_of_time() -> None:
    config, token = flipping()
    rows = [swap(at, 0.1, token=token) for at in (0, HOUR)]
    other = (token + 1) % 8
    found = traded(market(*rows, swap(10 * HOUR, 9.0, token=other)), config, new=sure(), hours=11)
    uuids = [c.uuid for c in candidates(found) if c.instrument == f"token-{token}"]
    ends = [end for end in found.of(TradeOutcome) if end.uuid in uuids]
    assert [end.uuid for end in ends] == uuids
    assert {end.termination_reason for end in ends} == {TerminationReason.MAX_HOLD}
    assert [end.time_in_market_seconds for end in ends] == pytest.approx([7_213.2] * 2)


def test_the_features_of_the_own_records_tell_of_both_arms() -> None:
    config = split()
    ours, theirs = arms_of(config)
    rows = [
        swap(0, 0.1, token=theirs[0]),
        swap(60_000_000, 0.1, token=ours[0]),
        swap(120_000_000, 0.1, token=theirs[1]),
    ]
    found = traded(market(*rows), config, new=sure(), hours=1)
    opened = [row.vector[NAMES.index("open_positions")] for row in found.of(FeatureRow)]
    assert opened == [0.0, 1.0, 2.0]


# Both opinions


def test_both_stakes_are_stored_for_every_candidate_traded_or_not() -> None:
    found = candidates(whole())
    reasons = {c.reason for c in found}
    assert {"signal", "position_open", "low_confidence"} <= reasons
    for candidate in found:
        for name, entry in (("production", 0.4), ("canary", 0.3)):
            confidence, stake = told(candidate)[name].values()
            # As `training.policy.stakes`, from which volatility and impact only take away.
            certainty = (confidence - entry) / (1 - entry)
            most = 0.5 + 0.5 * certainty if certainty >= 0 else 0.0
            assert 0 <= stake <= most + 1e-12
            if confidence < entry:
                assert stake == 0


def test_a_stored_stake_does_not_know_of_slots_positions_or_losses() -> None:
    config = with_canary(EAGER, window_hours=6)
    busy = config.strategy.sizing.model_copy(update={"max_positions": 1})
    busy_config = config.model_copy(
        update={"strategy": config.strategy.model_copy(update={"sizing": busy})}
    )
    crowded = candidates(traded(simulated(1), busy_config, old=production(), new=canary()))
    assert sum(c.reason == "no_free_slot" for c in crowded) > sum(
        c.reason == "no_free_slot" for c in candidates(whole())
    )
    for one, other in zip(crowded, candidates(whole()), strict=True):
        for name in ("production", "canary"):
            assert told(one)[name] == told(other)[name]
    assert any(
        told(c)[c.arm]["stake"] > 0
        for c in crowded
        if c.reason in ("no_free_slot", "position_open")
    )


def test_a_stored_stake_is_told_again_by_the_stored_features() -> None:
    """What a canary is expected to show is told from features alone, and is no other stake."""
    found = candidates(whole())
    frame = pd.DataFrame(
        [row.vector for row in whole().of(FeatureRow)], columns=list(NAMES), dtype=np.float64
    )
    for name, model in (("production", production()), ("canary", canary())):
        confidence = np.array([told(c)[name]["confidence"] for c in found])
        stakes = [told(c)[name]["stake"] for c in found]
        again = idle_stakes(confidence, model.entry_confidence, frame, EAGER_CANARY.strategy)
        assert again == pytest.approx(stakes, abs=1e-9)
        assert 0 < np.count_nonzero(again) < len(again)


def test_the_stored_stake_is_what_an_idle_account_staked() -> None:
    """The first entry of a session without a canary had all of the fund and every slot."""
    first = next(c for c in candidates(alone()) if c.decision == "enter")
    beside = next(
        c
        for c in candidates(whole())
        if (c.instrument, c.decided_at) == (first.instrument, first.decided_at)
    )
    assert first.stake_usd is not None
    stake = told(beside)["production"]["stake"]
    assert stake == pytest.approx(first.stake_usd / (FUND * 0.2), abs=1e-9)
    assert stake > 0


# A canary that fails


def broken(rows: Floats) -> Any:
    raise RuntimeError("[07:31:05] tree at 0x7f00dead is gone\0\ud800\nStack trace:\n  0x55aa")


HOSTILE: dict[str, tuple[Callable[[Floats], Any], str]] = {
    "raises": (broken, "RuntimeError: tree at  is gone\\x00\\ud800"),
    "nan": (
        lambda rows: np.full(len(rows), np.nan),
        "InvalidConfidence: confidence=nan: expected a number in 0..1",
    ),
    "above one": (
        lambda rows: np.full(len(rows), 1.5),
        "InvalidConfidence: confidence=1.5: expected a number in 0..1",
    ),
    "too many": (
        lambda rows: np.zeros(len(rows) + 1),
        "ValueError: confidence: shape (2,), expected (1,)",
    ),
    "a matrix": (
        lambda rows: np.zeros((len(rows), 2)),
        "ValueError: confidence: shape (1, 2), expected (1,)",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_production_decides_where_the_canary_fails(kind: str) -> None:
    confidence, message = HOSTILE[kind]
    found = traded(simulated(1), EAGER_CANARY, old=production(), new=says(confidence))
    made = candidates(found)
    assert len(made) == len(candidates(alone()))
    assert found.counts.canary_errors == len(made)
    for candidate in made:
        both = told(candidate)
        assert both["canary_error"] == message
        assert (candidate.arm, both["arm"]) == ("production", "production")
        assert candidate.model_version == OLD
        assert both["canary"] == {"confidence": None, "stake": None}
        assert candidate.confidence == both["production"]["confidence"]
    # It got the probability that was drawn: a quarter of them were the canary's.
    assert {c.propensity for c in made} == {0.25, 0.75}
    with mock.patch.object(engine, "PART_ROWS", 1_234):
        again = traded(simulated(1), EAGER_CANARY, old=production(), new=says(confidence))
    assert records_of(again) == records_of(found)


def test_a_row_at_which_the_canary_fails_costs_no_other_row_its_opinion() -> None:
    def picky(rows: Floats) -> Any:
        if (rows[:, 0] > 0.3).any():
            raise ValueError("too high")
        return np.full(len(rows), 0.9)

    found = traded(simulated(1), EAGER_CANARY, old=production(), new=says(picky))
    made = candidates(found)
    failed = ["canary_error" in told(c) for c in made]
    assert 0 < sum(failed) < len(made)
    assert found.counts.canary_errors == sum(failed)
    assert {c.arm for c, bad in zip(made, failed, strict=True) if not bad} == {
        "canary",
        "production",
    }
    for candidate, bad in zip(made, failed, strict=True):
        assert told(candidate)["canary"]["confidence"] == (None if bad else 0.9)


def test_a_canary_that_cannot_say_why_does_not_decide() -> None:
    trial = says(lambda rows: np.full(len(rows), 0.9), contributing=broken)
    made = candidates(traded(simulated(1), EAGER_CANARY, old=production(), new=trial))
    assert {c.model_version for c in made} == {OLD}
    for candidate in made:
        # What it said of the candidate is known all the same.
        assert told(candidate)["canary"]["confidence"] == 0.9
        assert ("canary_error" in told(candidate)) == (candidate.propensity == 0.25)


def test_a_model_in_production_that_fails_ends_the_session() -> None:
    with pytest.raises(RuntimeError, match="is gone"):
        traded(simulated(1), EAGER_CANARY, old=says(broken), new=canary())


def test_a_session_without_the_canary_of_its_settings_does_not_begin() -> None:
    with pytest.raises(BadConfig, match=f"canary.model='{NEW}'"):
        traded(simulated(1), EAGER_CANARY, old=production())


def test_what_predictions_take_is_told_by_model_and_is_in_no_record() -> None:
    taken = whole().counts.prediction_seconds
    assert set(taken) == {OLD, NEW}
    assert all(0 < seconds < 1 for seconds in taken.values())
    heuristic = traded(simulated(1), without_canary(EAGER_CANARY)).counts
    assert heuristic.prediction_seconds == {}


# Other models on duty in a running session

AT_FIRST = Models(DecidingModel(OLD, trained("return_24h")), DecidingModel(NEW, canary()))


class Duty:
    """The models on duty; others from a candidate on."""

    def __init__(self, *after: tuple[int, Models]) -> None:
        self.models = AT_FIRST
        self._after = list(after)
        self.seen = 0

    def __call__(self) -> Models:
        return self.models

    def append(self, record: Record) -> None:
        """As the journal, that hears of each record when it is made."""
        if isinstance(record, TradeCandidate):
            self.seen += 1
            while self._after and self._after[0][0] <= self.seen:
                self.models = self._after.pop(0)[1]


def switched(*after: tuple[int, Models], feed: Any = None, config: Any = None, **given: Any) -> Run:
    duty = Duty(*after)
    config = config or EAGER_CANARY
    return traded(feed or simulated(1), config, deployed=duty, journal=duty, **given)


def test_models_that_are_deployed_and_never_change_decide_as_those_of_the_settings() -> None:
    assert records_of(switched()) == records_of(whole())


@pytest.mark.parametrize("part", [engine.PART_ROWS, 700])
@pytest.mark.parametrize("after", [1, 40])
def test_a_rollback_is_effective_at_the_very_next_decision(after: int, part: int) -> None:
    """And no market data is between the two: both lie in one part."""
    third = "sha256:" + "c" * 64
    back = Models(DecidingModel(third, trained("return_24h", 0.35)), AT_FIRST.canary)
    with mock.patch.object(engine, "PART_ROWS", part):
        found = candidates(switched((after, back)))
    ours = [(n, c.model_version) for n, c in enumerate(found) if c.arm == "production"]
    assert all(version == (OLD if n < after else third) for n, version in ours)
    assert any(n > after + 20 for n, _ in ours)


def test_after_a_switch_candidates_have_the_confidence_that_the_new_model_gives() -> None:
    other = trained("volatility_24h")
    found = candidates(switched((30, Models(DecidingModel(NEW, other)))))
    expected = candidates(traded(simulated(1), without_canary(EAGER_CANARY), old=other))
    # The sessions' trades differ, the models' inputs do not.
    assert [c.confidence for c in found[30:]] == [c.confidence for c in expected[30:]]
    assert [c.contributions for c in found[30:]] == [c.contributions for c in expected[30:]]
    assert {c.model_version for c in found[30:]} == {NEW}
    assert len(found) == len(expected) > 60


def test_a_switch_back_to_the_heuristic_is_effective_at_once() -> None:
    found = candidates(switched((30, Models())))
    assert {c.model_version for c in found[30:]} == {HEURISTIC_VERSION}
    assert {c.contributions is None for c in found[30:]} == {True}
    expected = candidates(traded(simulated(1), without_canary(EAGER_CANARY)))
    assert [c.confidence for c in found[30:]] == [c.confidence for c in expected[30:]]
    assert any(c.decision == "enter" for c in found[30:])


def test_a_canary_that_went_away_is_told_of_nowhere_after() -> None:
    found = candidates(switched((30, replace(AT_FIRST, canary=None))))
    assert all(c.canary is not None for c in found[:30])
    for candidate in found[30:]:
        assert candidate.canary is None
        assert candidate.canary_version is None
        assert (candidate.arm, candidate.propensity) == ("production", 1.0)
        assert candidate.model_version == OLD


def test_positions_of_a_canary_that_went_away_are_managed_to_their_end() -> None:
    config = split()
    _, theirs = arms_of(config)
    rows = [
        swap(0, 0.1, token=theirs[0]),
        swap(60_000_000, 0.1, token=theirs[1]),
        swap(120_000_000, 0.1, token=theirs[2]),
        swap(HOUR, 0.05, token=theirs[0]),
    ]
    first = Models(canary=DecidingModel(NEW, sure()))
    duty = Duty((2, Models()))
    duty.models = first
    found = traded(market(*rows), config, deployed=duty, journal=duty, hours=60)
    made = candidates(found)
    assert [c.arm for c in made] == ["canary", "canary", "production"]
    assert [c.decision for c in made] == ["enter"] * 3
    ends = {end.uuid: end.termination_reason for end in found.of(TradeOutcome)}
    assert ends[made[0].uuid] is TerminationReason.STOP_LOSS
    assert ends[made[1].uuid] is TerminationReason.MAX_HOLD


def test_a_session_without_traffic_gives_a_canary_that_is_deployed_none() -> None:
    found = candidates(switched(config=without_canary(EAGER_CANARY)))
    assert found == candidates(alone())


def test_an_equal_answer_asks_no_model_again() -> None:
    asked = []

    def counting(rows: Floats) -> Any:
        asked.append(len(rows))
        return np.full(len(rows), 0.9)

    def fresh() -> Models:
        return Models(DecidingModel(OLD, says(counting)))

    found = traded(simulated(1), without_canary(EAGER_CANARY), deployed=fresh)
    assert sum(asked) == len(candidates(found))
    assert len(asked) < len(candidates(found)) / 10


# In the store


def test_both_opinions_are_stored_with_a_candidate_whatever_an_error_says(
    database: Database,
) -> None:
    config = EAGER_CANARY
    session = backtest_session(
        simulated(1), moment_of(START), moment_of(START + 3 * DAY), 1, config,
        address_of(config.canonical()),
    )  # fmt: skip

    def sometimes(rows: Floats) -> Any:
        return broken(rows) if (rows[:, 0] > 0.3).any() else np.full(len(rows), 0.9)

    with (
        database.connect() as connection,
        Journal(
            connection,
            session.session_id,
            first=moment_of(START),
            last=moment_of(START + 3 * DAY),
        ) as journal,
    ):
        found = traded(simulated(1), config, old=production(), new=says(sometimes), journal=journal)
    with database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT arm, propensity, canary_version, content::jsonb -> 'canary' "
            "FROM trade.candidates WHERE session_id = %s ORDER BY decision_no",
            (session.session_id,),
        ).fetchall()
    made = candidates(found)
    assert rows == [(c.arm, c.propensity, NEW, c.canary) for c in made]
    assert any(row[0] == "canary" for row in rows)
    assert any("canary_error" in row[3] for row in rows)
