"""The evidence for each candidate: a cell that fits a property well on SELECT, measured on CONFIRM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from charrnn.discovery.activations import Activations, record
from charrnn.discovery.baselines import KgramBaseline, UntrainedBaseline
from charrnn.discovery.checked import CellName, Correlation, Count, Share
from charrnn.discovery.scores import Scores
from charrnn.discovery.statistics import (
    Strata,
    auc,
    balanced_accuracy,
    best_threshold,
    bootstrap_weights,
    episodes,
    holm,
    interval,
    p_value,
    pearson,
    resampled_rank_correlation,
)
from charrnn.discovery.study import Effort, Progress, Study
from charrnn.inspection.gates import memory_length
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Kind

CANDIDATES = 3
"""Cells of each property that go from SELECT to CONFIRM."""
RELATED = 0.70
"""The lowest score, AUC or ρ, with which a cell can be related to a property."""
INTERVAL_SEGMENTS = 40
FAMILY_MARGIN = 0.005
"""By how much a property must fit a cell better than another of its family."""

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

    @property
    def horizon(self) -> int | None:
        """The fewest last characters that predict the property as well as the cell does; None if eight do not."""
        return next((k for k, other in enumerate(self.kgram_plain, start=1) if other >= self.plain), None)

    def as_score(self, rank_correlation: float) -> float:
        """Convert a rank correlation to the customary score: AUC of a binary property, ρ of a graded one."""
        return float(auc(rank_correlation)) if self.kind == "binary" else rank_correlation

    @property
    def score(self) -> float:
        """AUC or ρ within the current character."""
        return self.as_score(self.rank_correlation)


class Candidate(NamedTuple):
    """Indices of a property, a signal and a cell."""

    property_index: int
    signal: int
    cell: int


class _Intervals(NamedTuple):
    interval: Interval | None = None
    plain_interval: Interval | None = None
    beyond_kgram: Interval | None = None
    beyond_untrained: Interval | None = None


class _Competition(NamedTuple):
    competitor: str | None
    competitor_unique: float
    better_in_family: str | None


def choose_candidates(study: Study, scores: Scores) -> list[Candidate]:
    """Return the three cells that fit each searched property best on SELECT, each with its better signal."""
    chosen = []
    for k in study.searched:
        best = np.abs(scores.select[k])
        signal = best.argmax(axis=0)
        for cell in np.argsort(-best.max(axis=0), kind="stable")[:CANDIDATES]:
            chosen.append(Candidate(k, int(signal[cell]), int(cell)))
    return chosen


def gather_evidence(
    network: CharRNN,
    study: Study,
    scores: Scores,
    candidates: Sequence[Candidate],
    kgrams: dict[int, KgramBaseline],
    untrained: dict[int, UntrainedBaseline],
    effort: Effort,
    progress: Progress,
) -> tuple[Evidence, ...]:
    """Return the evidence for each candidate. The candidate cells are read once more."""
    gate = network.recurrence.memory_gate
    cells = sorted({scores.cells[one.cell] for one in candidates})
    signals = [*scores.signals, *([gate] if gate else [])]
    values = record(network, study, cells, signals, progress=progress, stage="candidates")
    p_values = np.array(
        [p_value(abs(scores.comparable[one]), scores.permuted[one.property_index]) for one in candidates]
    )
    adjusted = holm(p_values)
    found = []
    for place, candidate in enumerate(candidates):
        progress("intervals", place / len(candidates))
        k = candidate.property_index
        p = (float(p_values[place]), float(adjusted[place]))
        memory = memory_length(values.of(scores.cells[candidate.cell], gate)[1]) if gate else None
        found.append(_evidence(study, scores, candidate, values, kgrams[k], untrained[k], p, memory, effort))
    progress("intervals", 1.0)
    return tuple(found)


def _evidence(
    study: Study,
    scores: Scores,
    candidate: Candidate,
    values: Activations,
    kgram: KgramBaseline,
    untrained: UntrainedBaseline,
    p: tuple[float, float],
    memory: float | None,
    effort: Effort,
) -> Evidence:
    k, signal, cell = candidate
    one, truth = study.properties[k], study.confirm.values[k]
    select, confirm = values.of(scores.cells[cell], scores.signals[signal])
    sign: Sign = 1 if scores.select[candidate] >= 0 else -1
    reached = sign * float(scores.confirm[candidate])
    binary = one.kind == "binary"
    intervals = _Intervals()
    if reached >= (2 * RELATED - 1 if binary else RELATED):
        intervals = _intervals(study, k, sign * confirm, kgram, untrained, effort)
    threshold = best_threshold(sign * select, study.select.values[k])[0] if binary else None
    return Evidence(
        property_name=one.title,
        kind=one.kind,
        cell=str(scores.cells[cell]),
        signal=scores.signals[signal],
        sign=sign,
        selected=sign * float(scores.select[candidate]),
        rank_correlation=reached,
        plain=sign * float(scores.plain[candidate]),
        **intervals._asdict(),
        kgram=tuple(kgram.within.tolist()),
        kgram_plain=tuple(kgram.plain.tolist()),
        untrained=untrained.rank_correlation,
        p=p[0],
        p_holm=p[1],
        segments=scores.segments[k],
        comparable=sign * float(scores.comparable[candidate]),
        pseudo=float(np.quantile(scores.pseudo[k], 0.95)),
        unique=float(scores.unique[k, scores.response(signal, one.kind), cell]),
        **_competition(study, scores, candidate)._asdict(),
        pearson=float(pearson(confirm[:, None], truth)[0]) if one.counter else None,
        threshold=None if threshold is None else sign * threshold,
        balanced_accuracy=None if threshold is None else balanced_accuracy(sign * confirm, truth, threshold),
        mean_inside=float(confirm[truth].mean()) if binary else None,
        mean_outside=float(confirm[~truth].mean()) if binary else None,
        memory=memory,
        episodes=len(episodes(truth)),
    )


def _intervals(
    study: Study, k: int, column: np.ndarray, kgram: KgramBaseline, untrained: UntrainedBaseline, effort: Effort
) -> _Intervals:
    """Return intervals of a cell's rank correlations, and of paired differences over the same resamples."""
    truth = study.confirm.values[k]
    length = len(truth)
    segments = np.arange(length) * INTERVAL_SEGMENTS // length
    weights = bootstrap_weights(INTERVAL_SEGMENTS, effort.resamples, effort.seed)
    own, of_kgram, of_untrained = (
        resampled_rank_correlation(one, truth, study.confirm.by_character, segments, weights)
        for one in (column, kgram.values, untrained.values)
    )
    plain = resampled_rank_correlation(column, truth, Strata.single(length), segments, weights)
    return _Intervals(interval(own), interval(plain), interval(own - of_kgram), interval(own - of_untrained))


def _competition(study: Study, scores: Scores, candidate: Candidate) -> _Competition:
    """Return the properties that compete with a candidate's.

    Properties of the same family are compared by score where both are of one kind, else by unique R².
    """
    k, signal, cell = candidate
    mine = study.properties[k]
    unique = scores.unique[:, scores.response(signal, mine.kind), cell]
    competitor, explained, better, best = None, 0.0, None, FAMILY_MARGIN
    for other in study.meaningful:
        one = study.properties[other]
        if other == k:
            continue
        if one.family is not None and one.family == mine.family:
            fit = np.abs(scores.confirm[:, signal, cell]) if one.kind == mine.kind else unique
            lead = float(fit[other] - fit[k])
            if lead > best:
                better, best = one.title, lead
        elif unique[other] > explained:
            competitor, explained = one.title, float(unique[other])
    return _Competition(competitor, explained, better)
