"""Time stamps (RFC 3161): an authority elsewhere says that a day's file was there at that time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.store.head_files import HeadFiles

log = logging.getLogger("trade_pipeline.ledger")
_SECONDS = 10.0
_GRANTED = (0, 1)


class StampRefused(TradePipelineError):
    """A time-stamp authority that did not stamp what it was given."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an authority said: the SHA-256 digest that it was shown, and when."""

    digest: bytes
    at: datetime


def stamp_of(answer: bytes) -> Stamp | None:
    """What a stored answer says; None: it is none."""
    from rfc3161_client import decode_timestamp_response

    try:
        told = decode_timestamp_response(answer).tst_info
    except ValueError:
        return None
    return Stamp(bytes(told.message_imprint.message), told.gen_time)


def stamp_days(files: HeadFiles, url: SecretStr | None) -> list[str]:
    """Have every closed day stamped that is not; gives the days that were.

    An authority that cannot be reached is tried again the next time; nothing waits for it.

    Args:
        url: of the authority, perhaps with a key in it; None: nothing is stamped.
    """
    if url is None:
        return []
    stamped: list[str] = []
    waiting = sorted(set(files.days()) - files.stamped_days())
    for day, data in files.read_of_days(waiting).items():
        try:
            files.write_stamp(day, request_stamp(url.get_secret_value(), data))
        except StampRefused as refused:
            log.warning("day %s of the ledger is not stamped: %s", day, refused)
            break
        stamped.append(day)
    return stamped


def request_stamp(url: str, data: bytes) -> bytes:
    """An authority's answer about data: it stamps their SHA-256.

    Raises:
        StampRefused: it cannot be reached, or stamps something else.
    """
    import httpx
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    request = (
        TimestampRequestBuilder()
        .data(data)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    try:
        answer = httpx.post(
            url,
            content=request.as_bytes(),
            headers={"Content-Type": "application/timestamp-query"},
            timeout=_SECONDS,
        )
        answer.raise_for_status()
        told = decode_timestamp_response(answer.content)
        if told.status not in _GRANTED:
            raise StampRefused(f"status {told.status}: {', '.join(told.status_string)}")
        info = told.tst_info
    except httpx.HTTPStatusError as error:
        # What it says of itself holds the URL, in which a key may be.
        raise StampRefused(f"HTTP {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise StampRefused(f"{type(error).__name__}: {error}".replace(url, "the URL")) from None
    if bytes(info.message_imprint.message) != sha256(data) or info.nonce != request.nonce:
        raise StampRefused("the answer is about something else")
    return answer.content
