"""The proxy before the UI: who has no login sees nothing, and the UI sees no login."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trade_pipeline_tests.defs.conftest import free_port
from trade_pipeline_tests.deploy.composition import DEPLOY, PROGRAMS
from trade_pipeline_tests.deploy.ui import Ui
from trade_pipeline_tests.reliability.serving import wait_for

CADDYFILE = str(DEPLOY / "Caddyfile")


@dataclass
class Upstream:
    """A UI that says yes to everything, and the headers that it was sent."""

    port: int
    seen: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Upstream(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def _hash(password: str) -> str:
    done = subprocess.run(
        [str(PROGRAMS / "caddy"), "hash-password", "--bcrypt-cost", "4"],
        input=f"{password}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def _proxy(folder: Path, users: str, upstream: Upstream) -> Iterator[Ui]:
    """The proxy of the Caddyfile, on ports of its own, with Caddy's own authority."""
    file = folder / "ui_users"
    file.write_text(users)
    port, health = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "UI_HTTP_PORT": str(free_port()),
        "UI_HTTPS_PORT": str(port),
        "UI_HEALTH_PORT": str(health),
        "UI_USERS_FILE": str(file),
        "TRADE_PIPELINE_UI_PORT": str(upstream.port),
    }
    authority = folder / "data/caddy/pki/authorities/local/root.crt"
    certificates = folder / "data/caddy/certificates/local/localhost"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAMS / "caddy"), "run", "--config", CADDYFILE, "--adapter", "caddyfile"],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(
            lambda: authority.exists() and (certificates / "localhost.key").exists(),
            60, "the proxy's certificate",
        )  # fmt: skip
        yield Ui(port, authority, "operator", "right")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Ui]:
    users = f"operator {_hash('right')}\nauditor {_hash('other')}\n"
    yield from _proxy(tmp_path_factory.mktemp("proxy"), users, upstream)


@pytest.fixture(scope="module")
def proxy_of_nobody(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Ui]:
    yield from _proxy(tmp_path_factory.mktemp("nobody"), "", upstream)


@pytest.mark.parametrize("path", ["/", "/server_info", "/graphql", "/anything?x=1", "//", "/.."])
def test_nothing_is_answered_without_a_login(proxy: Ui, upstream: Upstream, path: str) -> None:
    before = len(upstream.seen)
    assert proxy.status(path) == 401
    assert len(upstream.seen) == before


def test_each_user_of_the_file_logs_in_by_the_own_password_alone(proxy: Ui) -> None:
    def code(user: str, password: str) -> int:
        port = int(proxy.url.rpartition(":")[2])
        return Ui(port, proxy.authority, user, password).status_logged_in()

    assert code("operator", "right") == 200
    assert code("auditor", "other") == 200
    assert code("operator", "other") == 401
    assert code("operator", "") == 401
    assert code("nobody", "right") == 401


def test_the_ui_is_not_told_the_password(proxy: Ui, upstream: Upstream) -> None:
    assert proxy.status_logged_in() == 200
    assert "Authorization" not in upstream.seen[-1]
    assert upstream.seen[-1]["X-Forwarded-Proto"] == "https"


def test_another_sites_page_launches_nothing_with_a_browsers_login(proxy: Ui) -> None:
    assert proxy.status_logged_in("/graphql", Sec_Fetch_Site="cross-site") == 403
    assert proxy.status_logged_in("/graphql", Sec_Fetch_Site="same-origin") == 200
    # A link to a page of the UI is followed.
    assert proxy.status_logged_in("/runs", Sec_Fetch_Site="cross-site") == 200


def test_where_nobody_may_log_in_nobody_does(proxy_of_nobody: Ui) -> None:
    assert proxy_of_nobody.status() == 401
    assert proxy_of_nobody.status_logged_in() == 401


def test_without_a_file_of_users_the_proxy_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROGRAMS / "caddy"), "validate", "--config", CADDYFILE, "--adapter", "caddyfile"],
        env={"PATH": os.environ["PATH"], "UI_USERS_FILE": str(tmp_path / "away")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "File to import not found" in done.stderr
