"""Which arm a token gets: a share of the windows of time, the same wherever it is asked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.strategy.traffic import Arm, Traffic, arm

MODEL = "sha256:" + "a" * 64
TRAFFIC = Traffic(model=MODEL)
NOW = 1_640_995_200_000_000  # 2022-01-01, where a window of 48 h begins


def drawn(traffic: Traffic, *, tokens: int = 400, windows: int = 20) -> list[bool]:
    step = traffic.window_hours * HOUR
    return [
        arm(f"token-{n}", NOW + window * step, traffic).canary
        for n in range(tokens)
        for window in range(windows)
    ]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_canary_gets_its_share_of_the_windows(share: float) -> None:
    found = drawn(Traffic(model=MODEL, share=share))
    # Four standard errors of 8,000 draws.
    assert sum(found) / len(found) == pytest.approx(
        share, abs=4 * (share * (1 - share) / 8_000) ** 0.5
    )


@given(
    st.text(max_size=30), st.integers(0, 10_000), st.integers(1, 200), st.sampled_from([0.1, 0.5])
)
def test_a_token_is_not_drawn_again_within_a_window(
    token: str, window: int, hours: int, share: float
) -> None:
    traffic = Traffic(model=MODEL, share=share, window_hours=hours)
    start = window * hours * HOUR
    arms = {arm(token, at, traffic) for at in (start, start + 1, start + hours * HOUR - 1)}
    assert len(arms) == 1


def test_a_token_is_drawn_anew_in_the_next_window_and_apart_from_other_tokens() -> None:
    traffic = Traffic(model=MODEL, share=0.5)
    found = drawn(traffic, tokens=200, windows=2)
    now, later = found[::2], found[1::2]
    assert 60 < sum(a != b for a, b in zip(now, later, strict=True)) < 140
    assert 60 < sum(now) < 140


def test_another_salt_draws_other_tokens() -> None:
    one, other = (drawn(Traffic(model=MODEL, share=0.5, salt=salt)) for salt in ("", "two"))
    assert 3_600 < sum(a != b for a, b in zip(one, other, strict=True)) < 4_400


def test_a_larger_share_keeps_the_tokens_of_the_smaller() -> None:
    tenth, quarter = (drawn(Traffic(model=MODEL, share=share)) for share in (0.1, 0.25))
    assert all(more for less, more in zip(tenth, quarter, strict=True) if less)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_propensity_is_that_of_the_arm_it_got(share: float) -> None:
    traffic = Traffic(model=MODEL, share=share)
    found = {arm(f"token-{n}", NOW, traffic) for n in range(100)}
    assert found == {Arm(True, share), Arm(False, 1.0 - share)}


def test_another_process_draws_the_same() -> None:
    program = (
        "from trade_pipeline.core.strategy.traffic import Traffic, arm;"
        f"t = Traffic(model={MODEL!r}, salt='x');"
        f"print([n for n in range(100) if arm(f'token-{{n}}', {NOW}, t).canary])"
    )
    traffic = Traffic(model=MODEL, salt="x")
    here = [n for n in range(100) if arm(f"token-{n}", NOW, traffic).canary]
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == str(here)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share", 0.2),
        ("share", 0),
        ("share", 1),
        ("window_hours", 0),
        ("salt", "ü"),
        ("salt", "x" * 65),
        ("model", "newest"),
    ],
)
def test_an_impossible_setting_is_named(field: str, value: Any) -> None:
    with pytest.raises(BadConfig) as refused:
        TradingConfig.parse({"canary": {"model": MODEL} | {field: value}})
    assert f"canary.{field}={value!r}" in str(refused.value)


def test_a_canary_that_is_the_model_in_production_is_refused_and_both_fields_are_named() -> None:
    with pytest.raises(BadConfig) as refused:
        TradingConfig.parse({"model": MODEL, "canary": {"model": MODEL}})
    assert f"canary.model={MODEL!r}: is that of model, too" in str(refused.value)
