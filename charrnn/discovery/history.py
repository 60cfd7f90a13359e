"""One cell through the checkpoints of a run: when did it become what it is?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from charrnn.discovery.search import Plan
from charrnn.discovery.statistics import Labels, Strata, rank_correlation, ranked
from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.inspection.trace import Cell, trace_streams
from charrnn.model.network import CharRNN
from charrnn.text.encoded_text import EncodedText

BECOME = 0.9  # of its last score, from which a cell counts as being what it is


def history(
    networks: Callable[[int], CharRNN],
    steps: Sequence[int],
    text: EncodedText,
    cell: Cell,
    signal: str,
    labels: np.ndarray | None,
) -> list[tuple[int, float]]:
    """(step, rank_correlation within characters) of a cell at each checkpoint, for a property's values (N,).

    networks: step → network. text: ids (N,), or documents. labels: None compares with what the cell itself does at the
    last of the steps.

    A checkpoint for which `networks` raises CharrnnError is passed over with a CharrnnWarning; raises the first of
    these errors where no other is left.
    """
    plan = Plan.of(len(text))
    ids = plan.confirm(text.ids)
    values: dict[int, np.ndarray] = {}
    broken: list[CharrnnError] = []
    for step in steps:
        try:
            values[step] = _values(networks(step), text, plan, cell, signal)
        except CharrnnError as error:
            broken.append(error)
    if not values:
        raise broken[0]
    for error in broken:
        warnings.warn(f"{error.message}; this checkpoint is left out", CharrnnWarning, stacklevel=2)
    strata = Strata.by(ids)
    numbers = Labels.of([values[max(values)] if labels is None else plan.confirm(labels)], strata)
    course = []
    for step, own in values.items():
        (within,) = ranked(own[:, None], strata)
        course.append((step, float(rank_correlation(within, numbers)[0, 0])))
    return course


def _values(network: CharRNN, text: EncodedText, plan: Plan, cell: Cell, signal: str) -> np.ndarray:
    """A cell's values on the CONFIRM half."""
    streams = text.streams(lambda values: plan.streams(values)[1::2])
    chunks = list(trace_streams(network, streams, signals=[signal], cells=[cell]))
    return np.concatenate([chunk.signals[signal] for chunk in chunks], axis=1)[:, plan.gap :, 0].reshape(-1)


def became(course: Sequence[tuple[int, float]]) -> int | None:
    """The step from which on a cell keeps nine tenths of its last rank_correlation; None if that is none to speak of."""
    last = course[-1][1]
    if abs(last) < 0.1:
        return None
    reached = None
    for step, value in reversed(course):
        if value * np.sign(last) < BECOME * abs(last):
            break
        reached = step
    return reached
