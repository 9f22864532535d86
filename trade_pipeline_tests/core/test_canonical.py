"""Canonical bytes: one content, one sequence of bytes, one address."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.canonical import (
    address_of,
    canonical_bytes,
    is_address,
    known,
    sha256,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


class Colour(StrEnum):
    RED = "red"


def shuffled(document: Any) -> Any:
    """The same document with every mapping built in the opposite order."""
    if isinstance(document, dict):
        return {key: shuffled(document[key]) for key in reversed(document)}
    return [shuffled(item) for item in document] if isinstance(document, list) else document


@given(DOCUMENTS)
def test_the_order_of_keys_does_not_matter(document: Any) -> None:
    assert canonical_bytes(document) == canonical_bytes(shuffled(document))


@given(DOCUMENTS)
def test_every_document_reads_back_as_it_was(document: Any) -> None:
    assert json.loads(canonical_bytes(document)) == document


@given(FINITE)
def test_a_float_reads_back_to_the_same_double(value: float) -> None:
    read = float(json.loads(canonical_bytes([value]))[0])
    assert struct.pack("<d", read) == struct.pack("<d", value)


@given(FINITE)
def test_a_float_out_of_a_numpy_column_has_the_same_bytes(value: float) -> None:
    assert canonical_bytes({"v": np.float64(value)}) == canonical_bytes({"v": value})


@given(DOCUMENTS, DOCUMENTS)
def test_different_contents_have_different_bytes(one: Any, other: Any) -> None:
    if canonical_bytes(one) == canonical_bytes(other):
        assert one == other


def test_bytes_hold_no_white_space_and_are_written_down_here() -> None:
    document = {
        "b": [1, 1.0, 1e-7, 0.1 + 0.2, -0.0],
        "a": {"é": "\u4e2d'\"\n", "e": Colour.RED, "none": None, "yes": True},
        "u": UUID(int=7 << 76 | 2 << 62),
    }
    assert (
        canonical_bytes(document)
        == (
            '{"a":{"e":"red","none":null,"yes":true,"é":"中\'\\"\\n"},'
            '"b":[1,1.0,1e-7,0.30000000000000004,-0.0],'
            '"u":"00000000-0000-7000-8000-000000000000"}'
        ).encode()
    )


def test_nan_becomes_null() -> None:
    assert canonical_bytes({"x": math.nan}) == b'{"x":null}'
    assert known(math.nan) is None
    assert known(0.0) == 0.0


def test_an_aware_datetime_keeps_its_moment_to_the_microsecond() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert canonical_bytes([moment]) == b'["2026-01-02T03:04:05.678901Z"]'
    elsewhere = moment.astimezone(timezone(timedelta(hours=-5)))
    assert datetime.fromisoformat(json.loads(canonical_bytes([elsewhere]))[0]) == moment


@pytest.mark.parametrize("value", [object(), {1: "a"}, {"x": {1, 2}}, 2**70, b"bytes"])
def test_a_value_without_a_canonical_form_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_bytes(value)


@given(st.binary())
def test_an_address_is_the_sha256_of_the_bytes(data: bytes) -> None:
    digest = hashlib.sha256(data)
    assert address_of(data) == f"sha256:{digest.hexdigest()}"
    assert is_address(address_of(data))
    assert sha256(data) == digest.digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "params_001",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "a" * 64,
        "sha1:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
    ],
)
def test_a_readable_alias_is_not_taken_for_an_address(text: str) -> None:
    assert not is_address(text)
