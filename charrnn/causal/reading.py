"""A text read once by the unchanged network, and windows of it that are read again under an intervention.

The text is cut into blocks as for a search: class levels come from SELECT, effects from CONFIRM. The state is kept
before every 25th character, so that a window can start anywhere after at most 24 characters.

Shapes: B blocks, T characters of a block with its gap, E windows, H hidden size, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from charrnn.causal.clamp import Clamp, clamped
from charrnn.causal.levels import class_levels
from charrnn.discovery.study import Split
from charrnn.inspection.trace import Cell, opened_state, restarted, trace_streams
from charrnn.model.network import CharRNN, State, map_state
from charrnn.progress import StageProgress
from charrnn.text.encoded_text import EncodedText, Streams
from charrnn.units import NATS_PER_BIT

GRID = 25
SAMPLE = 4000
"""Characters of each class, at most, that the values of cells are taken from."""
WINDOWS_AT_ONCE = 256


class Places(NamedTuple):
    """Characters of the blocks: block (E,) and column (E,)."""

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def where(cls, mask: np.ndarray) -> Places:
        """Return where a mask (B, T) is true."""
        return cls(*np.nonzero(mask))

    def take(self, chosen: np.ndarray) -> Places:
        """Return some of them, by index or by a mask."""
        return Places(self.rows[chosen], self.columns[chosen])

    def spaced(self, number: int) -> Places:
        """Return at most `number` of them, evenly spaced."""
        return self.take(spaced(len(self.rows), number))

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return values (B, T) at these places, (E,)."""
        found: np.ndarray = values[self.rows, self.columns]
        return found


def spaced(length: int, number: int) -> np.ndarray:
    """Return at most `number` indices below `length`, evenly spaced."""
    return np.arange(length) if length <= number else np.arange(number) * length // number


READING = "reading the text with the network"
"""The stage of an ablation in which the blocks are read."""


@dataclass(frozen=True, eq=False)
class Population:
    """The cells of a layer on SELECT, (H,) each.

    medians, means: of the signal outside and inside, in this order. correlation: with the tested cell. separation:
    difference of the means, in standard deviations of the cell.
    """

    medians: tuple[np.ndarray, np.ndarray]
    means: tuple[np.ndarray, np.ndarray]
    mean: np.ndarray
    correlation: np.ndarray
    separation: np.ndarray

    @classmethod
    def of(cls, outside: np.ndarray, inside: np.ndarray, both: np.ndarray, tested: int) -> Population:
        """Describe cells by samples (n, H) of each class and of all characters."""
        mean, deviation = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-6)
        standard = (both - mean) / deviation
        outside, inside = (one if len(one) else mean[None] for one in (outside, inside))
        medians = class_levels(outside, inside)
        means = outside.mean(axis=0), inside.mean(axis=0)
        correlation = standard[:, tested] @ standard / len(both)
        return cls(medians, means, mean, correlation, (means[1] - means[0]) / deviation)


@dataclass(frozen=True, eq=False)
class Reading:
    """What the network does over the blocks.

    values: signal of the tested cell, (B, T). surprise: bits of the next character, (B, T), NaN where it is unknown.
    states: of each layer and part, (T / 25, B, H): before every 25th column. gap: columns before those of the split.
    """

    network: CharRNN
    streams: Streams
    values: np.ndarray
    surprise: np.ndarray
    states: State
    gap: int
    population: Population

    def state_before(self, places: Places) -> State:
        """Return the state before the characters at these places, (E, H)."""
        after: list[list[Tensor]] = [
            [torch.empty_like(p[0, :1].expand(len(places.rows), -1)) for p in layer] for layer in self.states
        ]
        rest = places.columns % GRID
        for length in np.unique(rest).tolist():
            chosen = np.flatnonzero(rest == length)
            rows, grid = places.rows[chosen], places.columns[chosen] // GRID
            state = map_state(itemgetter((grid, rows)), self.states)
            if length:
                _, state = advance(self.network, self.window(Places(rows, grid * GRID), length), state)
            for layer, found in zip(after, state, strict=True):
                for part, values in zip(layer, found, strict=True):
                    part[chosen] = values
        return tuple(map(tuple, after))

    def window(self, places: Places, length: int) -> Streams:
        """Return the characters from these places on, (E, length)."""
        rows, columns = places.rows[:, None], places.columns[:, None] + np.arange(length)
        return Streams(self.streams.ids[rows, columns], self.streams.begins[rows, columns], self.streams.opening)

    def distance_to_natural(self, state: State, layer: int, part: int) -> np.ndarray:
        """Return how far states lie from the nearest natural one of SELECT, (E,).

        Root mean square over the cells of a layer, in standard deviations of each.
        """
        pool = self.states[layer - 1][part][-(-self.gap // GRID) :, 0::2].flatten(0, 1)
        deviation = pool.std(dim=0).clamp_min(1e-6)
        distance = torch.cdist(state[layer - 1][part] / deviation, pool / deviation).amin(dim=1)
        nearest: np.ndarray = distance.double().cpu().numpy() / np.sqrt(pool.shape[1])
        return nearest


def read_blocks(
    network: CharRNN,
    text: EncodedText,
    split: Split,
    classes: tuple[np.ndarray, np.ndarray],
    cell: Cell,
    signal: str,
    progress: StageProgress,
) -> Reading:
    """Read the blocks of a text and gather what is known of the cells of one layer.

    classes: outside and inside, (B, T) each.
    """
    streams = text.streams(split.streams)
    cells = [Cell(cell.layer, index) for index in range(network.settings.hidden_size)]
    values, surprise = (np.full(streams.ids.shape, np.nan) for _ in range(2))
    states = [network.initial_state(len(streams.ids))]
    samples = [_sampled(one, split) for one in (*classes, np.ones_like(classes[0]))]
    gathered: tuple[list[np.ndarray], ...] = tuple([] for _ in samples)
    for chunk in trace_streams(network, streams, signals=[signal], cells=cells, predictions=True, chunk=GRID):
        found, logs = chunk.signals[signal], chunk.log_probabilities
        assert logs is not None
        columns = slice(chunk.start, chunk.start + found.shape[1])
        values[:, columns] = found[:, :, cell.index]
        following = streams.ids[:, columns.start + 1 : columns.stop + 1].astype(np.int64)
        width = following.shape[1]
        surprise[:, columns][:, :width] = -np.take_along_axis(logs[:, :width], following[:, :, None], 2)[:, :, 0]
        for part, sample in zip(gathered, samples, strict=True):
            part.append(found[sample[:, columns]].astype(np.float64))
        states.append(chunk.state)
        progress(READING, columns.stop / len(streams))
    surprise[:, :-1][streams.begins[:, 1:]] = np.nan
    kept = map_state(lambda *parts: torch.stack(parts), *states)
    outside, inside, both = (np.concatenate(parts) for parts in gathered)
    population = Population.of(outside, inside, both, cell.index)
    return Reading(network, streams, values, surprise / NATS_PER_BIT, kept, split.gap, population)


def _sampled(mask: np.ndarray, split: Split) -> np.ndarray:
    """Return at most `SAMPLE` characters of SELECT at which a mask (B, T) holds, evenly spaced, as a mask."""
    usable = np.zeros(mask.shape, bool)
    usable[0::2, split.gap :] = True
    places = Places.where(mask & usable).spaced(SAMPLE)
    chosen = np.zeros(mask.shape, bool)
    chosen[places] = True
    return chosen


@torch.inference_mode()
def advance(network: CharRNN, streams: Streams, state: State) -> tuple[Tensor, State]:
    """Read streams from a state. Return h of the last layer, (E, T, H), and the state after the last character."""
    ids = torch.from_numpy(streams.ids.astype(np.int64)).to(network.device)
    bounds = sorted({0, *np.flatnonzero(streams.begins.any(axis=0)).tolist(), len(streams)})
    hidden = []
    for start, stop in itertools.pairwise(bounds):
        if streams.begins[:, start].any():
            begins = torch.from_numpy(streams.begins[:, start]).to(network.device)
            opened = opened_state(network, streams.opening)
            state = restarted(state, begins, opened)
        layers, state = network.advance(ids[:, start:stop], state)
        hidden.append(layers[-1])
    return torch.cat(hidden, dim=1), state


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows that end at certain characters, with the predictions of the unchanged network there.

    streams: (E, length). state: before them. following: ids of the true next characters, (E,). base: log probabilities
    (E, V).
    """

    streams: Streams
    state: State
    following: Tensor
    base: Tensor

    @classmethod
    def ending_at(cls, reading: Reading, places: Places, length: int) -> Windows:
        """Return windows of `length` characters that end at these places."""
        first = Places(places.rows, places.columns - length + 1)
        streams, state = reading.window(first, length), reading.state_before(first)
        following = reading.streams.ids[places.rows, places.columns + 1].astype(np.int64)
        base = _log_predictions(reading.network, streams, state)
        return cls(streams, state, torch.from_numpy(following).to(base.device), base)

    def __len__(self) -> int:
        return len(self.following)

    def spaced(self, number: int) -> Windows:
        """Return at most `number` of them, evenly spaced."""
        return self[spaced(len(self), number)]

    def __getitem__(self, chosen: np.ndarray) -> Windows:
        state = map_state(itemgetter(chosen), self.state)
        return Windows(self.streams.rows(chosen), state, self.following[chosen], self.base[chosen])

    def held(self, network: CharRNN, clamps: Sequence[Clamp]) -> Tensor:
        """Return log probabilities (E, V) with cells held throughout the windows."""
        edited, state = clamped(network, clamps, self.state)
        return _log_predictions(edited, self.streams, state)

    def end(self, network: CharRNN, clamps: Sequence[Clamp]) -> State:
        """Return the state after the windows, with cells held throughout, (E, H)."""
        edited, state = clamped(network, clamps, self.state)
        return advance(edited, self.streams, state)[1]

    def costs(self, network: CharRNN, clamps: Sequence[Clamp]) -> np.ndarray:
        """Return by how many bits the true next characters are less likely with cells held, (E,)."""
        lost = (self.base - self.held(network, clamps)).gather(1, self.following[:, None])[:, 0]
        return lost.double().cpu().numpy() / NATS_PER_BIT

    def divergence(self, network: CharRNN, clamps: Sequence[Clamp]) -> float:
        """Return the mean KL divergence of the predictions with cells held from those without, in bits."""
        lost = self.base.exp() * (self.base - self.held(network, clamps))
        return float(lost.sum(dim=1).mean()) / NATS_PER_BIT


@torch.inference_mode()
def _log_predictions(network: CharRNN, streams: Streams, state: State) -> Tensor:
    """Return log probabilities (E, V) of the character after each stream."""
    found = []
    for start in range(0, len(streams.ids), WINDOWS_AT_ONCE):
        rows = slice(start, start + WINDOWS_AT_ONCE)
        hidden, _ = advance(network, streams.rows(rows), map_state(itemgetter(rows), state))
        found.append(torch.log_softmax(network.output(hidden[:, -1]), dim=-1))
    return torch.cat(found) if found else network.output.weight.new_zeros((0, network.vocabulary_size))
