"""`trade-pipeline lineage` as it is typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from prov.model import ProvDocument

from trade_pipeline_tests.core.training.strong import Strong
from trade_pipeline_tests.integration.typed import Run, run_in


@pytest.fixture(scope="module")
def run(strong_environment: dict[str, str]) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.delenv("OPENLINEAGE_URL", raising=False)
        yield run_in(patch, strong_environment)


def test_people_read_a_tree_with_names_and_counts(run: Run, strong: Strong) -> None:
    told = run("lineage", "model", strong.model, "--up")
    assert told.code == 0, told.err
    assert told.out.startswith("model strong-")
    _, text = told.out.split("is made from\n")
    assert "trained on dataset strong-" in text
    assert "holds trades  trades 2," in text
    assert "led to" not in text


def test_both_ways_are_told_unless_one_is_asked_for_and_members_only_on_demand(
    run: Run, strong: Strong
) -> None:
    name = orjson.loads(run("datasets", "list", "--json").out)[0]["short_name"]
    both = orjson.loads(run("lineage", "dataset", name, "--json").out)
    assert set(both) == {"up", "down"}
    assert both["up"]["root"] == f"dataset:{strong.dataset}"
    assert [n["id"] for n in both["down"]["nodes"] if n["kind"] == "model"] == [strong.model]
    held = next(n for n in both["up"]["nodes"] if n["kind"] == "trades")
    assert "members" not in held
    listed = orjson.loads(run("lineage", "dataset", name, "--up", "--members", "--json").out)
    assert set(listed) == {"up"}
    (members,) = (n["members"] for n in listed["up"]["nodes"] if n["kind"] == "trades")
    assert len(members) == held["facts"]["trades"]


def test_the_documents_are_written_where_they_were_asked_for(
    run: Run, strong: Strong, tmp_path: Path
) -> None:
    prov, events = tmp_path / "prov.json", tmp_path / "events.jsonl"
    ended = run("lineage", "model", strong.model, "--prov", str(prov), "--openlineage", str(events))
    assert ended.code == 0, ended.err
    assert ProvDocument.deserialize(content=prov.read_text(), format="json").get_records()
    jobs = {orjson.loads(line)["job"]["name"] for line in events.read_text().splitlines()}
    assert jobs == {"training", "dataset_build"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cat", "1"), "kind='cat': expected trade, dataset, model, deployment or session"),
        (("dataset", "strongest"), "dataset='strongest': none is stored; `trade-pipeline datasets"),
        (("trade", "0190"), "uuid='0190': expected a UUID"),
    ],
)
def test_a_wrong_name_is_a_mistake_of_the_user_s(
    run: Run, words: tuple[str, str], message: str
) -> None:
    ended = run("lineage", *words)
    assert ended.code == 2
    assert message in ended.err
