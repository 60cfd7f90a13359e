"""The evidence for one cell and one property, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from charrnn.discovery.checked import CellName, Correlation, Count, Share
from charrnn.discovery.excerpts import Excerpt
from charrnn.discovery.statistics import auc
from charrnn.properties.catalog import Kind
from charrnn.units import decimal

MIN_AUC, MIN_RHO = 0.85, 0.80
"""The least lower end of the score's interval with which a cell tracks a property."""
MIN_CORRELATE = 0.70
"""The least lower end, AUC or ρ, with which a cell correlates with a property."""
SIGNIFICANCE_LEVEL = 0.05
MIN_DIFFERENCE, MIN_UNIQUE = 0.5, 0.3
"""A cell shows a property if either its difference or its unique R² is this large."""
MIN_STABILITY = 0.9
"""The least share of resamples in which no other property fits a named cell better."""

Sign = Literal[1, -1]
Verdict = Literal["tracks", "correlates", "none"]
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
    untrained: of the best cell of untrained networks. linear_memory: of leaky counts of characters. beyond_kgram,
    beyond_untrained: the difference to the 5-gram and to that cell. beyond_linear_memory: to the linear memory, of a
    binary property as Pearson's r within the current character. p: by permuted segments, family-wise over all cells;
    p_holm: also over all properties. A small p says only that cell and property are not independent. The same
    characters drive both, so that cells of untrained networks reach it too.
    segments: how many were permuted. pseudo: 95th percentile of the best cell for pseudo-labels. comparable: rank
    correlation as p and pseudo measure it. difference: of the means of the displayed signal, tanh(c) or h, inside and
    outside; of a graded property between its highest and its lowest tenth. unique: R² that this property alone
    explains. runner_up, runner_up_selected: the other property that fits the cell best, and how well, on SELECT.
    stability: the share of resamples of SELECT in which no other property fits the cell better. excerpt: of the text,
    with the values of the cell; of cells that are shown.

    Intervals are None for candidates that cannot correlate, and point estimates are compared instead.
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
    linear_memory: Correlation
    beyond_kgram: Interval | None
    beyond_untrained: Interval | None
    beyond_linear_memory: Interval | None
    p: Share
    p_holm: Share
    segments: Count
    comparable: Correlation
    pseudo: Correlation
    difference: float
    unique: float
    runner_up: str | None
    runner_up_selected: Correlation
    stability: Share
    pearson: Correlation | None
    threshold: float | None
    balanced_accuracy: Share | None
    mean_inside: float | None
    mean_outside: float | None
    episodes: Count
    excerpt: Excerpt | None

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
    def verdict(self) -> Verdict:
        """Whether the cell earns the name of the property.

        It tracks the property if all conditions hold. It correlates with the property if the score is at least .70 and
        no baseline reaches it.
        """
        if self.low is None or self.low < MIN_CORRELATE or self._failed_baselines:
            return "none"
        return "correlates" if self.failed else "tracks"

    @property
    def fails_only_baselines(self) -> bool:
        """Whether baselines alone deny the cell its name."""
        return self.verdict == "none" and self.failed == self._failed_baselines

    @property
    def needs_intervals(self) -> bool:
        """Whether the point estimates allow a verdict, which then depends on the intervals."""
        return self.score >= MIN_CORRELATE and not self._failed_baselines

    @property
    def failed(self) -> list[str]:
        """The conditions that do not hold, in words."""
        failed = []
        low = self.score if self.low is None else self.low
        if low < (MIN_AUC if self.kind == "binary" else MIN_RHO):
            failed.append(f"its score {'is only' if self.low is None else 'may be as low as'} {decimal(low, 2)}")
        failed += self._failed_baselines
        if self.difference < MIN_DIFFERENCE and self.unique < MIN_UNIQUE:
            sides = "between inside and outside" if self.kind == "binary" else "from lowest to highest"
            failed.append(f"it changes by only {decimal(self.difference, 2)} {sides}")
        if self.stability < MIN_STABILITY:
            share = f"{100 * (1 - self.stability):.0f} % of resamples"
            failed.append(f"another property, most often {self.runner_up}, fits it better in {share}")
        return failed

    @property
    def _failed_baselines(self) -> list[str]:
        failed = []
        if not self._is_beyond(self.kgram[4], self.beyond_kgram):
            failed.append(f"the 5-gram reaches {decimal(self.as_score(self.kgram[4]), 2)}")
        if not self._is_beyond(self.untrained, self.beyond_untrained):
            failed.append(f"an untrained network reaches {decimal(self.as_score(self.untrained), 2)}")
        if self.beyond_linear_memory is not None and self.beyond_linear_memory[0] <= 0:
            failed.append("a linear memory of the text shows it as clearly")
        if self.p_holm >= SIGNIFICANCE_LEVEL:
            failed.append(f"permuted segments reach its score (p = {self.p_holm:.2g})")
        if self.comparable <= self.pseudo:
            failed.append(f"a meaningless label of its time scale reaches {decimal(self.as_score(self.pseudo), 2)}")
        return failed

    def _is_beyond(self, baseline: float, difference: Interval | None) -> bool:
        return self.rank_correlation > baseline if difference is None else difference[0] > 0
