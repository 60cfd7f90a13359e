"""The verdict on a cell: whether the evidence is good enough to name it after a property.

tracks       all conditions hold
related      one condition fails; the score is .70 or more
none         everything else
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from charrnn.discovery.evidence import RELATED, Evidence

MIN_AUC, MIN_RHO = 0.85, 0.80
SIGNIFICANCE_LEVEL = 0.05
MIN_UNIQUE, UNIQUE_RATIO = 0.05, 2.0


@dataclass(frozen=True)
class Verdict:
    """kind: "tracks", "related" or "none". failed: the conditions that do not hold, in words."""

    kind: str
    failed: tuple[str, ...]


class Claim(NamedTuple):
    """The evidence for one cell and one property, and the verdict on it."""

    evidence: Evidence
    verdict: Verdict


def verdict(evidence: Evidence) -> Verdict:
    """Judge whether a cell earns the name of a property."""
    failed = tuple(_failed_conditions(evidence))
    if not failed:
        return Verdict("tracks", failed)
    low = _lower_end(evidence)
    return Verdict("related" if len(failed) == 1 and low is not None and low >= RELATED else "none", failed)


def _lower_end(evidence: Evidence) -> float | None:
    """Return the lower end of the score's interval."""
    return None if evidence.interval is None else evidence.as_score(evidence.interval[0])


def _failed_conditions(evidence: Evidence) -> list[str]:
    def number(value: float) -> str:
        return f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else f"{value:.2f}"

    failed = []
    low = _lower_end(evidence)
    if low is None or low < (MIN_AUC if evidence.kind == "binary" else MIN_RHO):
        failed.append(f"its score may be as low as {number(evidence.score if low is None else low)}")
    if evidence.beyond_kgram is None or evidence.beyond_kgram[0] <= 0:
        failed.append(f"the 5-gram reaches {number(evidence.as_score(evidence.kgram[4]))}")
    if evidence.beyond_untrained is None or evidence.beyond_untrained[0] <= 0:
        failed.append(f"an untrained network reaches {number(evidence.as_score(evidence.untrained))}")
    if evidence.p_holm >= SIGNIFICANCE_LEVEL:
        failed.append(f"p = {evidence.p_holm:.2g}")
    if evidence.comparable <= evidence.pseudo:
        failed.append(f"a meaningless label of its time scale reaches {number(evidence.as_score(evidence.pseudo))}")
    if evidence.better_in_family is not None:
        failed.append(f"{evidence.better_in_family} fits it better")
    elif evidence.unique < MIN_UNIQUE or evidence.unique < UNIQUE_RATIO * evidence.competitor_unique:
        share = f"explains {number(max(evidence.unique, 0))} of its variance by itself"
        explained = evidence.competitor_unique
        failed.append(share + (f", {evidence.competitor} {number(explained)}" if explained > 0.005 else ""))
    return failed
