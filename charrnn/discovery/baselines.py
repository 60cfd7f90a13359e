"""The baselines of a cell: the last characters, a linear memory of the text, and cells of untrained networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from charrnn.discovery import stages
from charrnn.discovery.activations import cell_groups, record
from charrnn.discovery.ranks import Labels, Strata, ranked
from charrnn.discovery.ridge import NormalEquations, predictions
from charrnn.discovery.statistics import rank_correlation
from charrnn.discovery.study import Effort, Study
from charrnn.model.network import CharRNN
from charrnn.progress import StageProgress, part
from charrnn.properties.catalog import Text
from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText

KGRAM = 5
"""The number of last characters that a named cell has to beat."""
TIME_CONSTANTS = (2, 8, 30, 100)
"""Of the linear memory, in characters."""
SCANNED_AT_A_TIME = 64
MEMORY_BIASES = (0.0, 2.0, 4.0, 6.0)
"""Biases of the memory gate of untrained networks: open gates remember about 2, 8, 55 and 400 characters."""
UNTRAINED_CELLS = 512
"""Cells of an untrained network's layer, at most."""
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
class BaselineScore:
    """A rank correlation within the current character, and the values (N/2,) that reach it, on CONFIRM."""

    rank_correlation: float
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Baselines:
    """The baselines of each searched property, by its index."""

    kgram: dict[int, KgramBaseline]
    untrained: dict[int, BaselineScore]
    linear_memory: dict[int, BaselineScore]


def kgram_baselines(
    study: Study, training: tuple[np.ndarray, Text] | None, progress: StageProgress
) -> dict[int, KgramBaseline]:
    """Return the k-gram baseline of each searched property.

    training: ids and text that the k-grams are fitted on; None: the SELECT half.
    """
    ids = study.select.ids if training is None else training[0]
    contexts = Contexts(ids, study.text.ids)
    single = Strata.single(len(study.confirm.ids))
    found = {}
    for place, k in enumerate(study.searched):
        progress(stages.CHARACTERS, place / len(study.searched))
        values = study.select.values[k] if training is None else study.properties[k].of(training[1])
        columns = np.stack([study.split.confirm(one) for one in contexts.expectations(values)], axis=1)
        within, plain = ranked(columns.astype(np.float32), study.confirm.by_character, single)
        found[k] = KgramBaseline(
            rank_correlation(within, study.confirm.labels.only(k))[0],
            rank_correlation(plain, study.confirm.permutable.only(k))[0],
            columns[:, KGRAM - 1],
        )
    progress(stages.CHARACTERS, 1.0)
    return found


def linear_memory_baselines(study: Study, progress: StageProgress) -> dict[int, BaselineScore]:
    """Return how well a linear memory of the text predicts each searched property.

    It is fitted on SELECT, to the characters that are most frequent there.
    """
    progress(stages.LINEAR_MEMORY, 0.0)
    features = linear_memory(study.text, study.select.design.characters[0])
    searched = list(study.searched)
    labels = study.select.labels
    equations = NormalEquations.of(
        study.split.select(features),
        Labels(labels.numbers[searched], labels.graded[searched]),
        study.select.by_character,
    )
    columns = predictions(study.split.confirm(features), equations.weights())
    (within,) = ranked(columns, study.confirm.by_character)
    scores = rank_correlation(within, study.confirm.labels)
    progress(stages.LINEAR_MEMORY, 1.0)
    return {k: BaselineScore(float(scores[k, place]), columns[:, place]) for place, k in enumerate(searched)}


def linear_memory(text: EncodedText, characters: np.ndarray) -> np.ndarray:
    """Return leaky counts of characters (V,) in a text (N,), (N, 4·V) float32, time constant by time constant.

    m_t = exp(−1/τ) m_{t−1} + [x_t = v]. A document begins with the count of its opening alone, as in a network.
    """
    pieces = -(-len(text) // SCANNED_AT_A_TIME)
    shown = np.zeros((pieces * SCANNED_AT_A_TIME, len(characters)), np.float32)
    shown[: len(text)] = text.ids[:, None] == characters
    steps = np.arange(SCANNED_AT_A_TIME)[:, None]
    distance = steps - steps.T
    parts = []
    for constant in TIME_CONSTANTS:
        kernel = np.where(distance >= 0, np.exp(-np.abs(distance) / constant), 0).astype(np.float32)
        part = kernel @ shown.reshape(pieces, SCANNED_AT_A_TIME, -1)
        fading = np.exp(-(steps + 1) / constant).astype(np.float32)
        for before, after in itertools.pairwise(part):
            after += fading * before[-1]
        counts = part.reshape(len(shown), -1)[: len(text)]
        if text.has_documents:
            places = np.arange(text.starts[0], len(text))
            first = text.starts[np.searchsorted(text.starts, places, side="right") - 1]
            before = np.where(first[:, None] > 0, counts[first - 1], 0)
            ages = (places - first + 1)[:, None].astype(np.float32)
            counts[places] += np.exp(-ages / constant) * ((characters == text.opening) - before)
        parts.append(counts)
    return np.concatenate(parts, axis=1)


def untrained_baselines(network: CharRNN, study: Study, progress: StageProgress) -> dict[int, BaselineScore]:
    """Return the best cell of untrained networks of the same shape for each searched property."""
    best: dict[int, BaselineScore] = {}
    networks = list(untrained_networks(network, study.effort))
    for turn, untrained in enumerate(networks):
        chosen = _best_on_select(untrained, study, part(progress, turn, len(networks)))
        columns = np.stack([chosen[k] for k in study.searched], axis=1)
        (within,) = ranked(columns, study.confirm.by_character)
        scores = rank_correlation(within, study.confirm.labels)
        for place, k in enumerate(study.searched):
            if k not in best or scores[k, place] > best[k].rank_correlation:
                best[k] = BaselineScore(float(scores[k, place]), chosen[k])
    return best


def _best_on_select(network: CharRNN, study: Study, progress: StageProgress) -> dict[int, np.ndarray]:
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
    groups = cell_groups(network, study)
    for turn, cells in enumerate(groups):
        show = part(progress, turn, len(groups))
        recorded = record(network, study, cells, signals, every=UNTRAINED_STRIDE, progress=show, stage=stages.UNTRAINED)
        (within,) = ranked(recorded.select, strata)
        scores = rank_correlation(within, labels)
        for k in study.searched:
            column = int(np.abs(scores[k]).argmax())
            if k not in best or abs(scores[k, column]) > best[k]:
                best[k] = abs(scores[k, column])
                values[k] = np.sign(scores[k, column]) * recorded.confirm[:, column]
    return values


def untrained_networks(network: CharRNN, effort: Effort) -> Iterator[CharRNN]:
    """Yield freshly initialized networks, then the trained one with shuffled weights.

    They have the same shape, but at most `UNTRAINED_CELLS` in a layer; a smaller one gets some of the shuffled weights.
    The biases of the fresh ones' memory gates cycle through `MEMORY_BIASES`. A recurrence without a memory gate has no
    bias to choose.
    """
    settings = replace(network.settings, hidden_size=min(network.settings.hidden_size, UNTRAINED_CELLS))
    for number in range(effort.untrained):
        fresh = CharRNN(settings, network.vocabulary_size).eval()  # on the CPU a seed draws the same weights everywhere
        fresh.initialize(torch.Generator().manual_seed(effort.seed + number))
        for layer in fresh.recurrences:
            fresh.recurrence.open_memory(layer, MEMORY_BIASES[number % len(MEMORY_BIASES)])
        yield fresh.to(network.output.weight)
    shuffled = CharRNN(settings, network.vocabulary_size).eval().to(network.output.weight)
    generator = torch.Generator().manual_seed(effort.seed)
    with torch.no_grad():
        for parameter, trained in zip(shuffled.parameters(), network.parameters(), strict=True):
            order = torch.randperm(trained.numel(), generator=generator)[: parameter.numel()].to(trained.device)
            parameter.copy_(trained.flatten()[order].view_as(parameter))
    yield shuffled
