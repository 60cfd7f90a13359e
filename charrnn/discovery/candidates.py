"""Candidates: cells that fit a property well on SELECT, measured on CONFIRM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.discovery.activations import Activations, record
from charrnn.discovery.baselines import KgramBaseline, UntrainedBaseline
from charrnn.discovery.evidence import RELATED, Evidence, Interval, Sign
from charrnn.discovery.scores import Scores
from charrnn.discovery.statistics import (
    Strata,
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
from charrnn.discovery.study import Progress, Study
from charrnn.inspection.gates import memory_length
from charrnn.model.network import CharRNN

CANDIDATES = 3
"""Cells of each property that go from SELECT to CONFIRM."""
INTERVAL_SEGMENTS = 40
FAMILY_MARGIN = 0.005
"""By how much a property must fit a cell better than another of its family."""


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
        found.append(_evidence(study, scores, candidate, values, kgrams[k], untrained[k], p, memory))
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
) -> Evidence:
    k, signal, cell = candidate
    one, truth = study.properties[k], study.confirm.values[k]
    select, confirm = values.of(scores.cells[cell], scores.signals[signal])
    sign: Sign = 1 if scores.select[candidate] >= 0 else -1
    reached = sign * float(scores.confirm[candidate])
    binary = one.kind == "binary"
    intervals = _Intervals()
    if reached >= (2 * RELATED - 1 if binary else RELATED):
        intervals = _intervals(study, k, sign * confirm, kgram, untrained)
    competitor, competitor_unique, better_in_family = _competition(study, scores, candidate)
    threshold = best_threshold(sign * select, study.select.values[k]) if binary else None
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
        competitor=competitor,
        competitor_unique=competitor_unique,
        better_in_family=better_in_family,
        pearson=pearson(confirm, truth) if one.counter else None,
        threshold=None if threshold is None else sign * threshold,
        balanced_accuracy=None if threshold is None else balanced_accuracy(sign * confirm, truth, threshold),
        mean_inside=float(confirm[truth].mean()) if binary else None,
        mean_outside=float(confirm[~truth].mean()) if binary else None,
        memory=memory,
        episodes=len(episodes(truth)),
    )


def _intervals(
    study: Study, k: int, column: np.ndarray, kgram: KgramBaseline, untrained: UntrainedBaseline
) -> _Intervals:
    """Return intervals of a cell's rank correlations, and of paired differences over the same resamples."""
    truth = study.confirm.values[k]
    length = len(truth)
    segments = np.arange(length) * INTERVAL_SEGMENTS // length
    weights = bootstrap_weights(INTERVAL_SEGMENTS, study.effort.resamples, study.effort.seed)
    own, of_kgram, of_untrained = (
        resampled_rank_correlation(one, truth, study.confirm.by_character, segments, weights)
        for one in (column, kgram.values, untrained.values)
    )
    plain = resampled_rank_correlation(column, truth, Strata.single(length), segments, weights)
    return _Intervals(interval(own), interval(plain), interval(own - of_kgram), interval(own - of_untrained))


def _competition(study: Study, scores: Scores, candidate: Candidate) -> tuple[str | None, float, str | None]:
    """Return the best property of other families, its unique R², and a better property of the same family.

    Properties of one family are compared by score where both are of one kind, else by unique R².
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
    return competitor, explained, better
