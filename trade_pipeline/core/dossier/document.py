"""A dossier as plain data, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.dossier.verdict import subtitle, verdict


def document_of(dossier: Dossier) -> dict[str, Any]:
    """Everything but the market's events; records are as they are stored."""
    explanation = dossier.explanation
    return {
        "uuid": str(dossier.uuid),
        "verdict": verdict(dossier),
        "kind": subtitle(dossier),
        "candidate": dossier.candidate,
        "research": dossier.research,
        "executions": list(dossier.executions),
        "outcomes": list(dossier.outcomes),
        "features": list(dossier.features),
        "session": dossier.run,
        "settings": dossier.params,
        "sources": [asdict(one) for one in dossier.sources],
        "models": {version: asdict(one) for version, one in dossier.models.items()},
        "decision": {
            "gates": [asdict(one) for one in explanation.gates],
            "sizing": None if explanation.sizing is None else asdict(explanation.sizing),
            "contributions": dict(explanation.contributions),
            "contributions_computed_again": explanation.computed,
            "missing": list(explanation.missing),
        },
        "orders": [asdict(one) for one in dossier.orders],
        "barriers": None if dossier.barriers is None else asdict(dossier.barriers),
        "intents": list(dossier.intents),
        "reconciliations": list(dossier.reconciliations),
        "lineage": {"up": dossier.up.to_dict(), "down": dossier.down.to_dict()},
        "ledger": [asdict(one) for one in dossier.ledger],
    }
