"""A model in production by a person's word, and decisions after it."""

from __future__ import annotations

from trade_pipeline.core.canary.deployments import Deployed, deployed, promote
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline_tests.core.training.strong import MARKET

SCOPE = Scope(MARKET)


def put_into_production(store: Store, model: str) -> None:
    make_eligible(store, model)
    with store.database.connect() as connection:
        promote(connection, SCOPE, model, by="t", reason="t", override="a test")
        connection.commit()


def on_duty(store: Store, scope: Scope = SCOPE) -> Deployed:
    with store.database.connect("trade_reader") as connection:
        return deployed(connection, scope)
