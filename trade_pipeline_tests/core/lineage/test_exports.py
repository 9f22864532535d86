"""A lineage as W3C PROV and as OpenLineage events, read again by their libraries."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from openlineage.client.event_v2 import RunEvent
from prov.model import (
    ProvActivity,
    ProvAgent,
    ProvAssociation,
    ProvDerivation,
    ProvDocument,
    ProvElement,
    ProvGeneration,
    ProvUsage,
)

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.lineage.graph import Direction, Kind, Lineage, Node, Relation
from trade_pipeline.core.lineage.openlineage_events import emit, events_of, run_id, write
from trade_pipeline.core.lineage.prov_document import prov_json
from trade_pipeline_tests.core.samples import ADDRESS, START

UUID7 = "0190a1b2-0000-7000-8000-000000000001"


def node(kind: Kind, key: str, **facts: Any) -> Node:
    return Node(kind, key, f"the {kind}", START, facts)


TRADE = node(Kind.TRADE, UUID7, confidence=0.75, session="s")
SESSION = node(
    Kind.SESSION, "s", code_version="1.2", range_start=START, range_end=START + timedelta(days=1)
)
MODEL = node(Kind.MODEL, ADDRESS, code_version="1.1")
DATASET = node(Kind.DATASET, "sha256:" + "b" * 64, counts={"train": 2})
DEPLOYMENT = node(Kind.DEPLOYMENT, "7", deployed_by="ann@desk", reason='said "so"; {x}')
ROW = node(Kind.FEATURE_ROW, f"{UUID7}/f")
OTHER = "0190a1b2-0000-7000-8000-000000000002"


def whole() -> list[Lineage]:
    """A trade both ways."""
    up, down = Lineage(TRADE, Direction.UP), Lineage(TRADE, Direction.DOWN)
    held = Node(Kind.TRADES, DATASET.key, "2 trades", START, {"trades": 2}, members=[UUID7, OTHER])
    up.link(TRADE, SESSION, Relation.DECIDED_IN)
    up.link(TRADE, MODEL, Relation.DECIDED_BY)
    up.link(SESSION, Node(Kind.MARKET, "a market with ünusual / signs"), Relation.READ)
    up.link(MODEL, DATASET, Relation.TRAINED_ON)
    up.link(DATASET, held, Relation.HOLDS)
    up.link(MODEL, Node(Kind.ARTIFACT, ADDRESS), Relation.STORED_AS)
    down.link(ROW, TRADE, Relation.FEATURES_OF)
    down.link(DEPLOYMENT, MODEL, Relation.DEPLOYS)
    down.link(node(Kind.DEPLOYMENT, "8", deployed_by="dagster run 1"), MODEL, Relation.DEPLOYS)
    return [up, down]


def records(document: ProvDocument, kind: type[Any]) -> set[tuple[str, ...]]:
    """What the records of a kind say, without what is optional."""
    if issubclass(kind, ProvElement):
        return {(one.identifier.localpart,) for one in document.get_records(kind)}
    return {
        tuple(str(value.localpart) for value in one.args[:2]) for one in document.get_records(kind)
    }


def test_a_prov_document_is_read_again_as_the_same_and_says_who_did_what_with_what() -> None:
    text = prov_json(whole())
    document = ProvDocument.deserialize(content=text, format="json")
    assert ProvDocument.deserialize(content=document.serialize(format="json")) == document
    assert prov_json(whole()) == text
    model, dataset = f"model/{ADDRESS}".replace(":", "%3A"), f"dataset/{DATASET.id}"
    dataset = dataset.replace(":", "%3A")
    assert records(document, ProvActivity) == {
        (f"decision/{UUID7}",), ("session/s",), (model.replace("model/", "training/"),),
        (dataset.replace("dataset/", "dataset_build/"),), ("deployment/7",), ("deployment/8",),
    }  # fmt: skip
    assert (f"trade/{UUID7}", f"decision/{UUID7}") in records(document, ProvGeneration)
    assert (f"feature_row/{UUID7}%2Ff", f"decision/{UUID7}") in records(document, ProvGeneration)
    assert (f"decision/{UUID7}", model) in records(document, ProvUsage)
    derived = records(document, ProvDerivation)
    assert {(f"trade/{UUID7}", model), (model, dataset), ("deployment/7", model)} <= derived
    assert records(document, ProvAgent) == {
        ("software/trade_pipeline%201.2",), ("software/trade_pipeline%201.1",),
        ("software/the%20model",), ("operator/ann%40desk",), ("automation/dagster%20run%201",),
    }  # fmt: skip
    assert ("deployment/7", "operator/ann%40desk") in records(document, ProvAssociation)
    assert ("session/s", "software/trade_pipeline%201.2") in records(document, ProvAssociation)
    # The members of a set that lists them are entities of their own.
    assert f"tp:trade/{OTHER}" in orjson.loads(text)["entity"]


def test_every_run_of_openlineage_is_whole_and_has_the_same_id_each_time(tmp_path: Path) -> None:
    events = events_of(whole())
    write(events, tmp_path / "events.jsonl")
    lines = [orjson.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(lines) == len(events) == 2 * 6
    for line in lines:
        assert datetime.fromisoformat(line["eventTime"]).utcoffset() is not None
        assert UUID(line["run"]["runId"])
        assert line["job"]["namespace"] == "trade_pipeline"
        assert line["producer"].startswith("urn:trade-pipeline:")
        assert line["schemaURL"].endswith("#/$defs/RunEvent")
        for facets in (line["run"]["facets"], line["job"]["facets"]):
            assert all(facet["_producer"] and facet["_schemaURL"] for facet in facets.values())
    for one in ("decision", "training"):
        states = [line["eventType"] for line in lines if line["job"]["name"] == one]
        assert states == ["START", "COMPLETE"]
    assert {e.run.runId for e in events} == {e.run.runId for e in events_of(whole())}
    assert len({event.run.runId for event in events}) == 6

    (decision,) = [
        e for e in lines if e["job"]["name"] == "decision" and e["eventType"] == "COMPLETE"
    ]
    assert decision["run"]["runId"] == str(run_id("decision", UUID7))
    assert decision["run"]["facets"]["parent"]["run"]["runId"] == str(run_id("session", "s"))
    assert [one["name"] for one in decision["inputs"]] == [f"model/{ADDRESS}"]
    outputs = {one["name"] for one in decision["outputs"]}
    assert outputs == {f"trade/{UUID7}", f"feature_row/{UUID7}/f"}
    (build,) = [e for e in events if e.job.name == "dataset_build" and e.eventType is not None][:1]
    assert build.inputs is not None
    assert build.inputs[0].inputFacets is not None
    assert vars_of(build.inputs[0].inputFacets["inputStatistics"])["rowCount"] == 2


def vars_of(facet: Any) -> dict[str, Any]:
    return {name: getattr(facet, name) for name in ("rowCount",)}


class Taker(BaseHTTPRequestHandler):
    """Takes events, or refuses them."""

    answer = 201
    taken: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).taken.append(orjson.loads(body))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def taker(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Taker]]:
    class Own(Taker):
        taken: list[dict[str, Any]] = []  # noqa: RUF012

    with HTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        yield Own
        server.shutdown()
        thread.join(timeout=10)


def test_events_are_sent_to_the_url_of_the_environment(taker: type[Taker]) -> None:
    events: list[RunEvent] = events_of(whole())
    emit(events)
    assert [one["run"]["runId"] for one in taker.taken] == [event.run.runId for event in events]


def test_an_event_that_is_refused_is_an_error_that_says_which(taker: type[Taker]) -> None:
    taker.answer = 422
    with pytest.raises(StoreUnavailable, match="OPENLINEAGE_URL: event 1 of 12 was not taken"):
        emit(events_of(whole()))
