"""Settings from the environment (``TRADE_PIPELINE_*``) and ``.env``; unset, all is embedded."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the product keeps its things.

    Attributes:
        home: folder of everything embedded.
        postgres_bin: folder of another PostgreSQL's programs (>= 15) for the embedded server;
            unset: those of the wheel.
        database_url: any PostgreSQL >= 15; unset: the embedded server under ``home``.
        admin_database_url: the login that migrates; unset: ``database_url``.
        dagster_url: Dagster's own storage (``postgresql+psycopg2://``); unset: the embedded server.
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
    """

    model_config = SettingsConfigDict(
        env_prefix="TRADE_PIPELINE_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

    home: Path = Path(".trade_pipeline")
    postgres_bin: Path | None = None
    database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    dagster_url: SecretStr | None = None
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
