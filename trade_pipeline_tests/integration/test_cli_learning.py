"""The commands about features and datasets as a user types them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.features.registry import FEATURES, NAMES, feature_set
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core.market.test_uniswap_v2 import ROWS, write_tape
from trade_pipeline_tests.integration.typed import Ended, Run, run_in

BACKTEST = [
    "backtest", "--market", "simulated", "--start", "2026-01-05", "--end", "2026-01-11",
    "--set", "simulator.burn_in_days=3", "--set", "simulator.pools_per_day=12",
    "--seed", "3", "--json",
]  # fmt: skip
BUILD = ["datasets", "build", "--set", "embargo_hours=2", "--set", "name=small"]
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs the command line in a home of its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, EmbeddedPostgres(home / "postgres"):
        yield run_in(patch, {"TRADE_PIPELINE_HOME": str(home)})


@pytest.fixture(scope="module")
def on_nothing(run: Run) -> dict[str, Ended]:
    """How commands end while nothing is stored."""
    commands = ("features build", "features describe --values", "features check", "datasets build",
                "datasets list", "datasets list --json")  # fmt: skip
    return {command: run(*command.split()) for command in commands}


@pytest.fixture(scope="module")
def session_id(run: Run, on_nothing: dict[str, Ended]) -> str:
    ended = run(*BACKTEST)
    assert ended.code == 0, ended.err
    return str(ended.facts["session_id"])


@pytest.fixture(scope="module")
def built(run: Run, session_id: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What ``features build`` says of the newest session, and the table that it wrote."""
    table = tmp_path_factory.mktemp("out") / "features.parquet"
    ended = run("features", "build", "--out", str(table), "--json")
    assert ended.code == 0, ended.err
    return ended.facts, table


@pytest.fixture(scope="module")
def dataset(run: Run, built: tuple[Any, Path]) -> Any:
    """What ``datasets build`` says."""
    ended = run(*BUILD, "--json")
    assert ended.code == 0, ended.err
    return ended.facts


def test_the_table_of_the_newest_session_equals_what_was_stored(
    session_id: str, built: tuple[Any, Path]
) -> None:
    facts, path = built
    assert facts["session_id"] == session_id
    assert facts["feature_set"] == feature_set()
    assert facts["rows"] > 200
    assert (facts["new_rows"], facts["differences"], facts["first_differences"]) == (0, 0, [])
    assert 0 < facts["published"] <= facts["rows"]
    labels = facts["labels"]
    assert labels["candidates"] == facts["rows"] == labels["labelled"] + labels["unended"]
    table = pq.read_table(path)
    assert table.column_names == ["uuid", "instrument", "decided_at", "known_at", *NAMES]
    assert table.num_rows == facts["rows"]


def test_building_again_adds_nothing(run: Run, session_id: str, built: tuple[Any, Path]) -> None:
    again = run("features", "build", "--session", session_id, "--json").facts
    assert (again["new_rows"], again["labels"]["new"]) == (0, 0)
    assert again["table"] == built[0]["table"]
    assert run("features", "build", "--no-labels", "--json").facts["labels"] is None


def test_features_are_described_with_their_values(run: Run, built: tuple[Any, Path]) -> None:
    facts = run("features", "describe", "--values", "--json").facts
    assert facts["feature_set"] == feature_set()
    assert [one["name"] for one in facts["features"]] == list(NAMES)
    assert {"family", "unit", "definition", "source", "version"} <= facts["features"][0].keys()
    assert facts["session_id"] == built[0]["session_id"]
    profile = {one["name"]: one for one in facts["profile"]}
    assert list(profile) == list(NAMES)
    assert {one["rows"] for one in profile.values()} == {built[0]["rows"]}
    known = profile["hour_of_day"]
    assert (known["missing"], known["distinct"]) == (0.0, 24)
    never = profile["rug_probability"]
    assert (never["missing"], never["median"]) == (1.0, None)


def test_a_description_needs_no_session_and_no_database(run: Run) -> None:
    facts = run("features", "describe", "--json").facts
    assert "profile" not in facts
    assert len(facts["features"]) == len(FEATURES)


def test_a_dataset_is_built_listed_and_shown(run: Run, dataset: Any, session_id: str) -> None:
    assert dataset["is_new"]
    assert dataset["dataset"].startswith("small-")
    assert set(dataset["bounds"]) == {"train", "validation", "test"}
    assert 0 < len(dataset["selected"]) <= 50
    assert run(*BUILD, "--json").facts == dataset | {"is_new": False}
    (listed,) = run("datasets", "list", "--json").facts
    assert (listed["version"], listed["counts"]) == (dataset["version"], dataset["counts"])
    shown = run("datasets", "show", dataset["dataset"], "--trades", "--json").facts
    assert shown["dataset_version"] == dataset["version"]
    assert shown["session_ids"] == [session_id]
    assert shown["config"]["embargo_hours"] == 2
    assert shown["bounds"] == dataset["bounds"]
    counts = dataset["counts"]
    for split in ("train", "validation", "test"):
        assert list(shown["trades"].values()).count(split) == counts[split] > 0
    assert "trades" not in run("datasets", "show", dataset["version"], "--json").facts


def test_a_trade_tells_its_datasets(run: Run, dataset: Any) -> None:
    shown = run("datasets", "show", dataset["version"], "--trades", "--json").facts
    uuid, split = next(iter(shown["trades"].items()))
    expected = [{"version": dataset["version"], "name": "small", "split": split}]
    assert run("datasets", "of", uuid, "--json").facts == expected


def test_the_guards_are_asked_and_their_verdicts_stay_with_the_dataset(
    run: Run, dataset: Any
) -> None:
    ended = run("features", "check", "--json")
    facts = ended.facts
    assert facts["dataset"] == dataset["version"]
    verdicts = {guard["name"]: guard["passed"] for guard in facts["guards"]}
    assert list(verdicts) == list(GUARDS)
    assert facts["passed"] == all(verdicts.values())
    assert ended.code == (0 if facts["passed"] else 1)
    assert verdicts["compare_vectors"]
    assert verdicts["overlapping_intervals"]
    assert run("datasets", "show", dataset["version"], "--json").facts["guards"] == verdicts


def test_people_get_tables(run: Run, dataset: Any) -> None:
    for arguments, shown in (
        (("features", "build"), "differences"),
        (("features", "describe", "--values"), "return_1h"),
        (("features", "check", "--dataset", dataset["dataset"]), "compare_vectors"),
        (BUILD, "(stored already)"),
        (("datasets", "list"), "small-"),
        (("datasets", "show", dataset["dataset"], "--trades"), "embargo_hours"),
    ):
        ended = run(*arguments)
        assert ended.code in (0, 1), ended.err
        assert shown in ended.out
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["features", "build", "--session", "none"], "session_id='none'"),
        (["features", "describe", "--values", "--session", "none"], "session_id='none'"),
        (["features", "build", "--data", "/nowhere"], "data='/nowhere'"),
        (["features", "build", "--mentions", "/nowhere"], "mentions='/nowhere'"),
        (["features", "check", "--dataset", "none"], "dataset='none'"),
        (["features", "online", "A", "--market", "simulated", "--at", "noon"], "at='noon'"),
        (["datasets", "build", "--session", "none"], "session_id='none'"),
        (["datasets", "build", "--set", "embargo_hour=3"], "embargo_hour='3'"),
        (["datasets", "build", "--set", "embargo_hours=-1"], "embargo_hours='-1'"),
        (["datasets", "build", "--set", "label=best"], "label='best'"),
        (["datasets", "build", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (["datasets", "show", "none"], "dataset='none'"),
        (["datasets", "of", "12"], "uuid='12'"),
        (["datasets", "of", NOBODY], f"uuid='{NOBODY}'"),
        (["datasets", "build", "--market", "nope"], "market='nope'"),
        (["features", "online", "--market", "nope", "X"], "market='nope'"),
    ],
)
def test_a_wrong_input_ends_with_code_2_and_names_the_field(
    run: Run, session_id: str, arguments: list[str], message: str
) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_an_empty_store_is_said_to_be_empty(on_nothing: dict[str, Ended]) -> None:
    for command, message in (
        ("features build", "no session is stored: run `trade-pipeline backtest` first"),
        ("features describe --values", "no session is stored"),
        ("features check", "no dataset is stored"),
        ("datasets build", "no decision is stored"),
    ):
        ended = on_nothing[command]
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err
    assert on_nothing["datasets list --json"].facts == []
    assert on_nothing["datasets list"].out == "no dataset is stored\n"


def test_a_recorded_session_needs_the_recording_that_it_ran_on(run: Run, tmp_path: Path) -> None:
    right, other = tmp_path / "right", tmp_path / "other"
    for folder, rows in ((right, ROWS), (other, ROWS[:-1])):
        folder.mkdir()
        write_tape(folder, rows)
    arguments = ["--market", "uniswap-v2", "--start", "2021-09-30", "--end", "2021-10-02"]
    session = run("backtest", *arguments, "--data", str(right), "--json").facts["session_id"]
    build = ["features", "build", "--session", session, "--json"]
    assert run(*build, "--data", str(right)).facts["differences"] == 0
    for given, message in (
        ([], "data=None: market uniswap-v2 needs the folder"),
        (["--data", str(tmp_path)], f"{tmp_path}/tape.parquet: the file is missing"),
        (["--data", str(other)], f"session {session} ran on 'sha256:"),
    ):
        ended = run(*build, *given)
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err
