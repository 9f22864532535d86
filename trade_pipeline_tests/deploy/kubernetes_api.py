"""Kubernetes' API as far as Dagster's launcher asks it; a job's pod is a process here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

from trade_pipeline_tests.deploy.composition import PROGRAMS

VERSION = "1.32"
_JOB = re.compile(r"/apis/batch/v1/namespaces/default/jobs(?:/([^/]+))?(?:/status)?$")
_POD = re.compile(r"/api/v1/namespaces/default/pods(?:/([^/]+))?$")


def validate(made: Mapping[str, Any]) -> None:
    """What a cluster would refuse.

    Raises:
        ValidationError: an object that is none of this version.
    """
    kubernetes_validate.validate(dict(made), VERSION, strict=True)


class KubernetesApi:
    """Use with ``with``: afterwards no pod is left.

    Attributes:
        kubeconfig: a file by which clients find it.
        jobs: what was made, by its name.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        """
        Args:
            secrets: their variables, by their names.
        """
        self.jobs: dict[str, dict[str, Any]] = {}
        self.kubeconfig = folder / "kubeconfig"
        self._secrets, self._folder = secrets, folder
        self._pods: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                with api._lock:
                    code, made = api._answer(self.command, urlsplit(self.path), body)
                data = json.dumps(made).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 (http.server's names)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        named = {"name": "here"}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "clusters": [
                        named
                        | {"cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}
                    ],
                    "users": [named | {"user": {}}],
                    "contexts": [named | {"context": {"cluster": "here", "user": "here"}}],
                }
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for pod in self._pods.values():
            _end(pod, signal.SIGKILL)

    def running(self) -> list[str]:
        """The jobs whose pods have not ended."""
        return [name for name, pod in self._pods.items() if pod.poll() is None]

    def kill(self, name: str) -> None:
        """A pod is killed, which the cluster sees at once."""
        _end(self._pods[name], signal.SIGKILL)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def _answer(self, method: str, url: Any, body: Any) -> tuple[int, dict[str, Any]]:
        if found := _JOB.match(url.path):
            name = found[1]
            if method == "POST":
                return 201, self._create(body)
            if name is not None and name not in self.jobs:
                return 404, {"kind": "Status", "status": "Failure", "code": 404}
            if method == "DELETE":
                _end(self._pods[name], signal.SIGTERM)
                return 200, {"kind": "Status", "status": "Success"}
            if name is not None:
                return 200, self._job(name)
            return 200, {"kind": "JobList", "items": [self._job(one) for one in self.jobs]}
        if found := _POD.match(url.path):
            if method == "DELETE":
                return 200, {"kind": "Status", "status": "Success"}
            (label,) = parse_qs(url.query)["labelSelector"]
            pod = {"metadata": {"name": f"{label.removeprefix('job-name=')}-pod"}}
            return 200, {"kind": "PodList", "items": [pod]}
        return 404, {"kind": "Status", "status": "Failure", "code": 404}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        validate(body)
        name = body["metadata"]["name"]
        (container,) = body["spec"]["template"]["spec"]["containers"]
        program, *words = container["args"]
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for one in container.get("envFrom", ()):
            environment |= self._secrets[one["secretRef"]["name"]]
        for one in container["env"]:
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            environment[one["name"]] = (
                one["value"]
                if reference is None
                else self._secrets[reference["name"]][reference["key"]]
            )
        with (self._folder / f"{name}.log").open("wb") as log:
            self._pods[name] = subprocess.Popen(
                [PROGRAMS / program, *words], env=environment, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.jobs[name] = body
        return self._job(name)

    def _job(self, name: str) -> dict[str, Any]:
        code = self._pods[name].poll()
        ended = {None: "active", 0: "succeeded"}.get(code, "failed")
        return self.jobs[name] | {"status": {ended: 1}}


def _end(pod: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if pod.poll() is None:
        os.killpg(pod.pid, how)
        pod.wait(60)
