"""The version of the code that decides: a hash of its source."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

# What a session's records depend on.  The rest (storage, reports, Dagster) may change freely.
_DECIDING = (
    "canonical.py",
    "clock.py",
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


@cache
def code_version() -> str:
    """16 hex digits over the source files that determine a session's records."""
    core = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for name in _DECIDING:
        path = core / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(core).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
