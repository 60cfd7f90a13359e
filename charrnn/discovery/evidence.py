"""The evidence for one cell and one property, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from charrnn.discovery.checked import CellName, Correlation, Count, Share
from charrnn.discovery.statistics import auc
from charrnn.properties.catalog import Kind

MIN_AUC, MIN_RHO = 0.85, 0.80
"""The least lower end of the score's interval with which a cell tracks a property."""
RELATED = 0.70
"""The lowest score, AUC or ρ, with which a cell can be related to a property."""
SIGNIFICANCE_LEVEL = 0.05
MIN_UNIQUE, UNIQUE_RATIO = 0.05, 2.0

Sign = Literal[1, -1]
Difference = Annotated[float, -2.002, 2.002]
Interval = tuple[Difference, Difference]
KgramScores = tuple[
    Correlation, Correlation, Correlation, Correlation, Correlation, Correlation, Correlation, Correlation
]


@dataclass(frozen=True)
class Evidence:
    """What is known of one cell and one property, measured on CONFIRM unless said otherwise.

    Rank correlations (see `statistics`) are along `sign`, the direction found on SELECT; intervals are 95 %.

    selected: rank correlation on SELECT. rank_correlation, interval: within the current character. plain,
    plain_interval: over all positions. kgram, kgram_plain: of the expectation after the last 1…8 characters.
    untrained: of the best cell of untrained networks. beyond_kgram, beyond_untrained: the difference to the 5-gram and
    to that cell. p: by permuted segments, family-wise over all cells; p_holm: also over all candidates. segments: how
    many were permuted. pseudo: 95th percentile of the best cell for pseudo-labels. comparable: rank correlation as p
    and pseudo measure it. unique: R² that this property alone explains. competitor, competitor_unique: the property of
    another family that explains most. better_in_family: a property of the same family that fits better. memory: in
    characters.

    Intervals are None for candidates too weak for any verdict.
    """

    property_name: str
    kind: Kind
    cell: CellName
    signal: str
    sign: Sign
    selected: Correlation
    rank_correlation: Correlation
    plain: Correlation
    interval: Interval | None
    plain_interval: Interval | None
    kgram: KgramScores
    kgram_plain: KgramScores
    untrained: Correlation
    beyond_kgram: Interval | None
    beyond_untrained: Interval | None
    p: Share
    p_holm: Share
    segments: Count
    comparable: Correlation
    pseudo: Correlation
    unique: float
    competitor: str | None
    competitor_unique: float
    better_in_family: str | None
    pearson: Correlation | None
    threshold: float | None
    balanced_accuracy: Share | None
    mean_inside: float | None
    mean_outside: float | None
    memory: float | None
    episodes: Count

    def as_score(self, rank_correlation: float) -> float:
        """Convert a rank correlation to the customary score: AUC of a binary property, ρ of a graded one."""
        return float(auc(rank_correlation)) if self.kind == "binary" else rank_correlation

    @property
    def score(self) -> float:
        """AUC or ρ within the current character."""
        return self.as_score(self.rank_correlation)

    @property
    def low(self) -> float | None:
        """The lower end of the score's interval."""
        return None if self.interval is None else self.as_score(self.interval[0])

    @property
    def verdict(self) -> Literal["tracks", "related", "none"]:
        """Whether the cell earns the name of the property.

        It tracks the property if all conditions hold. It is related if one fails and the score is at least .70.
        """
        if not self.failed:
            return "tracks"
        return "related" if len(self.failed) == 1 and self.low is not None and self.low >= RELATED else "none"

    @property
    def failed(self) -> list[str]:
        """The conditions that do not hold, in words."""
        failed = []
        if self.low is None or self.low < (MIN_AUC if self.kind == "binary" else MIN_RHO):
            failed.append(f"its score may be as low as {_short(self.score if self.low is None else self.low)}")
        if self.beyond_kgram is None or self.beyond_kgram[0] <= 0:
            failed.append(f"the 5-gram reaches {_short(self.as_score(self.kgram[4]))}")
        if self.beyond_untrained is None or self.beyond_untrained[0] <= 0:
            failed.append(f"an untrained network reaches {_short(self.as_score(self.untrained))}")
        if self.p_holm >= SIGNIFICANCE_LEVEL:
            failed.append(f"p = {self.p_holm:.2g}")
        if self.comparable <= self.pseudo:
            failed.append(f"a meaningless label of its time scale reaches {_short(self.as_score(self.pseudo))}")
        if self.better_in_family is not None:
            failed.append(f"{self.better_in_family} fits it better")
        elif self.unique < MIN_UNIQUE or self.unique < UNIQUE_RATIO * self.competitor_unique:
            share = f"explains {_short(max(self.unique, 0))} of its variance by itself"
            explained = self.competitor_unique
            failed.append(share + (f", {self.competitor} {_short(explained)}" if explained > 0.005 else ""))
        return failed


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else f"{value:.2f}"
