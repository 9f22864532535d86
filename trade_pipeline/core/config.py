"""Settings that a user gives, read strictly."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from trade_pipeline.core.document import read_document
from trade_pipeline.core.errors import BadConfig, shown


class Config(BaseModel):
    """Settings with their defaults.

    Attributes:
        CALLED: what its errors call it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    CALLED: ClassVar[str]

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Self:
        """Settings from plain data.

        Raises:
            BadConfig: a field that does not exist or an impossible value, each named.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or cls.CALLED}={shown(e['input'])}: "
                f"{_unknown(cls, e['loc']) if e['type'] == 'extra_forbidden' else e['msg']}"
                for e in error.errors(include_url=False)
            )
            raise BadConfig(f"{cls.CALLED}: {problems}") from None

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Settings that were stored as JSON.

        Raises:
            BadConfig: it is no JSON, or see `parse`.
        """
        try:
            given = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"{cls.CALLED}: is no JSON: {error}") from None
        return cls.parse(given)


def _unknown(config: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """What is said of a setting that does not exist: the most similar one beside it."""
    there: type[Any] | None = config
    for part in place[:-1]:
        field = there.model_fields.get(str(part)) if there is not None else None
        kind = None if field is None else field.annotation
        there = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    names = [] if there is None else list(there.model_fields)
    near = get_close_matches(str(place[-1]), names, 1, 0.5)
    return "no such setting" + (f"; did you mean {near[0]}?" if near else "")


def read_file(file: Path) -> dict[str, Any]:
    """Plain settings from a TOML, YAML or JSON file; TOML where its end tells nothing.

    Raises:
        BadConfig: it cannot be read, see `read_document`.
    """
    return read_document(file, other=".toml")
