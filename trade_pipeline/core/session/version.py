"""Versions of the code: hashes of its source."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from trade_pipeline.core.extensions.load import loaded

# What a session's records depend on.  The rest (storage, reports, Dagster) may change freely.
_DECIDING = (
    "canonical.py",
    "clock.py",
    "config.py",
    "execution",
    "extensions",
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
_LEARNING = (
    "canonical.py", "config.py", "dataset", "extensions", "features", "strategy", "training",
)  # fmt: skip


def code_version() -> str:
    """16 hex digits over the source that determines a session's records, the user's included."""
    return _with_extensions(_version(_DECIDING))


def learning_version() -> str:
    """16 hex digits over the source that determines a model, the user's included."""
    return _with_extensions(_version(_LEARNING))


def _with_extensions(version: str) -> str:
    added = loaded()
    if not added:
        return version
    text = "\0".join([version, *(f"{name} {its}" for name, its in added.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _version(names: tuple[str, ...]) -> str:
    core = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for name in names:
        path = core / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(core).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
