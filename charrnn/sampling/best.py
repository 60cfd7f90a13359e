"""Keep the best of several texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from charrnn.progress import StageProgress, no_progress
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED

REPORTED = 500  # characters between two reports of progress


def keep_best(
    candidates: Iterator[np.ndarray],
    settings: SampleSettings,
    score: Callable[[np.ndarray], float],
    progress: StageProgress = no_progress,
) -> Iterator[np.ndarray]:
    """Yield the ids (num,) of those of num × best_of texts that score lowest, after all have been generated.

    candidates: yields the ids (num × best_of,) of each character; those of one text are neighbors. score: of the ids
    (T,) of a text; an empty one is kept only if all are. progress: called with a stage and the share of it that is
    done. Ties go to the earlier candidate.
    """
    rows = []
    for row in candidates:
        rows.append(row)
        if len(rows) % REPORTED == 0:
            progress("generating", len(rows) / settings.length)
    if not rows:
        return
    drawn = np.stack(rows)
    scores = []
    for column in drawn.T:
        text = column[column != STOPPED]
        scores.append(score(text) if len(text) else math.inf)
        progress("scoring", len(scores) / drawn.shape[1])
    best = np.reshape(scores, (settings.num, settings.best_of)).argmin(axis=1)
    kept = drawn[:, np.arange(settings.num) * settings.best_of + best]
    yield from kept[(kept != STOPPED).any(axis=1)]
