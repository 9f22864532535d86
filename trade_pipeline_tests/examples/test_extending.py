"""What docs/extending.md says, as a user does it: its commands in a copy of the examples."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.documents import ROOT, blocks
from trade_pipeline_tests.examples.typist import Typed, Typist, typist

DOCUMENT = ROOT / "docs" / "extending.md"
COMMANDS = [line for block in blocks(DOCUMENT, "bash") for line in block.splitlines()]
REFUSES = "trade-pipeline models evaluate"
PROMPTS = {"COLUMNS": "250", "TRADE_PIPELINE_EXTENSIONS": ""}
CANDLES = ["--data", "candles", "--start", "2024-03-06", "--end", "2024-03-15"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the examples as a project, with the ``.env`` of the document."""
    folder = tmp_path_factory.mktemp("a project") / "mine"
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (found,) = re.findall(r"```\n(TRADE_PIPELINE_EXTENSIONS=.*)\n```", DOCUMENT.read_text())
    (folder / ".env").write_text(f"{found}\nTRADE_PIPELINE_HOME=home\n")
    with EmbeddedPostgres(folder / "home" / "postgres"):
        yield folder


@pytest.fixture(scope="module")
def run(project: Path) -> Iterator[Typist]:
    with typist(project, PROMPTS) as typed:
        yield typed


@pytest.fixture(scope="module")
def done(run: Typist) -> dict[str, Typed]:
    """How each command of the document ended, in their order."""
    ended: dict[str, Typed] = {}
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "trade-pipeline"
        if "UUID" in arguments:
            sold = next(
                one for one in run("trades", "list", "--last", "100", "--json").facts
                if one["reason"] == "strategy_exit"
            )  # fmt: skip
            arguments = [sold["uuid"] if one == "UUID" else one for one in arguments]
        ended.setdefault(command, run(*arguments))
        assert ended[command].code == (command == REFUSES), (command, ended[command].err)
    return ended


def only(done: dict[str, Typed], part: str) -> Typed:
    (found,) = (ended for command, ended in done.items() if part in command)
    return found


def test_every_command_of_the_document_runs(done: dict[str, Typed]) -> None:
    assert len(done) >= 13
    assert "is not above" in only(done, REFUSES).out or "refused" in only(done, REFUSES).out


def test_code_in_the_document_is_of_the_examples() -> None:
    """What the document shows is shortened; every function and class of it is in the examples."""
    examples = "\n".join(path.read_text() for path in sorted((ROOT / "examples").glob("*.py")))
    for block in blocks(DOCUMENT, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                assert re.search(rf"(class|def) {node.name}\(", examples)


def test_candles_are_traded_and_replay_to_the_bit(done: dict[str, Typed]) -> None:
    imported = only(done, "market import").out
    assert "KOI/USDT" in imported
    assert "PUP/USDT" in imported
    replayed = only(done, "replay").out
    assert "identical" in replayed
    assert "different:" not in replayed


def test_the_feature_is_described_and_in_every_vector(run: Typist, done: dict[str, Typed]) -> None:
    assert "rising_hours_12h" in only(done, "features describe").out
    facts = run("features", "describe", "--json").facts
    (mine,) = (one for one in facts["features"] if one["name"] == "rising_hours_12h")
    assert mine["window_hours"] == 12
    assert mine["module"] == "my_feature"
    assert mine["definition"] == "Share of the last 12 hours in which the price rose."
    without = run("features", "describe", "--json", TRADE_PIPELINE_EXTENSIONS="my_model").facts
    assert without["feature_set"] != facts["feature_set"]
    assert len(without["features"]) == len(facts["features"]) - 1


def test_the_strategy_decides_enters_and_sells(run: Typist, done: dict[str, Typed]) -> None:
    listed = run("trades", "list", "--last", "500", "--json").facts
    assert {"strategy_exit", "stop_loss"} <= {one["reason"] for one in listed}
    newest = run("trades", "list", "--last", "1", "--instrument", "PUP/USDT", "--json").facts
    assert [one["instrument"] for one in newest] == ["PUP/USDT"]
    told = only(done, "trade-pipeline trace UUID").out
    first = " ".join(told.split())[:400]
    assert re.search(r"^Bought .* sold .* later because the strategy's own rule said so: ", first)
    assert "Own rules" in told


def test_settings_of_the_rules_and_their_code_are_part_of_a_session(
    run: Typist, project: Path, done: dict[str, Typed]
) -> None:
    arguments = ["backtest", *CANDLES, "--strategy", "my_strategy:Breakout", "--json"]
    same = run(*arguments).facts
    assert same["new_rows"] == 0
    reasons = {one["reason"] for one in same["candidates"]}
    assert "rule:below_the_high" in reasons
    strategy = project / "my_strategy.py"
    before = strategy.read_text()
    try:
        strategy.write_text(before + "\n# another line\n")
        replayed = run("replay", "--session", same["session_id"], "--data", "candles")
        assert replayed.code == 0
        assert "code changed since" in replayed.out
        strategy.write_text(before.replace("near_high = 0.03", "near_high = 0.2"))
        changed = run("replay", "--session", same["session_id"], "--data", "candles")
        assert changed.code == 1
        other = run(*arguments).facts
        assert other["session_id"] != same["session_id"]
    finally:
        strategy.write_text(before)
    unnamed = run(
        "replay", "--session", same["session_id"], "--data", "candles",
        TRADE_PIPELINE_EXTENSIONS="my_feature",
    )  # fmt: skip
    assert "does not name the module 'my_strategy'" in " ".join((unnamed.out + unnamed.err).split())


def test_the_model_is_plain_data_and_refused_when_its_code_changed(
    run: Typist, project: Path, done: dict[str, Typed]
) -> None:
    (listed,) = run("models", "list", "--json").facts
    model = run("models", "show", listed["short_name"], "--json").facts
    assert model["config"]["training"]["estimator"] == "my_model:Linear"
    assert {"alpha", "max_features"} == set(model["params"])
    assert run("models", "explain", listed["short_name"], "--json").facts["influences"]
    decides = [
        "backtest", "--market", "simulated", "--start", "2026-01-12", "--end", "2026-01-13",
        "--set", "simulator.burn_in_days=2", "--set", "simulator.pools_per_day=8",
    ]  # fmt: skip
    chosen = [*decides, "--set", f"model={listed['version']}", "--json"]
    by_model = run(*chosen).facts
    assert by_model["new_rows"] > 0
    replayed = run("replay", "--session", by_model["session_id"])
    assert (replayed.code, "identical" in replayed.out) == (0, True)
    code = project / "my_model.py"
    before = code.read_text()
    try:
        code.write_text(before + "\n# another line\n")
        refused = run(*chosen)
    finally:
        code.write_text(before)
    assert refused.code == 2
    assert "the model was learned by code" in refused.err
    unnamed = run(*chosen, TRADE_PIPELINE_EXTENSIONS="my_feature")
    assert (unnamed.code, "does not name the module 'my_model'" in unnamed.err) == (2, True)


def test_a_command_of_its_own_process_says_the_same(
    run: Typist, project: Path, done: dict[str, Typed]
) -> None:
    """Without forks, as a shell starts it."""
    ended = subprocess.run(
        [Path(sys.executable).parent / "trade-pipeline", "trades", "list", "--last", "2"],
        cwd=project, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    shown, hint = ended.stdout.splitlines()[:2], ended.stdout.splitlines()[2]
    assert hint == "why: trade-pipeline trace UUID"
    assert shown == run("trades", "list", "--last", "2").out.splitlines()[:2]


WRONG = {
    "no_import": ("import nothing_like_it", "ModuleNotFoundError: No module named"),
    "no_python": ("def broken(:", "SyntaxError"),
    "taken": (
        "from trade_pipeline.extend import feature\n"
        "@feature(unit='share', window_hours=1)\ndef rug_risk(events, known):\n    'Mine.'\n",
        "feature 'rug_risk' of taken: the name is taken by a built-in feature",
    ),
    "no_words": (
        "from trade_pipeline.extend import feature\n"
        "@feature(unit='share', window_hours=1)\ndef silent(events, known):\n    return 0\n",
        "feature 'silent': its docstring must say what it is",
    ),
    "too_long": (
        "from trade_pipeline.extend import feature\n"
        "@feature(unit='share', window_hours=500)\ndef far(events, known):\n    'Far.'\n",
        "window_hours=500: expected 1 to 96",
    ),
    "no_source": (
        "from trade_pipeline.extend import feature\n"
        "@feature(unit='share', window_hours=5, source='hearsay')\n"
        "def heard(events, known):\n    'Said.'\n",
        "source='hearsay': expected one of trades",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_module_that_cannot_be_is_told_in_one_line(run: Typist, name: str) -> None:
    source, message = WRONG[name]
    (run.folder / f"{name}.py").write_text(source)
    ended = run("features", "describe", TRADE_PIPELINE_EXTENSIONS=name)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert message in ended.err


FAILING = {
    "stakes": ("def stake(self, look, usd): return float('nan')", "stake() of KOI/USDT"),
    "says": ("def enters(self, look): return 'Not now!'", "gave 'Not now!': expected True"),
    "raises": ("def enters(self, look): return look.known['nothing'] > 1", "KeyError: 'nothing'"),
    "leaves": ("def leaves(self, held): return None", "gave None: expected True or False"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_rule_that_answers_nonsense_ends_a_backtest_with_one_line(
    run: Typist, done: dict[str, Typed], name: str
) -> None:
    body, message = FAILING[name]
    (run.folder / f"rule_{name}.py").write_text(
        f"from trade_pipeline.extend import Strategy\nclass Mine(Strategy):\n    {body}\n"
    )
    ended = run("backtest", *CANDLES, "--strategy", f"rule_{name}:Mine")
    assert ended.code == 2
    # A progress bar was taken away before it.
    assert len(ended.err.strip().splitlines()) == 1
    assert f"strategy rule_{name}:Mine: " in ended.err
    assert message in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "my_strategy"], "expected module:Class"),
        (["--strategy", "my_strategy:Nothing"], "my_strategy has no class 'Nothing'"),
        (["--set", "strategy.rules=os:path"], "does not name the module 'os'"),
        (
            ["--strategy", "my_strategy:Breakout", "--set", "strategy.rule_settings.far=1"],
            "my_strategy:Breakout has no such setting (it has give_back, near_high",
        ),
        (
            ["--strategy", "my_strategy:Breakout", "--set", "strategy.rule_settings.near_high=x"],
            "strategy.rule_settings.near_high='x'",
        ),
        (["--set", "strategy.rule_settings.near_high=1"], "there are no rules to set"),
    ],
)
def test_a_strategy_that_is_not_there_is_told(
    run: Typist, done: dict[str, Typed], arguments: list[str], message: str
) -> None:
    ended = run("backtest", *CANDLES, *arguments)
    assert ended.code == 2
    assert message in ended.err


LOOKS_AHEAD = '''
import numpy as np
from trade_pipeline.extend import feature

@feature(unit="USD", window_hours=1)
def highest_ever(events, known):
    """The highest price of all events, whenever they are."""
    return np.full(len(events), np.nanmax(events.columns["price_usd"]))
'''


def test_a_feature_that_looks_ahead_is_found_by_the_guards(
    run: Typist, done: dict[str, Typed]
) -> None:
    (run.folder / "ahead.py").write_text(LOOKS_AHEAD)
    command = next(one for one in COMMANDS if "--market simulated --start" in one)
    given = {"TRADE_PIPELINE_EXTENSIONS": "ahead"}
    assert run(*shlex.split(command)[1:], **given).code == 0
    built = run("features", "build", "--json", **given)
    assert built.code == 1
    assert built.facts["first_differences"][0]["feature"] == "highest_ever"
