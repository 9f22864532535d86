"""A part of the fund: what is staked with it, and from when on."""

from __future__ import annotations

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.records import TradeCandidate
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.strategy.opinion import Models
from trade_pipeline.core.strategy.sizing import Account
from trade_pipeline_tests.core.session.test_canary_traffic import EAGER_CANARY, traded, trained
from trade_pipeline_tests.core.session.test_canary_traffic import canary as on_trial
from trade_pipeline_tests.core.session.test_session import EAGER, Run, simulated


def stakes(run: Run) -> list[float]:
    return [c.stake_usd for c in run.of(TradeCandidate) if c.stake_usd is not None]


def rich(config: TradingConfig, share: float = 1.0) -> TradingConfig:
    strategy = config.strategy.model_copy(update={"small_fund_usd": 4_000.0})
    return config.model_copy(update={"strategy": strategy, "fund_share": share})


def test_with_half_of_the_fund_stakes_are_halved_and_the_rest_stays_aside() -> None:
    account = Account(cash_usd=900.0, equity_usd=1_000.0, drawdown=0.1, open_positions=1)
    assert account.part(1.0) is account
    half = account.part(0.5)
    assert (half.cash_usd, half.equity_usd) == (400.0, 500.0)
    assert (half.drawdown, half.open_positions) == (0.1, 1)
    # More is in positions than half: nothing is left to enter with.
    assert Account(300.0, 1_000.0, 0.0, 4).part(0.5).cash_usd == 0.0


def test_a_backtest_trades_with_the_part_that_its_settings_name() -> None:
    whole, half = (stakes(traded(simulated(1), rich(EAGER, share))) for share in (1.0, 0.5))
    assert half[0] == pytest.approx(whole[0] / 2)
    assert max(half) < max(whole)
    with pytest.raises(BadConfig, match="fund_share"):
        TradingConfig.parse({"fund_share": 0.0})


def test_a_running_session_goes_over_to_the_part_at_the_next_decision() -> None:
    config = rich(EAGER)
    asked = []

    def on_duty() -> Models:
        asked.append(1)
        return Models(fund_share=0.5 if len(asked) > 40 else 1.0)

    turned = traded(simulated(1), config, deployed=on_duty).of(TradeCandidate)
    whole = traded(simulated(1), config).of(TradeCandidate)
    first = next(n for n, one in enumerate(whole) if one.stake_usd != turned[n].stake_usd)
    assert len(asked) > 40
    assert first > 0
    # Of some stakes the pool's depth is the bound, with half of the fund as well.
    later = [one.stake_usd or 0.0 for one in turned[first:]]
    assert 0.0 < max(later) < 0.6 * max(one.stake_usd or 0.0 for one in whole)


def test_a_canary_keeps_its_own_part_whole() -> None:
    old, new = trained("return_24h"), on_trial()
    config = EAGER_CANARY
    runs = [
        traded(simulated(1), config.model_copy(update={"fund_share": share}), old=old, new=new)
        for share in (1.0, 0.5)
    ]
    first = [
        {arm: next(c.stake_usd for c in run.of(TradeCandidate) if c.arm == arm and c.stake_usd)
         for arm in ("production", "canary")}
        for run in runs
    ]  # fmt: skip
    assert first[1]["canary"] == first[0]["canary"]
    assert first[1]["production"] == pytest.approx(first[0]["production"] / 2)
