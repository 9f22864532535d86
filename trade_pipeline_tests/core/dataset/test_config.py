"""The settings of a dataset refuse what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.errors import BadConfig


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"embargo": 1}, "embargo=1"),
        ({"label": "both"}, "label='both'"),
        ({"name": "Two Words"}, "name='Two Words'"),
        ({"rug_return": 0.5}, r"rug_return=0\.5"),
        ({"test_fraction": 0.3}, r"\(0\.6, 0\.2, 0\.3\): must sum to 1"),
        ({"embargo_hours": float("nan")}, "embargo_hours=nan"),
        ({"start": "2026-03-02T00:00:00"}, "start='2026-03-02T00:00:00'"),
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "must be after start"),
    ],
)
def test_an_impossible_setting_is_refused_with_its_name_and_value(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadConfig, match=named):
        DatasetConfig.parse(given)


def test_settings_survive_json() -> None:
    config = DatasetConfig.parse({"name": "pools", "end": "2026-03-02T00:00:00Z"})
    assert DatasetConfig.parse(config.model_dump(mode="json")) == config
