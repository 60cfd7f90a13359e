"""When a cell earns a name: the conditions, all of which a claim must meet, and the words for the one it fails.

    tracks X       all conditions
    related to X   all but one, which is said; at least .70
    (none)         everything else

The score that counts is taken within strata of the current character. It was chosen on one half of the text and is
judged on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.discovery.statistics import auc

NAMED_AUC, NAMED_RHO, RELATED = 0.85, 0.80, 0.70
LEVEL = 0.05
UNIQUE_SHARE, TIMES_THE_NEXT = 0.05, 2.0


@dataclass(frozen=True)
class Evidence:
    """All that is known of one cell and one property, measured on CONFIRM unless said otherwise.

    Strengths (see `statistics`) are along `sign`, the direction found on SELECT. rank_correlation, interval: within strata of
    the current character; plain: over all positions. selected: as rank_correlation, on SELECT. kgram, kgram_plain: rank_correlation of
    the expectation after the last 1…8 characters. beyond_kgram, beyond_untrained: 95 % interval of how much more the
    cell has than the 5-gram and than the best cell of untrained networks. p: by permuted segments, family-wise over all
    cells; p_holm: adjusted for all candidates. pseudo: 95th percentile of the best cell for a label of shuffled runs.
    comparable: rank_correlation as those two measure it. unique: share of variance that this property alone explains; rival,
    rival_unique: the property of another family that explains most beside it. better_in_family: a property of the same family
    that fits the cell better.
    Intervals are None for candidates too weak for any name; then nothing was resampled.
    """

    property_name: str
    kind: str
    cell: str
    signal: str
    sign: int
    selected: float
    rank_correlation: float
    plain: float
    interval: tuple[float, float] | None
    plain_interval: tuple[float, float] | None
    kgram: tuple[float, ...]
    kgram_plain: tuple[float, ...]
    untrained: float
    beyond_kgram: tuple[float, float] | None
    beyond_untrained: tuple[float, float] | None
    p: float
    p_holm: float
    segments: int
    comparable: float
    pseudo: float
    unique: float
    rival: str | None
    rival_unique: float
    better_in_family: str | None
    pearson: float | None
    threshold: float | None
    balanced_accuracy: float | None
    mean_inside: float | None
    mean_outside: float | None
    memory: float | None
    episodes: int

    @property
    def horizon(self) -> int | None:
        """k*: the fewest last characters that tell the property as well as the cell does; None if eight do not."""
        return next((k for k, other in enumerate(self.kgram_plain, start=1) if other >= self.plain), None)

    def shown(self, rank_correlation: float) -> float:
        """A rank_correlation as a person knows it: AUC for a binary property, ρ for a graded one."""
        return float(auc(rank_correlation)) if self.kind == "binary" else rank_correlation

    @property
    def score(self) -> float:
        return self.shown(self.rank_correlation)


@dataclass(frozen=True)
class Verdict:
    """kind: "tracks", "related" or "none". failed: the conditions that are not met, in words."""

    kind: str
    failed: tuple[str, ...]


def verdict(evidence: Evidence) -> Verdict:
    """Whether a cell earns the name of a property by this evidence."""
    failed = tuple(_failed(evidence))
    if not failed:
        return Verdict("tracks", failed)
    low = None if evidence.interval is None else evidence.shown(evidence.interval[0])
    return Verdict("related" if len(failed) == 1 and low is not None and low >= RELATED else "none", failed)


def _failed(evidence: Evidence) -> list[str]:
    def number(value: float) -> str:
        return f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else f"{value:.2f}"

    failed = []
    needed = NAMED_AUC if evidence.kind == "binary" else NAMED_RHO
    low = None if evidence.interval is None else evidence.shown(evidence.interval[0])
    if low is None or low < needed:
        failed.append(f"its score may be as low as {number(evidence.score if low is None else low)}")
    if evidence.beyond_kgram is None or evidence.beyond_kgram[0] <= 0:
        failed.append(f"the 5-gram reaches {number(evidence.shown(evidence.kgram[4]))}")
    if evidence.beyond_untrained is None or evidence.beyond_untrained[0] <= 0:
        failed.append(f"an untrained network reaches {number(evidence.shown(evidence.untrained))}")
    if evidence.p_holm >= LEVEL:
        failed.append(f"p = {evidence.p_holm:.2g}")
    if evidence.comparable <= evidence.pseudo:
        failed.append(f"a meaningless label of its time scale reaches {number(evidence.shown(evidence.pseudo))}")
    if evidence.better_in_family is not None:
        failed.append(f"{evidence.better_in_family} fits it better")
    elif evidence.unique < UNIQUE_SHARE or evidence.unique < TIMES_THE_NEXT * evidence.rival_unique:
        share = f"explains {number(max(evidence.unique, 0))} of its variance by itself"
        rival = f", {evidence.rival} {number(evidence.rival_unique)}" if evidence.rival_unique > 0.005 else ""
        failed.append(share + rival)
    return failed
