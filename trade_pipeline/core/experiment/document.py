"""Plain data from a YAML, TOML or JSON file, in which no name is given twice."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Hashable
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from trade_pipeline.core.errors import BadConfig


def read_document(file: Path) -> dict[str, Any]:
    """The plain data of a file; days and times are text, whatever the format makes of them.

    Raises:
        BadConfig: it cannot be read, its format is unknown, or a name is given twice.
    """
    named = f"file={str(file)!r}"
    try:
        text = file.read_text(encoding="utf-8")
        match file.suffix.lower():
            case ".yaml" | ".yml":
                given = yaml.load(text, Loader=_Loader)
            case ".toml":
                given = tomllib.loads(text)
            case ".json":
                given = json.loads(text, object_pairs_hook=_without_twins)
            case other:
                raise BadConfig(f"{named}: its end is {other!r}, expected .yaml, .toml or .json")
    except yaml.YAMLError as error:
        raise BadConfig(f"{named}: {' '.join(str(error).split())}") from None
    except (OSError, ValueError) as error:
        raise BadConfig(f"{named}: {error}") from None
    if not isinstance(given, dict):
        raise BadConfig(f"{named}: expected names with their values")
    plain: dict[str, Any] = _plain(given)
    return plain


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML that leaves days as text and refuses a name that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name!r} is given twice", node.value[number][0].start_mark
                )
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"{name!r} is given twice")
    return dict(pairs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value
