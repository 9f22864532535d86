"""Artifacts and heads in a store that speaks S3: the same promises as in a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pytest
from cluster import object_store

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import Head, HeadFiles
from trade_pipeline_tests.core import samples

DATA = b'{"stop":15}'
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def bucket() -> Iterator[str]:
    """A bucket in a server of its own; the usual variables name the server."""
    with pytest.MonkeyPatch.context() as patch, object_store() as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "bucket"


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/{uuid.uuid4().hex}"


def keys(url: str) -> list[str]:
    """The objects under a URL, as S3 itself lists them."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [one["Key"].removeprefix(f"{prefix}/") for one in listed.get("Contents", [])]


def head(number: int, count: int = 1, root: bytes = b"r" * 32) -> Head:
    return Head(number, NOON, bytes(32), (), count, root)


@pytest.mark.parametrize("data", [b"", DATA, b"\0\xff" * 100_000])
def test_bytes_are_one_object_under_their_address_and_come_back(url: str, data: bytes) -> None:
    store = ArtifactStore(url)
    address = store.put(data)
    assert store.put(data) == address == address_of(data)
    digest = address.removeprefix("sha256:")
    assert keys(url) == [f"{digest[:2]}/{digest}"]
    assert store.uri(address) == f"{url}/{digest[:2]}/{digest}"
    assert ArtifactStore(url).get(address) == data


def test_what_is_missing_or_damaged_is_told(url: str) -> None:
    store = ArtifactStore(url)
    with pytest.raises(FileNotFoundError):
        store.get(address_of(DATA))
    address = store.put(DATA)
    bucket, _, key = store.uri(address).removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=DATA[:-1])
    with pytest.raises(ArtifactDamaged, match=address):
        store.get(address)
    store.put(DATA)
    assert store.get(address) == DATA


def test_what_another_machine_stores_or_removes_is_seen_at_once(url: str) -> None:
    here, there = ArtifactStore(url), ArtifactStore(url)
    address = address_of(DATA)
    assert not here.exists(address)
    there.put(DATA)
    assert here.exists(address)
    # Removed by retention: whether there was anything is told once.
    assert [there.remove(address), here.remove(address)] == [True, False]
    assert not here.exists(address)
    assert keys(url) == []


def test_a_store_without_its_bucket_says_so_and_makes_none() -> None:
    with pytest.raises(FileNotFoundError, match="bucket"):
        ArtifactStore("s3://nobody-made-it/artifacts").put(DATA)
    assert [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]] == ["bucket"]


def test_a_head_is_never_written_over(url: str) -> None:
    files = HeadFiles(url)
    files.write(head(0), b"l" * 32)
    with pytest.raises(FileExistsError, match="000000000"):
        HeadFiles(url).write(head(0, root=b"x" * 32), b"l" * 32)
    assert Head.from_bytes(files.read([0])[0], 0).root == b"r" * 32
    files.write_day("2026-06-01", b"{}", {})
    with pytest.raises(FileExistsError):
        files.write_day("2026-06-01", b'{"other": 1}', {})
    assert files.read_of_days(["2026-06-01"]) == {"2026-06-01": b"{}"}


def test_a_head_whose_answer_got_lost_is_the_writers_own(url: str) -> None:
    first = HeadFiles(url).write(head(0), b"l" * 32)
    # As the client does by itself when a connection breaks after the object was stored.
    assert HeadFiles(url).write(head(0), b"l" * 32) == first


def test_all_heads_are_listed_however_many_there_are(url: str) -> None:
    files = HeadFiles(url)
    assert files.numbers() == []
    client = boto3.client("s3")
    prefix = url.removeprefix("s3://bucket/")
    for number in [*range(990, 1010), 2001]:
        client.put_object(
            Bucket="bucket", Key=f"{prefix}/{number // 1000:06}/{number:09}.json", Body=b"{}"
        )
    assert files.numbers() == [*range(990, 1010), 2001]
    assert files.numbers(after=1005) == [1006, 1007, 1008, 1009, 2001]
    assert set(files.read([5, 990])) == {990}
    assert files.leaves(990) is None


def test_the_ledger_is_verified_against_heads_in_the_store(
    fresh_database: Database, url: str
) -> None:
    files = HeadFiles(url)
    with fresh_database.connect("trade_writer", autocommit=True) as writer:
        for name in ("a", "b"):
            append_bulk(writer, name, samples.records_of_a_session(2, name))
            write_heads(writer, files, NOON)
    assert files.numbers() == [0, 1]
    assert verify_url(fresh_database.url("trade_reader"), HeadFiles(url)).intact
    key = next(key for key in keys(url) if key.endswith("000000000.json"))
    boto3.client("s3").delete_object(
        Bucket="bucket", Key=f"{url.removeprefix('s3://bucket/')}/{key}"
    )
    report = verify_url(fresh_database.url("trade_reader"), HeadFiles(url))
    assert "head 0" in str(report.problems)
