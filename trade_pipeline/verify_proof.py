#!/usr/bin/env python3
"""Check the proof of a trade without the database, with nothing but Python 3.8 or newer.

    python verify_proof.py proof.json [HEAD_OR_DAY.json ...]

The files behind the proof are heads or days of the ledger that you have from elsewhere, such as
since then: each head of the proof must be one of them, or stand under the root of one of these
days.  Without any, the proof is only compared with itself, and the hashes are printed for you to
compare.

Checked are, of each record of the trade, the SHA-256 of its content, its leaf of the Merkle tree
(table, chain, number, hashes, time), and its way to the root that the head tells.  Exit code 0: the
proof holds; 1: it does not.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from typing import Any

LARGEST = 256 << 20


class Wrong(Exception):
    """What does not hold."""


def printable(text: str) -> str:
    """A line for a terminal: whoever made the proof shall not move its cursor."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)[:2000]


def sha256(data: bytes) -> bytes:
    """The 32 byte digest."""
    return hashlib.sha256(data).digest()


def leaf_of(record: dict[str, Any]) -> bytes:
    """The hash of a record: leaves begin with the byte 0 (RFC 6962)."""
    data = b"\x00" + record["table"].encode() + b"\x00" + record["chain_id"].encode() + b"\x00"
    data += struct.pack(">q", record["chain_seq"])
    data += bytes.fromhex(record["content_hash"]) + bytes.fromhex(record["chain_hash"])
    data += struct.pack(">q", record["recorded_micros"])
    for value in record["unhashed"]:
        data += struct.pack(">q", value)
    return sha256(data)


def root_of(leaf: bytes, path: list[list[str]]) -> bytes:
    """Where a way ends: nodes begin with the byte 1 (RFC 6962)."""
    for side, beside in path:
        other = bytes.fromhex(beside)
        leaf = sha256(b"\x01" + (other + leaf if side == "left" else leaf + other))
    return leaf


def check(proof: dict[str, Any], known: list[bytes]) -> list[str]:
    """Lines that say what holds.

    Args:
        known: the files of heads and days from elsewhere.

    Raises:
        Wrong: something does not.
    """
    if proof["format"] != "trade-pipeline-proof/1" or not proof["records"]:
        raise Wrong("this is no proof")
    trusted = {sha256(data) for data in known}
    lines = []
    missing = {str(record["head"]) for record in proof["records"]} - set(proof["heads"])
    if missing:
        raise Wrong(f"the proof lacks the heads {', '.join(sorted(missing))}")
    for number, text in sorted(proof["heads"].items(), key=lambda item: int(item[0])):
        head, digest = json.loads(text), sha256(text.encode())
        records = [record for record in proof["records"] if str(record["head"]) == number]
        for record in records:
            check_record(record, head, proof["uuid"])
        lines.append(f"head {number} of {head['created_at']} holds {len(records)} records")
        lines.append(f"  its SHA-256 is {digest.hex()}")
        vouched = digest in trusted
        for name, day in proof["days"].items():
            if number in day["paths"]:
                if root_of(digest, day["paths"][number]).hex() != json.loads(day["file"])["root"]:
                    raise Wrong(f"head {number} is not under the root of day {name}")
                own = sha256(day["file"].encode())
                lines.append(f"  it is under the root of day {name}, whose SHA-256 is {own.hex()}")
                vouched = vouched or own in trusted
        if known and not vouched:
            raise Wrong(f"head {number} is none of the files given, nor under one of them")
    return lines


def check_record(record: dict[str, Any], head: dict[str, Any], uuid: str) -> None:
    """Compare a record with the head that covers it.

    Raises:
        Wrong: it is another record.
    """
    what = f"record {record['chain_seq']} of chain {record['chain_id']} ({record['table']})"
    content = record["content"].encode()
    if sha256(content).hex() != record["content_hash"]:
        raise Wrong(f"{what}: its content was changed")
    if json.loads(content).get("uuid") != uuid:
        raise Wrong(f"{what}: belongs to another trade")
    if root_of(leaf_of(record), record["path"]).hex() != head["root"]:
        raise Wrong(f"{what}: is not under the root of its head")


def main(arguments: list[str]) -> int:
    """Check the files that are named."""
    if not arguments:
        print(__doc__)
        return 2
    with open(arguments[0], "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        print(f"DOES NOT HOLD: the proof is larger than the limit of {LARGEST:,} bytes")
        return 1
    known = []
    for name in arguments[1:]:
        with open(name, "rb") as other:
            known.append(other.read())
    try:
        proof = json.loads(data.decode("utf-8"))
        lines = check(proof, known)
    except Wrong as wrong:
        print(printable(f"DOES NOT HOLD: {wrong}"))
        return 1
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        print(printable(f"DOES NOT HOLD: the proof cannot be read: {error!r}"))
        return 1
    except RecursionError:
        print("DOES NOT HOLD: the proof cannot be read: it is nested too deeply")
        return 1
    for line in lines:
        print(printable(line))
    if known:
        print(printable(f"HOLDS: trade {proof['uuid']}"))
    else:
        print(printable(f"HOLDS IN ITSELF: trade {proof['uuid']}; compare the hashes with yours"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
