"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trade_pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FOLDERS = "|".join(
    ("trade_pipeline", "trade_pipeline_tests", "benchmarks", "sql", "deploy", "docs", "examples")
)
_PATH = re.compile(rf"(?<![\w/.-])((?:{_FOLDERS})/[\w./-]*|(?:core|defs)/[\w./-]+)")


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


def test_the_example_of_an_environment_names_every_setting() -> None:
    named = set(re.findall(r"TRADE_PIPELINE_(\w+)", (ROOT / ".env.example").read_text()))
    assert {name.upper() for name in Settings.model_fields} - named == set()
