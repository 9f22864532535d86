"""The section that tells why it was decided so."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trade_pipeline.core.dossier.decision import stake_in_words
from trade_pipeline.core.dossier.facts import Dossier, KnownFeature
from trade_pipeline.core.dossier.page import Bars, Block, Note, Section, Table
from trade_pipeline.core.dossier.pictures import contributions_png
from trade_pipeline.core.dossier.words import in_unit, number, percent, skipped, usd

_SHOWN = {"passed": "good", "failed": "bad", "not asked": ""}


def decision_section(dossier: Dossier) -> Section:
    """Models, what moved them, the rules, the stake, the features, the settings."""
    candidate, why = dossier.candidate, dossier.explanation
    if candidate["decision"] == "enter":
        intro = "It was decided to buy."
    else:
        intro = f"It was decided not to buy: {skipped(candidate['reason'])}."
    blocks: list[Block] = [Note(text, warns=True) for text in why.missing]
    blocks += _models(dossier)
    features = {one.name: one for one in dossier.vector}
    if why.contributions:
        blocks += _contributions(dossier, features)
    if why.gates:
        rows = [
            (one.name, one.found, one.wanted, one.result + (f"; {one.would}" if one.would else ""))
            for one in why.gates
        ]
        blocks.append(
            Table(
                "The rules, in their order; the first that fails decides",
                ("Rule", "Found", "Wanted", "Result"), rows,
                marks=[_SHOWN[one.result] for one in why.gates],
            )
        )  # fmt: skip
    blocks += _size(dossier)
    if dossier.vector:
        rows = [
            (one.name, in_unit(one.value, one.unit), one.definition, one.family)
            for one in dossier.vector
        ]
        known = sum(one.value is not None for one in dossier.vector)
        blocks.append(
            Table(
                f"All {len(rows)} features, {known} of them known",
                ("Feature", "Value", "Meaning", "Family"), rows, folded=True,
            )
        )  # fmt: skip
    elif dossier.features:
        blocks.append(Note("The definitions of the stored features are not at hand.", warns=True))
    if dossier.params is not None:
        settings = sorted(_flat(dossier.params).items())
        blocks.append(Table("All settings", ("Setting", "Value"), settings, folded=True))
    return Section("The decision", intro, blocks)


def _models(dossier: Dossier) -> list[Block]:
    candidate = dossier.candidate
    compared = candidate.get("canary")
    if not compared:
        return []
    rows = []
    for arm, version in (
        ("production", compared["production_model"]), ("canary", compared["model"]),
    ):  # fmt: skip
        said, model = compared[arm], dossier.models[version]
        stake = said["stake"]
        rows.append(
            (
                arm + (" (decided)" if arm == candidate["arm"] else ""), model.name,
                percent(said["confidence"]), percent(model.entry_confidence),
                "failed" if stake is None else f"{percent(stake)} of a full stake",
            )
        )  # fmt: skip
    drawn = (
        f"A canary, a model on trial, was asked beside production. A draw by the token's name gave "
        f"the decision to {compared['arm']}, which happens to {percent(compared['propensity'])} of "
        "the tokens."
    )
    blocks: list[Block] = [
        Note(drawn),
        Table(
            "Both models about the same token",
            ("Model", "Name", "Confidence", "Enters from", "Would stake, with nothing else open"),
            rows,
        ),
    ]
    if error := compared.get("canary_error"):
        blocks.append(Note(f"The canary failed, so production decided: {error}", warns=True))
    return blocks


def _contributions(dossier: Dossier, features: Mapping[str, KnownFeature]) -> list[Block]:
    told = dossier.explanation.contributions
    # The sums, such as "(base)", are named in brackets; they come last.
    order = sorted(
        (name for name in told if told[name]),
        key=lambda name: (name.startswith("("), -abs(told[name])),
    )
    odds = math.fsum(told.values())
    confidence = 1.0 / (1.0 + math.exp(-odds))
    how = "computed again from the stored features; " if dossier.explanation.computed else ""
    title = f"why: together {odds:+.3f}, a confidence of {confidence:.1%}"
    blocks: list[Block] = [
        Note(
            f"What moved the model's confidence ({how}log odds of a profit: what is right of zero "
            "speaks for buying, what is left of it against; +0.7 doubles the odds; (base) is where "
            "the model starts without any of them)."
        ),
        Bars(
            title, "log odds of a profit", [(name, told[name]) for name in order],
            lambda: contributions_png([(name, told[name]) for name in order], title),
        ),
    ]  # fmt: skip
    rows = [
        (name, in_unit(features[name].value, features[name].unit), features[name].definition,
         f"{told[name]:+.3f}")
        for name in order if name in features
    ]  # fmt: skip
    if rows:
        head = ("Feature", "Value", "Meaning", "Moved the log odds by")
        blocks.append(Table("The features that mattered", head, rows))
    return blocks


def _size(dossier: Dossier) -> list[Block]:
    sizing, settings = dossier.explanation.sizing, dossier.settings
    stake = dossier.candidate["stake_usd"]
    if sizing is None or settings is None:
        return [] if stake is None else [Note(f"Staked: {usd(stake)}.")]
    blocks: list[Block] = [
        Table(f"How the stake of {usd(sizing.stake_usd)} came about", ("Step", "", "Why"),
              sizing.steps),
        Note(
            stake_in_words(sizing, settings) + " (Computed again from the stored snapshot and "
            "settings by the strategy's own function.)"
        ),
    ]  # fmt: skip
    if not sizing.reproduced:
        blocks.append(
            Note("The strategy's function does not give this stake from these facts.", warns=True)
        )
    return blocks


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            found[prefix + name] = "-" if value is None else str(value)
        else:
            found[prefix + name] = number(value)
    return found
