"""The units of systemd, read as it reads them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from trade_pipeline_tests.deploy.composition import DEPLOY

NAMES = ("trade-pipeline", "trade-pipeline-database", "trade-pipeline-live@")
# Where the product is installed, and what the units' user owns.
PROGRAMS, STATE = "/opt/trade-pipeline/bin", "/var/lib/trade-pipeline"


@dataclass(frozen=True)
class Unit:
    """A unit's settings; those that are given several times have several values."""

    name: str
    settings: dict[str, list[str]]

    @classmethod
    def read(cls, name: str) -> Unit:
        """A unit of deploy/."""
        text = path_of(name).read_text().replace("\\\n", " ")
        settings: dict[str, list[str]] = {}
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            settings.setdefault(key, []).append(" ".join(value.split()))
        return cls(name, settings)

    def one(self, key: str) -> str:
        """The value of a setting that is given once."""
        (value,) = self.settings[key]
        return value

    def command(self, key: str = "ExecStart", instance: str = "paper") -> list[str]:
        """The words of a command."""
        return shlex.split(self.one(key).replace("%i", instance))

    def environment(self) -> dict[str, str]:
        """What the unit itself sets."""
        return dict(one.split("=", 1) for one in self.settings["Environment"])


def path_of(name: str) -> Path:
    """A unit's file."""
    return DEPLOY / f"{name}.service"
