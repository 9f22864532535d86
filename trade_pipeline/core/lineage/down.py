"""Down: what was made from an object."""

from __future__ import annotations

from typing import LiteralString

import psycopg

from trade_pipeline.core.lineage import trades
from trade_pipeline.core.lineage.graph import Kind, Lineage, Node, Relation
from trade_pipeline.core.lineage.stored import (
    dataset_nodes,
    deployment_nodes,
    evaluation_nodes,
    look_nodes,
    model_nodes,
    report_nodes,
)
from trade_pipeline.core.lineage.trades import summarised


class Downward:
    """Adds what was made from nodes of a lineage.

    It ends with deployments: what was decided under one is below it alone, or below its model.
    """

    def __init__(self, connection: psycopg.Connection, found: Lineage, *, members: bool) -> None:
        self._connection = connection
        self._found = found
        self._members = members
        self._done: set[str] = set()

    def walk(self, root: Node) -> None:
        """Add everything below a trade, dataset, model, deployment or session."""
        if root.kind is Kind.TRADE:
            self._trade(root)
        elif root.kind is Kind.SESSION:
            self._session(root)
        elif root.kind is Kind.DATASET:
            self._datasets([root])
        elif root.kind is Kind.MODEL:
            self._models([root])
            self._decided(root, trades.MODEL_TRADES, {"model": root.id}, Relation.DECIDED_BY)
        else:
            self._deployments([root])
            values = {"deployment": root.id}
            self._decided(root, trades.DEPLOYMENT_TRADES, values, Relation.MADE_UNDER)

    def _first(self, nodes: list[Node]) -> dict[str, Node]:
        """Those below which nothing was added so far, by id."""
        new = {node.id: node for node in nodes if node.key not in self._done}
        self._done.update(node.key for node in new.values())
        return new

    def _trade(self, trade: Node) -> None:
        for feature_set, known_at, digest in self._connection.execute(
            "SELECT feature_set, known_at, encode(vector_hash, 'hex') FROM trade.feature_rows "
            "WHERE uuid = %s::uuid ORDER BY feature_set",
            (trade.id,),
        ):
            facts = {"feature_set": feature_set, "vector_hash": digest}
            key = f"{trade.id}/{feature_set}"
            row = Node(Kind.FEATURE_ROW, key, feature_set, known_at, facts)
            self._found.link(row, trade, Relation.FEATURES_OF)
        splits: dict[str, str] = dict(
            self._connection.execute(
                "SELECT dataset_version, split FROM trade.dataset_members WHERE uuid = %s::uuid",
                (trade.id,),
            ).fetchall()
        )
        if splits:
            held = dataset_nodes(self._connection, "dataset_version = ANY(%s)", list(splits))
            for dataset in held:
                self._found.link(dataset, trade, Relation.HOLDS, split=splits[dataset.id])
            self._datasets(held)
        if "canary" in trade.facts:
            self._evidence(trade, trades.LOOKS_OF_TRADE, trade.id)

    def _session(self, session: Node) -> None:
        values = {"session": session.id}
        decided = self._decided(session, trades.SESSION_TRADES, values, Relation.DECIDED_IN)
        held = dataset_nodes(
            self._connection, "datasets.content::jsonb -> 'session_ids' ? %s", session.id
        )
        for dataset in held:
            self._found.link(dataset, decided, Relation.HOLDS)
        self._datasets(held)
        self._evidence(decided, trades.LOOKS_OF_SESSION, session.id)

    def _evidence(self, compared: Node, looks: LiteralString, key: str) -> None:
        """The looks at canaries for which decisions were evidence, and what rests on them."""
        found = look_nodes(self._connection, f"evaluation_id IN ({looks})", key)
        for look in found:
            self._found.link(look, compared, Relation.EVIDENCE)
        self._looks(found)

    def _datasets(self, datasets: list[Node]) -> None:
        if not (by_id := self._first(datasets)):
            return
        trained = model_nodes(self._connection, "m.dataset_version = ANY(%s)", list(by_id))
        for model in trained:
            self._found.link(model, by_id[model.facts["dataset"]], Relation.TRAINED_ON)
        self._models(trained)

    def _models(self, models: list[Node]) -> None:
        if not (by_id := self._first(models)):
            return
        for gates in evaluation_nodes(self._connection, list(by_id)):
            self._found.link(gates, by_id[gates.facts["model"]], Relation.JUDGES)
        for child in model_nodes(self._connection, "m.parent = ANY(%s)", list(by_id)):
            self._found.link(child, by_id[child.facts["parent"]], Relation.REPLACES)
        put = deployment_nodes(self._connection, "d.model_version = ANY(%s)", list(by_id))
        for deployment in put:
            self._found.link(deployment, by_id[deployment.facts["model"]], Relation.DEPLOYS)
        self._deployments(put)

    def _deployments(self, deployments: list[Node]) -> None:
        by_id = {int(key): node for key, node in self._first(deployments).items()}
        if not by_id:
            return
        numbers = list(by_id)
        looks = look_nodes(self._connection, "canary = ANY(%s)", numbers)
        for look in looks:
            self._found.link(look, by_id[look.facts["canary"]], Relation.LOOKED_AT)
        self._looks(looks)
        reports = report_nodes(self._connection, "deployment = ANY(%s)", numbers)
        for report in reports:
            self._found.link(report, by_id[report.facts["deployment"]], Relation.LOOKED_AT)
        told = {report.id: report for report in reports}
        later = deployment_nodes(
            self._connection,
            "d.restores = ANY(%s) OR d.report_id = ANY(%s)",
            numbers,
            list(told),
        )
        for deployment in later:
            if (before := deployment.facts.get("restores")) in by_id:
                self._found.link(deployment, by_id[before], Relation.RESTORES)
            if (report_id := deployment.facts.get("report")) in told:
                self._found.link(deployment, told[report_id], Relation.RESTS_ON)
        self._deployments(later)

    def _looks(self, looks: list[Node]) -> None:
        if not (by_id := self._first(looks)):
            return
        resting = deployment_nodes(self._connection, "d.evaluation_id = ANY(%s)", list(by_id))
        for deployment in resting:
            look = by_id[deployment.facts["evaluation"]]
            self._found.link(deployment, look, Relation.RESTS_ON)
        self._deployments(resting)

    def _decided(
        self, source: Node, chosen: LiteralString, values: dict[str, str], relation: Relation
    ) -> Node:
        found = summarised(self._connection, source.key, chosen, values, members=self._members)
        self._found.link(found.node, source, relation)
        return found.node
