"""The Merkle tree of RFC 6962: one hash that stands for many, and short proofs that one is in it.

Leaves and inner nodes are hashed with different first bytes, so that no node can pass as a leaf.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
_LEAF, _NODE = b"\x00", b"\x01"
_INT8 = struct.Struct(">q")
_INT8_MAX = (1 << 63) - 1


def leaf_prefix(table: str, chain_id: str) -> bytes:
    """What the leaves of a chain's records in one table begin with; no text holds a zero byte."""
    return _LEAF + table.encode() + b"\0" + chain_id.encode() + b"\0"


def record_leaf(
    prefix: bytes,
    seq: int,
    content_hash: bytes,
    chain_hash: bytes,
    recorded_micros: int,
    unhashed: Sequence[int] = (),
) -> bytes:
    """The leaf of a record: everything about it that the other hashes leave open.

    Args:
        prefix: see `leaf_prefix`.
        recorded_micros: microseconds since 1970 of ``recorded_at``.
        unhashed: values of the columns that the record's content does not tell.
    """
    pack = _INT8.pack
    # PostgreSQL's infinity is past the end when it is counted from 1970.
    data = prefix + pack(seq) + content_hash + chain_hash + pack(min(recorded_micros, _INT8_MAX))
    for value in unhashed:
        data += pack(value)
    return sha256(data).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves that are hashes already; of none, the hash of nothing."""
    level = list(leaves)
    if not level:
        return sha256(b"").digest()
    # Pairs from the left, an odd one carried up: the same tree as RFC 6962's recursive split.
    while len(level) > 1:
        level = _above(level)
    return level[0]


def merkle_path(leaves: Sequence[bytes], index: int) -> list[tuple[str, bytes]]:
    """What stands beside a leaf on its way to the root: ``left`` or ``right``, and the hash."""
    path: list[tuple[str, bytes]] = []
    level = list(leaves)
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(("left" if beside < index else "right", level[beside]))
        level, index = _above(level), index // 2
    return path


def _above(level: list[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    above = [sha256(_NODE + left + right).digest() for left, right in pairs]
    return above if len(level) % 2 == 0 else [*above, level[-1]]


def split_hashes(data: bytes) -> list[bytes]:
    """Hashes that were written one after the other."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
