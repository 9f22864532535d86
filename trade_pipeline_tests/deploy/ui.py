"""The UI behind its proxy, as a browser or a program opens it."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACTIVE = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
_RUNS = """
query ($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs {
  results { runId status tags { key value } } } } }
"""


class Ui:
    """By HTTPS, with a login or without one.

    Args:
        authority: the certificate of Caddy's own authority.
    """

    def __init__(self, port: int, authority: Path, user: str, password: str) -> None:
        self.url = f"https://localhost:{port}"
        self.authority = authority
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {word}"}

    def status(self, path: str = "/server_info", **headers: str) -> int:
        """The answer's code, with these headers and no login."""
        return self._open(path, None, headers)[0]

    def status_logged_in(self, path: str = "/server_info", **headers: str) -> int:
        """The same with the login."""
        return self._open(path, None, self._login | headers)[0]

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = self._login | {"Content-Type": "application/json"}
        code, answer = self._open("/graphql", body, headers)
        assert code == 200, (code, answer[:500])
        return json.loads(answer)["data"]

    def launch(self, job: str, config: dict[str, Any], tags: dict[str, str]) -> str:
        """Launch a job as the launchpad does; the run's id."""
        answer = self.ask(
            _LAUNCH,
            params={
                "selector": {
                    "repositoryLocationName": "trade_pipeline",
                    "repositoryName": "__repository__",
                    "jobName": job,
                },
                "runConfigData": config,
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in tags.items()]
                },
            },
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def runs(self, job: str) -> dict[str, str]:
        """The status of each run of a job, by its id."""
        found = self.ask(_RUNS, job=job)["runsOrError"]["results"]
        return {one["runId"]: one["status"] for one in found}

    def _open(self, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.url}{path}", body, named)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
