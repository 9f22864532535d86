"""Files that are whole or not there, also after a crash."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_durably(path: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a file as a whole; its folder and the one above may be new.

    Args:
        exclusive: never replace a file that is there.

    Raises:
        FileExistsError: it is there, and should not be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folders(path)


def sync_folders(path: Path) -> None:
    """Make the name of a file survive a power cut; its folder and the one above may be new."""
    # A folder's name is kept by the one above.
    for parent in (path.parent, path.parent.parent):
        folder = os.open(parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
