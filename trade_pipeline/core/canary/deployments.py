"""Which model decides where: canary, promotion and rollback, as an append-only history.

The database keeps the rules (``sql/0011``): one canary a scope, production only by an evaluation of
that canary that says promote, by going back, or by an override with its reason; a model that is not
eligible never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import orjson
import psycopg

from trade_pipeline.core.canary.paired import newest_decision
from trade_pipeline.core.canary.record import CanaryEvaluation, Deployment, Scope
from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import lock_chain

_SCOPE: LiteralString = "(market, venue, account) = (%(market)s, %(venue)s, %(account)s)"


class NotDeployed(TradePipelineError):
    """A deployment that the rules refuse; nothing was written."""


@dataclass(frozen=True, slots=True)
class Active:
    """A model that decides, and the number of the deployment that put it there."""

    model_version: str
    deployment_id: int
    deployed_at: datetime


@dataclass(frozen=True, slots=True)
class Deployed:
    """What decides in a scope; without a production model it is the heuristic.

    Attributes:
        fund_share: part of the fund with which production decides: less than 1 where monitoring
            took a model back and the heuristic decides in its place.
    """

    production: Active | None
    canary: Active | None
    fund_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the history."""

    deployment_id: int
    short_name: str
    content_hash: str
    deployment: Deployment

    @property
    def market_time(self) -> datetime:
        """When it was on the market; the clock's time where nothing had been decided before."""
        told = self.deployment.evidence.get("starts_at")
        return self.deployment.deployed_at if told is None else datetime.fromisoformat(told)


def deployed(connection: psycopg.Connection, scope: Scope) -> Deployed:
    """What decides in a scope now."""
    # One statement sees one moment of the history.
    rows = connection.execute(
        "SELECT slot, model_version, deployment_id, deployed_at, NULL FROM trade.deployed "
        f"WHERE {_SCOPE} UNION ALL (SELECT 'fund', '', 0, deployed_at, fund_share "
        f"FROM trade.deployments WHERE {_SCOPE} AND slot = 'production' "
        "ORDER BY deployment_id DESC LIMIT 1)",
        _names(scope),
    ).fetchall()
    active = {slot: Active(*rest) for slot, *rest, _ in rows if slot != "fund"}
    share = next((share for slot, *_, share in rows if slot == "fund"), None)
    return Deployed(
        active.get("production"), active.get("canary"), 1.0 if share is None else float(share)
    )


def canaries(connection: psycopg.Connection) -> list[tuple[Scope, Active]]:
    """Every active canary, and where."""
    return _everywhere(connection, "canary")


def productions(connection: psycopg.Connection) -> list[tuple[Scope, Active]]:
    """Every production model, and where."""
    return _everywhere(connection, "production")


def _everywhere(connection: psycopg.Connection, slot: str) -> list[tuple[Scope, Active]]:
    rows = connection.execute(
        "SELECT market, venue, account, model_version, deployment_id, deployed_at "
        "FROM trade.deployed WHERE slot = %s ORDER BY deployment_id",
        (slot,),
    )
    return [(Scope(*row[:3]), Active(*row[3:])) for row in rows]


def event_of(connection: psycopg.Connection, active: Active) -> Event:
    """The line of the history that put a model there."""
    (event,) = _events(connection, "WHERE deployment_id = %(id)s", {"id": active.deployment_id})
    return event


def history(connection: psycopg.Connection, scope: Scope | None = None) -> list[Event]:
    """Every deployment in a scope (None: in all), the oldest first."""
    if scope is None:
        return _events(connection, "", {})
    return _events(connection, f"WHERE {_SCOPE}", _names(scope))


def _events(
    connection: psycopg.Connection, where: LiteralString, named: Mapping[str, Any]
) -> list[Event]:
    rows = connection.execute(
        "SELECT d.deployment_id, m.short_name, encode(d.content_hash, 'hex'), d.content "
        f"FROM (SELECT * FROM trade.deployments {where}) d "
        "JOIN trade.models m USING (model_version) ORDER BY d.deployment_id",
        named,
    )
    return [Event(n, name, digest, _read(content)) for n, name, digest, content in rows]


def newest_canary_market(connection: psycopg.Connection) -> str:
    """The market on which a canary began last.

    Raises:
        NotDeployed: none ever did.
    """
    row = connection.execute(
        "SELECT market FROM trade.deployments WHERE stage = 'canary' "
        "ORDER BY deployment_id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise NotDeployed("no canary was ever deployed: materialise canary_deployment first")
    return str(row[0])


def newest_look(connection: psycopg.Connection) -> CanaryEvaluation:
    """The evaluation of a canary that was stored last.

    Raises:
        NotDeployed: there is none.
    """
    row = connection.execute(
        "SELECT content FROM trade.canary_evaluations ORDER BY recorded_at DESC, chain_seq DESC "
        "LIMIT 1"
    ).fetchone()
    if row is None:
        raise NotDeployed("no canary was evaluated: materialise canary_evaluation first")
    fields = orjson.loads(row[0])
    moments = {name: datetime.fromisoformat(fields[name]) for name in ("looked_at", "evaluated_at")}
    return CanaryEvaluation(**fields | moments)


def begin_canary(
    connection: psycopg.Connection,
    scope: Scope,
    model: str,
    *,
    by: str,
    reason: str,
    evidence: Mapping[str, Any],
    override: str | None = None,
) -> Active:
    """Put an eligible model beside what decides in a scope.

    Args:
        evidence: the power report, and what the canary will be measured with.
        override: why it starts although the report says that it will hardly show anything.

    Raises:
        NotDeployed: it is not eligible, another canary is there, or it is in production already.
    """
    with _deploying(connection, scope):
        return _append(
            connection, scope, model, "canary", "canary", by, reason,
            evidence=evidence, override=override,
        )  # fmt: skip


def record_look(connection: psycopg.Connection, scope: Scope, look: CanaryEvaluation) -> None:
    """Store an evaluation of the canary, once."""
    chain = f"canary:{scope}"
    with connection.transaction():
        lock_chain(connection, chain)
        stored = connection.execute(
            "SELECT FROM trade.canary_evaluations WHERE evaluation_id = %s", (look.evaluation_id,)
        ).fetchone()
        if stored is None:
            append_now(connection, read_chain(connection, chain), look)


def promote(
    connection: psycopg.Connection,
    scope: Scope,
    model: str,
    *,
    by: str,
    reason: str,
    look: CanaryEvaluation | None = None,
    override: str | None = None,
) -> Active:
    """Let a model decide everything in a scope; it begins with the next decision.

    Args:
        look: an evaluation as the present canary that says promote; it is stored with it.
        override: why a person goes past the canary.

    Raises:
        NotDeployed: it is in production already, it is not the canary, its newest evaluation does
            not say promote, or it is not eligible.
    """
    with _deploying(connection, scope):
        production = deployed(connection, scope).production
        if production is not None and production.model_version == model:
            raise NotDeployed(f"{scope}: model {model} is in production there already")
        if look is not None:
            record_look(connection, scope, look)
        return _append(
            connection, scope, model, "production", "production", by, reason,
            evaluation_id=None if look is None else look.evaluation_id,
            verdict=None if look is None else look.decision,
            override=override,
            evidence={} if look is None else dict(look.numbers),
        )  # fmt: skip


def retire_canary(
    connection: psycopg.Connection,
    scope: Scope,
    *,
    by: str,
    reason: str,
    look: CanaryEvaluation | None = None,
) -> Active:
    """End the canary of a scope; production goes on as before.

    Raises:
        NotDeployed: there is none, or the look was at an earlier one.
    """
    with _deploying(connection, scope):
        canary = deployed(connection, scope).canary
        if canary is None:
            raise NotDeployed(f"{scope}: no canary is there")
        if look is not None:
            if look.canary != canary.deployment_id:
                raise NotDeployed(
                    f"{scope}: the look was at the canary of deployment {look.canary}, there is "
                    f"that of {canary.deployment_id}; look again"
                )
            record_look(connection, scope, look)
        return _append(
            connection, scope, canary.model_version, "retired", "canary", by, reason,
            evaluation_id=None if look is None else look.evaluation_id,
            verdict=None if look is None else look.decision,
        )  # fmt: skip


def rollback(connection: psycopg.Connection, scope: Scope, *, by: str, reason: str) -> Active:
    """Take back what is newest: the canary if there is one, else the production model.

    After production the model that was there before it decides again, or the heuristic.

    Raises:
        NotDeployed: neither is there, or what is newest changed while this waited for its turn.
    """
    with _deploying(connection, scope) as seen:
        now = deployed(connection, scope)
        if now != seen:
            # Two who take back the same thing at once would take back twice.
            raise NotDeployed(f"{scope}: another deployment came first; look again")
        if now.canary is not None:
            return _append(
                connection, scope, now.canary.model_version, "retired", "canary", by, reason
            )
        if now.production is None:
            raise NotDeployed(f"{scope}: no model is deployed, the heuristic decides")
        return _go_back(connection, scope, now.production, by, reason)


def roll_back_production(
    connection: psycopg.Connection,
    scope: Scope,
    production: Active,
    *,
    by: str,
    reason: str,
    report_id: str,
    fund_share: float,
    evidence: Mapping[str, Any],
) -> Active:
    """Take back the production model that a stored report of the monitoring looked at.

    The model before it decides again, or else the heuristic with a part of the fund; a canary that
    was measured beside it ends with it.

    Args:
        report_id: it rests on this report, each of which is acted on once.
        fund_share: the part of the fund for the heuristic, above 0 and up to 1.

    Raises:
        NotDeployed: another one is in production by now, or the report does not ask for it.
    """
    with _deploying(connection, scope):
        if deployed(connection, scope).production != production:
            raise NotDeployed(
                f"{scope}: deployment {production.deployment_id} is not in production any more"
            )
        return _go_back(
            connection, scope, production, by, reason, fund_share, report_id=report_id,
            evidence=evidence,
        )  # fmt: skip


def _go_back(
    connection: psycopg.Connection,
    scope: Scope,
    production: Active,
    by: str,
    reason: str,
    fund_share: float | None = None,
    **more: Any,
) -> Active:
    before = _before(connection, scope, production)
    if before is None:
        return _append(
            connection, scope, production.model_version, "retired", "production", by, reason,
            fund_share=fund_share, **more,
        )  # fmt: skip
    return _append(
        connection, scope, before.model_version, "production", "production", by, reason,
        restores=before.deployment_id, **more,
    )  # fmt: skip


def _before(connection: psycopg.Connection, scope: Scope, now: Active) -> Active | None:
    """The deployment whose model decided before the present one came; None: the heuristic did.

    Going back twice goes back further: a deployment that restores an older one stands for it.
    """
    present = now.deployment_id
    restored = connection.execute(
        "SELECT restores FROM trade.deployments WHERE deployment_id = %s", (present,)
    ).fetchone()
    if restored is not None and restored[0] is not None:
        present = restored[0]
    row = connection.execute(
        "SELECT stage, model_version, coalesce(restores, deployment_id), deployed_at "
        f"FROM trade.deployments WHERE {_SCOPE} AND slot = 'production' "
        "AND deployment_id < %(present)s ORDER BY deployment_id DESC LIMIT 1",
        {**_names(scope), "present": present},
    ).fetchone()
    return None if row is None or row[0] != "production" else Active(*row[1:])


@contextmanager
def _deploying(connection: psycopg.Connection, scope: Scope) -> Iterator[Deployed]:
    """One deployment at a time in a scope; what the database refuses is `NotDeployed`.

    Gives what was deployed before it waited for its turn.
    """
    try:
        with connection.transaction():
            seen = deployed(connection, scope)
            lock_chain(connection, _chain(scope))
            yield seen
    except psycopg.errors.ForeignKeyViolation as error:
        if error.diag.constraint_name and "eligible" in error.diag.constraint_name:
            raise NotDeployed(f"{scope}: the model is not eligible: its gates come first") from None
        raise
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name and "report_id" in error.diag.constraint_name:
            raise NotDeployed(f"{scope}: the report was acted on already") from None
        raise
    except psycopg.errors.CheckViolation as error:
        raise NotDeployed(error.diag.message_primary or str(error)) from None


def _append(
    connection: psycopg.Connection,
    scope: Scope,
    model: str,
    stage: str,
    slot: str,
    by: str,
    reason: str,
    *,
    evidence: Mapping[str, Any] | None = None,
    **more: Any,
) -> Active:
    known = dict(evidence or {})
    # Market time; what was decided before tells nothing of this deployment.
    newest = newest_decision(connection, scope)
    known["starts_at"] = None if newest is None else newest.isoformat()
    record = Deployment(
        model, scope.market, scope.venue, scope.account, stage, slot, datetime.now(UTC), by,
        reason, evidence=known, **more,
    )  # fmt: skip
    append_now(connection, read_chain(connection, _chain(scope)), record)
    number = connection.execute(
        f"SELECT max(deployment_id) FROM trade.deployments WHERE {_SCOPE}", _names(scope)
    ).fetchone()
    assert number is not None
    return Active(model, number[0], record.deployed_at)


def _names(scope: Scope) -> dict[str, str]:
    return {"market": scope.market, "venue": scope.venue, "account": scope.account}


def _chain(scope: Scope) -> str:
    return f"deployments:{scope}"


def _read(content: str) -> Deployment:
    fields = orjson.loads(content)
    return Deployment(**fields | {"deployed_at": datetime.fromisoformat(fields["deployed_at"])})
