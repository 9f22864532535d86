"""What the machine itself can do: what every other figure stands on.

    python benchmarks/floors.py [--rounds 5]

Each is the least work of its kind: a durable commit and a COPY of the embedded PostgreSQL, a
message to another process and back, a hash, a Python loop on one core and on two, a copy in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from report.record import measured

from trade_pipeline.core.store.server import EmbeddedPostgres

COMMITS, ROWS, ROUND_TRIPS, LOOPS = 200, 100_000, 2_000, 5_000_000
FORK = multiprocessing.get_context("fork")
_ROW = b"%d\t" + b"x" * 92 + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        with server, psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE one_row (n bigint)")
            connection.execute("CREATE TABLE copied (n bigint, filler text)")
            _told("commit_ms", rounds, lambda: 1e3 * _commit(connection))
            _told("copy_rows_per_s", rounds, lambda: ROWS / _copy(connection))
        server.stop()
    _told("round_trip_us", rounds, lambda: 1e6 * _round_trip())
    block = os.urandom(32 << 20)
    _told("hash_mb_per_s", rounds, lambda: len(block) / 1e6 / _timed(_hash, block))
    _told("python_million_per_s", rounds, lambda: LOOPS / 1e6 / _timed(_loop, LOOPS))
    source, copied = np.ones(32 << 20), np.zeros(32 << 20)
    copy = partial(np.copyto, copied)
    _told("memory_gb_per_s", rounds, lambda: source.nbytes / 1e9 / _timed(copy, source))
    _told("two_cores_x", rounds, _two_cores)


def _told(name: str, rounds: int, figure: Callable[[], float]) -> None:
    # The first one pays for what is made once.
    found = [figure() for _ in range(rounds + 1)][1:]
    print(f"{name:<20} {statistics.median(found):14,.2f}   {min(found):,.2f} to {max(found):,.2f}")
    measured(f"machine.{name}", found)


def _timed(action: Callable[[Any], object], given: Any) -> float:
    began = time.perf_counter()
    action(given)
    return time.perf_counter() - began


def _commit(connection: psycopg.Connection) -> float:
    """The median of some durable commits of one row, seconds."""
    return statistics.median(
        _timed(lambda n: connection.execute("INSERT INTO one_row VALUES (%s)", (n,)), number)
        for number in range(COMMITS)
    )


def _copy(connection: psycopg.Connection) -> float:
    rows = [b"".join(_ROW % n for n in range(at, at + 1_000)) for at in range(0, ROWS, 1_000)]
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
        for some in rows:
            copy.write(some)
    return time.perf_counter() - began


def _round_trip() -> float:
    """The median of some messages to a process and back, over TCP, seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        echo = FORK.Process(target=_echo, args=(listening,), daemon=True)
        echo.start()
        with socket.create_connection(listening.getsockname()) as there:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            there.settimeout(10)

            def ask(_: int) -> None:
                there.sendall(b"x")
                there.recv(1)

            found = statistics.median(_timed(ask, n) for n in range(ROUND_TRIPS))
        echo.join(10)
    return found


def _echo(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while said := connection.recv(1):
        connection.sendall(said)


def _hash(block: bytes) -> None:
    hashlib.sha256(block).digest()


def _loop(turns: int) -> None:
    for _ in range(turns):
        pass


def _two_cores() -> float:
    """How much more two processes do than one in the same time."""
    alone = _timed(_loop, LOOPS)
    beside = [FORK.Process(target=_loop, args=(LOOPS,)) for _ in range(2)]
    began = time.perf_counter()
    for one in beside:
        one.start()
    for one in beside:
        one.join()
    return 2 * alone / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
