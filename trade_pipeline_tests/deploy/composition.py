"""deploy/compose.yaml as processes of this machine: the file's own commands and environment.

Host names become 127.0.0.1, ports free ones, and the paths of volumes, secrets and configs folders
of a test.  What only an image does is done here: PostgreSQL's first start, and the programs that
stand for those no package has (moto's server for the object store).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import redis
import yaml

from trade_pipeline.core.store.server import binary
from trade_pipeline.core.store.server_account import server_account
from trade_pipeline.core.store.valkey_server import _binary as valkey_program
from trade_pipeline_tests.defs.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROGRAMS = Path(sys.executable).parent
# Where each service listens inside of its container.
PORTS = {
    "postgres": 5432, "broker": 6379, "cache": 6379, "store": 8333, "code": 4000,
    "webserver": 3000, "proxy": 2020,
}  # fmt: skip
_POLL_SECONDS = 1.0
# As a container with `read_only`: nothing can be written but the volumes ($0) and a new /tmp.
_READ_ONLY = (
    'mount --make-rprivate / && mount --bind "$0" "$0" && mount -t tmpfs tmpfs /tmp '
    '&& mount -o remount,bind,ro / && exec "$@"'
)
# Until a service is healthy: it loads its code, beside others.
PATIENCE = 400.0


def read_compose() -> dict[str, Any]:
    """The file, its aliases and merges resolved."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


def dockerfile_environment() -> dict[str, str]:
    """What the image sets, without PATH."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    found = dict(re.findall(r'([A-Z_]+)="?([^"\s]+)"?', re.search(r"\nENV (.*)", last)[1]))
    found.pop("PATH")
    return found


def interpolated(text: str) -> str:
    """Compose's variables at their defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def seconds(text: str) -> float:
    """A duration of compose: 15m, 60s."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


class Composition:
    """The services of compose.yaml on loopback.

    Args:
        folder: where secrets, volumes and logs go; others may enter it (PostgreSQL's account), and
            it is not in /tmp, which is empty for each service.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = read_compose()
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        self.ports = {name: free_port() for name in PORTS}
        self.http, self.https = free_port(), free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.secrets = folder / "secrets"
        subprocess.run(
            [str(DEPLOY / "secrets.sh"), str(self.secrets)],
            env=os.environ | {"CADDY": str(PROGRAMS / "caddy")}, check=True, capture_output=True,
        )  # fmt: skip
        self.secrets.chmod(0o755)
        for file in self.secrets.iterdir():
            file.write_text(self._hosts(file.read_text()))
        self.home = self._place("home")
        # A socket's path is short.
        self.sockets = Path(tempfile.mkdtemp(prefix="pg"))

    def secret(self, name: str) -> str:
        """The content of a secret."""
        return (self.secrets / name).read_text().strip()

    def command(self, name: str) -> list[str]:
        """The command line of a service."""
        service = self.services[name]
        words = [*service.get("entrypoint", []), *service["command"]]
        words = [self._local(name, interpolated(str(word))) for word in words]
        if words[0] == "weed":
            words = ["moto_server", "-H", "127.0.0.1", "-p", str(self.ports[name])]
        if words[0] == "valkey-server":
            words[0] = str(valkey_program())
        return words

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service: the image's and the file's, and nothing of this process."""
        service = self.services[name]
        given = {**(dockerfile_environment() if "build" in service else {})}
        given |= service.get("environment") or {}
        local = {key: self._value(name, interpolated(str(one))) for key, one in given.items()}
        if name == "proxy":
            # Other ports for who has no privileges; the image tells where Caddy keeps things.
            local |= {"UI_HTTP_PORT": str(self.http), "UI_HTTPS_PORT": str(self.https)}
            local |= {"XDG_DATA_HOME": str(self._place("proxy-data"))}
            local |= {"XDG_CONFIG_HOME": str(self._place("proxy-config"))}
        path = f"{PROGRAMS}:{binary('psql').parent}:/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": "/nonexistent", "LANG": "C.UTF-8"} | local

    def up(self) -> None:
        """Start every service when those that it depends on are healthy, or have ended well."""
        for name in self.order():
            for other, asked in self.services[name].get("depends_on", {}).items():
                if asked["condition"] == "service_healthy":
                    self.wait_healthy(other)
            if self.services[name].get("restart") == "no":
                self.run(name, self.command(name))
            else:
                self.start(name)
        for name in self.running:
            self.wait_healthy(name)

    def order(self) -> list[str]:
        """The services, each behind those that it depends on."""
        ordered: list[str] = []

        def add(name: str) -> None:
            for other in self.services[name].get("depends_on", {}):
                add(other)
            if name not in ordered:
                ordered.append(name)

        for name in self.services:
            add(name)
        return ordered

    def start(self, name: str) -> None:
        """Start a service."""
        if name == "postgres":
            self._start_postgres()
            return
        self.running[name] = self._spawn(name, self.command(name))

    def run(self, name: str, command: Sequence[str]) -> str:
        """Run a command in the environment of a service to its end; what it printed.

        Raises:
            AssertionError: it ended with another code than 0.
        """
        done = subprocess.run(
            self._confined([self._program(name, command[0]), *command[1:]]),
            env=self.environment(name), cwd=self.home, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"{name}: {command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        )
        return done.stdout

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        test = self.services[name].get("healthcheck", {}).get("test")
        if "valkey-server" in self.services[name].get("command", ()):
            # No package has valkey-cli.
            url = self.secret(f"trade_pipeline_{name}_url")
            try:
                return bool(redis.Redis.from_url(url).ping())
            except redis.RedisError:
                return False
        words = [self._local(name, interpolated(str(word))) for word in test]
        command = words[1:] if words[0] == "CMD" else ["/bin/sh", "-c", words[1]]
        if name == "store":
            command[-1] = f"http://127.0.0.1:{self.ports[name]}/moto-api/"
        done = subprocess.run(
            command, env=self.environment(name), cwd=self.home, capture_output=True, check=False,
            executable=self._program(name, command[0]), timeout=PATIENCE,
        )  # fmt: skip
        return done.returncode == 0

    def wait_healthy(self, name: str) -> float:
        """Wait until a service is healthy; the seconds.

        Raises:
            AssertionError: it ended, or is not healthy in time.
        """
        began = time.monotonic()
        while not self.healthy(name):
            assert self.running[name].poll() is None, f"{name} ended: {self.log(name)[-4000:]}"
            waited = time.monotonic() - began
            assert waited < PATIENCE, f"{name} is not healthy: {self.log(name)[-4000:]}"
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def stop(self, name: str) -> tuple[int, float]:
        """End a service as compose does; its exit code and the seconds it took."""
        service, process = self.services[name], self.running.pop(name)
        began = time.monotonic()
        process.send_signal(signal.Signals[service.get("stop_signal", "SIGTERM")])
        # What it takes on a busy machine says nothing; compose would kill it after its own time.
        process.wait(max(PATIENCE, seconds(service.get("stop_grace_period", "10s"))))
        return process.returncode, time.monotonic() - began

    def down(self) -> dict[str, tuple[int, float]]:
        """End all services, those first on which nobody depends: exit codes and seconds."""
        return {name: self.stop(name) for name in reversed(self.order()) if name in self.running}

    def close(self) -> None:
        """Whatever is left ends at once."""
        for process in self.running.values():
            with suppress(psutil.NoSuchProcess):
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
            process.kill()
            process.wait()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def log(self, name: str) -> str:
        """What a service has written."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._confined([self._program(name, command[0]), *command[1:]]),
                cwd=self.home, env=self.environment(name), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _confined(self, command: list[str]) -> list[str]:
        """A command on a read-only file system, where this user may make one."""
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            return command
        volumes = str(self._place("").resolve())
        return ["unshare", "--mount", "/bin/sh", "-c", _READ_ONLY, volumes, *command]

    def _program(self, name: str, word: str) -> str:
        found = shutil.which(word, path=self.environment(name)["PATH"])
        assert found is not None, word
        return found

    def _start_postgres(self) -> None:
        """As the image does: a cluster with the password of the secret, then the roles' script."""
        data = self.sockets / "data"
        account = server_account()
        self.sockets.chmod(0o755)
        command = self.command("postgres")
        server = [
            str(binary("postgres")), *command[1:], "-D", str(data), "-k", str(self.sockets),
            "-c", "listen_addresses=127.0.0.1", "-p", str(self.ports["postgres"]),
        ]  # fmt: skip
        first = not data.exists()
        with (self.folder / "postgres.log").open("ab") as log:
            if first:
                data.mkdir(mode=0o700)
                shutil.copy(self.secrets / "postgres_password", self.sockets / "password")
                account.own(data)
                account.own(self.sockets)
                initdb = [
                    str(binary("initdb")), "-D", str(data), "-U", "postgres", "-E", "UTF8",
                    "--auth-local=trust", "--pwfile", str(self.sockets / "password"),
                    *self.environment("postgres")["POSTGRES_INITDB_ARGS"].split(),
                ]  # fmt: skip
                assert account.launch(initdb, self.sockets, log.fileno()).wait(PATIENCE) == 0
            self.running["postgres"] = account.launch(server, self.sockets, log.fileno())
        self.wait_healthy("postgres")
        if first:
            (roles,) = self.services["postgres"]["configs"]
            script = DEPLOY / self.file["configs"][roles["source"]]["file"]
            subprocess.run(
                [str(script)],
                env=self.environment("postgres")
                | {"POSTGRES_USER": "postgres", "POSTGRES_DB": "postgres",
                   "SECRETS": str(self.secrets), "PGHOST": str(self.sockets),
                   "PGPORT": str(self.ports["postgres"])},
                check=True, timeout=PATIENCE,
            )  # fmt: skip

    def _place(self, volume: str) -> Path:
        place = self.folder / "volumes" / volume
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _hosts(self, text: str) -> str:
        for name, port in PORTS.items():
            text = text.replace(f"{name}:{port}", f"127.0.0.1:{self.ports[name]}")
        return text

    def _value(self, name: str, value: str) -> str:
        if value in self.services:
            return "127.0.0.1"
        by_number = {str(port): str(self.ports[other]) for other, port in PORTS.items()}
        return by_number.get(value) or self._local(name, value)

    def _local(self, name: str, text: str) -> str:
        text = self._hosts(text).replace("0.0.0.0", "127.0.0.1")
        paths = self._paths(name)
        # All at once: what a path becomes may hold another one's name.
        either = "|".join(map(re.escape, paths))
        text = re.sub(rf"(?<![\w.])({either})(?![\w.-])", lambda m: str(paths[m[1]]), text)
        if name in PORTS:
            text = re.sub(rf"\b{PORTS[name]}\b", str(self.ports[name]), text)
        return text

    def _paths(self, name: str) -> Mapping[str, Path]:
        """The paths of a service's container, and what they are here."""
        service = self.services[name]
        found = {"/run/secrets": self.secrets}
        found |= {"/etc/trade-pipeline/workspace.yaml": DEPLOY / "workspace.yaml"}
        for config in service.get("configs", ()):
            file = self.file["configs"][config["source"]]["file"]
            found[config["target"]] = DEPLOY / file
        for volume in service.get("volumes", ()):
            source, _, target = volume.partition(":")
            found[target] = self._place(source)
        for memory in service.get("tmpfs", ()):
            target = memory.partition(":")[0]
            found[target] = self._place(f"{name}{target.replace('/', '-')}")
        return found
