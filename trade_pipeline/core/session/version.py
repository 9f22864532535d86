"""Versions of the code: hashes of its source."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

# What a session's records depend on.  The rest (storage, reports, Dagster) may change freely.
_DECIDING = (
    "canonical.py",
    "clock.py",
    "config.py",
    "execution",
    "features",
    "ids.py",
    "market",
    "records.py",
    "research",
    "session",
    "strategy",
    "validation.py",
)


# What a model depends on, besides its dataset and its libraries.
_LEARNING = ("canonical.py", "config.py", "dataset", "features", "strategy", "training")


def code_version() -> str:
    """16 hex digits over the source files that determine a session's records."""
    return _version(_DECIDING)


def learning_version() -> str:
    """16 hex digits over the source files that determine a model."""
    return _version(_LEARNING)


@cache
def _version(names: tuple[str, ...]) -> str:
    core = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for name in names:
        path = core / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(core).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
