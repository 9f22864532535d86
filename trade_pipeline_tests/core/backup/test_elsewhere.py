"""Backups in an object store, and onto a PostgreSQL that is not the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
from cluster import object_store

from trade_pipeline.core.backup import programs
from trade_pipeline.core.backup.check import check_backup
from trade_pipeline.core.backup.create import back_up
from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.backup.place import Place
from trade_pipeline.core.backup.restore import restore
from trade_pipeline_tests.core.backup.kept import Kept


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server that speaks S3."""
    with object_store() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="backups")
        yield "s3://backups/of/mine"


def test_a_bucket_is_a_place_for_backups_and_for_what_comes_back(
    store: Kept, empty: Kept, bucket: str
) -> None:
    first = back_up(store.settings, bucket).manifest
    store.write("s1", b"more")
    made = back_up(store.settings, bucket, keep=1)
    assert (made.removed, made.manifest.new_artifacts) == ([first.name], 1)
    place = Place(bucket)
    assert place.whole() == [made.manifest.name]
    check_backup(place, made.manifest)
    elsewhere = empty.settings.model_copy(update={"artifacts_url": "s3://backups/restored"})
    done = restore(elsewhere, bucket)
    assert done.report is not None
    assert done.report.intact, done.report.verdict
    assert empty.content() == store.content()
    lost = sorted(place.artifacts.sizes())[0]
    place.artifacts.remove(lost)
    with pytest.raises(BadBackup, match="is missing"):
        check_backup(place, made.manifest)


def test_programs_older_than_the_server_are_refused_with_what_to_install(
    store: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.22 (Debian 12.22-1)'\n")
    old.chmod(0o755)
    monkeypatch.setattr(programs, "binary", lambda name: tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with psycopg.connect(store.url) as connection:
        major = connection.info.server_version // 10_000
    needed = rf"pg_dump of PostgreSQL {major} or newer is needed .*12\.22"
    with pytest.raises(BadBackup, match=needed):
        back_up(store.settings, str(tmp_path / "place"))
