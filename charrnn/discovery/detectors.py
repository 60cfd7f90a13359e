"""Cells that react to one character: they are on after it, and off after all others.

Shapes: N positions, U columns (one signal of one cell each), V ids.
"""

from __future__ import annotations

import numpy as np

from charrnn.discovery.ranks import Labels, Strata, ranked
from charrnn.discovery.statistics import auc, rank_correlation
from charrnn.discovery.study import Half, Study

MIN_DETECTOR_AUC = 0.95
"""The least AUC of the character against all others, and against the runner-up."""
MIN_DETECTOR_DIFFERENCE = 0.5
"""The least difference of the displayed signal between the character and the runner-up."""
MIN_RUNNER_UP_COUNT = 30


def find_detectors(study: Study, on_select: np.ndarray, on_confirm: np.ndarray, ids: int) -> dict[int, int]:
    """Return the columns that react to one character, and its id.

    The character whose mean deviates most on SELECT is judged on CONFIRM, against all other characters together and
    against the runner-up, the one that comes next on SELECT. on_select, on_confirm: displayed columns (N, U). ids: V.
    """
    select_counts, select_sums = _sums_by_character(study.select, on_select, ids)
    confirm_counts, confirm_sums = _sums_by_character(study.confirm, on_confirm, ids)
    columns, current = np.arange(on_confirm.shape[1]), study.confirm.ids
    means = select_sums / np.maximum(select_counts, 1)[:, None]
    deviations = means - select_sums.sum(axis=0) / select_counts.sum()
    character = (np.abs(deviations) * np.sqrt(select_counts)[:, None]).argmax(axis=0)
    sign = np.sign(deviations[character, columns])
    eligible = np.minimum(select_counts, confirm_counts) >= MIN_RUNNER_UP_COUNT
    others = np.where(eligible[:, None], deviations * sign, -np.inf)
    others[character, columns] = -np.inf
    runner_up = others.argmax(axis=0)

    means = confirm_sums / np.maximum(confirm_counts, 1)[:, None]
    difference = sign * (means[character, columns] - means[runner_up, columns])
    detectors: dict[int, int] = {}
    for column in np.flatnonzero(difference >= MIN_DETECTOR_DIFFERENCE):
        values = sign[column] * on_confirm[:, column]
        is_character = current == character[column]
        contested = is_character | (current == runner_up[column])
        pairs = ((values[contested], is_character[contested]), (values, is_character))  # the shorter one first
        if all(_auc(*pair) >= MIN_DETECTOR_AUC for pair in pairs):
            detectors[int(column)] = int(character[column])
    return detectors


def _sums_by_character(half: Half, displayed: np.ndarray, ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each id occurs in a half, (V,), and the sums of displayed columns (N, U) there, (V, U)."""
    order = np.argsort(half.ids, kind="stable")
    present, starts = np.unique(half.ids[order], return_index=True)
    sums = np.zeros((ids, displayed.shape[1]))
    sums[present] = np.add.reduceat(displayed[order], starts, axis=0, dtype=np.float64)
    return np.bincount(half.ids, minlength=ids), sums


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Return the AUC of values (N,) for `positive` (N,)."""
    strata = Strata.single(len(values))
    return auc(float(rank_correlation(ranked(values[:, None], strata)[0], Labels.of([positive], strata))[0, 0]))
