"""The settings: the specification's defaults, refusals that name the field, a stable address."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.amm import AmmVenue
from trade_pipeline.core.execution.bars import BarVenue
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.session.config import TradingConfig


def nested(path: str, value: object) -> dict[str, Any]:
    """``a.b.c`` and a value as nested dicts."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


DEFAULTS = leaves(TradingConfig().model_dump(mode="json"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("strategy.small_fund_usd", 1_000),
        ("strategy.universe.min_market_cap_usd", 100_000),
        ("strategy.universe.max_market_cap_usd", 50_000_000),
        ("strategy.universe.min_volume_24h_usd", 100_000),
        ("strategy.sizing.max_positions", 5),
        ("strategy.exits.stop_loss", 0.15),
        ("strategy.exits.profit_target", 0.30),
        ("strategy.exits.max_hold_hours", 48),
        ("amm.pool_fee", 0.003),
    ],
)
def test_the_defaults_are_those_of_the_specification(path: str, value: float) -> None:
    assert DEFAULTS[path] == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("strategy.exits.stop_los", 0.1),
        ("strategi", {}),
        ("amm.gas", 1),
        ("strategy.exits.stop_loss", 0),
        ("strategy.exits.stop_loss", 1),
        ("strategy.exits.stop_loss", "a lot"),
        ("strategy.exits.max_hold_hours", -1),
        ("strategy.small_fund_usd", 0),
        ("strategy.small_fund_usd", float("inf")),
        ("strategy.sizing.max_fraction", 1.1),
        ("strategy.sizing.max_positions", 0),
        ("strategy.sizing.max_positions", 2.5),
        ("strategy.signal.min_confidence", float("nan")),
        ("strategy.protections.max_drawdown", 2),
        ("strategy.universe.pool_interval_minutes", 0),
        ("amm.pool_fee", 1),
        ("amm.failure_rate", -0.1),
        ("bars.max_participation", 0),
        ("simulator.pools_per_day", -3),
    ],
)
def test_an_unknown_field_or_impossible_value_is_named_with_its_path(
    path: str, value: object
) -> None:
    with pytest.raises(BadConfig) as refused:
        TradingConfig.parse(nested(path, value))
    assert f"{path}={value!r}" in str(refused.value)


def test_every_problem_is_named_at_once() -> None:
    given = nested("strategy.exits", {"stop_los": 0.1, "profit_target": -1})
    with pytest.raises(BadConfig) as refused:
        TradingConfig.parse(given)
    assert "strategy.exits.stop_los=0.1" in str(refused.value)
    assert "strategy.exits.profit_target=-1" in str(refused.value)


@pytest.mark.parametrize("largest", [100_000, 50_000])
def test_a_smallest_market_cap_above_the_largest_is_refused(largest: int) -> None:
    with pytest.raises(BadConfig, match=f"max_market_cap_usd={largest}.*min_market_cap_usd=100000"):
        TradingConfig.parse(nested("strategy.universe.max_market_cap_usd", largest))


def test_the_canonical_form_reads_back_to_the_same_settings() -> None:
    config = TradingConfig.parse(nested("strategy.exits.stop_loss", 0.123456789))
    assert TradingConfig.parse(orjson.loads(config.canonical())) == config


def test_the_address_is_the_same_however_a_setting_was_written() -> None:
    address = address_of(TradingConfig().canonical())
    assert address_of(TradingConfig.parse({}).canonical()) == address
    written = TradingConfig.parse(
        {"amm": {"gas_usd": 1}, "strategy": {"exits": {"max_hold_hours": 48.0}}}
    )
    assert address_of(written.canonical()) == address


# Own rules name code, which is not there: see the tests of extensions.
@pytest.mark.parametrize("path", sorted(DEFAULTS.keys() - {"strategy.rules"}))
def test_every_setting_changes_the_address(path: str) -> None:
    default = DEFAULTS[path]
    if path.endswith("_share") and path.startswith("simulator."):
        other = {path: default + 0.01}
        if path.split(".")[1] in FATES:
            partner = next(name for name in FATES if f"simulator.{name}" != path)
            other[f"simulator.{partner}"] = DEFAULTS[f"simulator.{partner}"] - 0.01
    elif isinstance(default, int):
        other = {path: default + 1}
    elif path in ("rug_risk_model", "model"):
        other = {path: "sha256:" + "0" * 64}
    elif path == "fund_share":
        other = {path: default / 2}
    elif path == "canary":
        other = {f"{path}.model": "sha256:" + "0" * 64}
    else:
        other = {path: default * 1.1 if default else 0.1}
    tree: dict[str, Any] = {}
    for changed, value in other.items():
        part = tree
        *above, name = changed.split(".")
        for step in above:
            part = part.setdefault(step, {})
        part[name] = value
    config = TradingConfig.parse(tree)
    assert config.canonical() != TradingConfig().canonical()


FATES = (
    "hard_rug_share",
    "honest_share",
    "pump_and_dump_share",
    "slow_rug_share",
    "honeypot_share",
)


def test_each_market_has_its_venue_and_its_interval() -> None:
    config = TradingConfig()
    assert isinstance(config.venue("uniswap-v2"), AmmVenue)
    assert isinstance(config.venue("simulated"), AmmVenue)
    assert isinstance(config.venue("spot-1h"), BarVenue)
    assert config.interval("simulated") == HOUR // 2
    assert config.interval("spot-1h") == 6 * HOUR
