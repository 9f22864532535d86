"""The sessions of an experiment, known by their ids before one of them runs."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.experiment.definition import Definition, MarketRange, require_inside
from trade_pipeline.core.experiment.design import Design, Variant, World
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.session.backtest import (
    backtest_session,
    canary_of,
    model_of,
    rug_risk_of,
)
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """A session that belongs to an experiment, and what it needs to run."""

    session_id: str
    market: MarketRange
    world: World
    variant: str
    config: TradingConfig

    def __str__(self) -> str:
        return f"{self.variant} on {self.world}"


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment's design and its sessions, variant after variant on each market."""

    design: Design
    sessions: tuple[PlannedSession, ...]


def plan_of(definition: Definition) -> Plan:
    """The sessions that an experiment is made of; opens each recording once.

    Raises:
        BadConfig: days of which a recording knows nothing, or settings that its market refuses.
        BadMarketData: a recording is wrong.
    """
    settings = {name: one.canonical() for name, one in definition.variants.items()}
    variants = {
        name: Variant(
            address_of(settings[name]), one.model_dump(mode="json", exclude_defaults=True)
        )
        for name, one in definition.variants.items()
    }
    simulator = definition.variants[definition.baseline].simulator
    worlds: list[World] = []
    sessions: list[PlannedSession] = []
    for market in definition.markets:
        start, end = market.first_moment, market.end_moment
        for seed in definition.seeds_on(market):
            feed = open_market(
                market.kind,
                data=market.data,
                seed=seed,
                start=micros(start),
                end=micros(end),
                simulator=simulator,
                mentions=market.mentions,
            )
            if market.data is not None:
                require_inside(market, feed.span())
            world = World(market.kind, feed.content_address(), market.start, market.end, seed)
            worlds.append(world)
            for name, config in definition.variants.items():
                session = backtest_session(
                    feed, start, end, seed, config, variants[name].params_ptr
                )
                sessions.append(PlannedSession(session.session_id, market, world, name, config))
    design = Design(
        name=definition.name,
        description=definition.description,
        metric=definition.metric,
        baseline=definition.baseline,
        pool=definition.pool,
        worlds=tuple(worlds),
        variants=variants,
    )
    return Plan(design, tuple(sessions))


def require_models(connection: psycopg.Connection, artifacts: ArtifactStore, plan: Plan) -> None:
    """Refuse settings that name a model which does not exist or may not decide on its market.

    Raises:
        BadConfig: names the variant.
        ArtifactDamaged: a model's file was changed.
    """
    for kind, name in dict.fromkeys((one.world.kind, one.variant) for one in plan.sessions):
        config = next(one.config for one in plan.sessions if one.variant == name)
        try:
            rug_risk_of(artifacts, config)
            model_of(connection, artifacts, config, kind)
            canary_of(connection, artifacts, config, kind)
        except BadConfig as error:
            raise BadConfig(f"variant {name} on {kind}: {error}") from None
