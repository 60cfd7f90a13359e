"""The states and gates of every cell after every character of a text.

The fused layer gives h of all characters. One matrix product over a chunk gives the gates of all its characters, from
the layer's input and h of the character before. `Recurrence.cell_signals` does the rest. Where whole states of several
streams are asked for, and no gates, it is faster on a CPU to step through the characters.

Where documents begin within a chunk, the text between two beginnings becomes a stream that starts from the state after
`opening`; the values are put back in place.

Values at character t are those after reading it. Shapes: B streams, T characters of a chunk, N of the text, H hidden
size, V vocabulary, K cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.model.fast_layer import PACKED_FROM, FastLayer
from charrnn.model.network import CharRNN, State, map_state, overflow_error
from charrnn.text.encoded_text import EncodedText, Streams

VALUES_PER_CHUNK = 1 << 24
LONGEST_CHUNK = 8192
SHORTEST_STEPPED = 16  # characters; below it, copying the weights takes longer than it saves
LARGEST_VALUE = 1e30
"""Larger values overflow in sums over a text."""


@dataclass(frozen=True, order=True)
class Cell:
    """One coordinate of a layer's state; layers count from 1, cells in a layer from 0."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.index}"


def all_cells(network: CharRNN) -> list[Cell]:
    """Return every cell, layer by layer."""
    return [
        Cell(layer, index)
        for layer in range(1, network.settings.layers + 1)
        for index in range(network.settings.hidden_size)
    ]


def find_cell(name: str, layers: int, hidden_size: int, layer: int | None = None) -> Cell:
    """Return the cell of a name: `2:17`, or a number that counts through all layers, or within `layer` if given.

    Raises UsageError if it does not exist.
    """
    match = re.fullmatch(r"(?:(\d{1,9}):)?(\d{1,9})", name.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"a cell is a number or LAYER:INDEX, not {name!r}", "as in 42 or 2:17")
    index = int(match[2])
    if layer is not None:
        check_layer(layer, layers, hidden_size)
    if match[1] is not None:
        cell = Cell(int(match[1]), index)
        if layer not in (None, cell.layer):
            raise UsageError(f"cell {name} is not in layer {layer}", "give one of the two")
    elif layer is not None:
        cell = Cell(layer, index)
    else:
        cell = Cell(index // hidden_size + 1, index % hidden_size)
    if not (1 <= cell.layer <= layers and cell.index < hidden_size):
        raise UsageError(f"cell {name.strip()} does not exist; {_extent(layers, hidden_size)}")
    return cell


def check_layer(layer: int, layers: int, hidden_size: int) -> None:
    """Raise UsageError if a network of this shape has no such layer."""
    if not 1 <= layer <= layers:
        raise UsageError(f"layer {layer} does not exist; {_extent(layers, hidden_size)}")


def _extent(layers: int, hidden_size: int) -> str:
    kind = "1 layer" if layers == 1 else f"{layers} layers"
    return f"this model has {kind} of {hidden_size} cells, 1:0 to {layers}:{hidden_size - 1}"


@dataclass(frozen=True)
class Chunk:
    """A part of a traced text.

    start: its first character. signals: name → values (T, K), or (B, T, K) of B streams, in the order of the requested
    cells. log_probabilities: of the next character, (T, V) or (B, T, V) in nats, if requested. state: after its last
    character.
    """

    start: int
    signals: dict[str, np.ndarray]
    log_probabilities: np.ndarray | None
    state: State


def trace(
    network: CharRNN,
    text: EncodedText,
    *,
    signals: Sequence[str] | None = None,
    cells: Sequence[Cell] | None = None,
    state: State | None = None,
    predictions: bool = False,
    chunk: int | None = None,
) -> Iterator[Chunk]:
    """Read a text and yield the signals of cells, a chunk at a time. Memory does not grow with the text.

    signals: of `network.recurrence.signals`; None: all. cells: None: all, layer by layer. state: before the first
    character, unless a document begins there; None: zeros. predictions: also yield log_probabilities. chunk: characters
    at a time; None: chosen by size. The network must be in evaluation mode.

    Raises UsageError for an unknown signal, CharrnnError where the network overflows.
    """
    streams = text.streams(np.atleast_2d)
    for part in trace_streams(
        network, streams, signals=signals, cells=cells, state=state, predictions=predictions, chunk=chunk
    ):
        logs = None if part.log_probabilities is None else part.log_probabilities[0]
        yield Chunk(part.start, {name: values[0] for name, values in part.signals.items()}, logs, part.state)


def trace_streams(
    network: CharRNN,
    streams: Streams,
    *,
    signals: Sequence[str] | None = None,
    cells: Sequence[Cell] | None = None,
    state: State | None = None,
    predictions: bool = False,
    chunk: int | None = None,
) -> Iterator[Chunk]:
    """Read parallel streams as `trace` reads a text; the arrays of each chunk have a leading dimension B."""
    recurrence = network.recurrence
    signals = recurrence.signals if signals is None else [recurrence.find_signal(name) for name in signals]
    reader = _Reader(network, tuple(signals), _columns(network, cells), predictions)
    state = network.initial_state(len(streams.ids)) if state is None else state
    opened = opened_state(network, streams.opening) if streams.begins.any() else None
    chunk = chunk or reader.chunk(len(streams.ids))
    for start in range(0, len(streams), chunk):
        part = streams[start : start + chunk]
        ids = torch.from_numpy(np.ascontiguousarray(part.ids)).to(network.device)
        if opened is not None and part.begins.any():
            values, log_probabilities, state = reader.read_documents(ids, part.begins, opened, state)
        else:
            values, log_probabilities, state = reader.read(ids, state)
        yield Chunk(start, values, log_probabilities, state)


def trace_signal(
    network: CharRNN, text: EncodedText, signal: str, cells: Sequence[Cell] | None = None, state: State | None = None
) -> np.ndarray:
    """Return one signal of cells over the whole text, (N, K). See `trace`."""
    chunks = [chunk.signals[signal] for chunk in trace(network, text, signals=[signal], cells=cells, state=state)]
    return np.concatenate(chunks) if chunks else np.zeros((0, len(all_cells(network) if cells is None else cells)))


def state_after(network: CharRNN, text: EncodedText) -> State:
    """Return the state after reading a text."""
    state = network.initial_state(1)
    for chunk in trace(network, text, signals=(), cells=()):
        state = chunk.state
    return state


@torch.inference_mode()
def opened_state(network: CharRNN, opening_id: int) -> State:
    """Return the state (1, H) in which the first character of a document is read."""
    opening = torch.full((1, 1), opening_id, device=network.device)
    return network.advance(opening, network.initial_state(1))[1]


def restarted(state: State, is_new: Tensor, opened: State) -> State:
    """Return a state whose rows `is_new` (B,) are replaced by `opened` (1, H), the state in which a document starts."""
    return map_state(lambda part, new: torch.where(is_new[:, None], new, part), state, opened)


@dataclass(frozen=True)
class _LayerColumns:
    """Which columns of the result belong to a layer, for which of its cells, and whether these are all, in order."""

    columns: np.ndarray | slice
    cells: Tensor
    is_whole_layer: bool


def _columns(network: CharRNN, cells: Sequence[Cell] | None) -> list[_LayerColumns]:
    chosen = all_cells(network) if cells is None else list(cells)
    layers = []
    for layer in range(1, network.settings.layers + 1):
        columns = [column for column, cell in enumerate(chosen) if cell.layer == layer]
        indices = [chosen[column].index for column in columns]
        contiguous = columns == list(range(columns[0], columns[0] + len(columns))) if columns else False
        layers.append(
            _LayerColumns(
                slice(columns[0], columns[-1] + 1) if contiguous else np.array(columns, np.int64),
                torch.tensor(indices, dtype=torch.long, device=network.device),
                indices == list(range(network.settings.hidden_size)),
            )
        )
    return layers


Values = tuple[dict[str, np.ndarray], np.ndarray | None, State]
"""Signals (B, T, K) by name, log probabilities (B, T, V) if requested, and the state after the last character."""


@dataclass(frozen=True)
class _Reader:
    """What is recorded while a network reads."""

    network: CharRNN
    signals: tuple[str, ...]
    layers: list[_LayerColumns]
    predictions: bool
    _fast: dict[int, list[FastLayer]] = field(default_factory=dict)

    @property
    def _cells(self) -> int:
        return sum(len(layer.cells) for layer in self.layers)

    def chunk(self, streams: int) -> int:
        """Return how many characters of each stream to read at a time."""
        settings = self.network.settings
        values = streams * (
            settings.hidden_size * (settings.layers + 2)
            + self._cells * (len(self.signals) + 8)
            + self.network.vocabulary_size * self.predictions
        )
        return max(1, min(LONGEST_CHUNK, VALUES_PER_CHUNK // values))

    @torch.inference_mode()
    def read(self, ids: Tensor, state: State) -> Values:
        """Read ids (B, T) of which none but the first begins a document."""
        network, stepped = self.network, self._steps(ids, state)
        if stepped is None:
            hidden, after = network.advance(ids, state)
        else:
            hidden = [parts[0] for parts in stepped]
            after = tuple(tuple(part[:, -1].clone() for part in parts) for parts in stepped)
        for part in hidden:
            _check_range(part)
        number_type = np.float64 if network.output.weight.dtype == torch.float64 else np.float32
        values = {name: np.empty((*ids.shape, self._cells), number_type) for name in self.signals}
        for depth, chosen in enumerate(self.layers):
            if not len(chosen.cells):
                continue
            if stepped is None:
                found = network.recurrence.cell_signals(
                    network.recurrences[depth],
                    self.signals,
                    chosen.cells,
                    inputs=network.embedding(ids.long()) if depth == 0 else hidden[depth - 1],
                    hidden=torch.cat([state[depth][0].unsqueeze(1), hidden[depth][:, :-1]], dim=1),
                    state=state[depth],
                    after=after[depth],
                )
                found["h"] = hidden[depth] if chosen.is_whole_layer else hidden[depth][:, :, chosen.cells]
            else:
                found = dict(zip(network.recurrence.state_parts, stepped[depth], strict=True))
            for name in self.signals:
                values[name][:, :, chosen.columns] = _to_numpy(found[name])
        log_probabilities = None
        if self.predictions:
            log_probabilities = _to_numpy(torch.log_softmax(network.output(hidden[-1]), dim=-1))
        return values, log_probabilities, after

    def _steps(self, ids: Tensor, state: State) -> list[tuple[Tensor, ...]] | None:
        """Return all parts of the state of each layer, (B, T, H) each, stepping through ids (B, T).

        None where that is not what is recorded, or not faster.
        """
        network, (streams, length) = self.network, ids.shape
        parts = tuple(network.recurrence.state_parts)
        is_state = set(self.signals) <= {*parts} and not {"h"} >= {*self.signals}
        if not is_state or not all(chosen.is_whole_layer for chosen in self.layers):
            return None
        if network.device.type != "cpu" or streams < PACKED_FROM or length < SHORTEST_STEPPED:
            return None
        if streams not in self._fast:
            made = [network.recurrence.fast_layer(layer, streams) for layer in network.recurrences]
            self._fast.clear()  # of another number of streams
            self._fast[streams] = [layer for layer in made if layer is not None]
        if len(self._fast[streams]) < len(network.recurrences):
            return None
        signal, found = network.embedding(ids.t().long()), []
        for layer, before in zip(self._fast[streams], state, strict=True):
            recorded = layer.read(signal, before)
            signal = recorded[0]
            found.append(tuple(part.transpose(0, 1) for part in recorded))
        return found

    @torch.inference_mode()
    def read_documents(self, ids: Tensor, begins: np.ndarray, opened: State, state: State) -> Values:
        """Read ids (B, T) where documents begin at some characters (B, T), from the state `opened` (1, H).

        The pieces between beginnings are sorted by length and read side by side: all up to the length of the shortest,
        then those that are longer up to the length of the next, and so on.
        """
        width, device = begins.shape[1], ids.device
        starts = np.flatnonzero(begins | (np.arange(width) == 0))
        lengths = np.diff(starts, append=begins.size)
        order = np.argsort(-lengths, kind="stable")
        starts, lengths = starts[order], lengths[order]
        rows = torch.from_numpy(starts // width).to(device)
        is_new = torch.from_numpy(begins.reshape(-1)[starts]).to(device)
        current = restarted(map_state(lambda part: part[rows], state), is_new, opened)
        after = map_state(Tensor.clone, state)
        values: dict[str, np.ndarray] = {}
        log_probabilities = None
        read = 0
        for stop in np.unique(lengths):
            open_pieces = int(np.searchsorted(-lengths, -stop, side="right"))
            places = starts[:open_pieces, None] + np.arange(read, stop)
            characters = ids.reshape(-1)[torch.from_numpy(places).to(device)]
            before = map_state(itemgetter(slice(open_pieces)), current)
            found, logs, current = self.read(characters, before)
            for name, own in found.items():
                if name not in values:
                    values[name] = np.empty((begins.size, own.shape[-1]), own.dtype)
                values[name][places] = own
            if logs is not None:
                if log_probabilities is None:
                    log_probabilities = np.empty((begins.size, logs.shape[-1]), logs.dtype)
                log_probabilities[places] = logs
            ended = torch.from_numpy((lengths[:open_pieces] == stop) & ((starts[:open_pieces] + stop) % width == 0))
            ended = ended.to(device)
            for layer, kept in zip(current, after, strict=True):
                for part, place in zip(layer, kept, strict=True):
                    place[rows[:open_pieces][ended]] = part[ended]
            read = stop
        values = {name: own.reshape(*begins.shape, -1) for name, own in values.items()}
        if log_probabilities is not None:
            log_probabilities = log_probabilities.reshape(*begins.shape, -1)
        return values, log_probabilities, after


def _check_range(values: Tensor) -> None:
    low, high = torch.aminmax(values)
    if not bool((low >= -LARGEST_VALUE) & (high <= LARGEST_VALUE)):  # also NaN
        raise overflow_error()


def _to_numpy(tensor: Tensor) -> np.ndarray:
    _check_range(tensor)
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).cpu().numpy()
