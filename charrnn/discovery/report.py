"""Scores and cells in words, as tables and sentences show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from charrnn.discovery.evidence import MIN_CORRELATE, Evidence
from charrnn.discovery.probe import Probe
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.statistics import auc
from charrnn.properties.catalog import property_titled

MIN_COUNTER = 0.9
"""The least Pearson correlation with which a cell is said to count."""
SCORES = ("score [95 %]", "all", "shift", "name in", "gradient", "5-gram", "untrained", "episodes")
CLAIM_HEADERS = ("cell", "tracks", *SCORES)
OPTIONAL = ("episodes", "all", "name in", "shift", "untrained", "5-gram", "gradient")
"""Columns of named cells that a narrow terminal leaves out, the first of them first."""
CELL_HEADERS = ("cell", "fits best", "", "SELECT", "CONFIRM", "verdict", "detects")
NUMERIC = (*SCORES, "SELECT", "CONFIRM")
"""Headers of the columns that are aligned to the right."""
GLOSSARY = {
    "cell": "−c, −h: low where the property holds",
    "score [95 %]": "AUC or ρ among places with the same current character, on the CONFIRM half",
    "all": "the same over all characters",
    "shift": "difference of the mean color inside and outside, from −2 to 2",
    "name in": "share of resamples of the text in which no other property fits better",
    "gradient": "share of the squared gradient of the loss that the cell carries back over 30, 100 characters",
    "5-gram": "score of a prediction from the last five characters",
    "untrained": "score of the best cell of untrained networks",
}
"""Column of `CLAIM_HEADERS` → what it shows."""


def number(value: float, digits: int = 3) -> str:
    """Format a score: `.984`, `−.963`, `1.00`."""
    return f"{value:.{digits}f}".replace("-", "−").replace("0.", ".", 1)


def measure(evidence: Evidence | CellSummary) -> str:
    """Return the name of the score: AUC for a binary property, ρ for a graded one."""
    return "AUC" if evidence.kind == "binary" else "ρ"


def signed_score(evidence: Evidence, rank_correlation: float) -> float:
    """Return AUC, or ρ with the sign of the cell."""
    return evidence.as_score(rank_correlation) * (1 if evidence.kind == "binary" else evidence.sign)


def score_with_interval(evidence: Evidence) -> str:
    """Format a score and its 95 % interval: `.984 [.979, .988]`, `−.963 [−.970, −.951]`."""
    bounds = evidence.interval or (evidence.rank_correlation, evidence.rank_correlation)
    low, high = sorted(signed_score(evidence, bound) for bound in bounds)
    return f"{number(signed_score(evidence, evidence.rank_correlation))} [{number(low)}, {number(high)}]"


def cell_and_signal(evidence: Evidence) -> str:
    """Format a cell and its signal: `1:42 c`, or `1:42 −c` if it is low where a binary property holds."""
    negative = evidence.kind == "binary" and evidence.sign < 0
    return f"{evidence.cell} {'−' if negative else ''}{evidence.signal}"


def claim_row(evidence: Evidence, shares: Sequence[float | None]) -> list[str]:
    """Return the row of a named cell, for `CLAIM_HEADERS`. shares: of the gradient, at two lags."""
    return [
        cell_and_signal(evidence),
        evidence.property_name,
        f"{measure(evidence)} {score_with_interval(evidence)}",
        number(signed_score(evidence, evidence.plain)),
        number(evidence.difference, 2),
        f"{100 * evidence.stability:.0f} %",
        gradient_shares(shares),
        number(evidence.as_score(evidence.kgram[4]), 2),
        number(evidence.as_score(evidence.untrained), 2),
        f"{evidence.episodes:,}",
    ]


def gradient_shares(shares: Sequence[float | None]) -> str:
    """Format shares of the gradient at two lags: `95, 100 %`."""
    return ", ".join("–" if share is None else f"{100 * share:.0f}" for share in shares) + " %" if shares else ""


def cell_row(summary: CellSummary, verdict: str, detects: str) -> list[str]:
    """Return the row of any cell, for `CELL_HEADERS`."""
    selected, confirmed = summary.selected, summary.rank_correlation
    if summary.kind == "binary":
        selected, confirmed = auc(abs(selected)), auc(confirmed if selected >= 0 else -confirmed)
    name = f"{summary.cell} {summary.signal}"
    return [name, summary.property_name, measure(summary), number(selected), number(confirmed), verdict, detects]


def sentence(evidence: Evidence) -> str:
    """Say what a cell does: `is high inside quotes`, `counts the position in the line`."""
    known = property_titled(evidence.property_name)
    if evidence.kind == "binary":
        where = f"where {evidence.property_name} holds" if known is None else known.phrase
        return f"is {'high' if evidence.sign > 0 else 'low'} {where}"
    what = evidence.property_name if known is None else known.phrase
    if (evidence.pearson or 0.0) >= MIN_COUNTER:
        return f"counts {what}"
    return f"{'rises' if evidence.sign > 0 else 'falls'} with {what}"


def short_name(title: str) -> str:
    """Return the name of a property without the mark of those that look ahead."""
    return title.removesuffix(" [next]")


def correlates_words(claims: Iterable[Evidence]) -> str:
    """List cells and their scores by property: `inside “…” 1:4 .93, 1:7 .91; line position 1:9 −.82`."""
    by_property: dict[str, list[str]] = {}
    for one in claims:
        shown = f"{one.cell} {number(signed_score(one, one.rank_correlation), 2)}"
        by_property.setdefault(short_name(one.property_name), []).append(shown)
    return "; ".join(f"{name} {', '.join(cells)}" for name, cells in by_property.items())


def correlates_line(evidence: Evidence) -> str:
    """Return the line about a cell that correlates with a property, with the conditions that fail."""
    score = f"{measure(evidence)} {number(signed_score(evidence, evidence.rank_correlation))}"
    return f"correlates: {cell_and_signal(evidence)} {evidence.property_name}, {score}: {'; '.join(evidence.failed)}"


def together(probes: Sequence[Probe], names: Sequence[str]) -> dict[str, str]:
    """Return what a linear probe reaches for these properties, in the layer that tells most: title → score in words."""
    best: dict[str, Probe] = {}
    for one in sorted(probes, key=lambda one: -one.score):
        if one.property_name in names and one.score >= MIN_CORRELATE:
            best.setdefault(one.property_name, one)
    layers = len({one.layer for one in probes})
    return {name: number(one.score, 2) + (f" (layer {one.layer})" if layers > 1 else "") for name, one in best.items()}
