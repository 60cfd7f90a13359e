"""A text through a network: the states and gates of every cell after every character.

The fused recurrence gives h of all steps; one matrix product over a whole chunk then gives every gate of every step at
once, from the layer's input and h of the step before; and c follows by the elementwise scan
c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t (Hochreiter & Schmidhuber 1997; Gers et al. 2000 for the forget gate).

Where documents begin within a chunk, what lies between two beginnings is read as a stream of its own, from the state
of nothing read, and put back to its place.

Values at character t are those after reading character t. Shapes: B streams, T characters of a chunk, N of the text,
H hidden size, V vocabulary, K cells asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from charrnn.errors import UsageError
from charrnn.model.network import RECURRENCES, CharRNN, State, gate_rows
from charrnn.text.encoded_text import EncodedText, Streams

NUMBERS_AT_A_TIME = 1 << 24
LONGEST_CHUNK = 8192


@dataclass(frozen=True, order=True)
class Cell:
    """One coordinate of a layer's state; layers count from 1, cells in a layer from 0."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.index}"


def all_cells(network: CharRNN) -> list[Cell]:
    """Every cell, layer by layer."""
    return [
        Cell(layer, index)
        for layer in range(1, network.settings.layers + 1)
        for index in range(network.settings.hidden_size)
    ]


def find_cell(name: str, layers: int, hidden_size: int, layer: int | None = None) -> Cell:
    """The cell that a person calls `2:17`, or by a number that counts through all layers, or within `layer` if given.

    Raises UsageError where there is none such.
    """
    match = re.fullmatch(r"(?:(\d{1,9}):)?(\d{1,9})", name.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"a cell is a number or LAYER:INDEX, not {name!r}", "as in --cell 42 or --cell 2:17")
    index = int(match[2])
    if layer is not None:
        check_layer(layer, layers, hidden_size)
    if match[1] is not None:
        cell = Cell(int(match[1]), index)
        if layer not in (None, cell.layer):
            raise UsageError(f"--cell {name} is not in --layer {layer}", "give one of the two")
    elif layer is not None:
        cell = Cell(layer, index)
    else:
        cell = Cell(index // hidden_size + 1, index % hidden_size)
    if not (1 <= cell.layer <= layers and cell.index < hidden_size):
        raise UsageError(f"cell {name.strip()} does not exist; {_extent(layers, hidden_size)}")
    return cell


def check_layer(layer: int, layers: int, hidden_size: int) -> None:
    """Raises UsageError where a network of this shape has no such layer."""
    if not 1 <= layer <= layers:
        raise UsageError(f"layer {layer} does not exist; {_extent(layers, hidden_size)}")


def _extent(layers: int, hidden_size: int) -> str:
    kind = "1 layer" if layers == 1 else f"{layers} layers"
    return f"this model has {kind} of {hidden_size} cells, 1:0 to {layers}:{hidden_size - 1}"


def signals_of(recurrence: str) -> tuple[str, ...]:
    """What can be seen of a cell: `c` of an LSTM, `h`, and the gates by name."""
    kind = RECURRENCES[recurrence]
    return (*(("c",) if kind.has_cell_state else ()), "h", *kind.gates)


def find_signal(name: str, recurrence: str) -> str:
    """The signal of this name; `auto` is c where there is one, else h. Raises UsageError where there is none such."""
    known = signals_of(recurrence)
    if name == "auto":
        return known[0]
    if name not in known:
        raise UsageError(f"this model ({recurrence}) has no signal {name!r}; it has {', '.join(known)}")
    return name


@dataclass(frozen=True)
class Chunk:
    """A stretch of the text.

    start: its first character. signals: name → values (T, K), or (B, T, K) where B streams were read, with columns in
    the order of the cells asked for. log_probabilities: of the next character, (T, V) or (B, T, V) in nats, if asked
    for. state: after its last character.
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
    """Read a text and yield the signals of cells, a chunk at a time, so that memory does not grow with the text.

    signals: of `signals_of`; None: all. cells: None: all, layer by layer. state: before the first character, unless a
    document begins there; None: zeros. predictions: also yield log_probabilities. chunk: characters at a time; None:
    chosen by size. The network must be in evaluation mode.
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
    """Read parallel streams as `trace` reads a text; the arrays of each chunk begin with a dimension B."""
    recurrence = network.settings.recurrence
    signals = signals_of(recurrence) if signals is None else tuple(find_signal(name, recurrence) for name in signals)
    columns = _columns(network, cells)
    state = network.initial_state(len(streams.ids)) if state is None else state
    opened = _opened(network, streams.opening) if streams.begins.any() else None
    if chunk is None:
        kept = sum(len(layer.indices) for layer in columns)
        each = len(streams.ids) * (
            network.settings.hidden_size * (network.settings.layers + 2)
            + kept * (len(signals) + 8)
            + network.vocabulary_size * predictions
        )
        chunk = max(1, min(LONGEST_CHUNK, NUMBERS_AT_A_TIME // each))
    for start in range(0, len(streams), chunk):
        part = streams[start : start + chunk]
        ids = torch.from_numpy(np.ascontiguousarray(part.ids)).to(network.output.weight.device)
        if opened is not None and part.begins.any():
            values, log_probabilities, state = _read_documents(
                network, ids, part.begins, opened, state, signals, columns, predictions
            )
        else:
            values, log_probabilities, state = _read(network, ids, state, signals, columns, predictions)
        yield Chunk(start, values, log_probabilities, state)


def state_after(network: CharRNN, text: EncodedText, state: State | None = None) -> State:
    """Return the state after reading a text from a state; None: zeros."""
    state = network.initial_state(1) if state is None else state
    for chunk in trace(network, text, signals=(), cells=(), state=state):
        state = chunk.state
    return state


@torch.inference_mode()
def _opened(network: CharRNN, opening_id: int) -> State:
    """The state (1, H) in which the first character of a document is read."""
    opening = torch.full((1, 1), opening_id, device=network.output.weight.device)
    return network.advance(opening, network.initial_state(1))[1]


@dataclass(frozen=True)
class _Asked:
    """Of one layer: where its cells stand among the columns, which they are, and whether that is all of it in order."""

    places: np.ndarray | slice
    indices: Tensor
    all: bool


def _columns(network: CharRNN, cells: Sequence[Cell] | None) -> list[_Asked]:
    chosen = all_cells(network) if cells is None else list(cells)
    device = network.output.weight.device
    layers = []
    for layer in range(1, network.settings.layers + 1):
        places = [place for place, cell in enumerate(chosen) if cell.layer == layer]
        indices = [chosen[place].index for place in places]
        neighbors = places == list(range(places[0], places[0] + len(places))) if places else False
        layers.append(
            _Asked(
                slice(places[0], places[-1] + 1) if neighbors else np.array(places, np.int64),
                torch.tensor(indices, dtype=torch.long, device=device),
                indices == list(range(network.settings.hidden_size)),
            )
        )
    return layers


@torch.inference_mode()
def _read(
    network: CharRNN,
    ids: Tensor,
    state: State,
    signals: Sequence[str],
    columns: list[_Asked],
    predictions: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray | None, State]:
    hidden, after = network.advance(ids, state)
    count = sum(len(layer.indices) for layer in columns)
    number_type = np.float64 if network.output.weight.dtype == torch.float64 else np.float32
    values = {name: np.empty((*ids.shape, count), number_type) for name in signals}
    for depth, asked in enumerate(columns):
        if not len(asked.indices):
            continue
        before = torch.cat([state[depth][0].unsqueeze(1), hidden[depth][:, :-1]], dim=1)
        layer_input = network.embedding(ids.long()) if depth == 0 else hidden[depth - 1]
        found = _layer_signals(network, depth, asked.indices, layer_input, before, state[depth], after[depth], signals)
        found["h"] = hidden[depth] if asked.all else hidden[depth][:, :, asked.indices]
        for name in signals:
            values[name][:, :, asked.places] = _array(found[name])
    log_probabilities = None
    if predictions:
        log_probabilities = _array(torch.log_softmax(network.output(hidden[-1]), dim=-1))
    return values, log_probabilities, after


@torch.inference_mode()
def _read_documents(
    network: CharRNN,
    ids: Tensor,
    begins: np.ndarray,
    opened: State,
    state: State,
    signals: Sequence[str],
    columns: list[_Asked],
    predictions: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray | None, State]:
    """As `_read`, where documents begin at some characters (B, T), from the state `opened` (1, H).

    Pieces between beginnings are read side by side, the longest first among them, all for as long as the shortest is;
    then those that go on, for as long as the next one is.
    """
    width, device = begins.shape[1], ids.device
    starts = np.flatnonzero(begins | (np.arange(width) == 0))
    lengths = np.diff(starts, append=begins.size)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    rows = torch.from_numpy(starts // width).to(device)
    is_new = torch.from_numpy(begins.reshape(-1)[starts]).to(device).unsqueeze(1)
    current = tuple(
        tuple(torch.where(is_new, new, part[rows]) for new, part in zip(news, layer, strict=True))
        for news, layer in zip(opened, state, strict=True)
    )
    after = tuple(tuple(part.clone() for part in layer) for layer in state)
    values: dict[str, np.ndarray] = {}
    log_probabilities = None
    read = 0
    for stop in np.unique(lengths):
        going = int(np.searchsorted(-lengths, -stop, side="right"))
        places = starts[:going, None] + np.arange(read, stop)
        characters = ids.reshape(-1)[torch.from_numpy(places).to(device)]
        before = tuple(tuple(part[:going] for part in layer) for layer in current)
        found, logs, current = _read(network, characters, before, signals, columns, predictions)
        for name, part in found.items():
            if name not in values:
                values[name] = np.empty((begins.size, part.shape[-1]), part.dtype)
            values[name][places] = part
        if logs is not None:
            if log_probabilities is None:
                log_probabilities = np.empty((begins.size, logs.shape[-1]), logs.dtype)
            log_probabilities[places] = logs
        ended = torch.from_numpy((lengths[:going] == stop) & ((starts[:going] + stop) % width == 0)).to(device)
        for layer, kept in zip(current, after, strict=True):
            for part, place in zip(layer, kept, strict=True):
                place[rows[:going][ended]] = part[ended]
        read = stop
    values = {name: part.reshape(*begins.shape, -1) for name, part in values.items()}
    if log_probabilities is not None:
        log_probabilities = log_probabilities.reshape(*begins.shape, -1)
    return values, log_probabilities, after


def _layer_signals(
    network: CharRNN,
    depth: int,
    indices: Tensor,
    layer_input: Tensor,
    before: Tensor,
    state: tuple[Tensor, ...],
    after: tuple[Tensor, ...],
    signals: Sequence[str],
) -> dict[str, Tensor | np.ndarray]:
    """The gates, and c, of some cells (K) of one layer, (B, T, K) each, as far as `signals` need them.

    before: h before each character (B, T, H). state, after: the layer's own before and after this chunk.
    """
    recurrence = network.settings.recurrence
    wanted = [gate for gate in RECURRENCES[recurrence].gates if gate in _gates_needed(recurrence, signals)]
    if not wanted:
        return {}
    layer = network.recurrences[depth]
    size = network.settings.hidden_size
    rows = torch.cat([gate_rows(recurrence, gate, size).start + indices for gate in wanted])
    from_input = linear(layer_input, layer.weight_ih_l0[rows], layer.bias_ih_l0[rows]).split(len(indices), dim=-1)
    from_hidden = linear(before, layer.weight_hh_l0[rows], layer.bias_hh_l0[rows]).split(len(indices), dim=-1)
    found: dict[str, Tensor | np.ndarray] = {}
    for gate, ours, carried in zip(wanted, from_input, from_hidden, strict=True):
        if gate != "candidate":
            found[gate] = torch.sigmoid(ours + carried)
        elif recurrence == "gru":
            found[gate] = torch.tanh(ours + found["reset"] * carried)  # PyTorch's form: r after the product with W_hn
        else:
            found[gate] = torch.tanh(ours + carried)
    if "c" in signals:
        found["c"] = _cell_states(
            _array(found["forget"]), _array(found["input"] * found["candidate"]), _array(state[1][:, indices])
        )
        drift = np.abs(found["c"][:, -1] - _array(after[1][:, indices]))
        assert (drift <= 1e-3 * (1 + np.abs(found["c"][:, -1]))).all(), "c of the scan is not c of the recurrence"
    return found


def _gates_needed(recurrence: str, signals: Sequence[str]) -> set[str]:
    needed = set(signals)
    if "c" in signals:
        needed |= {"input", "forget", "candidate"}
    if recurrence == "gru" and "candidate" in signals:
        needed.add("reset")
    return needed


def _cell_states(forget: np.ndarray, added: np.ndarray, before: np.ndarray) -> np.ndarray:
    """c (B, T, K) by c_t = f_t ⊙ c_{t−1} + added_t, from f and i ⊙ g (B, T, K) and c before the first step (B, K)."""
    states = np.ascontiguousarray(added.transpose(1, 0, 2))
    forget = np.ascontiguousarray(forget.transpose(1, 0, 2))
    carried = np.empty_like(before)
    for step in range(len(states)):
        np.multiply(forget[step], before, out=carried)
        states[step] += carried
        before = states[step]
    return states.transpose(1, 0, 2)


def _array(tensor: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(tensor, np.ndarray):
        return tensor
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).cpu().numpy()
