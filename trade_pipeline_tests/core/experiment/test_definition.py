"""The file of an experiment: what it means, and what is refused before anything starts."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.experiment.definition import Definition, read_definition
from trade_pipeline.core.experiment.design import Design
from trade_pipeline.core.experiment.plan import plan_of
from trade_pipeline.core.session.config import TradingConfig

STOP, TARGET = "strategy.exits.stop_loss", "strategy.exits.profit_target"
GOOD: dict[str, Any] = {
    "name": "stops",
    "market": "simulated",
    "start": "2026-01-05",
    "end": "2026-01-07",
    "seeds": [1, 2],
    "set": {"simulator.burn_in_days": 3},
    "grid": {STOP: [0.1, 0.15, 0.2]},
}


def read(folder: Path, **changed: Any) -> Definition:
    given = {name: value for name, value in (GOOD | changed).items() if value is not None}
    file = folder / "experiment.json"
    file.write_text(json.dumps(given))
    return read_definition(file)


def test_yaml_toml_and_json_tell_the_same(tmp_path: Path) -> None:
    yaml, toml = tmp_path / "stops.yaml", tmp_path / "stops.toml"
    yaml.write_text(
        "name: stops\nmarket: simulated\nstart: 2026-01-05\nend: 2026-01-07\nseeds: [1, 2]\n"
        "set:\n  simulator: {burn_in_days: 3}\n"
        f"grid:\n  {STOP}: [0.1, 1.5e-1, 0.2]\n"
    )
    toml.write_text(
        'name = "stops"\nmarket = "simulated"\nstart = 2026-01-05\nend = 2026-01-07\n'
        f'seeds = [1, 2]\nset.simulator.burn_in_days = 3\n[grid]\n"{STOP}" = [0.1, 0.15, 0.2]\n'
    )
    wanted = read(tmp_path)
    assert [read_definition(file) for file in (yaml, toml)] == [wanted, wanted]
    (market,) = wanted.markets
    assert (market.kind, market.start, market.end) == (
        "simulated", date(2026, 1, 5), date(2026, 1, 7),
    )  # fmt: skip


def test_a_grid_is_every_combination_on_top_of_the_common_settings(tmp_path: Path) -> None:
    found = read(tmp_path, grid={STOP: [0.1, 0.2], TARGET: [0.4, 0.5]}).variants
    assert list(found) == [
        "baseline",
        "stop_loss=0.1,profit_target=0.4", "stop_loss=0.1,profit_target=0.5",
        "stop_loss=0.2,profit_target=0.4", "stop_loss=0.2,profit_target=0.5",
    ]  # fmt: skip
    assert found["stop_loss=0.2,profit_target=0.4"] == TradingConfig.parse(
        {
            "strategy": {"exits": {"stop_loss": 0.2, "profit_target": 0.4}},
            "simulator": {"burn_in_days": 3},
        }
    )


def test_the_baseline_is_what_the_common_settings_are_or_the_one_that_is_named(
    tmp_path: Path,
) -> None:
    assert read(tmp_path).baseline == "stop_loss=0.15"
    assert len(read(tmp_path).variants) == 3
    variants = {"tight": {STOP: 0.05}, "wide": {STOP: 0.4}}
    assert read(tmp_path, grid=None, variants=variants).baseline == "baseline"
    named = read(tmp_path, grid=None, variants=variants, baseline="wide")
    assert (named.baseline, list(named.variants)) == ("wide", ["tight", "wide"])


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "tape").mkdir()
    (tmp_path / "tape" / "tape.parquet").touch()
    market = read(tmp_path, market=None, data="tape").markets[0]
    assert (market.kind, market.data) == ("uniswap-v2", (tmp_path / "tape").resolve())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": None}, "name: missing"),
        ({"name": "two words"}, "name='two words'"),
        ({"seed": 3}, "seed=3: no such setting; did you mean seeds"),
        ({"seeds": []}, "seeds=[]"),
        ({"seeds": [1, 1]}, "seeds=[1, 1]: one is given twice"),
        ({"seeds": [-1]}, "seeds=-1"),
        ({"metric": "profit"}, "metric='profit'"),
        ({"market": "stocks"}, "market='stocks'"),
        ({"market": None}, "market: missing"),
        ({"market": "spot-1h"}, "data: missing"),
        ({"data": "nowhere"}, "data='nowhere': no such folder"),
        ({"market": None, "data": "."}, "no recording"),
        ({"start": "monday"}, "start='monday'"),
        ({"start": "2026-02-30"}, "start='2026-02-30'"),
        ({"start": None}, "start: missing"),
        ({"end": "2026-01-05"}, "end=2026-01-05: must be after start=2026-01-05"),
        ({"set": {"strategy.exits.stop_los": 0.1}}, "set: strategy.exits.stop_los=0.1"),
        ({"set": {"strategy": 1, STOP: 0.1}}, "strategy has a value of its own"),
        ({"set": {STOP: 0.1, "strategy": {"exits": {"stop_loss": 0.2}}}}, f"{STOP}: is given"),
        ({"grid": {}}, "grid={}"),
        ({"grid": {STOP: []}}, f"grid.{STOP}=[]"),
        ({"grid": {STOP: [0.1, 0.1]}}, f"grid.{STOP}=0.1: is given twice"),
        ({"grid": {STOP: [0.1, 2]}}, f"grid.{STOP}: {STOP}=2"),
        ({"grid": {"strategy.exits.hold": [1]}}, "strategy.exits.hold=1: no such setting"),
        ({"grid": {"simulator.burn_in_days": [1, 2]}}, "simulator.burn_in_days: variants are"),
        ({"grid": None}, "grid, variants: both missing"),
        ({"grid": {STOP: [0.15]}}, "expected at least two"),
        ({"grid": None, "variants": {"a": {STOP: 0.1}, "b": {STOP: 0.1}}}, "variants.b: the same"),
        ({"variants": {"stop_loss=0.1": {STOP: 0.3}}}, "is a name of the grid's"),
        ({"variants": {"a": {"amm.fee": 1}}}, "variants.a: amm.fee=1: no such setting"),
        ({"baseline": "none"}, "baseline='none'"),
        ({"grid": None, "variants": {"baseline": {STOP: 0.3}}}, "variants.baseline: has this name"),
        ({"markets": []}, "market='simulated': beside markets"),
        ({"markets": [], "market": None, "start": None, "end": None}, "markets=[]"),
        (
            {"market": None, "start": None, "end": None, "markets": [
                {"market": "simulated", "start": "2026-01-01", "end": "2026-01-05"},
                {"market": "simulated", "start": "2026-01-04", "end": "2026-01-09"},
            ]},
            "markets[1].start=2026-01-04",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line_that_names_the_field(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(TradePipelineError) as refused:
        read(tmp_path, **changed)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yaml", "name: x\nvariants:\n  a: {}\n  a: {}\n", "'a' is given twice"),
        ("a.json", '{"variants": {"a": {}, "a": {}}}', "'a' is given twice"),
        ("a.toml", "[variants.a]\n[variants.a]\n", "a.toml"),
        ("a.yaml", "name: [", "a.yaml"),
        ("a.yaml", "- 1\n", "expected names"),
        ("a.txt", "", ".yaml, .toml or .json"),
    ],
)
def test_a_file_that_cannot_be_read_or_names_something_twice_is_refused(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TradePipelineError) as refused:
        read_definition(tmp_path / name)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sessions_are_known_before_they_run_and_a_design_is_its_content(tmp_path: Path) -> None:
    plan = plan_of(read(tmp_path))
    assert len(plan.sessions) == len({one.session_id for one in plan.sessions}) == 2 * 3
    assert [str(one) for one in plan.sessions][:2] == [
        "stop_loss=0.1 on simulated 2026-01-05 to 2026-01-07, seed 1",
        "stop_loss=0.15 on simulated 2026-01-05 to 2026-01-07, seed 1",
    ]
    assert Design.from_bytes(plan.design.canonical()) == plan.design
    assert plan_of(read(tmp_path)).design.address == plan.design.address
    assert plan_of(read(tmp_path, metric="sharpe")).design.address != plan.design.address


def test_a_recording_has_one_session_however_many_seeds_and_only_days_that_it_knows(
    recordings: Path, tmp_path: Path
) -> None:
    changed: dict[str, Any] = {
        "market": None, "data": str(recordings / "spot_1h"), "set": None,
        "start": "2021-09-01", "end": "2021-09-03",
    }  # fmt: skip
    plan = plan_of(read(tmp_path, **changed))
    assert [str(one.world) for one in plan.sessions] == ["spot-1h 2021-09-01 to 2021-09-03"] * 3
    for wrong in ({"start": "2020-10-01"}, {"end": "2025-01-01"}):
        with pytest.raises(TradePipelineError, match=r"the recording in .* spans 2021"):
            plan_of(read(tmp_path, **changed | wrong))
