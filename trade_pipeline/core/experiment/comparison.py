"""The comparison of a stored experiment's variants, read back from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from trade_pipeline.core.experiment.daily import read_panel
from trade_pipeline.core.experiment.design import Design, Variant
from trade_pipeline.core.experiment.judgement import METHOD, Group, GroupResult, judge
from trade_pipeline.core.experiment.stored import read_design, sessions_of, trials_before
from trade_pipeline.core.store.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of an experiment.

    Attributes:
        definition: content address of its design.
        code_version: under which the compared sessions ran; None: none has finished.
        sessions, stored: how many belong to it, and how many of them have finished.
        left_out: worlds on which some variant has not finished, and which are not compared.
        differing: of each variant the settings that are not the baseline's.
        groups: a comparison for each kind of market, or one for all where that was asked for.
    """

    experiment: str
    description: str
    definition: str
    metric: str
    baseline: str
    method: str
    code_version: str | None
    sessions: int
    stored: int
    left_out: tuple[str, ...]
    differing: dict[str, dict[str, Any]]
    groups: tuple[GroupResult, ...]

    @property
    def complete(self) -> bool:
        return self.stored == self.sessions


def compare(connection: psycopg.Connection, artifacts: ArtifactStore, name: str) -> Comparison:
    """Compare the variants of a stored experiment on the worlds on which all of them finished.

    Raises:
        BadConfig: no such experiment is stored, or it has no design.
    """
    design = read_design(connection, artifacts, name)
    code, sessions = sessions_of(connection, design)
    variants = list(design.variants)
    whole = [
        n
        for n in range(len(design.worlds))
        if all((n, variant) in sessions for variant in variants)
    ]
    kinds = list(dict.fromkeys(design.worlds[n].kind for n in whole))
    together = [kinds] if design.pool and kinds else [[kind] for kind in kinds]
    groups = []
    for some in together:
        mine = [n for n in whole if design.worlds[n].kind in some]
        worlds = [design.worlds[n] for n in mine]
        panel = read_panel(
            connection,
            worlds,
            [{variant: sessions[n, variant] for variant in variants} for n in mine],
            variants,
        )
        before = sum(trials_before(connection, design, kind) for kind in some)
        groups.append(Group(" + ".join(some), tuple(map(str, worlds)), panel, before))
    address = design.address
    seed = int(address.removeprefix("sha256:")[:8], 16)
    return Comparison(
        experiment=design.name,
        description=design.description,
        definition=address,
        metric=design.metric,
        baseline=design.baseline,
        method=METHOD,
        code_version=code,
        sessions=len(design.worlds) * len(variants),
        stored=len(sessions),
        left_out=tuple(str(w) for n, w in enumerate(design.worlds) if n not in whole),
        differing=_differing(design),
        groups=tuple(judge(groups, variants, design.baseline, design.metric, seed)),
    )


def _differing(design: Design) -> dict[str, dict[str, Any]]:
    flat = {name: dict(_flat(one)) for name, one in design.variants.items()}
    base = flat[design.baseline]
    default = "(default)"
    return {
        name: {
            key: one.get(key, default)
            for key in sorted(one | base)
            if one.get(key, default) != base.get(key, default)
        }
        for name, one in flat.items()
    }


def _flat(variant: Variant) -> Sequence[tuple[str, Any]]:
    def walk(prefix: str, value: Any) -> list[tuple[str, Any]]:
        if not isinstance(value, dict) or not value:
            return [(prefix, value)]
        return [
            pair
            for name, one in value.items()
            for pair in walk(f"{prefix}.{name}" if prefix else name, one)
        ]

    return [pair for pair in walk("", dict(variant.settings)) if pair[0]]
