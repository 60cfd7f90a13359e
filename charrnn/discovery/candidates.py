"""Candidates: cells that fit a property well on SELECT, measured on CONFIRM."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from charrnn.bootstrap import bootstrap_weights, interval
from charrnn.discovery import stages
from charrnn.discovery.activations import Activations, Recordings
from charrnn.discovery.baselines import Baselines
from charrnn.discovery.competition import SEGMENTS, compete
from charrnn.discovery.evidence import MIN_AUC, MIN_RHO, Evidence, Sign
from charrnn.discovery.excerpts import Excerpt, typical_excerpt
from charrnn.discovery.permutations import episodes, holm, p_value
from charrnn.discovery.ranks import Strata, ranked
from charrnn.discovery.resampling import resampled_correlation, resampled_rank_correlation
from charrnn.discovery.scores import Scores
from charrnn.discovery.statistics import balanced_accuracy, best_threshold, pearson, rank_correlation
from charrnn.discovery.study import Study
from charrnn.model.recurrences.base import Recurrence
from charrnn.properties.catalog import CATALOG

MIN_CANDIDATES, MAX_CANDIDATES = 3, 30
"""Cells of each property that go from SELECT to CONFIRM, at least and at most."""
INTERVAL_SEGMENTS = 40


class Candidate(NamedTuple):
    """Indices of a property, a signal and a cell."""

    property_index: int
    signal: int
    cell: int


def choose_candidates(study: Study, scores: Scores) -> tuple[list[Candidate], dict[str, int]]:
    """Return the cells that go from SELECT to CONFIRM, each with its better signal, and how many were left out.

    Of each searched property these are the cells whose score on SELECT would be high enough for a name, but at least
    the best three and at most the best thirty. Left out: title → number of further cells, where there are any.
    """
    chosen, left_out = [], {}
    for k in study.searched:
        one, fit = study.properties[k], np.abs(scores.select[k])
        signal, best = fit.argmax(axis=0), fit.max(axis=0)
        could_track = int((best >= (2 * MIN_AUC - 1 if one.kind == "binary" else MIN_RHO)).sum())
        number = min(max(could_track, MIN_CANDIDATES), MAX_CANDIDATES)
        for cell in np.argsort(-best, kind="stable")[:number]:
            chosen.append(Candidate(k, int(signal[cell]), int(cell)))
        if could_track > number:
            left_out[one.title] = could_track - number
    return chosen, left_out


def gather_evidence(
    recordings: Recordings,
    scores: Scores,
    candidates: Sequence[Candidate],
    baselines: Baselines,
    symbols: Sequence[str],
) -> tuple[Evidence, ...]:
    """Return the evidence for each candidate.

    symbols: printable form of each id.
    """
    cells = sorted({scores.cells[one.cell] for one in candidates})
    values = recordings.read(cells, stages.CANDIDATES, recordings.progress)
    p_values = np.array(
        [p_value(abs(scores.comparable[one]), scores.permuted[one.property_index]) for one in candidates]
    )
    adjusted = holm(p_values, np.array([one.property_index for one in candidates]))
    gathering = _Gathering(recordings.study, scores, recordings.network.recurrence, values, baselines, symbols)
    tasks = list(zip(candidates, p_values.tolist(), adjusted.tolist(), strict=True))
    by_property = [list(group) for _, group in itertools.groupby(tasks, lambda task: task[0].property_index)]
    found: list[Evidence] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # most of the time is spent in NumPy, without the lock
        # One property to a thread, which computes its baselines once.
        for some in pool.map(lambda tasks: [gathering.evidence(*task) for task in tasks], by_property):
            found += some
            recordings.progress(stages.INTERVALS, len(found) / len(candidates))
    recordings.progress(stages.CANDIDATES, 1.0)
    recordings.progress(stages.INTERVALS, 1.0)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Gathering:
    """What the evidence for all candidates is made of."""

    study: Study
    scores: Scores
    recurrence: Recurrence
    values: Activations
    baselines: Baselines
    symbols: Sequence[str]

    def evidence(self, candidate: Candidate, p: float, p_holm: float) -> Evidence:
        """Return the evidence for a candidate. Intervals are computed where no point estimate rules a verdict out."""
        k, signal, cell = candidate
        scores, one, truth = self.scores, self.study.properties[k], self.study.confirm.values[k]
        name, kgram = scores.signals[signal], self.baselines.kgram[k]
        select, confirm = self.values.of(scores.cells[cell], name)
        sign: Sign = 1 if scores.select[candidate] >= 0 else -1
        binary = one.kind == "binary"
        threshold = best_threshold(sign * select, self.study.select.values[k]) if binary else None
        found = Evidence(
            property_name=one.title,
            kind=one.kind,
            cell=str(scores.cells[cell]),
            signal=name,
            sign=sign,
            selected=sign * float(scores.select[candidate]),
            rank_correlation=sign * float(scores.confirm[candidate]),
            plain=sign * self._plain(k, confirm),
            interval=None,
            plain_interval=None,
            kgram=tuple(kgram.within.tolist()),
            kgram_plain=tuple(kgram.plain.tolist()),
            untrained=self.baselines.untrained[k].rank_correlation,
            beyond_kgram=None,
            linear_memory=self.baselines.linear_memory[k].rank_correlation,
            beyond_untrained=None,
            beyond_linear_memory=None,
            p=p,
            p_holm=p_holm,
            segments=scores.segments[k],
            comparable=sign * float(scores.comparable[candidate]),
            pseudo=float(np.quantile(scores.pseudo[k], 0.95)),
            difference=sign * displayed_difference(self.recurrence.displayed(name, confirm), truth),
            unique=float(scores.unique[k, scores.response(signal, one.kind), cell]),
            **self._competition(candidate),
            pearson=pearson(confirm, truth) if one.counter else None,
            threshold=None if threshold is None else sign * threshold,
            balanced_accuracy=None if threshold is None else balanced_accuracy(sign * confirm, truth, threshold),
            mean_inside=float(confirm[truth].mean()) if binary else None,
            mean_outside=float(confirm[~truth].mean()) if binary else None,
            episodes=len(episodes(truth)),
            excerpt=None,
        )
        if found.needs_intervals:
            found = self._with_intervals(found, k, sign * confirm)
        if found.verdict == "none" and one.name in CATALOG:
            return found
        return replace(found, excerpt=self._excerpt(name, confirm, truth))

    def _excerpt(self, signal: str, values: np.ndarray, truth: np.ndarray) -> Excerpt | None:
        study = self.study
        positions = study.split.confirm(np.arange(len(study.text)))
        return typical_excerpt(self.recurrence, signal, positions, study.confirm.ids, values, truth, self.symbols)

    def _competition(self, candidate: Candidate) -> dict[str, Any]:
        """Return the fields of the evidence that compare the property with all others, on SELECT."""
        study, scores = self.study, self.scores
        k, signal, cell = candidate
        responses = [scores.response(signal, one.kind) for one in study.properties]
        result = compete(
            np.abs(scores.select[:, :, cell]).max(axis=1),
            scores.segment_sums.resampled(cell, self._stability_weights),
            scores.unique_select[np.arange(len(responses)), responses, cell],
            k,
            study.meaningful,
        )
        runner_up = None if result.runner_up is None else study.properties[result.runner_up].title
        return {"runner_up": runner_up, "runner_up_selected": result.runner_up_score, "stability": result.stability}

    @cached_property
    def _stability_weights(self) -> np.ndarray:
        return bootstrap_weights(SEGMENTS, self.study.effort.resamples // 4, self.study.effort.seed)

    @cached_property
    def _weights(self) -> np.ndarray:
        return bootstrap_weights(INTERVAL_SEGMENTS, self.study.effort.resamples, self.study.effort.seed)

    def _with_intervals(self, found: Evidence, k: int, column: np.ndarray) -> Evidence:
        """Add intervals of a cell's rank correlations, and of paired differences over the same resamples."""
        own = self._resampled(k, column, self.study.confirm.by_character)
        of_kgram, of_untrained, of_memory = self._baselines(k)
        clearness = self._clearness(k, self.recurrence.displayed(found.signal, column))
        return replace(
            found,
            interval=interval(own),
            plain_interval=interval(self._resampled(k, column, self._all_positions)),
            beyond_kgram=interval(own - of_kgram),
            beyond_untrained=interval(own - of_untrained),
            beyond_linear_memory=interval(clearness - of_memory),
        )

    def _baselines(self, k: int) -> list[np.ndarray]:
        """Return what the 5-gram, the best untrained cell and the linear memory reach in each resample."""
        if k not in self._known_baselines:
            self._known_baselines[k] = [
                self._resampled(k, self.baselines.kgram[k].values, self.study.confirm.by_character),
                self._resampled(k, self.baselines.untrained[k].values, self.study.confirm.by_character),
                self._clearness(k, self.baselines.linear_memory[k].values),
            ]
        return self._known_baselines[k]

    @cached_property
    def _known_baselines(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _resampled(self, k: int, column: np.ndarray, strata: Strata) -> np.ndarray:
        values = self.study.confirm.values[k]
        return resampled_rank_correlation(column, values, strata, self._segments, self._weights)

    def _clearness(self, k: int, column: np.ndarray) -> np.ndarray:
        """Return how clearly a column shows a property in each resample, as the linear memory is fitted to show it.

        AUC would not tell the two apart where an opening and a closing mark differ: a memory that fades keeps the order
        of inside and outside, but not a difference that can be seen. So r with a binary property is compared.
        """
        if self.study.properties[k].kind == "graded":
            return self._resampled(k, column, self.study.confirm.by_character)
        truth = self.study.confirm.values[k].astype(np.float64)
        return resampled_correlation(column, truth, self.study.confirm.by_character, self._segments, self._weights)

    def _plain(self, k: int, column: np.ndarray) -> float:
        """Return the rank correlation over all positions."""
        (plain,) = ranked(column[:, None], self._all_positions)
        return float(rank_correlation(plain, self.study.confirm.permutable.only(k))[0, 0])

    @cached_property
    def _all_positions(self) -> Strata:
        return Strata.single(len(self.study.confirm.ids))

    @cached_property
    def _segments(self) -> np.ndarray:
        length = len(self.study.confirm.ids)
        return np.arange(length) * INTERVAL_SEGMENTS // length


def displayed_difference(displayed: np.ndarray, values: np.ndarray) -> float:
    """Return by how much a displayed signal (N,) differs where a property (N,) holds, or is high, from elsewhere.

    A graded property is high and low in its highest and lowest tenth, or more where many values are equal.
    """
    if values.dtype == bool:
        high, low = values, ~values
    else:
        lowest, highest = np.quantile(values, [0.1, 0.9])
        low = values <= lowest if (values > lowest).any() else values < lowest
        high = values >= highest if highest > lowest else ~low
    return float(displayed[high].mean() - displayed[low].mean())
