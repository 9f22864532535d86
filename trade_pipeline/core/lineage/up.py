"""Up: what an object was made from."""

from __future__ import annotations

from typing import LiteralString

import psycopg

from trade_pipeline.core.lineage import trades
from trade_pipeline.core.lineage.graph import Kind, Lineage, Node, Relation
from trade_pipeline.core.lineage.stored import (
    artifact_nodes,
    dataset_nodes,
    deciding_model,
    deployment_nodes,
    evaluation_nodes,
    look_nodes,
    model_nodes,
    report_nodes,
    session_nodes,
)
from trade_pipeline.core.lineage.trades import TradeSet, summarised

# Of a set of trades, so many sessions are nodes of their own, those with the most trades.
SESSIONS = 20


class Upward:
    """Adds what nodes of a lineage were made from.

    The trades of a dataset that is itself the root are counted anew; behind a model on the way, the
    dataset tells what was counted when it was made.
    """

    def __init__(self, connection: psycopg.Connection, found: Lineage, *, members: bool) -> None:
        self._connection = connection
        self._found = found
        self._members = members
        self._done: set[str] = set()

    def walk(self, root: Node) -> None:
        """Add everything above a trade, dataset, model, deployment or session."""
        step = {
            Kind.TRADE: self._trade,
            Kind.DATASET: self._root_dataset,
            Kind.MODEL: self._model,
            Kind.DEPLOYMENT: self._deployment,
            Kind.SESSION: self._root_session,
        }[root.kind]
        step(root)

    def _first(self, node: Node) -> bool:
        """Whether what is above a node was not added so far."""
        new = node.key not in self._done
        self._done.add(node.key)
        return new

    def _trade(self, trade: Node) -> None:
        self._sessions(trade, {trade.facts["session"]: 1})
        self._params(trade, trade.facts["params"])
        self._decided_by(trade, trade.facts["model"], Relation.DECIDED_BY)
        canary = trade.facts.get("canary")
        if canary is not None and canary != trade.facts["model"]:
            self._decided_by(trade, canary, Relation.COMPARED_WITH)
        told = self._connection.execute(
            "SELECT content::json -> 'raw_answers' FROM trade.research_docs WHERE uuid = %s::uuid",
            (trade.id,),
        ).fetchone()
        if told is not None and told[0]:
            for answer in artifact_nodes(self._connection, told[0]):
                self._found.link(trade, answer, Relation.TOLD_BY)

    def _decided_by(self, decided: Node, version: str, relation: Relation, **facts: int) -> None:
        model = deciding_model(self._connection, version)
        self._found.link(decided, model, relation, **facts)
        self._model(model)

    def _sessions(self, decided: Node, counts: dict[str, int]) -> None:
        """Link a trade, or a set of them, to the sessions that decided most of it."""
        largest = list(counts)[:SESSIONS]
        for session in session_nodes(self._connection, "session_id = ANY(%s)", largest):
            facts = {"trades": counts[session.id]} if decided.kind is Kind.TRADES else {}
            self._found.link(decided, session, Relation.DECIDED_IN, **facts)
            self._session(session)

    def _session(self, session: Node) -> None:
        if not self._first(session):
            return
        kind = session.facts["market"]
        market = Node(Kind.MARKET, session.facts.get("market_address") or kind, kind)
        self._found.link(session, market, Relation.READ)
        if (params := session.facts.get("params")) is not None:
            self._params(session, params)

    def _root_session(self, session: Node) -> None:
        self._session(session)
        decided = summarised(
            self._connection,
            session.key,
            trades.SESSION_TRADES,
            {"session": session.id},
            members=False,
        )
        for model, number in decided.models.items():
            self._decided_by(session, model, Relation.DECIDED_BY, trades=number)

    def _params(self, decided: Node, address: str) -> None:
        key = f"{Kind.PARAMS}:{address}"
        if (params := self._found.nodes.get(key)) is None:
            (stored,) = artifact_nodes(self._connection, [address])
            params = Node(Kind.PARAMS, address, stored.name, stored.at, stored.facts)
        self._found.link(decided, params, Relation.SET_BY)

    def _model(self, model: Node) -> None:
        if not self._first(model) or "dataset" not in model.facts:
            return
        trained_on = model.facts["dataset"]
        for dataset in dataset_nodes(self._connection, "dataset_version = %s", trained_on):
            self._found.link(model, dataset, Relation.TRAINED_ON)
            self._dataset(dataset)
        for file in artifact_nodes(self._connection, [model.facts["artifact"]]):
            self._found.link(model, file, Relation.STORED_AS)
        if (parent := model.facts.get("parent")) is not None:
            for before in model_nodes(self._connection, "m.model_version = %s", parent):
                self._found.link(model, before, Relation.REPLACES)

    def _dataset(self, dataset: Node) -> None:
        if not self._first(dataset):
            return
        if self._members:
            self._set(dataset, Relation.HOLDS, trades.DATASET_TRADES, {"dataset": dataset.id})
            return
        counts, bounds = dataset.facts.get("counts") or {}, dataset.facts.get("bounds") or {}
        by_split = {name: counts[name] for name in bounds if name in counts}
        facts = {
            "trades": sum(by_split.values()),
            "by_split": by_split,
            "counted": "when the dataset was made",
        }
        held = Node(Kind.TRADES, dataset.key, f"{facts['trades']:,} trades", dataset.at, facts)
        self._found.link(dataset, held, Relation.HOLDS)

    def _root_dataset(self, dataset: Node) -> None:
        self._first(dataset)
        held = self._set(dataset, Relation.HOLDS, trades.DATASET_TRADES, {"dataset": dataset.id})
        self._sessions(held.node, held.sessions)
        for model, number in held.models.items():
            self._decided_by(held.node, model, Relation.DECIDED_BY, trades=number)

    def _deployment(self, deployment: Node) -> None:
        if not self._first(deployment):
            return
        facts = deployment.facts
        for model in model_nodes(self._connection, "m.model_version = %s", facts["model"]):
            self._found.link(deployment, model, Relation.DEPLOYS)
            self._model(model)
            for gates in evaluation_nodes(self._connection, [model.id]):
                self._found.link(deployment, gates, Relation.RESTS_ON)
                self._found.link(gates, model, Relation.JUDGES)
        if (look := facts.get("evaluation")) is not None:
            for evaluation in look_nodes(self._connection, "evaluation_id = %s", look):
                self._found.link(deployment, evaluation, Relation.RESTS_ON)
                self._look(evaluation)
        if (report := facts.get("report")) is not None:
            for told in report_nodes(self._connection, "report_id = %s", report):
                self._found.link(deployment, told, Relation.RESTS_ON)
                self._earlier(told, told.facts["deployment"], Relation.LOOKED_AT)
        if (restored := facts.get("restores")) is not None:
            self._earlier(deployment, restored, Relation.RESTORES)

    def _look(self, look: Node) -> None:
        if not self._first(look):
            return
        self._earlier(look, look.facts["canary"], Relation.LOOKED_AT)
        seen = self._set(look, Relation.EVIDENCE, trades.LOOK_TRADES, {"look": look.id})
        self._sessions(seen.node, seen.sessions)

    def _earlier(self, node: Node, number: int, relation: Relation) -> None:
        for deployment in deployment_nodes(self._connection, "d.deployment_id = %s", number):
            self._found.link(node, deployment, relation)
            self._deployment(deployment)

    def _set(
        self, holder: Node, relation: Relation, chosen: LiteralString, values: dict[str, str]
    ) -> TradeSet:
        found = summarised(self._connection, holder.key, chosen, values, members=self._members)
        self._found.link(holder, found.node, relation)
        return found
