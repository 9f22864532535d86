"""The settings of a campaign fit together, and its market has what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from trade_pipeline.core.campaign.config import CampaignConfig
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.training.gate_config import GateConfig

CAMPAIGN = CampaignConfig()


def test_labels_end_within_the_embargo_and_a_block() -> None:
    hold = CAMPAIGN.trading().strategy.exits.max_hold_hours
    assert hold < CAMPAIGN.dataset().embargo_hours
    assert hold < CAMPAIGN.training().embargo_hours
    assert 2 * hold < CAMPAIGN.canary().block_hours


def test_the_first_dataset_can_have_the_days_that_the_gates_ask_for() -> None:
    assert CAMPAIGN.learning_days >= GateConfig().min_days
    assert CAMPAIGN.proving_days * 24 >= CAMPAIGN.canary().min_hours
    with pytest.raises(BadConfig, match="learning_days=20"):
        CampaignConfig.parse({"learning_days": 20})


def test_every_part_is_on_one_market_that_outlives_the_last_decision() -> None:
    simulator = CAMPAIGN.trading().simulator
    assert simulator.start == CAMPAIGN.start
    assert simulator.end is not None
    assert (simulator.end - CAMPAIGN.end).days == 1
    assert CAMPAIGN.start < CAMPAIGN.learned_at < CAMPAIGN.regime_change_at < CAMPAIGN.end
    assert simulator.regime_change_at == CAMPAIGN.regime_change_at
    parts = [
        (CAMPAIGN.start, CAMPAIGN.learned_at),
        (CAMPAIGN.learned_at, CAMPAIGN.regime_change_at),
        (CAMPAIGN.regime_change_at, CAMPAIGN.end),
    ]
    addresses = {
        open_market(
            "simulated", data=None, seed=CAMPAIGN.seed, start=micros(first), end=micros(last),
            simulator=simulator,
        ).content_address()
        for first, last in parts
    }  # fmt: skip
    assert len(addresses) == 1


def test_tokens_are_many_and_live_for_less_than_half_a_day() -> None:
    simulator = CAMPAIGN.trading().simulator
    start = micros(CAMPAIGN.start)
    market = SimulatedMarket(simulator, 1, start, start + DAY)
    assert len(market.instruments) > 200
    lives = [market.plan(token).life for token in range(len(market.instruments))]
    assert np.max(lives) <= 8 * HOUR


def test_a_tenth_of_the_fund_reaches_the_smallest_stake() -> None:
    strategy = CAMPAIGN.trading().strategy
    stake = strategy.small_fund_usd / 10 * strategy.sizing.max_fraction
    assert stake / 2 >= strategy.sizing.min_stake_usd
