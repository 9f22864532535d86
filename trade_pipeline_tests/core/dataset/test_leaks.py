"""Every planted leak is named by the right guard, and nothing honest is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.record import counted

from trade_pipeline.core.dataset.leaks.delay import delay_sensitive_features
from trade_pipeline.core.dataset.leaks.identity import identity_features
from trade_pipeline.core.dataset.leaks.intervals import overlapping_intervals
from trade_pipeline.core.dataset.leaks.parity import compare_vectors
from trade_pipeline.core.dataset.leaks.preparation import preparation_guard
from trade_pipeline.core.dataset.leaks.separating import separating_features
from trade_pipeline.core.dataset.leaks.suite import Splits, run_guards
from trade_pipeline.core.errors import BadConfig
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.dataset.mutants import MUTANTS, judged
from trade_pipeline_tests.core.dataset.planted import Planted, make_planted

START = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_planted(1)


def made(columns: dict[str, np.ndarray], tokens: int = 60, hours: float = 2.0) -> pd.DataFrame:
    """Decisions every so many hours about one token after the other, with random labels."""
    rng = np.random.default_rng(7)
    rows = len(next(iter(columns.values())))
    returns = rng.standard_t(3, rows) * 0.1
    at = [START + timedelta(hours=hours * i) for i in range(rows)]
    frame = pd.DataFrame(
        {
            "instrument": [f"token-{i % tokens}" for i in range(rows)],
            "session_id": "session",
            "decided_at": pd.Series(at).astype("datetime64[us, UTC]"),
            "target_return": returns,
            "profit": returns > 0,
            "rug": returns < -0.15,
            **columns,
        }
    ).set_index(pd.Index([str(UUID(bytes=rng.bytes(16))) for _ in range(rows)], name="uuid"))
    frame.attrs["features"] = list(columns)
    return frame


def noise(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(rows)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_leak_is_named_and_nothing_else_is(planted: Planted, name: str) -> None:
    guards, expected = MUTANTS[name].run(planted)

    verdict = next(guard for guard in guards if guard.name == MUTANTS[name].guard)
    assert not verdict.passed
    assert set(verdict.culprits) == expected
    assert any(culprit in reason for culprit in expected for reason in verdict.reasons)
    assert {culprit for guard in guards for culprit in guard.culprits} <= expected


@pytest.mark.parametrize("seed", [2, 3])
def test_clean_frames_raise_no_alarm(seed: int) -> None:
    guards, _ = judged(make_planted(seed))
    assert len(guards) == 6
    assert [(guard.name, guard.reasons) for guard in guards if not guard.passed] == []


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="minutes: make reliability runs it")
def test_of_many_tables_nearly_every_leak_is_named_and_none_of_the_clean_ones_alarms() -> None:
    caught, alarms, seeds = 0, 0, range(700, 720)
    for seed in seeds:
        planted = make_planted(seed)
        guards, _ = judged(planted)
        alarms += not all(guard.passed for guard in guards)
        for mutant in MUTANTS.values():
            guards, expected = mutant.run(planted)
            verdict = next(guard for guard in guards if guard.name == mutant.guard)
            caught += not verdict.passed and set(verdict.culprits) == expected
    of = len(seeds) * len(MUTANTS)
    counted("features.leaks_caught", caught, of, size=f"{len(MUTANTS)} kinds of leaks")
    counted("features.false_alarms", alarms, len(seeds))
    assert caught >= 0.99 * of
    assert alarms == 0


@pytest.mark.parametrize("rows", [0, 1, 60])
def test_a_frame_too_small_to_judge_is_no_alarm_and_said_so(planted: Planted, rows: int) -> None:
    frame = planted.frame.iloc[:rows]
    splits = Splits(frame, frame.iloc[:0])
    guards = run_guards(frame, truncated=frame, shifted=frame, splits=splits)
    assert all(guard.passed for guard in guards)
    silent = {guard.name for guard in guards if not guard.reasons}
    assert silent == {"compare_vectors", "overlapping_intervals"} | (
        {"identity_features"} if rows == 60 else set()
    )


def test_the_recorded_rug_table_leaks_its_label_through_the_last_swap(recordings: Path) -> None:
    table = pd.read_parquet(
        recordings / "rug_benchmarks" / "solrpds_solrpds_2021_2022.parquet"
    ).dropna(subset=["INACTIVITY_STATUS"])
    texts = ("LIQUIDITY_POOL_ADDRESS", "MINT", "INACTIVITY_STATUS")
    features = {name: table[name] for name in table if name not in texts}
    times = {
        name: pd.to_datetime(table[name], utc=True).astype("datetime64[us, UTC]")
        for name in features
        if name.endswith("_TIMESTAMP")
    }
    for name, moments in times.items():
        features[name] = moments.astype("int64").where(moments.notna()).astype("float64")
    frame = pd.DataFrame(
        {
            "instrument": table["LIQUIDITY_POOL_ADDRESS"],
            "session_id": "recorded",
            "decided_at": times["FIRST_POOL_ACTIVITY_TIMESTAMP"],
            "rug": (table["INACTIVITY_STATUS"] == "Inactive").to_numpy(),
            **features,
        }
    ).sort_values("decided_at", kind="stable")
    frame.index = pd.Index([str(UUID(int=i)) for i in range(len(frame))], name="uuid")
    frame.attrs["features"] = list(features)

    assert separating_features(frame, ["rug"]).culprits == ["LAST_SWAP_TIMESTAMP"]
    assert identity_features(frame).culprits == ["FIRST_POOL_ACTIVITY_TIMESTAMP"]


# separating_features


def test_a_class_with_too_few_rows_is_not_judged_and_said_so() -> None:
    frame = made({"leak": np.arange(600.0)})
    frame["rug"] = frame["leak"].isin([3, 4, 5, 400])
    guard = separating_features(frame, ["rug"])
    assert guard.passed
    assert "rug, first half: 3 positive rows, 20 needed: not judged" in guard.reasons


def test_a_class_of_one_token_is_not_judged() -> None:
    frame = made({"size": noise(3000)})
    frame["rug"] = frame["instrument"] == "token-0"
    guard = separating_features(frame, ["rug"])
    assert "rug, first half: positive rows of fewer than 5 tokens: not judged" in (guard.reasons)


def test_constant_and_missing_columns_are_no_alarm() -> None:
    rows = 1200
    frame = made(
        {"constant": np.ones(rows), "missing": np.full(rows, np.nan), "noise": noise(rows)}
    )
    assert separating_features(frame).passed
    assert identity_features(frame).passed


def test_with_few_tokens_a_leak_is_found_as_well() -> None:
    frame = made({"leak": noise(1200)}, tokens=3)
    frame["leak"] = frame["target_return"] ** 2
    guard = separating_features(frame)
    assert guard.culprits == ["leak"]
    assert "label encoded by token: fewer than 30 tokens with 3 decisions: not judged" in (
        guard.reasons
    )


def test_a_value_by_day_that_goes_with_the_days_common_move_is_no_alarm() -> None:
    rows, a_day = 4800, 40
    frame = made({"market_move": noise(rows)}, hours=24 / a_day)
    day = np.arange(rows) // a_day
    frame["market_move"] = noise(rows // a_day, 3)[day]
    common = noise(rows // a_day, 4)[day]
    frame["target_return"] = common + 0.3 * noise(rows, 5)
    frame["profit"] = frame["target_return"] > 0
    assert separating_features(frame, ["target_return", "profit"]).passed


def test_a_crash_of_few_days_is_no_separation() -> None:
    """A value by day tells the rows of one bad day apart, whatever it is."""
    rows, a_day = 1600, 40
    frame = made({"market_move": noise(rows)}, hours=24 / a_day)
    day = np.arange(rows) // a_day
    frame["market_move"] = noise(rows // a_day, 3)[day]
    lowest = np.argsort(noise(rows // a_day, 3)[:20])[:2]
    frame["rug"] = np.isin(day, lowest) & (noise(rows, 4) > -1)
    guard = separating_features(frame, ["rug"])
    assert guard.passed
    assert "rug, first half: positive rows of fewer than 5 days: not judged" in guard.reasons


def test_a_return_of_few_days_is_no_correlation() -> None:
    rows, a_day = 1600, 50
    frame = made({"market_move": noise(rows)}, hours=24 / a_day)
    day = np.arange(rows) // a_day
    move = noise(rows // a_day, 1007)[day]
    frame["market_move"] = move + 0.01 * noise(rows, 4)
    frame["target_return"] = move + 3 * noise(rows // a_day, 7)[day] + 0.1 * noise(rows, 6)
    half = frame.iloc[: rows // 2]
    assert half["market_move"].corr(half["target_return"], method="spearman") > 0.6
    assert separating_features(frame, ["target_return"]).passed
    frame["market_move"] = frame["target_return"] + 0.01 * noise(rows, 4)
    assert separating_features(frame, ["target_return"]).culprits == ["market_move"]


def test_past_means_of_a_token_are_no_encoding_of_its_label() -> None:
    frame = made({"known": noise(3000)})
    fate = {f"token-{i}": value for i, value in enumerate(noise(60, 9))}
    frame["target_return"] = frame["instrument"].map(fate) * 0.5 + noise(3000, 8)
    before = frame.groupby("instrument")["target_return"].transform(
        lambda own: own.shift().expanding().mean()
    )
    frame["known"] = before
    assert separating_features(frame, ["target_return"]).passed
    frame["known"] = frame.groupby("instrument")["target_return"].transform("mean")
    assert separating_features(frame, ["target_return"]).culprits == ["known"]


def test_a_missing_label_or_instrument_and_unsorted_rows_are_refused() -> None:
    frame = made({"noise": noise(300)})
    with pytest.raises(BadConfig, match="label='gain'"):
        separating_features(frame, ["gain"])
    with pytest.raises(BadConfig, match="sorted by decided_at"):
        separating_features(frame.iloc[::-1])
    with pytest.raises(BadConfig, match="target_return: missing in 1 rows"):
        separating_features(frame.assign(target_return=[np.nan, *[0.1] * 299]))
    with pytest.raises(BadConfig, match="instrument: missing in 1 rows"):
        separating_features(frame.assign(instrument=[None, *["a"] * 299]))
    frame.attrs = {}
    with pytest.raises(BadConfig, match="must name its features"):
        separating_features(frame)


# delay_sensitive_features


def fading(power: float, *, kept: float = 0.0, rows: int = 3000) -> tuple[pd.DataFrame, ...]:
    frame = made({"signal": noise(rows)})
    told = frame["target_return"].rank() / rows - 0.5
    now = power * told * np.sqrt(12) + noise(rows, 2)
    frame["signal"] = now
    shifted = frame.assign(signal=kept * now + noise(rows, 3))
    return frame, shifted


@pytest.mark.parametrize(
    ("power", "kept", "named"), [(0.4, 0.0, True), (0.4, 1.0, False), (0.1, 0.0, False)]
)
def test_only_clear_power_that_is_lost_is_named(power: float, kept: float, named: bool) -> None:
    frame, shifted = fading(power, kept=kept)
    assert delay_sensitive_features(frame, shifted).culprits == ["signal"] * named


def test_power_of_a_few_days_is_no_clear_power() -> None:
    """A common day makes hundreds of rows one observation."""
    rows, a_day = 3000, 100
    frame = made({"signal": noise(rows)}, hours=24 / a_day)
    day = np.arange(rows) // a_day
    frame["signal"] = noise(rows // a_day, 5)[day] + 0.001 * noise(rows)
    frame["target_return"] = 0.7 * frame["signal"] + noise(rows // a_day, 6)[day]
    shifted = frame.assign(signal=noise(rows, 8))
    labels = ["target_return"]
    strength = abs(frame["signal"].corr(frame["target_return"], method="spearman"))
    assert strength > 0.2
    assert delay_sensitive_features(frame, shifted, labels).passed


def test_what_is_not_known_with_the_delay_is_not_judged() -> None:
    frame, shifted = fading(0.4)
    shifted["signal"] = np.nan
    guard = delay_sensitive_features(frame, shifted)
    assert guard.passed
    assert guard.reasons == ["signal: known in 0 rows with the delay, 200 needed: not judged"]
    with pytest.raises(BadConfig, match="its rows are not those"):
        delay_sensitive_features(frame, shifted.iloc[:-1])


# overlapping_intervals


def lives(starts: list[int], lengths: list[int]) -> pd.DataFrame:
    times = [pd.to_datetime(np.array(t), unit="us", utc=True).as_unit("us") for t in (
        starts, [s + n for s, n in zip(starts, lengths, strict=True)])]  # fmt: skip
    return pd.DataFrame(
        {"decided_at": times[0], "label_end": times[1]},
        index=[f"row-{i}" for i in range(len(starts))],
    )


intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=1, max_size=12)


@given(intervals, intervals, st.integers(0, 5))
def test_overlaps_are_those_of_all_pairs(
    train: list[tuple[int, int]], others: list[tuple[int, int]], gap: int
) -> None:
    one, two = (lives(*map(list, zip(*rows, strict=True))) for rows in (train, others))
    guard = overlapping_intervals(one, two, embargo=timedelta(microseconds=gap))
    far = max(gap, 1)
    assert guard.culprits == [
        f"row-{i}"
        for i, (start, length) in enumerate(train)
        if any(s - (start + length) < far and start - (s + n) < far for s, n in others)
    ]


def test_a_label_that_ends_before_its_decision_is_refused() -> None:
    with pytest.raises(BadConfig, match="before decided_at"):
        overlapping_intervals(lives([5], [-1]), lives([1], [1]))
    unended = lives([5], [1])
    unended.loc["row-0", "label_end"] = pd.NaT
    with pytest.raises(BadConfig, match="label_end=NaT"):
        overlapping_intervals(unended, lives([1], [1]))


# identity_features


def test_clocks_that_start_again_are_allowed(planted: Planted) -> None:
    hour = planted.hour
    month = planted.with_columns(
        {"day_of_month": hour // 24 % 30 + 1.0, "hour_sine": np.sin(hour * np.pi / 12)}
    )
    assert identity_features(month).passed
    # Not even once round: a weekday that only rises, and an hour.
    short = made(
        {"hour_of_day": np.arange(120) // 10.0, "weekday": np.arange(120) // 24.0}, hours=0.1
    )
    assert identity_features(short).passed


def test_the_age_of_the_only_token_is_the_wall_clock() -> None:
    rows = 1000
    age = np.arange(rows) * 2.0
    assert identity_features(made({"age": age}, tokens=1)).culprits == ["age"]
    listed = np.arange(rows) % 60 * 24.0
    assert identity_features(made({"age": age + 1440 - listed}, tokens=60)).passed


def test_a_fact_of_the_token_with_few_values_is_no_identity() -> None:
    rows = 1200
    token = np.arange(rows) % 60
    frame = made({"tax": (token % 7) / 100.0, "code": 977.0 * token})
    assert identity_features(frame).culprits == ["code"]


def test_missing_values_do_not_hide_identity() -> None:
    rows = 2000
    there = noise(rows, 2) > -0.8
    frame = made({"when": np.arange(rows) * 7.0, "bits": np.zeros(rows)})
    frame["bits"] = [float(UUID(uuid).int >> 96) for uuid in frame.index]
    frame.loc[~there, ["when", "bits"]] = np.nan
    assert identity_features(frame).culprits == ["bits", "when"]


def test_a_small_frame_is_judged_by_name_alone() -> None:
    guard = identity_features(made({"when": np.arange(40.0), "pool": noise(40)}))
    assert guard.culprits == ["pool"]
    assert "40 rows, 50 needed to judge the data: not judged" in guard.reasons
    wrong = made({"x": noise(60)}).reset_index(drop=True)
    with pytest.raises(BadConfig, match="indexed by uuid"):
        identity_features(wrong)


# compare_vectors


def test_a_single_bit_is_a_difference_and_nan_is_none() -> None:
    stored = pd.DataFrame(
        {"a": [0.1 + 0.2, np.nan, 0.0], "b": [1.0, 2.0, 3.0]}, index=["x", "y", "z"]
    )
    stored.attrs["features"] = ["a", "b"]
    assert compare_vectors(stored, stored.iloc[::-1]).passed
    other = stored.assign(a=[0.3, np.nan, -0.0])
    guard = compare_vectors(stored, other)
    assert guard.culprits == ["a"]
    assert guard.numbers["different"] == {"a": 2}
    assert guard.reasons == [
        "uuid='x' a: 0.30000000000000004 stored, 0.3 recomputed",
        "uuid='z' a: 0.0 stored, -0.0 recomputed",
    ]
    assert not compare_vectors(stored, stored.assign(b=[1.0, np.nan, 3.0])).passed


def test_rows_and_features_that_are_not_there_are_named() -> None:
    stored = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]}, index=["x", "y"])
    stored.attrs["features"] = ["a", "b"]
    guard = compare_vectors(stored, stored[["a"]].rename({"y": "z"}))
    assert guard.culprits == ["b"]
    assert guard.reasons == [
        "b: not recomputed",
        "1 rows not recomputed: y",
        "1 rows not stored: z",
    ]
    assert not compare_vectors(stored, stored.loc[["x", "y", "y"]]).passed


# preparation_guard


def test_a_preparation_is_compared_bit_by_bit_and_by_feature() -> None:
    frame = made({"a": noise(50), "b": noise(50, 2)})

    def fitted(rows: pd.DataFrame) -> dict[str, object]:
        return {
            "features": ["a", "b"],
            "means": rows[["a", "b"]].mean().to_numpy(),
            "nested": {"a": {"median": float(rows["a"].median())}, "lost": float("nan")},
        }

    state = fitted(frame)
    assert preparation_guard(state, frame, fitted).passed
    means = frame[["a", "b"]].mean().to_numpy(copy=True)
    means[1] = np.nextafter(means[1], 9)
    assert preparation_guard(state | {"means": means}, frame, fitted).culprits == ["b"]
    nested = {"a": {"median": 0.0}, "lost": float("nan")}
    assert preparation_guard(state | {"nested": nested}, frame, fitted).culprits == ["a"]
    less = preparation_guard({"features": ["a", "b"]}, frame, fitted)
    assert not less.passed
