"""What the documents name is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import trade_pipeline
from trade_pipeline.core.document import parse_document
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.settings import Settings
from trade_pipeline_tests.deploy.commands import check_command
from trade_pipeline_tests.documents import DOCUMENTS, README, ROOT, blocks

_FOLDERS = "|".join(
    ("trade_pipeline", "trade_pipeline_tests", "benchmarks", "sql", "deploy", "docs", "examples")
)
_PATH = re.compile(rf"(?<![\w/.-])((?:{_FOLDERS})/[\w./-]*|(?:core|defs)/[\w./-]+)")

# By itself, after settings, or after whatever starts it elsewhere.
_COMMAND = re.compile(r"(?:^|^(?:\w+=\S* )+|.* (?:-- |live |\S*/))trade-pipeline (?=[a-z])")
_END = re.compile(r" [&|>]")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = {found.rstrip("./,") for found in _PATH.findall(document.read_text())}
    missing = [
        path
        for path in sorted(named)
        if not ((ROOT / path).exists() or (ROOT / "trade_pipeline" / path).exists())
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_of_a_document_is_closed(document: Path) -> None:
    fences = re.findall(r"^ *```", document.read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_block_is_taken_with_its_options(document: Path) -> None:
    for block in blocks(document, "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            found = _COMMAND.match(line)
            # What leaves out something cannot be read.
            if found and "..." not in line:
                command = _END.split(line[found.end() :])[0]
                check_command(["trade-pipeline", *shlex.split(command, comments=True)])


def test_the_session_of_the_readme_is_one() -> None:
    (text,) = blocks(README, "toml")
    config = LiveConfig.parse(parse_document(text.encode(), ".toml", "paper.toml"))
    assert (config.account, config.mode) == ("paper", "paper")
    assert [one.symbol for one in config.market.symbols] == ["BTC/USDT", "PEPE/USDT"]


def test_every_method_that_the_map_of_the_specification_names_is_one() -> None:
    text = (ROOT / "docs" / "specification.md").read_text()
    methods = re.findall(r"`([A-Z]\w+)\.(\w+)`", text)
    assert len(methods) > 15
    for owner, name in methods:
        assert callable(getattr(getattr(trade_pipeline, owner), name)), f"{owner}.{name}"


def test_the_example_of_an_environment_names_every_setting() -> None:
    named = set(re.findall(r"TRADE_PIPELINE_(\w+)", (ROOT / ".env.example").read_text()))
    assert {name.upper() for name in Settings.model_fields} - named == set()
