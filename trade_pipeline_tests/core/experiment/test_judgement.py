"""What is said of variants whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from report.record import counted

from trade_pipeline.core.experiment.daily import Panel, blocks_of
from trade_pipeline.core.experiment.judgement import BETTER, SAME, UNDECIDED, Group, judge
from trade_pipeline.core.experiment.maximum import compare_all
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.experiment.markets import NAMES, judged, panel, verdicts


def even(values: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Daily differences whose mean is compared."""
    return values / len(values), np.full(values.shape, 1 / len(values)), block


def test_the_p_value_is_the_share_of_sign_patterns_with_a_maximum_as_large() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0.6, 1, (24, 3))
    block = np.arange(24) // 4
    ((found, luck),) = compare_all([even(differences, block)], seed=0)
    sums = np.array([differences[block == n].sum(axis=0) / 24 for n in range(6)])
    scale = 1 / np.sqrt((sums**2).sum(axis=0))
    patterns = [np.array(signs) for signs in itertools.product((1, -1), repeat=6)]
    largest = np.array([np.abs(signs @ sums * scale).max() for signs in patterns])
    for n, one in enumerate(found):
        assert one.value == pytest.approx(differences[:, n].mean())
        statistic = abs(sums[:, n].sum()) * scale[n]
        assert one.p_value == pytest.approx(np.mean(largest >= statistic - 1e-9))
    best = [(signs @ sums).max() for signs in patterns]
    assert luck.mean == pytest.approx(np.mean(best))
    assert luck.often == pytest.approx(np.quantile(best, 0.95))


def test_an_interval_leaves_out_zero_exactly_where_the_p_value_is_below_the_level() -> None:
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        differences = rng.standard_t(3, (40, 4)) + rng.normal(0, 0.8, 4)
        ((found, _),) = compare_all([even(differences, np.arange(40) // 3)], seed)
        for one in found:
            assert one.low <= one.value <= one.high
            assert (one.low > 0 or one.high < 0) == (one.p_value <= 0.05)
            seen.add(one.p_value <= 0.05)
    assert seen == {True, False}


def test_more_comparisons_ask_for_more_in_another_group_as_well() -> None:
    rng = np.random.default_rng(5)
    one = rng.normal(0.6, 1, (60, 1))
    many = rng.normal(0, 1, (60, 30))
    block = np.arange(60) // 3
    alone = compare_all([even(one, block)], 0)[0][0][0]
    beside = compare_all([even(np.hstack([one, many]), block)], 0)[0][0][0]
    elsewhere = compare_all([even(one, block), even(many, block)], 0)[0][0][0]
    assert alone.p_value < 0.05
    assert beside.p_value > 2 * alone.p_value
    assert elsewhere.p_value > 2 * alone.p_value
    assert beside.high - beside.low > alone.high - alone.low


def test_few_days_can_show_nothing_and_it_says_so() -> None:
    result = judged(1, days=12, advantage=500.0)
    assert result.blocks == 4
    assert BETTER not in verdicts(result).values()
    assert all(one.difference_low <= 0 <= one.difference_high for one in result.variants[1:])
    assert "too few to show any difference" in " ".join(result.words)


def test_variants_that_trade_the_same_are_called_so() -> None:
    found = panel(np.random.default_rng(3), 30)
    for column in (found.pnl, found.returns, found.trades):
        column[:, 1] = column[:, 0]
    result = judge([Group("m", (), found)], NAMES, "baseline", "pnl_per_day", 0)[0]
    assert verdicts(result)["a"] == SAME
    assert result.variants[1].p_value == 1


def test_a_variant_without_a_trade_has_no_mean_return_and_is_not_compared() -> None:
    found = panel(np.random.default_rng(3), 30)
    for column in (found.pnl, found.returns, found.trades):
        column[:, 1] = 0
    result = judge([Group("m", (), found)], NAMES, "baseline", "mean_return", 0)[0]
    silent = result.variants[1]
    assert math.isnan(silent.difference)
    assert math.isnan(silent.p_value)
    assert silent.verdict == UNDECIDED
    assert result.best not in (None, "a")
    assert "The best of 4, " in " ".join(result.words)


@pytest.mark.parametrize("metric", ["pnl_per_day", "mean_return", "sharpe"])
def test_daily_values_have_the_metric_as_their_mean(metric: str) -> None:
    found = panel(np.random.default_rng(4), 50)
    wanted = {
        "pnl_per_day": found.pnl.mean(axis=0),
        "mean_return": found.returns.sum(axis=0) / found.trades.sum(axis=0),
        "sharpe": found.pnl.mean(axis=0) / found.pnl.std(axis=0),
    }[metric]
    assert found.values(metric).mean(axis=0) == pytest.approx(wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["mean_return", "sharpe"])
def test_daily_values_spread_as_the_metric_does_when_days_are_drawn_again(metric: str) -> None:
    rng = np.random.default_rng(4)
    found = panel(rng, 200, overlap=0.0)

    def of(rows: np.ndarray) -> np.ndarray:
        drawn = Panel(
            found.day, found.block, found.trades[rows], found.returns[rows], found.pnl[rows]
        )
        values: np.ndarray = drawn.values(metric).mean(axis=0)  # type: ignore[arg-type]
        return values

    again = np.array([of(rng.integers(0, 200, 200)) for _ in range(600)])
    told = found.values(metric).std(axis=0) / math.sqrt(200)  # type: ignore[arg-type]
    assert told == pytest.approx(again.std(axis=0), rel=0.15)


def test_blocks_grow_with_the_days_and_never_reach_over_a_gap() -> None:
    assert blocks_of(np.array([0, 1, 2, 3, 4, 10, 11])).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert np.bincount(blocks_of(np.arange(100))).tolist() == [5] * 20
    assert np.bincount(blocks_of(np.arange(365))).max() == 7


def test_a_handful_of_trades_shows_nothing_however_alike_they_are() -> None:
    """Four stops on two days are two observations, and none of the other days."""
    rng = np.random.default_rng(2)
    days = 60
    trades = np.full((days, 2), 3)
    returns = rng.normal(0, 0.1, (days, 2))
    trades[:, 1], returns[:, 1] = 0, 0
    trades[[10, 40], 1], returns[[10, 40], 1] = 2, -0.3
    found = Panel(np.arange(days), blocks_of(np.arange(days)), trades, returns, 50 * returns)
    result = judge([Group("m", (), found)], ("all", "few"), "all", "mean_return", 0)[0]
    few = result.variants[1]
    assert few.metric == pytest.approx(-15)
    assert few.verdict == UNDECIDED
    assert few.difference_low == -math.inf


def test_the_words_name_the_luck_of_the_best_and_how_many_were_tried() -> None:
    found = panel(np.random.default_rng(11), 60)
    (result,) = judge([Group("m", (), found, trials_before=30)], NAMES, "baseline",
                      "pnl_per_day", 0)  # fmt: skip
    words = " ".join(result.words)
    assert "Nothing beats baseline." in words
    assert "the best of 5 by chance alone would look like" in words
    assert "luckiest of 36 settings, 30 of them in earlier experiments" in words
    assert "probability of backtest overfitting" in words
    assert result.luck > 0
    best = next(one for one in result.variants if one.variant == result.best)
    assert result.deflated == pytest.approx(best.difference - result.luck)
    (alone,) = judge([Group("m", (), found)], NAMES, "baseline", "pnl_per_day", 0)
    assert alone.deflated_sharpe > result.deflated_sharpe


@pytest.mark.parametrize("metric", ["pnl_per_day", "mean_return", "sharpe"])
def test_equal_variants_are_rarely_called_better_and_a_better_one_is_found(metric: str) -> None:
    equal = sum(BETTER in verdicts(judged(seed, 60, metric=metric)).values() for seed in range(60))
    # 2.5 of 100 are expected; 8 of 60 would come about once in ten thousand.
    assert equal < 8
    found = [verdicts(judged(seed, 60, 25.0, metric)) for seed in range(20)]
    assert sum(one["e"] == BETTER for one in found) >= 15
    assert sum(BETTER in (one["a"], one["b"], one["c"], one["d"]) for one in found) <= 3


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="minutes: make reliability runs it")
@pytest.mark.parametrize("metric", ["pnl_per_day", "mean_return", "sharpe"])
@pytest.mark.parametrize("days", [21, 35, 60, 120, 365])
def test_of_a_thousand_experiments_with_equal_variants_less_than_five_percent_find_one(
    days: int, metric: str
) -> None:
    count = 1_000
    results = [verdicts(judged(seed, days, metric=metric)).values() for seed in range(count)]
    better = sum(BETTER in one for one in results)
    advantage = 200.0 / math.sqrt(days)
    found = sum(
        verdicts(judged(seed, days, advantage, metric))["e"] == BETTER for seed in range(200)
    )
    print(
        f"\n{days} days, {metric}: {better} of {count} experiments with six equal variants say "
        f"better; {advantage:.0f} USD a day more is found in {found} of 200"
    )
    counted(f"experiments.false_alarms.{metric}_{days}d", better, count, size="six variants")
    # Two standard errors of a rate of 5 %.
    assert better <= 0.05 * count + 2 * math.sqrt(count * 0.05 * 0.95)
