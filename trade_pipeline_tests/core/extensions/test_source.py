"""Which source the version of an extension covers."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from trade_pipeline.core.extensions.source import source_version, sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an extension, what it imports, and what it does not."""
    (tmp_path / "ext_main.py").write_text(
        "import numpy\nfrom trade_pipeline.extend import feature\nfrom ext_parts.one import a\n"
        "def late():\n    import ext_helper\n"
    )
    (tmp_path / "ext_helper.py").write_text("x = 1\n")
    (tmp_path / "ext_other.py").write_text("y = 1\n")
    (tmp_path / "ext_parts").mkdir()
    (tmp_path / "ext_parts" / "__init__.py").write_text("")
    (tmp_path / "ext_parts" / "one.py").write_text("from . import two\na = two.b\n")
    (tmp_path / "ext_parts" / "two.py").write_text("b = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in list(sys.modules):
        if name.startswith("ext_"):
            monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_what_statements_import_of_the_same_folder_is_covered(folder: Path) -> None:
    found = sources(importlib.import_module("ext_main"))
    assert set(found) == {
        "ext_main", "ext_helper", "ext_parts", "ext_parts.one", "ext_parts.two",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "counts"),
    [("ext_main.py", True), ("ext_helper.py", True), ("ext_parts/two.py", True),
     ("ext_other.py", False)],
)  # fmt: skip
def test_a_changed_line_changes_the_version(folder: Path, file: str, counts: bool) -> None:
    module = importlib.import_module("ext_main")
    before = source_version(module)
    assert source_version(module) == before
    path = folder / file
    path.write_text(path.read_text() + "# changed\n")
    assert (source_version(module) != before) is counts
