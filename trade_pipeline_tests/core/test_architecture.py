"""The shape of the code: one direction of flow, no Dagster in the core, files that can be read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trade_pipeline

PACKAGE = Path(trade_pipeline.__file__).resolve().parent
CORE = PACKAGE / "core"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOW = (
    "market",
    "research",
    # What a user adds is declared in terms of the market, and stands before all that uses it.
    "extensions",
    # The vectors serve the decision as well as the table, so they stand before the strategy.
    "features",
    "strategy",
    "execution",
    "session",
    "outcome",
    "dataset",
    "training",
    "canary",
    "monitoring",
    "incidents",
    "live",
    "freshness",
    "replay",
    "alerts",
    "report",
    "imports",
    "retention",
    "backup",
    "attribution",
    "tracking",
    "lineage",
    "dossier",
    "scanner",
    "bot",
)
SHARED = (
    "errors", "ids", "canonical", "clock", "config", "document", "validation", "records", "ledger",
    "store",
)  # fmt: skip
# Neither knows the other: what is decided does not depend on where it is filled.
STRANGERS = (("strategy", "execution"), ("execution", "strategy"))
LONGEST_FILE = 470


def noun(file: Path) -> str:
    """The core's package or module that a file belongs to."""
    return file.relative_to(CORE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Absolute names of everything that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def nouns_used(file: Path) -> set[str]:
    """The core's nouns that a file imports from."""
    parts = [name.split(".") for name in imported(file)]
    return {p[2] for p in parts if p[:2] == ["trade_pipeline", "core"] and len(p) > 2}


CORE_FILES = [file for file in FILES if file.is_relative_to(CORE)]


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("file", CORE_FILES, ids=relative)
def test_the_core_never_imports_dagster_or_what_stands_around_it(file: Path) -> None:
    for name in imported(file):
        assert name.split(".")[0] not in ("dagster", "dagster_postgres", "dagster_webserver")
        assert not name.startswith(("trade_pipeline.defs", "trade_pipeline.cli"))
        assert not name.startswith("trade_pipeline.definitions")


@pytest.mark.parametrize("file", CORE_FILES, ids=relative)
def test_code_imports_only_from_its_left(file: Path) -> None:
    own = noun(file)
    used = nouns_used(file) - {own}
    if own in SHARED:
        assert used <= set(SHARED)
    elif own in FLOW:
        assert used <= {*FLOW[: FLOW.index(own)], *SHARED}
        assert not {(own, other) for other in used} & set(STRANGERS)


def test_the_flow_and_the_shared_base_name_things_that_exist() -> None:
    there = {noun(file) for file in CORE_FILES}
    assert set(FLOW) | set(SHARED) <= there
    assert not set(FLOW) & set(SHARED)


def test_the_shared_base_has_no_circles() -> None:
    """Every module of the core can be put into a line in which each uses only those before."""
    uses: dict[str, set[str]] = {}
    for file in CORE_FILES:
        uses.setdefault(noun(file), set()).update(nouns_used(file) - {noun(file)})
    while free := {name for name, used in uses.items() if not used & set(uses)}:
        for name in free:
            del uses[name]
    assert not uses


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_FILE


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {
        "utils",
        "util",
        "helpers",
        "helper",
        "manager",
        "managers",
        "base",
        "common",
        "misc",
    }
    names = {
        part.removesuffix(".py") for file in FILES for part in file.parts[len(PACKAGE.parts) :]
    }
    assert not names & drawers
