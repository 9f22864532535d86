"""Every planted leak by name."""

from __future__ import annotations

from trade_pipeline_tests.core.dataset import (
    mutants_of_columns,
    mutants_of_features,
    mutants_of_splits,
)
from trade_pipeline_tests.core.dataset.planting import MUTANTS, judged

__all__ = ["MUTANTS", "judged", "mutants_of_columns", "mutants_of_features", "mutants_of_splits"]
