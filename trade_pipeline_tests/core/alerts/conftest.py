"""A place where people read: a local server that takes Apprise's JSON messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson
import pytest
from pydantic import SecretStr

from trade_pipeline.core.alerts.channels import Channel, channels_of
from trade_pipeline_tests.core.market.providers.server import (
    LocalServer,
    Reply,
    Request,
    local_server,
)


@dataclass
class Readers:
    """Readers at several paths of one server.

    Attributes:
        deaf: names of those whose messages are refused.
    """

    server: LocalServer
    deaf: set[str] = field(default_factory=set)
    _messages: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def url(self, name: str) -> str:
        self.server.routes[f"/{name}"] = self._take
        return f"json{self.server.url.removeprefix('http')}/{name}"

    def channels(self, *names: str) -> list[Channel]:
        return channels_of(SecretStr(", ".join(self.url(name) for name in names)))

    def read(self, name: str) -> list[tuple[str, str]]:
        """Title and body of every message that was taken since the last call."""
        return self._messages.pop(name, [])

    def _take(self, request: Request) -> Reply:
        name = request.path.strip("/")
        if name in self.deaf:
            return Reply({}, 503)
        told = orjson.loads(request.body)
        self._messages.setdefault(name, []).append((told["title"], told["message"]))
        return Reply({})


@pytest.fixture
def readers() -> Iterator[Readers]:
    with local_server() as served:
        yield Readers(served)
