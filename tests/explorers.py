"""Explorers of untrained networks, with findings that name some of their cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from charrnn.api import Model, load
from charrnn.causal.effects import Ablation
from charrnn.discovery.cache import save_json, subject_key
from charrnn.discovery.findings import Findings
from charrnn.discovery.scores import CellSummary
from charrnn.explorer.page import Explorer
from charrnn.model.built_in import BUILT_IN
from tests.test_findings import evidence, findings
from tests.untrained import make_run

HOSTILE = "</script><script>alert(1)</script>\"'&<!-- ]]> \x1b[31m\x00\u202eevil\u202c\u2028 "
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
WORDS = f'he said "so it (is)" and\twent on: مرحبا שלום cafe\u0301 🇩🇪 👩‍🚀 👍🏽 {ENGLAND}.\n'
TEXT = (HOSTILE + WORDS * 30)[:1800]


PARENTHESES = "inside parentheses"


def found_in(model: Model) -> Findings:
    """Return findings that name 1:3, and say something else of each other cell."""
    names = [f"{layer}:{k}" for layer in range(1, model.network.settings.layers + 1) for k in range(6)]
    named = evidence(property_name=PARENTHESES)
    counter = {
        "kind": "graded",
        "threshold": None,
        "balanced_accuracy": None,
        "mean_inside": None,
        "mean_outside": None,
    }
    correlates = evidence(cell="1:4", property_name="line position", sign=-1, stability=0.5, **counter)
    summaries = tuple(CellSummary(name, "h", PARENTHESES, "binary", -0.5, -0.4) for name in names)
    return dataclasses.replace(findings(named, correlates), summaries=summaries)


def keep_ablation(model: Model) -> Ablation:
    """Keep an ablation of 1:3 beside a run, with the figures of a cell of the built-in model, and return it."""
    known = load(BUILT_IN).earlier_ablations()
    ablation = dataclasses.replace(next(one for one in known if one.property_name == PARENTHESES), cell="1:3")
    subject = subject_key(model.network, model.encode())
    save_json(model.run.path / "ablations" / f"{subject}-test.json", ablation.to_json())
    return ablation


def make_model(home: Path, text: str = TEXT, name: str = "a", **run: Any) -> Model:
    """Return a model with larger weights than initially, so that mistakes show."""
    make_run(home, text, name=name, **run)
    return load(name)


def make_explorer(model: Model, **settings: Any) -> Explorer:
    return model.explorer(found_in(model), **settings)
