"""Settings from the environment (``TRADE_PIPELINE_*``) and ``.env``; unset, all is embedded."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the product keeps its things.

    Attributes:
        home: folder of everything embedded.
        database_url: any PostgreSQL >= 15; unset: the embedded server under ``home``.
        admin_database_url: the login that migrates; unset: ``database_url``.
        dagster_url: Dagster's own storage (``postgresql+psycopg2://``); unset: the embedded server.
        cache_url: any Valkey or Redis for hot features; unset: an embedded Valkey under ``home``.
        cache_memory_mb: MiB that the embedded Valkey may hold.
        artifacts_url: a folder or any fsspec URL (``s3://...``); unset: ``home/artifacts``.
        live_trading: whether real money may be traded at all; a session needs its own settings as
            well.
        ui_port: where the Dagster UI listens, on 127.0.0.1 only.
    """

    model_config = SettingsConfigDict(
        env_prefix="TRADE_PIPELINE_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

    home: Path = Path(".trade_pipeline")
    database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    dagster_url: SecretStr | None = None
    cache_url: SecretStr | None = None
    cache_memory_mb: int = Field(default=256, ge=16)
    artifacts_url: str | None = None
    live_trading: bool = False
    ui_port: int = 3000
