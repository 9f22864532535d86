"""Dagster's PostgreSQL storage with connections that are kept.

Dagster's own class opens a connection for each statement of an event (several a row, and each is a
process of the server that is forked and ended): a run of the backtest job spent as long on that as
on the backtest.  Only its webserver keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)

# Behind balancers that cut idle connections; seconds.
_RECYCLE = 1_800


class PooledPostgresStorage(DagsterPostgresStorage):
    """Two connections a process stay open; what is needed besides them is opened and closed."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            # Two: the event log asks for a second one while a transaction holds the first.
            pool_size=2,
            max_overflow=-1,
            pool_recycle=_RECYCLE,
            # The server may have been restarted since; asked once for each statement's connection.
            pool_pre_ping=True,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Made by Dagster from dagster.yaml."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )
