"""What was recorded so far: one file a range of blocks, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.parquet import TIME
from trade_pipeline.core.market.recorder.contracts import Deployment, Pool

SCHEMA = pa.schema(
    [
        pa.field("pool", pa.string(), nullable=False),
        pa.field("block", pa.int64(), nullable=False),
        pa.field("log_index", pa.int32(), nullable=False),
        pa.field("timestamp", TIME, nullable=False),
        pa.field("weth_reserve", pa.float64(), nullable=False),
        pa.field("token_reserve", pa.float64(), nullable=False),
    ]
)
_ABOUT = b"recording"


@dataclass(frozen=True, slots=True)
class Part:
    """A range of blocks that has been read.

    Attributes:
        last_hash, last_time: of its last block; seconds since 1970-01-01 UTC.
        pools: created in it, each with the time of its block in seconds.
        left_out: pools created in it whose token tells no decimals.
    """

    first: int
    last: int
    last_hash: str
    last_time: int
    pools: Sequence[tuple[Pool, int]]
    left_out: int


class Parts:
    """The parts in a folder.

    Raises:
        BadConfig: the folder holds another recording.
    """

    def __init__(self, folder: Path, first: int, deployment: Deployment) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        plan = json.dumps({"first": first, **asdict(deployment)}, sort_keys=True)
        path = folder / "plan.json"
        if not path.exists():
            write_whole(path, plan.encode())
        elif path.read_text() != plan:
            begun = json.loads(path.read_text())["first"]
            raise BadConfig(
                f"out={str(folder.parent)!r}: it holds a recording that begins elsewhere (block "
                f"{begun}) or of other contracts; give another folder"
            )
        for left in folder.glob("*.tmp"):
            left.unlink()

    def read(self) -> list[Part]:
        """All parts in order, up to the first gap."""
        found: list[Part] = []
        for path in sorted(self._folder.glob("*.parquet")):
            part = _part(json.loads(pq.read_schema(path).metadata[_ABOUT]))
            if found and part.first != found[-1].last + 1:
                break
            found.append(part)
        return found

    def add(self, part: Part, rows: Sequence[dict[str, Any]]) -> None:
        """Store a part; when this returns it is safe."""
        about = json.dumps(asdict(part)).encode()
        table = pa.Table.from_pylist(list(rows), SCHEMA.with_metadata({_ABOUT: about}))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(self._path(part), sink.getvalue().to_pybytes())

    def drop(self, part: Part) -> None:
        """Forget a part: its blocks are no longer those of the chain."""
        self._path(part).unlink()

    def rows(self, parts: Sequence[Part]) -> pa.Table:
        """The rows of some parts, in order."""
        tables = [pq.read_table(self._path(p)).replace_schema_metadata() for p in parts]
        return pa.concat_tables(tables)

    def _path(self, part: Part) -> Path:
        return self._folder / f"{part.first:012d}-{part.last:012d}.parquet"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _part(about: dict[str, Any]) -> Part:
    pools = [(Pool(**pool), time) for pool, time in about.pop("pools")]
    return Part(**about, pools=pools)
