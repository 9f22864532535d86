"""Settings from the environment (``TRADE_PIPELINE_*``), ``.env`` and a folder of secrets.

Unset, all is embedded.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from trade_pipeline.core.errors import BadConfig

SECRETS_DIR = "TRADE_PIPELINE_SECRETS_DIR"
# Where Docker puts them.
_CONTAINER_SECRETS = Path("/run/secrets")


class ExtensionSettings(BaseSettings):
    """Whose code is added, by itself: it is read wherever features are, and needs nothing else.

    Attributes:
        extensions: Python modules of one's own, separated by commas; see docs/extending.md.
    """

    model_config = SettingsConfigDict(
        env_prefix="TRADE_PIPELINE_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

    extensions: str = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first source that tells a setting wins.

        Raises:
            BadConfig: the folder of secrets that is named is none.
        """
        secrets = SecretsSettingsSource(settings_cls, secrets_dir=_secrets_folder())
        return init_settings, env_settings, dotenv_settings, secrets


class Settings(ExtensionSettings):
    """Where the product keeps its things.

    What neither the environment nor ``.env`` tells may be a file of the folder that
    TRADE_PIPELINE_SECRETS_DIR names (``/run/secrets`` where there is one): a file for each setting,
    with the variable's name in small letters, such as ``trade_pipeline_database_url``.

    Attributes:
        home: folder of everything embedded.
        postgres_bin: folder of another PostgreSQL's programs (>= 15) for the embedded server;
            unset: those of the wheel.
        database_url: any PostgreSQL >= 15; unset: the embedded server under ``home``.
        admin_database_url: the login that migrates; unset: ``database_url``.
        dagster_url: Dagster's own storage (``postgresql+psycopg2://``); unset: the embedded server.
        broker_url: Celery's broker (``redis://``, ``rediss://``, ...), whose workers then execute
            all runs; unset: runs are processes of this machine.
        dagster_yaml: a dagster.yaml that something else writes, such as Dagster's chart for
            Kubernetes: taken as it is, in the place of ``dagster_url``, ``broker_url`` and
            ``batch_runs``.
        batch_runs: how many runs Dagster's queue starts at once, live sessions and halts aside.
        cache_url: any Valkey or Redis for hot features; unset: an embedded Valkey under ``home``.
        cache_memory_mb: MiB that the embedded Valkey may hold.
        artifacts_url: a folder or any fsspec URL (``s3://...``); unset: ``home/artifacts``.
        heads_url: where the heads of the ledger go, likewise, best a place to which the database's
            administrators cannot write; unset: ``heads`` beneath the artifacts.
        timestamp_url: a time-stamp authority (RFC 3161) for each day's heads.
        live_trading: whether real money may be traded at all; a session needs its own settings as
            well.
        ui_port: where the Dagster UI listens, on 127.0.0.1 only.
        coingecko_api_key, coinmarketcap_api_key: of the market providers; the others need none.
        coingecko_pro: whether CoinGecko's key is of a plan that is paid.
        exchange: ccxt's id of an exchange, such as ``binance``.
        rpc_url: an Ethereum node for recording tapes; it may hold a key.
        x_bearer_token, reddit_client_id, reddit_client_secret: for sentiment from X and Reddit.
        telegram_channels: public channels whose posts are counted, separated by commas.
        social_feed_url: a feed of texts as JSON; it may hold a key.
        social_excerpts: how many scrubbed texts a reading may keep.
        venue: ccxt's id of the exchange that live sessions trade on, such as ``binance``.
        venue_key, venue_secret: of an API key that may trade and not withdraw.
        venue_url: another server that speaks the exchange's dialect, such as the local exchange.
        venue_sandbox: trade on the exchange's test network.
        bot_config: a file of a session's settings (`LiveConfig`, TOML or JSON), which
            `IntegratedTradingBot` trades by where it is given none.
        alert_urls: Apprise URLs of the channels that are told what happens, such as
            ``tgram://token/chat``, separated by commas or spaces; they hold secrets.
        freshness: how old what may be, where that differs from the defaults of `FreshnessConfig`,
            as JSON, such as ``{"pools_minutes": 30}``.
    """

    home: Path = Path(".trade_pipeline")
    postgres_bin: Path | None = None
    database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    dagster_url: SecretStr | None = None
    broker_url: SecretStr | None = None
    dagster_yaml: Path | None = None
    batch_runs: int = Field(default=2, ge=1)
    cache_url: SecretStr | None = None
    cache_memory_mb: int = Field(default=256, ge=16)
    artifacts_url: str | None = None
    heads_url: str | None = None
    timestamp_url: SecretStr | None = None
    live_trading: bool = False
    ui_port: int = 3000
    coingecko_api_key: SecretStr | None = None
    coingecko_pro: bool = False
    coinmarketcap_api_key: SecretStr | None = None
    exchange: str | None = None
    rpc_url: SecretStr | None = None
    x_bearer_token: SecretStr | None = None
    reddit_client_id: SecretStr | None = None
    reddit_client_secret: SecretStr | None = None
    telegram_channels: str = ""
    social_feed_url: SecretStr | None = None
    social_excerpts: int = Field(default=0, ge=0)
    venue: str | None = None
    venue_key: SecretStr | None = None
    venue_secret: SecretStr | None = None
    venue_url: str | None = None
    venue_sandbox: bool = False
    bot_config: Path | None = None
    alert_urls: SecretStr | None = None
    freshness: dict[str, float] = {}


def _secrets_folder() -> Path | None:
    named = os.environ.get(SECRETS_DIR)
    if not named:
        return _CONTAINER_SECRETS if _CONTAINER_SECRETS.is_dir() else None
    if not Path(named).is_dir():
        raise BadConfig(f"{SECRETS_DIR}={named!r}: no such folder")
    return Path(named)
