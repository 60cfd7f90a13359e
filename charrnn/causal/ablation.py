"""Ablation: hold a cell at the value of the opposite class, and measure what that costs at the events of a property.

Ablation tests necessity (Heimersheim & Nanda 2024, arXiv 2404.15255). A mean over all characters lies near the larger
class and tests little, so the cell is held at its value outside where the property holds, and at its value inside where
it does not. A cell that carries the property shows a double dissociation: held outside it costs bits at the end of an
episode and not at the beginning; held inside, the reverse.

The value of a class is the cell's median there (see `levels`). Effects at class means are reported beside it.

The cell is held for 100 characters that end at the event, from the state that the network had before them. So the cost
of an ablation does not grow with the text, and cells that follow the tested one have time to follow it.

Class values come from the SELECT half of the text, effects from CONFIRM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.bootstrap import bootstrap_weights, mean_and_interval
from charrnn.causal.clamp import Clamp
from charrnn.causal.contrast import Contrast, EventKind, character_kinds, confirmed, contrast_of, matched
from charrnn.causal.effects import Ablation, CellGroup, Direction, Dose, Measured
from charrnn.causal.patching import interchange
from charrnn.causal.reading import READING, Places, Reading, Windows, read_blocks, spaced
from charrnn.discovery.study import Split
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.progress import StageProgress, no_progress, overall
from charrnn.properties.catalog import Property, Text
from charrnn.settings import CONTROLS, SEARCH_SEED
from charrnn.text.encoded_text import EncodedText

HELD = 100
CONTROL_EVENTS = 32
GROUP_EVENTS = 64
MAX_CORRELATION = 0.3
"""Cells that correlate with the tested one more than this are no controls: they may carry the same property."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GROUP_SIZES = (1, 2, 4, 8, 16)
RANDOM_GROUPS = 5
DRAWS = 4
"""Values for each current character, for `drawn`."""
ELSEWHERE = 128
RESAMPLES = 2000
SECONDS = {
    READING: 3.0,
    "control cells": 20.0,
    "sensitivity": 4.0,
    "dose response": 1.0,
    "groups": 1.0,
    "minimal pairs": 1.0,
}
"""About how long each stage takes for an LSTM of 1×256, 200,000 characters and 200 control cells."""


@dataclass(frozen=True, eq=False)
class _Trial:
    """One kind of event with its windows.

    pairs: windows of the events, then of the matched characters. last: one character each, for the direct effect.
    """

    kind: EventKind
    events: Windows
    pairs: Windows
    last: Windows

    def specific(self, costs: np.ndarray) -> np.ndarray:
        """Return effect at each event minus that at the matched character, (E,), from costs of pairs (2 · E,)."""
        own, other = costs.reshape(2, -1)
        return np.asarray(own - other)


@dataclass(frozen=True, eq=False)
class _Experiment:
    network: CharRNN
    reading: Reading
    contrast: Contrast
    trials: tuple[_Trial, ...]
    cell: Cell
    signal: str
    seed: int

    def opposite(self, index: int, trial: _Trial) -> Clamp:
        """Hold a cell of the layer at its median in the class that the event does not happen in."""
        medians = self.reading.population.medians[1 - trial.kind.natural]
        return Clamp(Cell(self.cell.layer, index), float(medians[index]), self.signal)

    def hold(self, value: float) -> list[Clamp]:
        return [Clamp(self.cell, float(value), self.signal)]

    def measured(self, values: np.ndarray) -> Measured:
        return Measured(*mean_and_interval(values, bootstrap_weights(len(values), RESAMPLES, self.seed)))


def ablate(
    network: CharRNN,
    text: EncodedText,
    characters: Text,
    cell: Cell,
    one: Property,
    *,
    signal: str,
    symbols: Sequence[str],
    controls: int = CONTROLS,
    seed: int = SEARCH_SEED,
    progress: StageProgress = no_progress,
) -> Ablation:
    """Measure what holding a cell at the value of the opposite class costs at the events of a property.

    characters: of the text, one for each id. symbols: printable form of each id. controls: cells of the layer to
    compare with, at most. Raises CharrnnError where the text is too short, or has too few events.
    """
    progress = overall(progress, SECONDS)
    split = Split.of(len(text))
    contrast = contrast_of(one.of(characters), text, split, one.title)
    reading = read_blocks(network, text, split, (contrast.outside, contrast.inside), cell, signal, progress)
    kinds = split.streams(character_kinds(characters))
    trials = tuple(_trial(reading, contrast, kind, kinds, split) for kind in contrast.kinds)
    experiment = _Experiment(network, reading, contrast, trials, cell, signal, seed)
    indices, excluded = _control_cells(reading, cell, controls, seed)
    null = _control_effects(experiment, indices, progress)
    progress("control cells", 1)
    elsewhere, tested = _elsewhere(experiment, split), zip(trials, null, strict=True)
    directions = tuple(_direction(experiment, split, *one, elsewhere, symbols) for one in tested)
    progress("sensitivity", 1)
    values = reading.values[:, split.gap :]
    low, high, *quantiles = map(float, np.quantile(values, [0.01, 0.99, *QUANTILES]))
    doses = tuple(_dose(experiment, *one) for one in zip(QUANTILES, quantiles, strict=True))
    progress("dose response", 1)
    groups = _groups(experiment)
    progress("groups", 1)
    stored = interchange(reading, split, characters, one, cell, contrast)
    progress("minimal pairs", 1)
    return Ablation(
        cell=str(cell),
        signal=signal,
        property_name=one.title,
        kind=one.kind,
        names=contrast.names,
        mean=float(reading.population.mean[cell.index]),
        median_outside=float(reading.population.medians[0][cell.index]),
        median_inside=float(reading.population.medians[1][cell.index]),
        low=low,
        high=high,
        directions=directions,
        doses=doses,
        groups=groups,
        stored=stored,
        controls=len(indices),
        excluded=excluded,
        characters=len(text),
        held=HELD,
    )


def _trial(reading: Reading, contrast: Contrast, kind: EventKind, kinds: np.ndarray, split: Split) -> _Trial:
    other = matched(contrast, kind, kinds, reading.surprise, split)
    both = Places(*(np.concatenate(parts) for parts in zip(kind.places, other, strict=True)))
    pairs = Windows.ending_at(reading, both, HELD)
    events = pairs[np.arange(len(kind.places.rows))]
    return _Trial(kind, events, pairs, Windows.ending_at(reading, kind.places, 1))


def _control_cells(reading: Reading, cell: Cell, number: int, seed: int) -> tuple[list[int], int]:
    """Return random cells of the layer that do not correlate with the tested one, and how many do."""
    unlike = np.abs(reading.population.correlation) < MAX_CORRELATION
    unlike[cell.index] = False  # the correlation of a constant cell with itself is 0
    candidates = np.flatnonzero(unlike)
    chosen = np.random.default_rng(seed).permutation(candidates)[:number]
    return sorted(chosen.tolist()), int((~unlike).sum()) - 1


def _control_effects(experiment: _Experiment, indices: Sequence[int], progress: StageProgress) -> np.ndarray:
    """Return the effect beyond matched characters of each control cell, in each direction, (D, K)."""
    effects = np.zeros((len(experiment.trials), len(indices)))
    subsets = [_subset(trial) for trial in experiment.trials]
    for k, index in enumerate(indices):
        progress("control cells", k / len(indices))
        for place, (trial, windows) in enumerate(zip(experiment.trials, subsets, strict=True)):
            costs = windows.costs(experiment.network, [experiment.opposite(index, trial)])
            effects[place, k] = trial.specific(costs).mean()
    return effects


def _subset(trial: _Trial) -> Windows:
    chosen = spaced(len(trial.events), CONTROL_EVENTS)
    return trial.pairs[np.concatenate([chosen, chosen + len(trial.events)])]


def _direction(
    experiment: _Experiment, split: Split, trial: _Trial, null: np.ndarray, elsewhere: Windows, symbols: Sequence[str]
) -> Direction:
    """null: effects beyond matched characters of the control cells, (K,)."""
    network, reading, kind = experiment.network, experiment.reading, trial.kind
    index, population = experiment.cell.index, reading.population
    clamp = experiment.opposite(index, trial)
    costs = trial.pairs.costs(network, [clamp])
    specific = trial.specific(costs)
    comparable = float(specific[spaced(len(specific), CONTROL_EVENTS)].mean())
    few = trial.events.spaced(GROUP_EVENTS)
    signed = null * kind.sign

    def held_at(value: float) -> float:
        return float(few.costs(network, experiment.hold(value)).mean())

    layer, part = experiment.cell.layer, list(network.recurrence.state_parts).index(experiment.signal)
    far, near = (
        float(np.median(reading.distance_to_natural(few.end(network, clamps), layer, part))) for clamps in ([clamp], [])
    )
    return Direction(
        held=experiment.contrast.names[1 - kind.natural],
        value=clamp.value,
        event=kind.name,
        symbol=None if kind.symbol is None else symbols[kind.symbol],
        sign=1 if kind.sign > 0 else -1,
        events=len(trial.events),
        effect=experiment.measured(costs[: len(specific)]),
        own=experiment.measured(trial.events.costs(network, experiment.hold(population.medians[kind.natural][index]))),
        beyond_matched=experiment.measured(specific),
        comparable=comparable,
        controls_below=float((signed < kind.sign * comparable).mean()) if len(null) else 0.0,
        control_median=kind.sign * float(np.median(signed)) if len(null) else 0.0,
        control_high=kind.sign * float(np.quantile(signed, 0.99)) if len(null) else 0.0,
        elsewhere=elsewhere.divergence(network, [clamp]),
        direct=float(trial.last.costs(network, [clamp]).mean()),
        class_mean=held_at(population.means[1 - kind.natural][index]),
        class_mean_own=held_at(population.means[kind.natural][index]),
        mean=held_at(population.mean[index]),
        zero=held_at(0),
        drawn=_drawn(experiment, split, trial, few),
        distance=far,
        natural_distance=near,
    )


def _elsewhere(experiment: _Experiment, split: Split) -> Windows:
    """Return windows that end at random characters of CONFIRM that are no events."""
    places = Places.where(confirmed(experiment.contrast.event.shape, split) & ~experiment.contrast.event)
    chosen = np.random.default_rng(experiment.seed).choice(len(places.rows), min(ELSEWHERE, len(places.rows)), False)
    return Windows.ending_at(experiment.reading, places.take(chosen), HELD)


def _drawn(experiment: _Experiment, split: Split, trial: _Trial, windows: Windows) -> float:
    """Return the effect of holding the cell at values that it has in SELECT at the current character of the event."""
    draw = np.random.default_rng(experiment.seed)
    ids, values = (one[0::2, split.gap :] for one in (experiment.reading.streams.ids, experiment.reading.values))
    current = windows.streams.ids[:, -1]
    total, number = 0.0, 0
    for character in np.unique(current):
        chosen, pool = windows[np.flatnonzero(current == character)], values[ids == character]
        if len(pool):
            drawn = draw.choice(pool, DRAWS)
            total += sum(float(chosen.costs(experiment.network, experiment.hold(one)).sum()) for one in drawn) / DRAWS
            number += len(chosen)
    return total / max(number, 1)


def _dose(experiment: _Experiment, quantile: float, value: float) -> Dose:
    held = experiment.hold(value)
    effects = tuple(float(trial.events.costs(experiment.network, held).mean()) for trial in experiment.trials)
    return Dose(quantile, value, effects)


def _groups(experiment: _Experiment) -> tuple[CellGroup, ...]:
    """Hold the cells of the layer that separate the classes best, and as many random ones, at opposite medians."""
    ranked = np.argsort(-np.abs(experiment.reading.population.separation), kind="stable")
    draw = np.random.default_rng(experiment.seed)
    windows = [trial.events.spaced(GROUP_EVENTS) for trial in experiment.trials]

    def effects(indices: np.ndarray, number: int) -> tuple[float, ...]:
        return tuple(
            float(
                few[spaced(len(few), number)]
                .costs(experiment.network, [experiment.opposite(index, trial) for index in indices.tolist()])
                .mean()
            )
            for trial, few in zip(experiment.trials, windows, strict=True)
        )

    found = []
    for size in GROUP_SIZES:
        rest = ranked[max(GROUP_SIZES) :]
        if size > len(rest):
            break
        random = [effects(draw.choice(rest, size, replace=False), CONTROL_EVENTS) for _ in range(RANDOM_GROUPS)]
        found.append(CellGroup(size, effects(ranked[:size], GROUP_EVENTS), tuple(np.mean(random, axis=0).tolist())))
    return tuple(found)
