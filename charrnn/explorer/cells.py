"""The cells of the explorer: which ones, in which order, and all that is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from charrnn.causal.effects import Ablation, caveat, claim, effect_table
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.findings import Findings
from charrnn.discovery.profile import CellPassage, CellProfile, cell_profiles
from charrnn.discovery.report import measure, score_with_interval, sentence, short_name, signed_score
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.statistics import auc
from charrnn.explorer.arrays import encoded_shares, encoded_signed
from charrnn.inspection.gradients import SHARE_LAGS
from charrnn.inspection.recorded_trace import as_cell, displayed_scale
from charrnn.inspection.trace import Cell, all_cells
from charrnn.model.network import CharRNN
from charrnn.progress import FractionProgress
from charrnn.properties.catalog import Text, property_titled
from charrnn.text.encoded_text import EncodedText
from charrnn.units import decimal

PASSAGE = 80
"""Characters before and after the character of a passage."""
BINS = 41
HOLD_RANGE = (0.01, 0.99)
"""Quantiles of a cell between which it can be held."""
NAMED, CORRELATES, CARRIES, OTHER = "named", "correlates", "carries", "other"


def choose_cells(findings: Findings, network: CharRNN, number_of: int) -> list[Cell]:
    """Return at most this many cells, the most interesting first.

    Named ones come first, then those that correlate with a property or carry memory, then those that fit one best.
    """
    claimed = [one.cell for one in findings.claims() if one.verdict != "none"]
    fitting = sorted(findings.summaries, key=lambda one: -abs(one.selected))
    order = [*claimed, *findings.gradient_shares, *(one.cell for one in fitting), *map(str, all_cells(network))]
    return [as_cell(name, network) for name in dict.fromkeys(order)][:number_of]


def cells_data(
    network: CharRNN,
    text: EncodedText,
    characters: Text,
    findings: Findings,
    cells: Sequence[Cell],
    ablations: Iterable[Ablation],
    *,
    passages: int,
    progress: FractionProgress,
) -> list[dict[str, Any]]:
    """Return all that is known of each cell. passages: of each kind. ablations: the latest first."""
    evidence = {one.cell: one for one in findings.claims() if one.verdict != "none"}
    fitted = {one.cell: one for one in findings.summaries}
    tested: dict[str, Ablation] = {}
    for one in ablations:
        claimed = evidence.get(one.cell)
        if claimed is None or claimed.property_name == one.property_name:
            tested.setdefault(one.cell, one)
    profiles = cell_profiles(
        network, text, cells, passages=passages, claims=_claims(cells, evidence, characters), progress=progress
    )
    rows = []
    for profile in profiles:
        name = str(profile.cell)
        known, ablation = evidence.get(name), tested.get(name)
        rows.append(
            {
                "name": name,
                "layer": profile.cell.layer,
                "index": profile.cell.index,
                **_described(name, known, fitted.get(name), findings),
                "stars": 0 if ablation is None else ablation.stars,
                "gradient": _shares(findings.gradient_shares.get(name, ())),
                "evidence": [] if known is None else _evidence_rows(known),
                "failed": [] if known is None else known.failed,
                "ablation": None if ablation is None else _ablation(ablation),
                **_profile(profile, network),
            }
        )
    named = {name for name, one in evidence.items() if one.verdict == "tracks"}
    return sorted(rows, key=lambda row: -row["stars"] if row["name"] in named else 0)


def _claims(
    cells: Sequence[Cell], evidence: Mapping[str, Evidence], characters: Text
) -> dict[Cell, tuple[str, np.ndarray]]:
    """Return for cells with a property of the catalog its name and its values in the text."""
    values: dict[str, np.ndarray] = {}
    claims = {}
    for cell in cells:
        one = evidence.get(str(cell))
        known = None if one is None else property_titled(one.property_name)
        if known is not None:
            if known.title not in values:
                values[known.title] = known.of(characters)
            claims[cell] = short_name(known.title), values[known.title]
    return claims


def _described(name: str, known: Evidence | None, summary: CellSummary | None, findings: Findings) -> dict[str, Any]:
    """Return the group of a cell, what it does in a few words and in a sentence, and its score."""
    if known is not None:
        title, group = short_name(known.property_name), NAMED if known.verdict == "tracks" else CORRELATES
        return {
            "group": group,
            "title": title,
            "sentence": sentence(known) if group == NAMED else f"correlates with {title}",
            "score": decimal(signed_score(known, known.rank_correlation), 2),
            "measure": measure(known),
            "interval": score_with_interval(known),
            "bar": max(0.0, known.rank_correlation),
            "stability": known.stability,
        }
    carried = findings.gradient_shares.get(name, ())
    reacts = findings.detectors.get(name)
    row: dict[str, Any] = {"group": CARRIES if carried else OTHER, "title": "", "nearest": "", "score": "", "bar": 0.0}
    if summary is not None:
        fit = summary.rank_correlation * (1 if summary.selected >= 0 else -1)
        score = decimal(float(auc(fit)) if summary.kind == "binary" else summary.rank_correlation, 2)
        row |= {"nearest": short_name(summary.property_name), "fit": f"{measure(summary)} {score}", "score": score}
    if carried:
        row |= {"title": "carries memory", "sentence": "carries memory, but has no name"}
        row["score"] = f"{100 * max(share or 0.0 for share in carried):.0f} %"
    elif reacts is not None:
        row |= {"title": f"reacts to {reacts}", "sentence": f"reacts to the character {reacts}"}
    else:
        row["sentence"] = "has no name"
    return row


def _shares(shares: Sequence[float | None]) -> list[list[Any]]:
    return [[lag, share] for lag, share in zip(SHARE_LAGS, shares, strict=False) if share is not None]


def _evidence_rows(one: Evidence) -> list[list[str]]:
    """Return label, value and explanation of each score behind a name."""
    name = measure(one)

    def score(rank_correlation: float) -> str:
        return decimal(one.as_score(rank_correlation), 2)

    other = one.runner_up
    return [
        [f"{name}, same character", score_with_interval(one), "among positions with the same current character"],
        [f"{name}, all characters", decimal(signed_score(one, one.plain), 2), "over all positions"],
        ["difference", decimal(one.difference, 2), "of the mean color inside and outside, or between extremes"],
        ["name holds in", f"{100 * one.stability:.0f} %", "of resamples of the text"],
        ["5-gram", score(one.kgram[4]), "the same, predicted from the last five characters"],
        ["untrained", score(one.untrained), "the best cell of untrained networks"],
        ["linear memory", score(one.linear_memory), "leaky counts of characters"],
        ["meaningless label", score(one.pseudo), "95th percentile over labels of the same time scale"],
        *([["next best property", f"{other}, {score(one.runner_up_selected)}", "for this cell"]] if other else []),
        ["episodes", f"{one.episodes:,}", "in the text that judged the cell"],
    ]


def _ablation(one: Ablation) -> dict[str, Any]:
    headers, rows = effect_table(one)
    return {"claim": claim(one).lstrip("★ "), "headers": headers, "rows": rows, "caveat": caveat(one)}


def _profile(profile: CellProfile, network: CharRNN) -> dict[str, Any]:
    recurrence = network.recurrence
    scale = displayed_scale(recurrence, profile.signal, profile.values)
    held = recurrence.clampable[-1]
    return {
        "low": scale.low,
        "high": scale.high,
        "values": encoded_signed(profile.values, scale.high),
        "passages": [_passage(one, profile, network) for one in profile.passages],
        "histogram": _histogram(profile, scale.low, scale.high),
        "correlated": [[str(cell), value] for cell, value in profile.correlated],
        "effects": [vars(one) for one in profile.effects],
        "memory": profile.memory,
        "saturation": [[one.gate, float(one.left[0]), float(one.right[0])] for one in profile.gates],
        "hold": {"signal": held, **_hold(profile, profile.signals[held][profile.skipped :])},
    }


def _passage(one: CellPassage, profile: CellProfile, network: CharRNN) -> dict[str, Any]:
    """Return where a passage starts and ends, and the gates of the cell there."""
    start, stop = max(0, one.position - PASSAGE), min(one.position + PASSAGE, len(profile.values))
    gates = {gate: encoded_shares(profile.signals[gate][start:stop]) for gate in network.recurrence.sigmoid_gates}
    return {"kind": one.kind, "position": one.position, "start": start, "stop": stop, "gates": gates}


def _histogram(profile: CellProfile, low: float, high: float) -> list[dict[str, Any]]:
    """Return for each class its name, share, mean and counts between low and high."""
    classes = profile.classes()
    total = max(sum(len(values) for _, values in classes), 1)
    return [
        {
            "name": name,
            "share": len(values) / total,
            "mean": float(values.mean()) if len(values) else None,
            "counts": np.histogram(np.clip(values, low, high), BINS, (low, high))[0].tolist(),
        }
        for name, values in classes
    ]


def _hold(profile: CellProfile, values: np.ndarray) -> dict[str, float | None]:
    """Return between which values a cell can be held, and its means outside and inside its property."""
    if not len(values):
        return {"low": -1.0, "high": 1.0, "outside": None, "inside": None}
    low, high = (float(value) for value in np.quantile(values, HOLD_RANGE))
    found: dict[str, float | None] = {"low": low, "high": max(high, low + 1e-3), "outside": None, "inside": None}
    if profile.holds is not None:
        on = profile.holds[profile.skipped :]
        for name, part in (("outside", values[~on]), ("inside", values[on])):
            found[name] = float(part.mean()) if len(part) else None
    return found
