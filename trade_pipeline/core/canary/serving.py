"""What a session of a scope decides with: the models that are deployed there, and no others."""

from __future__ import annotations

import psycopg

from trade_pipeline.core.canary.cycle import terms_of
from trade_pipeline.core.canary.deployments import deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.session.config import TradingConfig


def with_deployed(
    connection: psycopg.Connection, scope: Scope, settings: TradingConfig
) -> TradingConfig:
    """Settings with the production model of a scope, its canary, and the fund that they may use.

    Raises:
        BadConfig: the settings name models of their own.
    """
    named = {"model": settings.model, "canary": settings.canary and settings.canary.model}
    for field, version in named.items():
        if version is not None:
            raise BadConfig(f"{field}={version!r}: a session with the deployed models names none")
    now = deployed(connection, scope)
    update: dict[str, object] = {"fund_share": now.fund_share}
    if now.production is not None:
        update["model"] = now.production.model_version
    if now.canary is not None:
        terms = terms_of(connection, scope, now.canary)
        update["canary"] = terms.config.traffic(now.canary.model_version, terms.salt)
    return settings.model_copy(update=update)
