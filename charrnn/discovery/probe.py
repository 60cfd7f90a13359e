"""Linear probes: what all cells of a layer say of a property together, whether or not any single cell does.

A ridge regression on all cells of a layer is fitted on SELECT and scored on CONFIRM, within the current character, like
the cells themselves. A probe finds sums of cells; it cannot find what only a nonlinear function of them tells.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from charrnn.bootstrap import bootstrap_weights, interval
from charrnn.discovery import stages
from charrnn.discovery.activations import Recordings
from charrnn.discovery.checked import Correlation, Count
from charrnn.discovery.ranks import Labels, ranked
from charrnn.discovery.resampling import resampled_rank_correlation
from charrnn.discovery.ridge import NormalEquations, predictions
from charrnn.discovery.statistics import auc, rank_correlation
from charrnn.inspection.trace import all_cells
from charrnn.progress import part
from charrnn.properties.catalog import Kind

SEGMENTS = 40
"""What the intervals resample."""


@dataclass(frozen=True)
class Probe:
    """What a linear probe over a layer reaches for a property on CONFIRM, as rank correlations with 95 % intervals.

    elsewhere, elsewhere_interval: of a probe without the named cells.
    """

    layer: Count
    property_name: str
    kind: Kind
    rank_correlation: Correlation
    interval: tuple[Correlation, Correlation]
    elsewhere: Correlation
    elsewhere_interval: tuple[Correlation, Correlation]

    @property
    def score(self) -> float:
        """AUC of a binary property, ρ of a graded one."""
        return auc(self.rank_correlation) if self.kind == "binary" else self.rank_correlation


def probe_layers(recordings: Recordings, named: Collection[str]) -> tuple[Probe, ...]:
    """Probe every layer for each searched property. named: cells that the second probe leaves out.

    The cells are read by the first of the state's signals: c of an LSTM, h of other recurrences.
    """
    network, study, progress = recordings.network, recordings.study, recordings.progress
    searched = list(study.searched)
    labels = Labels(study.select.labels.numbers[searched], study.select.labels.graded[searched])
    weights = bootstrap_weights(SEGMENTS, study.effort.resamples, study.effort.seed)
    length = len(study.confirm.ids)
    segments = np.arange(length) * SEGMENTS // length
    probes = []
    for layer in range(1, network.settings.layers + 1):
        show = part(progress, layer - 1, network.settings.layers)
        cells = [cell for cell in all_cells(network) if cell.layer == layer]
        signal = network.recurrence.state_signals[0]
        recorded = recordings.read(cells, stages.PROBE, part(show, 0, 2), signals=[signal])
        select, confirm = recorded.of_layer(layer, signal)
        equations = NormalEquations.of(select, labels, study.select.by_character)
        left_out = np.array([str(cell) in named for cell in cells])
        columns = [predictions(confirm, equations.weights(without)) for without in (None, left_out)]
        scores = [rank_correlation(ranked(one, study.confirm.by_character)[0], study.confirm.labels) for one in columns]
        for place, k in enumerate(searched):
            part(show, 1, 2)(stages.PROBE, place / len(searched))
            truth = study.confirm.values[k]
            bounds = [
                interval(
                    resampled_rank_correlation(one[:, place], truth, study.confirm.by_character, segments, weights)
                )
                for one in columns
            ]
            whole, elsewhere = (float(one[k, place]) for one in scores)
            one = study.properties[k]
            probes.append(Probe(layer, one.title, one.kind, whole, bounds[0], elsewhere, bounds[1]))
        show(stages.PROBE, 1.0)
    return tuple(probes)
