"""The client: what it does when a provider is slow, wrong, busy or down, and where keys go."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.market.providers.errors import (
    CircuitOpen,
    ProviderAnswerInvalid,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import Amount
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, Request

NOON = 1_800_000_000_000_000
SECOND = 1_000_000
CANARY = "canary-key-5f1c9d"
FAST: dict[str, Any] = {"wait_initial_seconds": 0.0, "wait_max_seconds": 2.0}


class Price(Fields):
    price: Amount


def ask(
    server: LocalServer,
    *paths: str,
    clock: MarketClock | None = None,
    together: bool = False,
    **config: Any,
) -> list[Answer | ProviderError]:
    """What a client with a canary key gets for some paths."""

    async def all_of_them() -> list[Answer | ProviderError]:
        client = ProviderClient(
            "stub",
            server.url,
            clock or MarketClock(NOON),
            ClientConfig(**FAST | config),
            {"x-key": SecretStr(f"Bearer {CANARY}")},
        )

        async def one(path: str) -> Answer | ProviderError:
            try:
                return await client.get(path)
            except ProviderError as error:
                return error

        async with client:
            if together:
                return await asyncio.gather(*map(one, paths))
            return [await one(path) for path in paths]

    return asyncio.run(all_of_them())


def test_an_answer_has_its_bytes_its_address_and_the_clocks_time(
    server_of_answers: LocalServer,
) -> None:
    server_of_answers.routes["/a"] = Reply(b'{"price": "0.5",  "new": 1}')
    (answer,) = ask(server_of_answers, "/a")
    assert isinstance(answer, Answer)
    assert answer.content == b'{"price": "0.5",  "new": 1}'
    assert answer.received_at == NOON
    assert answer.address.startswith("sha256:")
    assert answer.read(Price).price == 0.5


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=500),
        Reply(status=502),
        Reply(status=429),
        Reply({"price": 1}, cut=True),
        Reply({"price": 1}, delay_seconds=0.5),
    ],
    ids=["500", "502", "429", "cut", "slow"],
)
def test_a_passing_fault_is_tried_again(server_of_answers: LocalServer, fault: Reply) -> None:
    server_of_answers.routes["/a"] = [fault, fault, Reply({"price": 2})]
    (answer,) = ask(server_of_answers, "/a", attempts=3, timeout_seconds=0.2)
    assert isinstance(answer, Answer)
    assert answer.read(Price).price == 2
    assert len(server_of_answers.requests) == 3


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reply(status=503), "stub: HTTP 503"),
        (Reply({"price": 1}, cut=True), "stub: RemoteProtocolError"),
        (Reply({"price": 1}, delay_seconds=0.5), "stub: no answer within 0.2 s"),
    ],
)
def test_a_fault_that_stays_is_told_after_the_last_attempt(
    server_of_answers: LocalServer, fault: Reply, why: str
) -> None:
    server_of_answers.routes["/a"] = fault
    (error,) = ask(server_of_answers, "/a", attempts=2, timeout_seconds=0.2)
    assert isinstance(error, ProviderUnavailable)
    assert str(error) == why
    assert len(server_of_answers.requests) == 2


def test_a_body_that_never_ends_is_cut_at_the_deadline_though_bytes_keep_coming(
    server_of_answers: LocalServer,
) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    async def ask_it() -> None:
        listening = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        config = ClientConfig(attempts=1, timeout_seconds=0.2)
        async with ProviderClient(
            "stub", f"http://127.0.0.1:{port}", MarketClock(NOON), config
        ) as client:
            await client.get("/a")

    with pytest.raises(ProviderUnavailable, match=r"no answer within 0\.2 s"):
        asyncio.run(ask_it())


def test_a_refusal_is_not_tried_again(server_of_answers: LocalServer) -> None:
    server_of_answers.routes["/a"] = Reply({"error": "bad key"}, 401)
    (error,) = ask(server_of_answers, "/a")
    assert isinstance(error, ProviderRefused)
    assert (str(error), error.status) == ("stub: HTTP 401", 401)
    assert len(server_of_answers.requests) == 1


def test_a_redirect_is_not_followed_with_the_key(server_of_answers: LocalServer) -> None:
    server_of_answers.routes["/a"] = Reply(status=302, headers={"Location": "/b"})
    (error,) = ask(server_of_answers, "/a")
    assert isinstance(error, ProviderRefused)
    assert [r.path for r in server_of_answers.requests] == ["/a"]


def test_the_wait_that_a_provider_asks_for_is_kept(server_of_answers: LocalServer) -> None:
    busy = Reply(status=429, headers={"Retry-After": "1"})
    server_of_answers.routes["/a"] = [busy, Reply({"price": 2})]
    (answer,) = ask(server_of_answers, "/a")
    assert isinstance(answer, Answer)
    first, second = server_of_answers.requests
    assert second.at - first.at >= 1.0


@pytest.mark.parametrize("wait", ["3600", "Fri, 15 Jan 2027 09:00:00 GMT"])
def test_a_provider_that_asks_for_a_long_wait_is_left_alone_for_as_long(
    server_of_answers: LocalServer, wait: str
) -> None:
    # Noon is 08:00 of that day.
    server_of_answers.routes["/a"] = Reply(status=429, headers={"Retry-After": wait})
    error, later = ask(server_of_answers, "/a", "/a")
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == 3600.0
    assert isinstance(later, CircuitOpen)
    assert "not asked for 3600 s more" in str(later)
    assert len(server_of_answers.requests) == 1


def test_the_circuit_opens_after_failures_and_closes_after_one_success(
    server_of_answers: LocalServer,
) -> None:
    clock = MarketClock(NOON)

    async def story() -> list[str]:
        config = ClientConfig(**FAST, attempts=1, failures_to_open=2, open_seconds=60)
        told = []
        async with ProviderClient("stub", server_of_answers.url, clock, config) as client:

            async def one(path: str) -> None:
                try:
                    await client.get(path)
                    told.append("answer")
                except ProviderError as error:
                    told.append(type(error).__name__)

            server_of_answers.routes["/a"] = Reply(status=500)
            for _ in range(3):
                await one("/a")
            clock.advance(NOON + 61 * SECOND)
            # Of two that ask when the time is up, one is let through; it fails, so it stays open.
            await asyncio.gather(one("/a"), one("/a"))
            await one("/a")
            clock.advance(NOON + 130 * SECOND)
            server_of_answers.routes["/b"] = Reply({"price": 1})
            await one("/b")
            await one("/a")
            await one("/b")
        return told

    down, left = "ProviderUnavailable", "CircuitOpen"
    told = asyncio.run(story())
    assert told[:3] == [down, down, left]
    assert sorted(told[3:5]) == sorted([down, left])
    assert told[5:] == [left, "answer", down, "answer"]


def test_a_young_answer_is_given_again_with_the_time_at_which_it_came(
    server_of_answers: LocalServer,
) -> None:
    clock = MarketClock(NOON)
    server_of_answers.routes["/a"] = [Reply({"price": 1}), Reply({"price": 2})]

    async def story() -> list[tuple[float | None, int]]:
        seen = []
        config = ClientConfig(**FAST, cache_seconds=30)
        async with ProviderClient("stub", server_of_answers.url, clock, config) as client:
            for seconds in (0, 29, 30):
                clock.advance(NOON + seconds * SECOND)
                answer = await client.get("/a")
                seen.append((answer.read(Price).price, answer.received_at - NOON))
        return seen

    assert asyncio.run(story()) == [(1, 0), (1, 0), (2, 30 * SECOND)]


def test_requests_keep_to_the_rate_limit(server_of_answers: LocalServer) -> None:
    paths = [f"/{n}" for n in range(4)]
    server_of_answers.routes = dict.fromkeys(paths, Reply({"price": 1}))
    ask(server_of_answers, *paths, together=True, requests=2, per_seconds=0.4)
    times = sorted(r.at for r in server_of_answers.requests)
    assert times[3] - times[0] >= 0.35


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        (b'{"price": -1}', "price", -1),
        (b'{"price": true}', "price", True),
        (b'{"price": "n/a"}', "price", "n/a"),
        (b'{"price": [1]}', "price", [1]),
        (b'{"prices": 1}', "price", {"prices": 1}),
        (b'{"price": NaN}', "price", None),
        (b"<html>busy</html>", "body", b"<html>busy</html>"),
        (b"", "body", b""),
        (b"[]", "body", b"[]"),
    ],
)
def test_a_changed_answer_is_named_with_its_field_and_value(
    body: bytes, field: str, value: Any
) -> None:
    with pytest.raises(ProviderAnswerInvalid) as caught:
        Answer("stub", body, NOON).read(Price)
    assert caught.value.provider == "stub"
    assert caught.value.field == field
    if value is not None:
        assert caught.value.value == value
    assert str(caught.value).startswith(f"stub: {field}=")


def test_a_key_goes_into_its_header_and_nowhere_else(
    server_of_answers: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(request: Request) -> Reply:
        return Reply({"sent": request.headers})

    server_of_answers.routes = {
        "/echo": echo,
        "/refused": Reply({"your key": CANARY}, 401),
        "/down": Reply({"your key": CANARY}, 500),
    }
    results = ask(server_of_answers, "/echo", "/refused", "/down", attempts=2)
    assert all(CANARY in r.headers["x-key"] for r in server_of_answers.requests)
    assert not any(CANARY in r.path or CANARY in str(r.query) for r in server_of_answers.requests)
    answer, *errors = results
    assert isinstance(answer, Answer)
    assert CANARY.encode() not in answer.content
    assert b"[key]" in answer.content
    for error in errors:
        seen: BaseException | None = error if isinstance(error, Exception) else None
        while seen is not None:
            assert CANARY not in repr(seen) + str(seen.__dict__)
            seen = seen.__cause__ or seen.__context__
    assert caplog.records
    assert CANARY not in caplog.text
    assert server_of_answers.url not in caplog.text
