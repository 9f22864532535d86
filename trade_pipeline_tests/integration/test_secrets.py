"""No secret of the settings is in anything that is written: tables, files, logs, output, errors.

A key that can be recognised is planted in every secret setting; then everything is done that a
user does, against servers that refuse and repeat what they were sent, and all that was written is
searched.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.execution.ccxt_client import VenueAccount
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.live.run import run_live
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider, providers_of
from trade_pipeline.core.market.recorder.node import EthereumNode
from trade_pipeline.core.research.social.reading import Subject
from trade_pipeline.core.research.social.social import sources_of
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.store.valkey_server import open_cache
from trade_pipeline.defs.instance import dagster_instance, run_job
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.market.providers.server import (
    LocalServer,
    Reply,
    Request,
    local_server,
)
from trade_pipeline_tests.integration.typed import run_in
from trade_pipeline_tests.local_exchange.served import SYMBOL, served

MARK = "c4n4ryOfTheTest"
SECRETS = sorted(
    name
    for name, one in Settings.model_fields.items()
    if SecretStr in (one.annotation, *get_args(one.annotation))
)
# Nobody listens there.
DEAD = "127.0.0.1:9"


def canary(name: str) -> str:
    return f"{MARK}{name.replace('_', '')}"


def needles() -> set[bytes]:
    """The mark as it is, as hexadecimal digits, and in base64 wherever it begins."""
    mark = MARK.encode()
    coded = {base64.b64encode(b"-" * shift + mark)[shift and 4 : -4] for shift in range(3)}
    return {mark, mark.hex().encode(), *coded}


@dataclass
class Written:
    """Everything that was told, by where."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + text

    def attempt(self, where: str, action: Callable[[], object]) -> None:
        """Do something that may fail; all that its error tells is kept."""
        try:
            self.add(where, repr(action()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is searched
            self.add(where, "".join(traceback.format_exception(error)))
            hanging: BaseException | None = error
            while hanging is not None:
                self.add(where, f"{hanging!r} {hanging}")
                hanging = hanging.__context__

    def leaks(self) -> list[str]:
        return [where for where, text in self.texts.items() if found_in(text.encode())]


def found_in(content: bytes) -> bool:
    return any(needle in content for needle in needles())


def databases(server: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(server.url("postgres", "postgres")) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    return [name for (name,) in rows]


def tables_that_leak(server: EmbeddedPostgres, names: Sequence[str]) -> list[str]:
    """Tables and definitions with a canary in any row, in some databases."""
    leaking = []
    for database in names:
        with psycopg.connect(server.url("postgres", database)) as connection:
            tables = connection.execute(
                "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = relnamespace WHERE relkind IN ('r', 'm') "
                "AND nspname <> 'information_schema'"
            ).fetchall()
            for schema, table in tables:
                query = sql.SQL("SELECT string_agg(t::text, ' ') FROM {} t").format(
                    sql.Identifier(schema, table)
                )
                text = connection.execute(query).fetchone()
                if text is not None and found_in(str(text[0]).encode()):
                    leaking.append(f"{database}: {schema}.{table}")
    return leaking


def files_that_leak(folder: Path) -> list[str]:
    return [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink() and found_in(file.read_bytes())
    ]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server to which the settings' URLs lead, whose logins have canaries as passwords.

    As with `ALTER ROLE` of psql, the server is given verifiers alone.  The embedded server's own
    passwords are no settings: they are made under the home, in a file that only its owner reads.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "postgres"
    with EmbeddedPostgres(folder) as running:
        Database.embedded(folder).close()
        with psycopg.connect(running.url("postgres", "postgres"), autocommit=True) as connection:
            for login, of in (("trade_writer", "database_url"), ("dagster", "dagster_url")):
                verifier = connection.pgconn.encrypt_password(
                    canary(of).encode(), login.encode(), b"scram-sha-256"
                ).decode()
                connection.execute(f"ALTER ROLE {login} PASSWORD '{verifier}'".encode())
            connection.execute("GRANT trade_reader TO trade_writer")
        yield running


def planted(server: EmbeddedPostgres, node: LocalServer) -> dict[str, str]:
    """A value with a canary for every secret setting, also for those that are made later."""
    place = server.url("trade_writer", "trade_pipeline").partition("@")[2]
    dagster = server.url("dagster", "dagster").partition("@")[2]
    urls = {
        "database_url": f"postgresql://trade_writer:{{}}@{place}",
        "admin_database_url": f"postgresql://admin:{{}}@{DEAD}/x",
        "dagster_url": f"postgresql+psycopg2://dagster:{{}}@{dagster}",
        "cache_url": f"redis://user:{{0}}@{DEAD}/0",
        "rpc_url": f"{node.url}/v2/{{0}}?key={{0}}",
        "social_feed_url": f"{node.url}/feed/{{0}}?key={{0}}",
        "alert_urls": f"json://user:{{0}}@{DEAD}/{{0}} json{node.url.removeprefix('http')}/{{0}}",
    }
    return {name: urls.get(name, "{}").format(canary(name)) for name in SECRETS}


def echo(request: Request) -> Reply:
    """Refuses, and repeats everything that it was sent."""
    said = f"{request.path} {request.query} {request.headers} {request.body!r}"
    return Reply({"error": {"code": -32000, "message": said}, "msg": said, "code": -2014}, 401)


class Echo(dict[str, Any]):
    def get(self, *_: object) -> Any:
        return echo


def test_no_secret_of_the_settings_is_in_anything_that_is_written(
    elsewhere: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    written, home = Written(), tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    with local_server() as node, ExitStack() as opened:
        node.routes = Echo()
        values = planted(elsewhere, node)
        plain = {"home": str(home), "venue": "binance", "venue_url": node.url}
        given = {f"TRADE_PIPELINE_{n}".upper(): v for n, v in (values | plain).items()}
        run = run_in(monkeypatch, given)
        settings = Settings(_env_file=None)
        for name in SECRETS:
            assert MARK in getattr(settings, name).get_secret_value()
        written.add("the settings", f"{settings!r} {settings} {settings.model_dump_json()}")

        def typed(*words: str) -> str:
            ended = run(*words)
            written.add(" ".join(words), ended.out + ended.err)
            return ended.out

        # A user's day: paper trading, looks, alerts that reach nobody.
        assert '"begins"' in typed("alerts", "send", "--json")
        replay = ["--market", "simulated", "--start", "2022-01-01", "--end", "2022-01-02"]
        typed("live", "start", *replay, "--speed", "0", "--here", "--json",
              "--set", "trading.simulator.burn_in_days=3", "--set", "trading.amm.gas_usd=nonsense",
              )  # fmt: skip
        store = opened.enter_context(Store.open(settings))
        assert run_live(store, paper.settings("paper"), Settings(), holder="test").decisions
        typed("halt", "--account", "nobody")
        assert '"failed"' in typed("alerts", "send", "--json")
        for words in (
            ("alerts", "test"), ("status", "--json"), ("watch", "--once"), ("live", "status"),
            ("db", "status"), ("db", "migrate"),
            ("ingest", "uniswap-v2", "--from-block", "1", "--to-block", "2", "--out", "tape"),
        ):  # fmt: skip
            typed(*words)

        # Those outside, who refuse.
        written.attempt("the cache", lambda: _ask_cache(settings))
        written.attempt("providers", lambda: asyncio.run(_ask_providers(settings, node, store)))
        written.attempt("social", lambda: asyncio.run(_ask_social(settings, node)))
        written.attempt("the venue", lambda: asyncio.run(_ask_venue(settings)))
        written.attempt(
            "the local exchange",
            lambda: asyncio.run(_ask_exchange(settings, tmp_path / "exchange")),
        )

        # Dagster: a run that does its work, and one whose database is not there.
        instance = opened.enter_context(dagster_instance(settings, None))
        halting = {"order_halt_op": {"account": "paper", "reason": "a test"}}
        done = run_job(instance, "halt_job", halting)
        assert done.success
        for number, url in enumerate(mistyped("database_url")):
            monkeypatch.setenv("TRADE_PIPELINE_DATABASE_URL", url)
            failed = run_job(instance, "halt_job", halting)
            assert not failed.success
            written.add(f"run with mistyped URL {number}", str(failed))
            typed("db", "status")
            monkeypatch.setenv("TRADE_PIPELINE_ADMIN_DATABASE_URL", url)
            typed("db", "migrate")
        for name in ("cache_url", "alert_urls", "rpc_url"):
            monkeypatch.setenv(f"TRADE_PIPELINE_{name}".upper(), f"nothing:/{canary(name)}@:x/")
        written.attempt("a mistyped cache", lambda: _ask_cache(Settings(_env_file=None)))
        typed("alerts", "test")
        written.attempt("a mistyped node", lambda: asyncio.run(_ask_node(Settings(_env_file=None))))

    written.add("logging", caplog.text)
    written.add("standard output", "".join(capfd.readouterr()))
    assert written.leaks() == []
    assert tables_that_leak(elsewhere, databases(elsewhere)) == []
    # The home, artifacts, tapes, Dagster's home, the exchange; the server's data, journal and log.
    assert files_that_leak(tmp_path) == []
    assert files_that_leak(elsewhere.folder) == []
    # What was searched is what was written.
    assert "paper" in written.texts["status --json"]
    assert list((home / "artifacts").rglob("*"))


def mistyped(name: str) -> list[str]:
    secret = canary(name)
    return [
        f"postgresql://books:{secret}@{DEAD}/x",
        f"postgresql://books:{secret}%zz@{DEAD}/x",
        f"postgresql://books:{secret}@127.0.0.1:{secret}/x",
        f"postgresql:/books:{secret}@127.0.0.1/x",
        f"books:{secret}@127.0.0.1/x",
        f"postgresql://books:{secret}@{DEAD}/x?{secret}=1",
    ]


def _ask_cache(settings: Settings) -> None:
    with open_cache(settings) as client:
        client.ping()


async def _ask_providers(settings: Settings, node: LocalServer, store: Store) -> None:
    providers = providers_of(settings, SystemClock())
    for one in providers:
        one.client._url = node.url
    async with UnifiedMarketProvider(providers, store=store) as market:
        await market.scan_low_caps("ethereum")


async def _ask_social(settings: Settings, node: LocalServer) -> str:
    clock, told = SystemClock(), []
    [coingecko] = [
        one for one in providers_of(settings, clock) if one.client.provider == "coingecko"
    ]
    coingecko.client._url = node.url
    for source in sources_of(settings, clock, coingecko):  # type: ignore[arg-type]
        for client in source.clients:
            if not client._url.startswith(node.url):
                client._url = node.url
        kept = Written()
        subject = Subject("ethereum", "0x" + "ab" * 20, "MADE")
        try:
            await source.read(subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is searched
            kept.add("", "".join(traceback.format_exception(error)))
        told.append(f"{source.source}: {kept.texts}")
        for client in source.clients:
            await client.__aexit__()
    return "\n".join(told)


async def _ask_node(settings: Settings) -> None:
    assert settings.rpc_url is not None
    once = ClientConfig(requests=9, attempts=1)
    async with EthereumNode(settings.rpc_url, SystemClock(), once) as node:
        await node.final_block()


async def _ask_venue(settings: Settings) -> None:
    venue = CcxtVenue(replace(VenueAccount.of(settings), deadline_seconds=0.2))
    try:
        await venue.balances()
    finally:
        await venue.close()


async def _ask_exchange(settings: Settings, folder: Path) -> None:
    """The exchange knows another secret under this key."""
    async with served(folder, VenueAccount.of(settings)) as exchange:
        key = VenueAccount.of(settings).key.get_secret_value()
        exchange.server.exchange.secrets[key] = "another"
        await exchange.ready()
        await exchange.venue.open_orders(SYMBOL)


def test_every_secret_setting_is_searched_for_and_no_url_with_a_place_for_a_key_is_plain() -> None:
    assert {"database_url", "venue_secret", "alert_urls", "rpc_url"} <= set(SECRETS)
    assert found_in(b"x" + base64.b64encode(b"ab:" + canary("x").encode()))
    assert found_in(canary("x").encode().hex().encode())
    # These hold no key: a bucket's keys are in its driver's environment, the last is a server.
    named = {
        n for n in Settings.model_fields if n.endswith(("url", "urls", "key", "token", "secret"))
    }
    assert named - set(SECRETS) == {"artifacts_url", "heads_url", "venue_url"}
