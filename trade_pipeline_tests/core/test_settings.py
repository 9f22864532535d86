"""Settings: from the environment first, then from files of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.settings import Settings

URL = "postgresql://trade_writer:hidden@db.example.org/trade_pipeline"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets, as a container has one, that holds the database's URL."""
    (tmp_path / "trade_pipeline_database_url").write_text(f"{URL}\n")
    (tmp_path / "somebody_elses").write_text("secret")
    monkeypatch.setenv("TRADE_PIPELINE_SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("TRADE_PIPELINE_DATABASE_URL", raising=False)
    return tmp_path


def test_a_secret_is_read_from_the_file_that_is_named_like_its_variable(secrets: Path) -> None:
    found = Settings(_env_file=None)
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == URL
    assert "hidden" not in repr(found)


def test_the_environment_comes_before_files_of_secrets(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_DATABASE_URL", "postgresql://other")
    found = Settings(_env_file=None)
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == "postgresql://other"


def test_a_folder_of_secrets_that_is_not_there_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_SECRETS_DIR", str(tmp_path / "away"))
    with pytest.raises(BadConfig, match=r"TRADE_PIPELINE_SECRETS_DIR=.*away': no such folder"):
        Settings(_env_file=None)
