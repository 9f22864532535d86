"""A proof that a trade's records are in the ledger, for somebody without the database.

`trade_pipeline/verify_proof.py` checks one with nothing but Python and a head from elsewhere.
"""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.errors import TradePipelineError, UnknownTrade
from trade_pipeline.core.ledger.heads import EPOCH_2000, copied
from trade_pipeline.core.ledger.merkle import (
    leaf_prefix,
    merkle_path,
    merkle_root,
    record_leaf,
    split_hashes,
)
from trade_pipeline.core.ledger.tables import RecordTable, record_tables
from trade_pipeline.core.store.head_files import Head, HeadFiles

PROOF_FORMAT = "trade-pipeline-proof/1"
_AT_ONCE = 1000


class NoProof(TradePipelineError):
    """Records that no head covers yet, or that are not what it covers."""


def trade_proof(connection: psycopg.Connection, files: HeadFiles, uuid: UUID) -> dict[str, Any]:
    """A trade's records with their ways to the roots of the heads that cover them.

    Returns:
        ``records``: content, hashes and ``path`` of each, and its ``head``; ``heads``: the files of
        these heads; ``days``: of each head whose day is closed the day's file, the head's path to
        its root, and the answer of the time-stamp authority if there is one (base64).

    Raises:
        UnknownTrade: no record has this UUID.
        NoProof: a record is not covered yet, or was changed.
    """
    records = [
        record
        for table in record_tables(connection)
        if ("uuid", "uuid") in table.columns
        for record in _records(connection, table, uuid)
    ]
    if not records:
        raise UnknownTrade(uuid)
    records.sort(key=lambda one: (one["chain_id"], one["chain_seq"]))
    heads = _heads_of(files, records)
    proved: dict[int, Head] = {}
    for record in records:
        head = heads[record["chain_id"], record["chain_seq"]]
        proved[head.number] = head
        record["head"] = head.number
    for head in proved.values():
        _add_paths(files, head, [record for record in records if record["head"] == head.number])
    texts = {number: data.decode() for number, data in files.read(sorted(proved)).items()}
    return {
        "format": PROOF_FORMAT,
        "uuid": str(uuid),
        "records": records,
        "heads": {str(number): text for number, text in texts.items()},
        "days": _days_of(files, proved),
    }


def _records(
    connection: psycopg.Connection, table: RecordTable, uuid: UUID
) -> list[dict[str, Any]]:
    names = ("chain_id", "chain_seq", "content", "content_hash", "chain_hash", "recorded_at")
    query = sql.SQL("SELECT {} FROM trade.{} WHERE uuid = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, (*names, *table.unhashed))),
        sql.Identifier(table.name),
        sql.Literal(uuid),
    )
    types = ["text", "int8", "text", "bytea", "bytea", "int8"] + ["int8"] * len(table.unhashed)
    return [
        {
            "table": table.name,
            "chain_id": chain,
            "chain_seq": seq,
            "content": content,
            "content_hash": content_hash.hex(),
            "chain_hash": chain_hash.hex(),
            "recorded_micros": recorded + EPOCH_2000,
            "unhashed": unhashed,
        }
        for chain, seq, content, content_hash, chain_hash, recorded, *unhashed in copied(
            connection, query, (), types
        )
    ]


def _heads_of(files: HeadFiles, records: list[dict[str, Any]]) -> dict[tuple[str, int], Head]:
    """The head that covers each record, looked for from the newest on."""
    wanted = {(record["chain_id"], record["chain_seq"]) for record in records}
    chains = {chain for chain, _ in wanted}
    found: dict[tuple[str, int], Head] = {}
    numbers = files.numbers()
    for end in range(len(numbers), 0, -_AT_ONCE):
        for number, data in files.read(numbers[max(0, end - _AT_ONCE) : end]).items():
            head = Head.from_bytes(data, number)
            for one in head.ranges:
                if one.chain_id in chains:
                    for chain, seq in wanted:
                        if chain == one.chain_id and one.first <= seq <= one.last:
                            found[chain, seq] = head
        if len(found) == len(wanted):
            return found
    chain, seq = min(wanted - set(found))
    raise NoProof(
        f"record {seq} of chain {chain} is not covered by a head yet: run `trade-pipeline ledger "
        "head` first"
    )


def _add_paths(files: HeadFiles, head: Head, records: list[dict[str, Any]]) -> None:
    leaves = split_hashes(files.leaves(head.number) or b"")
    if len(leaves) != head.count or merkle_root(leaves) != head.root:
        raise NoProof(f"the hashes beside head {head.number} are missing or damaged")
    offsets, offset = {}, 0
    for one in head.ranges:
        offsets[one.chain_id] = offset - one.first
        offset += one.last - one.first + 1
    for record in records:
        index = offsets[record["chain_id"]] + record["chain_seq"]
        own = record_leaf(
            leaf_prefix(record["table"], record["chain_id"]),
            record["chain_seq"],
            bytes.fromhex(record["content_hash"]),
            bytes.fromhex(record["chain_hash"]),
            record["recorded_micros"],
            record["unhashed"],
        )
        if leaves[index] != own:
            raise NoProof(
                f"record {record['chain_seq']} of chain {record['chain_id']} is not what head "
                f"{head.number} covers: run `trade-pipeline verify`"
            )
        record["path"] = [[side, one.hex()] for side, one in merkle_path(leaves, index)]


def _days_of(files: HeadFiles, heads: dict[int, Head]) -> dict[str, Any]:
    names = {head.created_at.date().isoformat() for head in heads.values()} & set(files.days())
    stamps = files.read_of_days(sorted(names & files.stamped_days()), "tsr")
    days: dict[str, Any] = {}
    for name, data in files.read_of_days(sorted(names)).items():
        told = orjson.loads(data)
        numbers = range(told["first"], told["last"] + 1)
        there = files.read(numbers)
        hashes = [Head.from_bytes(there[number], number).hash for number in numbers]
        days[name] = {
            "file": data.decode(),
            "paths": {
                str(number): [
                    [side, one.hex()] for side, one in merkle_path(hashes, number - numbers[0])
                ]
                for number in heads
                if number in numbers
            },
            "stamp": base64.b64encode(stamps[name]).decode() if name in stamps else None,
        }
    return days
