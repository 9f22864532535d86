"""The commands about models as a user types them, on one trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.gates import GATES
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.training.strong import MARKET, TELLING, Strong, store_guards
from trade_pipeline_tests.integration.typed import Ended, Run, run_in

TRAIN = ["models", "train", "--set", "trials=2", "--set", "folds=3", "--set", "name=strong"]


@pytest.fixture(scope="module")
def run(strong_environment: dict[str, str]) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        yield run_in(patch, strong_environment)


@pytest.fixture(scope="module")
def model(run: Run, strong: Strong) -> Any:
    """The facts of the one model in the list, before anything was asked about it."""
    (listed,) = run("models", "list", "--json").facts
    assert listed["version"] == strong.model
    assert (listed["evaluation"], listed["eligible"], listed["stage"]) == ("none", False, None)
    return listed


@pytest.fixture(scope="module")
def evaluated(run: Run, model: Any) -> Ended:
    return run("models", "evaluate", "--json")


@pytest.fixture(scope="module")
def admitted(run: Run, model: Any, evaluated: Ended) -> Ended:
    return run("models", "admit", model["short_name"], "--json")


@pytest.fixture(scope="module")
def other(run: Run, model: Any, admitted: Ended) -> Any:
    """A second model in the list; people were told of it."""
    ended = run(*TRAIN, "--set", "seed=8")
    assert ended.code == 0, ended.err
    _, listed = run("models", "list", "--json").facts
    told = f"{listed['short_name']}  ask its gates: trade-pipeline models evaluate"
    assert ended.out.startswith(told)
    assert "max_depth" in ended.out
    return listed


def test_training_the_same_again_tells_of_the_same_model(
    run: Run, model: Any, strong: Strong
) -> None:
    ended = run(*TRAIN, "--dataset", strong.dataset, "--json")
    assert ended.code == 0, ended.err
    facts = ended.facts
    assert (facts["version"], facts["model"]) == (strong.model, model["short_name"])
    assert facts["market"] == MARKET
    assert facts["validation"]["rank_correlation"] > 0.5
    assert {"max_depth", "learning_rate"} <= facts["params"].keys()
    assert len(run("models", "list", "--json").facts) == 1


def test_an_evaluation_tells_every_gate_and_makes_nothing_eligible(
    run: Run, strong: Strong, evaluated: Ended
) -> None:
    assert evaluated.code == 0, evaluated.err
    facts = evaluated.facts
    assert (facts["version"], facts["evaluation"], facts["passed"]) == (strong.model, 0, True)
    assert [gate["name"] for gate in facts["gates"]] == list(GATES)
    assert all(gate["passed"] and gate["numbers"] for gate in facts["gates"])


def test_a_model_that_passes_is_admitted_and_shown_as_eligible(
    run: Run, strong: Strong, admitted: Ended, model: Any
) -> None:
    assert admitted.code == 0, admitted.err
    assert admitted.facts == {
        "model": model["short_name"],
        "version": strong.model,
        "eligible": True,
    }
    shown = run("models", "show", model["short_name"], "--json").facts
    assert shown["eligible"] is True
    assert shown["dataset_version"] == strong.dataset
    assert list(shown["gates"]) == list(GATES)
    assert set(TELLING) <= set(shown["inputs"])
    assert len(shown["metrics"]["cross_validation"]["folds"]) == 3
    first = run("models", "list", "--json").facts[0]
    assert first == model | {"evaluation": "passed", "eligible": True}


@pytest.fixture
def leak(strong: Strong, strong_store: Store, admitted: Ended) -> Iterator[str]:
    """A leak guard that failed on the dataset after the model was admitted."""
    store_guards(strong_store, strong.dataset, 1, GUARDS[0])
    yield GUARDS[0]
    store_guards(strong_store, strong.dataset, 2)


def test_a_gate_that_refuses_ends_the_command_with_its_reason(
    run: Run, strong: Strong, leak: str
) -> None:
    evaluated = run("models", "evaluate", strong.model)
    assert evaluated.code == 1
    assert "refused" in evaluated.out
    assert f"failed: {leak}" in evaluated.out
    admitted = run("models", "admit", strong.model, "--json")
    assert (admitted.code, admitted.out) == (2, "")
    assert f"leak_guards: failed: {leak}" in admitted.err
    assert "Traceback" not in evaluated.err + admitted.err


def test_two_models_differ_in_the_seed_and_what_came_of_it(
    run: Run, model: Any, other: Any
) -> None:
    ended = run("models", "diff", model["short_name"], other["short_name"], "--json")
    assert ended.code == 0
    differences = {row["what"]: (row["one"], row["other"]) for row in ended.facts}
    assert differences["seed"] == (7, 8)
    assert differences["model_version"] == (model["version"], other["version"])
    assert "dataset_version" not in differences
    assert run("models", "diff", other["version"], other["short_name"], "--json").facts == []
    assert "the same model" in run("models", "diff", other["version"], other["short_name"]).out


def test_an_explanation_names_first_what_tells_of_the_return(run: Run, model: Any) -> None:
    ended = run("models", "explain", model["short_name"], "--json")
    assert ended.code == 0, ended.err
    names = [one["feature"] for one in ended.facts["influences"]]
    assert set(names[: len(TELLING)]) == set(TELLING)
    assert ended.facts["interactions"]


def test_people_get_tables(run: Run, model: Any, other: Any) -> None:
    for arguments, shown in (
        (("list",), model["short_name"]),
        (("show", model["short_name"]), "Validation"),
        (("diff", model["short_name"], other["short_name"]), "seed"),
        (("explain", model["short_name"]), TELLING[0]),
        (("evaluate", model["short_name"]), "every gate passed"),
        (("admit", model["short_name"]), "is eligible"),
    ):
        ended = run("models", *arguments)
        assert ended.code == 0, ended.err
        assert shown in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "none"], "dataset='none'"),
        (["train", "--set", "trials=1"], "trials='1'"),
        (["train", "--set", "folds=2"], "folds='2'"),
        (["train", "--set", "trails=5"], "trails='5'"),
        (["train", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (["train", "--set", "folds=99"], "expected at least 1980 winners"),
        (["evaluate", "none"], "model='none'"),
        (["admit", "none"], "model='none'"),
        (["show", "none"], "model='none'"),
        (["diff", "none", "none"], "model='none'"),
        (["explain", "none"], "model='none'"),
    ],
)
def test_a_wrong_input_ends_with_code_2_and_names_the_field(
    run: Run, arguments: list[str], message: str
) -> None:
    ended = run("models", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_changed_model_file_ends_with_code_2_and_names_the_file(
    run: Run, model: Any, strong_store: Store
) -> None:
    address = run("models", "show", model["version"], "--json").facts["artifact"]
    path = Path(strong_store.artifacts.uri(address).removeprefix("file://"))
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    try:
        for command in ("evaluate", "admit"):
            ended = run("models", command, model["version"])
            assert (ended.code, ended.out) == (2, "")
            assert f"{address}: the bytes at" in ended.err
            assert "Traceback" not in ended.err
    finally:
        path.write_bytes(kept)


def test_an_empty_store_is_said_to_be_empty(
    run: Run, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_database(server) as empty, empty.connect() as connection:
        url = server.url("postgres", connection.info.dbname)
        monkeypatch.setenv("TRADE_PIPELINE_DATABASE_URL", url)
        for command, message in (
            ("train", "no dataset is stored"),
            ("evaluate", "no model is stored"),
        ):
            ended = run("models", command)
            assert (ended.code, ended.out) == (2, "")
            assert message in ended.err
        assert run("models", "list", "--json").facts == []
        assert run("models", "list").out == "no model is registered\n"
