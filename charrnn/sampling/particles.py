"""Sequential Monte Carlo: draw texts as likely as the model writes them, given that they match.

Excluding characters one by one changes the odds of texts: one whose only way to match is unlikely is generated as often
as a likely one. So several particles are generated for each text, and weighted by the probability of the characters
that were not excluded at each step. Particles of little weight are replaced by copies of others, and the text is one
particle, drawn by weight (Doucet et al. 2001; for language models Loula et al. 2025, arXiv 2504.13139). With more
particles the texts approach the model's own distribution given the expression, and the mean weight is an unbiased
estimate of the probability that the model matches it.

Shapes: N texts, P particles of each, T characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from charrnn.progress import StageProgress, no_progress
from charrnn.sampling.best import REPORTED
from charrnn.sampling.stops import STOPPED

RESAMPLING = 2**32  # in the seed of a text's random numbers here; those of its characters have its number only


class Particles:
    """The history and the resampling of N × P particles; those of a text are neighbors.

    settings: a `SampleSettings` of N texts, with a seed. Text i of a seed is the same for any N.
    """

    def __init__(self, settings: Any):
        self._texts, self._particles, self._length = settings.num, settings.particle_count, settings.length
        self._threshold = settings.ess_threshold * self._particles
        self._generators = [np.random.default_rng((settings.seed, text, RESAMPLING)) for text in range(settings.num)]
        self._drawn: list[np.ndarray] = []
        self._ancestors: list[np.ndarray | None] = []
        # Of the places where a text may end: the log of the sum of the weights so far, and one place drawn by weight.
        self._total = np.full(self._texts, -np.inf)
        self._lengths = np.zeros(self._texts, np.int64)
        self._chosen = np.zeros(self._texts, np.int64)

    def resample(self, drawn: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Take in the drawn ids (N · P,), and resample the texts whose effective sample size is below the threshold.

        log_weights: of each particle, (N · P,). Returns the particles that continue, (N · P,), and their log-weights;
        None where all stay.
        """
        self._drawn.append(drawn)
        self._ancestors.append(None)
        rows = np.arange(len(log_weights)).reshape(self._texts, self._particles)
        grouped = log_weights.reshape(rows.shape).copy()
        weights = np.exp(grouped - grouped.max(axis=1, keepdims=True))
        effective = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
        resampled = np.flatnonzero(effective < self._threshold)
        if not len(resampled):
            return None
        for text in resampled.tolist():
            places = (self._generators[text].random() + np.arange(self._particles)) / self._particles
            chosen = np.searchsorted(np.cumsum(weights[text]) / weights[text].sum(), places, side="right")
            rows[text] = rows[text][np.minimum(chosen, self._particles - 1)]
            grouped[text] = _log_mean(grouped[text])
        self._ancestors[-1] = rows.reshape(-1)
        return rows.reshape(-1), grouped.reshape(-1)

    def add_ends(self, log_weights: np.ndarray) -> None:
        """Take in the log-weights (N · P,) of the texts that end after the latest characters, −∞ of the others."""
        grouped = log_weights.reshape(self._texts, self._particles)
        for text in np.flatnonzero((grouped > -np.inf).any(axis=1)).tolist():
            total = np.logaddexp.reduce(grouped[text])
            share = np.exp(grouped[text] - total)
            place, one = self._generators[text].random(2)
            self._total[text] = np.logaddexp(self._total[text], total)
            if place < np.exp(total - self._total[text]):
                within = np.searchsorted(np.cumsum(share), one, side="right")
                self._chosen[text] = text * self._particles + min(int(within), self._particles - 1)
                self._lengths[text] = len(self._drawn)

    def texts(
        self,
        candidates: Iterator[np.ndarray],
        progress: StageProgress = no_progress,
        report: Callable[[np.ndarray], object] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the ids (N,) of the chosen particles, after all candidates have been generated.

        progress: called with a stage and the share of it that is done. report: called with the log of the mean weight
        of each text's particles, (N,).
        """
        for number, _ in enumerate(candidates, start=1):
            if number % REPORTED == 0:
                progress("generating", number / self._length)
        if report is not None:
            report(self._total - np.log(self._particles))
        particles, rows = self._chosen.copy(), []
        for number in range(len(self._drawn) - 1, -1, -1):
            within, ancestors = number < self._lengths, self._ancestors[number]
            if ancestors is not None:
                particles = np.where(within, ancestors[particles], particles)
            rows.append(np.where(within, self._drawn[number][particles], STOPPED))
        yield from (row for row in reversed(rows) if (row != STOPPED).any())


def _log_mean(log_weights: np.ndarray) -> float:
    return float(np.logaddexp.reduce(log_weights) - np.log(len(log_weights)))
