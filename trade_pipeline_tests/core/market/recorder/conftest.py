from __future__ import annotations

from collections.abc import Iterator

import pytest

from trade_pipeline_tests.core.market.providers.server import LocalServer, local_server


@pytest.fixture
def server_of_answers() -> Iterator[LocalServer]:
    with local_server() as served:
        yield served
