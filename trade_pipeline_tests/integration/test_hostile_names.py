"""A token may be named like anything; whatever people read shows its name as text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trade_pipeline.cli import console
from trade_pipeline.core.errors import BadConfig, InvalidRecord
from trade_pipeline.core.validation import shown_name
from trade_pipeline.defs.markdown import markdown_table

NAMES = (
    "<script>alert(1)</script>",
    "[bold red]x[/] [link=http://evil.example]y[/link]",
    "![x](http://evil.example/pixel.png)",
    "a | b\n| c",
    "\x1b[2J\x1b]0;title\x07gone",
    "\u202eDSU\u2066",
    "`code` & \\\\",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_console_shows_a_name_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=written, width=200, force_terminal=True))
    console.print_table("tokens", [{"token": name, "price": 1.0}])
    text = written.getvalue()
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    if "[bold" in name:
        assert name in text


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_ui_shows_a_name_as_it_is(name: str) -> None:
    text = markdown_table(["token", "price"], [[name, 1.0]])
    assert "<script" not in text
    assert "](" not in text.replace("\\]", "")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_one_that_any_terminal_may_show(name: str) -> None:
    for error in (BadConfig(f"token {name}"), InvalidRecord("token", name, "another")):
        assert all(c.isprintable() or c == "\n" for c in str(error))
    assert len(str(BadConfig("x" * 1_000_000))) < 5_000


@pytest.mark.parametrize("name", NAMES)
def test_what_a_provider_or_a_contract_calls_a_token_has_nothing_invisible(name: str) -> None:
    kept = shown_name(name * 100)
    assert kept is not None
    assert kept.isprintable()
    assert len(kept) <= 200
