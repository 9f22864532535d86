"""A third party checks a trade's proof with the script alone, and a stamp with the authority's."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from trade_pipeline import verify_proof
from trade_pipeline.core.errors import UnknownTrade
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.proof import NoProof, trade_proof
from trade_pipeline.core.ledger.stamps import stamp_days, stamp_of
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline_tests.core import samples

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OPENSSL = shutil.which("openssl")


@pytest.fixture
def files(tmp_path: Path) -> HeadFiles:
    return HeadFiles(str(tmp_path / "heads"))


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        yield connection


@pytest.fixture
def uuid(writer: psycopg.Connection, files: HeadFiles) -> UUID:
    """A trade whose records are under two heads, among those of others; its day is closed."""
    uuid = samples.candidate(2, "s").uuid
    append_bulk(writer, "other", samples.records_of_a_session(3, "other"))
    append_bulk(writer, "s", samples.records_of_a_session(5, "s"))
    write_heads(writer, files, NOON)
    append_now(writer, read_chain(writer, "s"), samples.fill(uuid))
    append_bulk(writer, "third", samples.records_of_a_session(2, "third"))
    write_heads(writer, files, NOON + timedelta(minutes=1))
    append_bulk(writer, "tomorrow", samples.records_of_a_session(2, "tomorrow"))
    write_heads(writer, files, NOON + timedelta(days=1))
    return uuid


def checked(proof: Any, tmp_path: Path, *known: Path) -> tuple[int, str]:
    """What the script says, run without this package and its libraries."""
    file = tmp_path / "proof.json"
    file.write_text(proof if isinstance(proof, str) else json.dumps(proof))
    script = tmp_path / "verify_proof.py"
    shutil.copy(verify_proof.__file__, script)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(file), *map(str, known)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_proof_holds_against_heads_or_a_day_that_somebody_else_kept(
    writer: psycopg.Connection, files: HeadFiles, uuid: UUID, tmp_path: Path
) -> None:
    proof = trade_proof(writer, files, uuid)
    assert [(r["table"], r["head"]) for r in proof["records"]] == [
        ("candidates", 0), ("research_docs", 0), ("executions", 1),
    ]  # fmt: skip
    heads = Path(files.url, "000000")
    code, told = checked(proof, tmp_path, heads / "000000000.json", heads / "000000001.json")
    assert (code, told.splitlines()[-1]) == (0, f"HOLDS: trade {uuid}")
    code, told = checked(proof, tmp_path, Path(files.url, "days", "2026-06-01.json"))
    assert (code, "HOLDS" in told) == (0, True)
    code, told = checked(proof, tmp_path)
    assert (code, "HOLDS IN ITSELF" in told) == (0, True)
    code, told = checked(proof, tmp_path, heads / "000000000.json")
    assert (code, "head 1 is none of the files given" in told) == (1, True)


def test_nothing_in_a_proof_can_be_changed(
    writer: psycopg.Connection, files: HeadFiles, uuid: UUID, tmp_path: Path
) -> None:
    proof = trade_proof(writer, files, uuid)
    day = Path(files.url, "days", "2026-06-01.json")
    for name, value in {
        "content": proof["records"][0]["content"].replace("0.75", "0.85"),
        "table": "outcomes", "chain_id": "other", "chain_seq": 1, "content_hash": "00" * 32,
        "chain_hash": "00" * 32, "recorded_micros": 1, "unhashed": [1], "head": 1,
        "path": [],
    }.items():  # fmt: skip
        changed = json.loads(json.dumps(proof))
        changed["records"][0][name] = value
        code, told = checked(changed, tmp_path, day)
        assert (code, "DOES NOT HOLD" in told) == (1, True), name
    changed = json.loads(json.dumps(proof))
    changed["heads"]["0"] = changed["heads"]["0"].replace('"count":', '"count": ')
    assert checked(changed, tmp_path, day)[0] == 1
    for wrong in ({}, {**proof, "records": []}, {**proof, "heads": {}}, [], "{"):
        assert checked(wrong, tmp_path, day)[0] == 1
    other = trade_proof(writer, files, samples.candidate(0, "other").uuid)
    assert checked({**other, "uuid": str(uuid)}, tmp_path, day)[0] == 1


def test_there_is_no_proof_of_what_is_not_covered_or_was_changed(
    writer: psycopg.Connection, files: HeadFiles, uuid: UUID
) -> None:
    append_now(writer, read_chain(writer, "s"), samples.candidate(40, "s"))
    with pytest.raises(NoProof, match="ledger head"):
        trade_proof(writer, files, samples.candidate(40, "s").uuid)
    with pytest.raises(UnknownTrade):
        trade_proof(writer, files, samples.candidate(41, "s").uuid)
    leaves = Path(files.url, "000000", "000000001.leaves")
    leaves.write_bytes(leaves.read_bytes()[32:])
    with pytest.raises(NoProof, match="head 1 are missing or damaged"):
        trade_proof(writer, files, uuid)


class Authority:
    """A time-stamp authority on this machine, with a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        self.root = folder / "root.pem"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stamps",
            "-keyout", "key.pem", "-out", "root.pem",
            "-addext", "extendedKeyUsage=critical,timeStamping",
        )  # fmt: skip
        (folder / "tsa.cnf").write_text(
            "[tsa]\ndefault_tsa = t\n[t]\nserial = serial\nsigner_cert = root.pem\n"
            "signer_key = key.pem\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n"
            "digests = sha256\ncerts = root.pem\n"
        )
        (folder / "serial").write_text("01\n")

    def _openssl(self, *arguments: str) -> None:
        assert OPENSSL is not None
        subprocess.run(
            [OPENSSL, *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60
        )

    def answer(self, query: bytes) -> bytes:
        self.asked += 1
        (self.folder / "query").write_bytes(query)
        self._openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    if OPENSSL is None:
        pytest.skip("openssl makes the time stamps")
    folder = tmp_path / "authority"
    folder.mkdir()
    own = Authority(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            body = own.answer(query) if self.path == "/tsr" else b"no stamp"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}/tsr", own
        served.shutdown()


def test_each_closed_day_is_stamped_once_and_the_stamp_is_part_of_the_proof(
    writer: psycopg.Connection,
    files: HeadFiles,
    uuid: UUID,
    fresh_database: Database,
    authority: tuple[str, Authority],
    tmp_path: Path,
) -> None:
    url, own = authority
    assert stamp_days(files, None) == []
    assert stamp_days(files, SecretStr(url.replace("/tsr", "/other"))) == []
    assert stamp_days(files, SecretStr("http://127.0.0.1:1/tsr")) == []
    assert stamp_days(files, SecretStr(url)) == ["2026-06-01"]
    assert stamp_days(files, SecretStr(url)) == []
    assert own.asked == 1
    report = verify_url(fresh_database.url("trade_reader"), files)
    assert (report.intact, report.days, report.stamped_days) == (True, 1, 1), report.verdict

    proof = trade_proof(writer, files, uuid)
    stamp = base64.b64decode(proof["days"]["2026-06-01"]["stamp"])
    told = stamp_of(stamp)
    assert told is not None
    assert abs(told.at - datetime.now(UTC)) < timedelta(minutes=10)
    (tmp_path / "stamp.tsr").write_bytes(stamp)
    assert OPENSSL is not None
    shown = subprocess.run(
        [OPENSSL, "ts", "-verify", "-in", tmp_path / "stamp.tsr", "-CAfile", own.root,
         "-data", Path(files.url, "days", "2026-06-01.json")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Verification: OK" in shown.stdout + shown.stderr

    Path(files.url, "days", "2026-06-01.tsr").write_bytes(own.answer(_query(b"other")))
    other = verify_url(fresh_database.url("trade_reader"), files)
    assert "is for another file" in other.verdict


def _query(data: bytes) -> bytes:
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
    return builder.build().as_bytes()
