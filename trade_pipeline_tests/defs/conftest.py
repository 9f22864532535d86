"""A store under a home of its own, as a run of Dagster finds it by its environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def store(home: Path) -> Iterator[Store]:
    with Store.open(Settings(home=home, _env_file=None)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def environment(home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(home))
    monkeypatch.delenv("TRADE_PIPELINE_DATABASE_URL", raising=False)
