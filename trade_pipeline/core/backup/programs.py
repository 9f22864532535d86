"""PostgreSQL's own programs that write and read dumps.

A program reads servers and dumps of its own major version and older ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.backup.place import CHUNK
from trade_pipeline.core.store.address import environment_of
from trade_pipeline.core.store.server import binary

_VERSION = re.compile(r"(\d+)(\.\d+)*")
# pg_restore writes it whoever reads it, and servers before 17 refuse what they do not know.
_TIMEOUT = b"SET transaction_timeout = 0;\n"
# A server's own number of a column (seen of 15.20): a pg_dump from before takes it for a setting,
# which no server knows.
_COLUMN_NUMBER = re.compile(rb"ALTER TABLE ONLY .+ ALTER COLUMN .+ SET \(pg_attver=\d+\);\n")


def program(name: str, major: int) -> tuple[Path, str]:
    """The path and the version of a program that is not older than a major version.

    The embedded server's is taken where it will do: a machine needs no programs of its own.

    Raises:
        BadBackup: there is none.
    """
    found = []
    for path in (binary(name), shutil.which(name)):
        if path is not None:
            version = _version(Path(path))
            if int(version.partition(".")[0]) >= major:
                return Path(path), version
            found.append(f"{path} is of {version}")
    raise BadBackup(
        f"{name} of PostgreSQL {major} or newer is needed ({', '.join(found)}): install the client "
        f"programs of PostgreSQL {major} and put them on PATH"
    )


def _version(path: Path) -> str:
    said = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=True)
    match = _VERSION.search(said.stdout)
    if match is None:
        raise BadBackup(f"{path} --version says {said.stdout.strip()!r}")
    return match[0]


def dump(url: str, path: Path, arguments: Iterable[str]) -> Iterator[bytes]:
    """What pg_dump writes about a database, in its custom format.

    Raises:
        BadBackup: it fails.
    """
    # The first level takes half the time of the default, and a fifth more room.
    command = [str(path), "--format=custom", "--compress=1", "--no-password", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=os.environ | environment_of(url), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=said,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            while chunk := process.stdout.read(CHUNK):
                yield chunk
            _check(process, said, "pg_dump")
        finally:
            _end(process)


def restore(
    url: str, chunks: Iterable[bytes], major: int, arguments: Iterable[str], before: str
) -> None:
    """Bring a dump's content into a database: all of it in one transaction, or nothing.

    Args:
        major: of the program that wrote the dump.
        arguments: of pg_restore.
        before: statements that belong into the same transaction.

    Raises:
        BadBackup: it fails; nothing has changed.
    """
    reader, _ = program("pg_restore", major)
    writer, _ = program("psql", major)
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as written:
        unpacking = subprocess.Popen(
            [str(reader), "--file=-", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=read,
        )  # fmt: skip
        # Whoever is killed on the way has sent no COMMIT.
        loading = subprocess.Popen(
            [str(writer), "--no-psqlrc", "--quiet", "--no-password", "-v", "ON_ERROR_STOP=1",
             "-o", os.devnull],
            env=os.environ | environment_of(url), stdin=subprocess.PIPE, stderr=written,
        )  # fmt: skip
        assert unpacking.stdin is not None
        assert unpacking.stdout is not None
        assert loading.stdin is not None
        feeding = threading.Thread(target=_feed, args=(chunks, unpacking.stdin), daemon=True)
        feeding.start()
        try:
            try:
                loading.stdin.write(f"BEGIN;\n{before}\n".encode())
                for chunk in _told(unpacking.stdout):
                    loading.stdin.write(chunk)
                _check(unpacking, read, "pg_restore")
                loading.stdin.write(b"COMMIT;\n")
                loading.stdin.close()
            except BrokenPipeError:
                # It says why below.
                pass
            _check(loading, written, "psql")
        finally:
            _end(loading)
            _end(unpacking)
            feeding.join()


def _feed(chunks: Iterable[bytes], into: IO[bytes]) -> None:
    # A reader that ended early says so itself.
    with suppress(BrokenPipeError), into:
        for chunk in chunks:
            into.write(chunk)


def _told(source: IO[bytes]) -> Iterator[bytes]:
    """What pg_restore says, without the settings that not every server knows.

    They stand before the first row, and rows are left as they are.
    """
    for line in source:
        if line != _TIMEOUT and not _COLUMN_NUMBER.fullmatch(line):
            yield line
        if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
            break
    while chunk := source.read(CHUNK):
        yield chunk


def _check(process: subprocess.Popen[bytes], said: IO[bytes], name: str) -> None:
    code = process.wait()
    if code:
        said.seek(0)
        why = said.read(2000).decode(errors="replace").strip()
        raise BadBackup(f"{name} ended with code {code}: {why or 'it said nothing'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is still there, whatever it is doing."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    if process.poll() is None:
        process.kill()
    process.wait()
