"""Plain data from a YAML, TOML or JSON file that somebody else may have written.

What comes out holds nothing but mappings, lists, texts, truths and numbers that every part of the
product can show, store and compare: no number beyond 64 bits and none that is not finite, no text
that PostgreSQL cannot hold, no name given twice, and no more than 64 levels.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Hashable
from datetime import date, time
from pathlib import Path
from typing import Any

import yaml

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.validation import is_text

# Settings and experiments have a few KB; the parsers are slow where names have thousands of parts.
MAX_BYTES = 128 << 10
MAX_DEPTH = 64


def read_document(file: Path, other: str | None = None) -> dict[str, Any]:
    """The plain data of a file; days and times are text, whatever the format makes of them.

    Args:
        other: the format of a file whose end tells none (``.toml``); None: such a file is refused.

    Raises:
        BadConfig: it cannot be read, is too large, its format is unknown, or a value is none of the
            above.
    """
    named = f"file={str(file)!r}"
    end = file.suffix.lower()
    if end not in _PARSERS:
        if other is None:
            raise BadConfig(f"{named}: its end is {end!r}, expected .yaml, .toml or .json")
        end = other
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadConfig(f"{named}: {error}") from None
    return parse_document(data, end, named)


def parse_document(data: bytes, end: str, named: str) -> dict[str, Any]:
    """The plain data of some bytes.

    Args:
        end: ``.yaml``, ``.yml``, ``.toml`` or ``.json``.
        named: what its errors call it.

    Raises:
        BadConfig: see `read_document`.
    """
    if len(data) > MAX_BYTES:
        raise BadConfig(f"{named}: is larger than the limit of {MAX_BYTES:,} bytes")
    try:
        given = _PARSERS[end](data.decode("utf-8"))
    except yaml.YAMLError as error:
        raise BadConfig(f"{named}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise BadConfig(f"{named}: is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise BadConfig(f"{named}: {error}") from None
    if not isinstance(given, dict):
        raise BadConfig(f"{named}: expected names with their values")
    return {name: _plain(f"{named}: {name}", one, 1) for name, one in _named(named, given)}


# A name of that many parts; for thousands of them the parser needs minutes.
_DEEP_NAME = re.compile(
    rf"""(?<![\w-])(?:("[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}"""
)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML of plain data alone.

    Days stay text.  A name that is given twice is refused, and so are aliases, by which a small
    file becomes any number of values, and tags, for which plain data have no use.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        for wrong, what in (
            (isinstance(event, yaml.AliasEvent), "an alias (*name) is not known here"),
            (getattr(event, "tag", None) is not None, "a tag (!name) is not known here"),
            (self._depth > MAX_DEPTH, f"it is nested deeper than {MAX_DEPTH} levels"),
        ):
            if wrong:
                raise yaml.composer.ComposerError(None, None, what, event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                wrong = "a name must be a plain text"
            elif key.value in seen:
                wrong = f"{key.value!r} is given twice"
            else:
                seen.add(key.value)
                continue
            raise yaml.constructor.ConstructorError(None, None, wrong, key.start_mark)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _of_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _of_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_twins)


def _of_toml(text: str) -> Any:
    if deep := _DEEP_NAME.search(text):
        raise ValueError(f"{deep[0][:40]}...: a name of at least {MAX_DEPTH} parts")
    return tomllib.loads(text)


_PARSERS = {".yaml": _of_yaml, ".yml": _of_yaml, ".toml": _of_toml, ".json": _of_json}


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _named(where: str, given: dict[Any, Any]) -> list[tuple[str, Any]]:
    """The names as texts; a YAML file may have given 1 and "1"."""
    found = {str(_plain(f"{where}: a name", name, 0)): value for name, value in given.items()}
    if len(found) < len(given):
        raise BadConfig(f"{where}: a name is given twice")
    return list(found.items())


def _plain(where: str, value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadConfig(f"{where[:200]}: is nested deeper than {MAX_DEPTH} levels")
    match value:
        case dict():
            return {
                name: _plain(f"{where}.{name}", one, depth + 1)
                for name, one in _named(where, value)
            }
        case list():
            return [_plain(f"{where}[{n}]", one, depth + 1) for n, one in enumerate(value)]
        case str() if not is_text(value):
            raise BadConfig(f"{where}: expected a text that holds no NUL and no half character")
        case int() if not -(1 << 63) <= value < 1 << 63:
            # It is not shown: Python refuses to write out a number of thousands of digits.
            raise BadConfig(f"{where}: expected a number of at most 64 bits")
        case float() if not math.isfinite(value):
            raise BadConfig(f"{where}={value}: expected a finite number")
        case date() | time():
            return value.isoformat()
        case _:
            return value
