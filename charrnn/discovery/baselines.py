"""What a cell has to beat: the last characters of the text, and cells of networks that were not trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.activations import cell_groups, record
from charrnn.discovery.statistics import Labels, Strata, rank_correlation, ranked
from charrnn.discovery.study import Effort, Progress, Study
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Text
from charrnn.text.contexts import Contexts

KGRAM = 5
"""The number of last characters that a named cell has to beat."""
UNTRAINED_STRIDE = 3
"""Every third block of SELECT chooses the best cell of an untrained network."""


@dataclass(frozen=True, eq=False)
class KgramBaseline:
    """Rank correlations of the expected property after the last 1…8 characters, on CONFIRM.

    within, plain: (8,) within the current character and over all positions. values: expectations of the 5-gram, (N/2,).
    """

    within: np.ndarray
    plain: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class UntrainedBaseline:
    """The best cell of untrained networks: its rank correlation and its values (N/2,) on CONFIRM."""

    rank_correlation: float
    values: np.ndarray


def kgram_baselines(
    study: Study, training: tuple[np.ndarray, Text] | None, progress: Progress
) -> dict[int, KgramBaseline]:
    """Return the k-gram baseline of each searched property.

    training: ids and text that the k-grams are fitted on; None: the SELECT half.
    """
    ids = study.select.ids if training is None else training[0]
    contexts = Contexts(ids, study.text.ids)
    single = Strata.single(len(study.confirm.ids))
    found = {}
    for place, k in enumerate(study.searched):
        progress("last characters", place / len(study.searched))
        values = study.select.values[k] if training is None else study.properties[k].of(training[1])
        columns = np.stack([study.split.confirm(one) for one in contexts.expectations(values)], axis=1)
        within, plain = ranked(columns.astype(np.float32), study.confirm.by_character, single)
        found[k] = KgramBaseline(
            rank_correlation(within, study.confirm.labels.only(k))[0],
            rank_correlation(plain, study.confirm.permutable.only(k))[0],
            columns[:, KGRAM - 1],
        )
    progress("last characters", 1.0)
    return found


def untrained_baselines(network: CharRNN, study: Study, progress: Progress) -> dict[int, UntrainedBaseline]:
    """Return the best cell of untrained networks of the same shape for each searched property."""
    best: dict[int, UntrainedBaseline] = {}
    networks = list(untrained_networks(network, study.effort))
    for turn, untrained in enumerate(networks):
        stage = f"untrained {turn + 1}/{len(networks)}"
        chosen = _best_on_select(untrained, study, stage, progress)
        columns = np.stack([chosen[k] for k in study.searched], axis=1)
        (within,) = ranked(columns, study.confirm.by_character)
        scores = rank_correlation(within, study.confirm.labels)
        for place, k in enumerate(study.searched):
            if k not in best or scores[k, place] > best[k].rank_correlation:
                best[k] = UntrainedBaseline(float(scores[k, place]), chosen[k])
    return best


def _best_on_select(network: CharRNN, study: Study, stage: str, progress: Progress) -> dict[int, np.ndarray]:
    """Return the CONFIRM values, (N/2,), of the cell that fits each searched property best on part of SELECT.

    The sign is the one of the correlation on SELECT.
    """

    def subsample(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, study.split.block)[::UNTRAINED_STRIDE].reshape(-1)

    strata = Strata.by(subsample(study.select.ids))
    labels = Labels.of([subsample(one) for one in study.select.values], strata)
    best: dict[int, float] = {}
    values: dict[int, np.ndarray] = {}
    signals = network.recurrence.state_signals
    for cells in cell_groups(network, study):
        recorded = record(network, study, cells, signals, every=UNTRAINED_STRIDE, progress=progress, stage=stage)
        (within,) = ranked(recorded.select, strata)
        scores = rank_correlation(within, labels)
        for k in study.searched:
            column = int(np.abs(scores[k]).argmax())
            if k not in best or abs(scores[k, column]) > best[k]:
                best[k] = abs(scores[k, column])
                values[k] = np.sign(scores[k, column]) * recorded.confirm[:, column]
    return values


def untrained_networks(network: CharRNN, effort: Effort) -> Iterator[CharRNN]:
    """Yield freshly initialized networks of the same shape, then the trained one with shuffled weights."""
    for number in range(effort.untrained):
        fresh = copy.deepcopy(network).cpu()  # a seed draws the same weights on the CPU, whatever the network's device
        fresh.initialize(torch.Generator().manual_seed(effort.seed + number))
        yield fresh.to(network.output.weight.device)
    shuffled = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(effort.seed)
    with torch.no_grad():
        for parameter in shuffled.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    yield shuffled
