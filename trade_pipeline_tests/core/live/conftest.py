"""Watches that notice the end of their session at once."""

from __future__ import annotations

import pytest

from trade_pipeline.core.canary import watch
from trade_pipeline.core.live import halts


@pytest.fixture(autouse=True)
def quick_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(halts, "POLL_SECONDS", 0.02)
