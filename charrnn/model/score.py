"""How many nats each character of a text costs a network, exactly, and many characters at a time.

A recurrent network reads one character after the other, and one stream at a time is slow. So the text is cut into
segments that are read side by side; then each segment is begun again from the state in which the one before it really
ended, and read on until its states no longer differ from those of the first reading, which for a network that forgets
takes a few hundred characters. What is left differs from one long reading by rounding alone. Where a network does not
forget, the reading again goes on for as long as states still change: at worst that is one long reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.model.network import CharRNN, State

SEGMENTS = 64
SHORTEST_SEGMENT = 1024
LOGITS_AT_ONCE = 4_000_000
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


@dataclass(frozen=True)
class Score:
    """The nats of a text. `nats` (N − 1,): −ln p of each character but the first, given all those before it."""

    nats: Tensor

    @property
    def mean(self) -> float:
        """Nats per character: summed nats over counted characters."""
        return self.nats.sum(dtype=torch.float64).item() / len(self.nats)


class Interrupted(Exception):  # noqa: N818 - asked for, not an error
    """The caller asked a score to stop before it was known."""


@torch.inference_mode()
def score(
    network: CharRNN,
    ids: np.ndarray,
    *,
    segments: int | None = None,
    chunk: int = 256,
    interrupted: Callable[[], bool] = lambda: False,
) -> Score:
    """Scores a text from a zero state, the state carried over the whole of it.

    ids: (N,) character ids, N at least 2. segments: how many are read side by side; chunk: characters of each read at
    once. Both change the time it takes and the memory, not the result beyond rounding. interrupted: asked between
    chunks; once it says yes, Interrupted is raised.
    """
    counted = len(ids) - 1
    if counted < 1:
        raise ValueError("a text needs at least two characters to be scored")
    segments = segments or max(1, min(SEGMENTS, counted // SHORTEST_SEGMENT))
    chunk = max(1, min(chunk, LOGITS_AT_ONCE // (segments * network.vocabulary_size)))
    was_training = network.training
    network.eval()
    try:
        reading = _Reading(network, ids, segments, chunk, interrupted)
        reading.read_all()
        reading.join_segments()
    finally:
        network.train(was_training)
    return Score(reading.nats.flatten()[:counted])


class _Reading:
    """A text cut into `segments` rows of equal length (the last one filled up), read in chunks of columns.

    nats (S, n): the cost of each character; `ends[k]`: the state of every segment after its chunk k.
    """

    def __init__(self, network: CharRNN, ids: np.ndarray, segments: int, chunk: int, interrupted: Callable[[], bool]):
        self.network, self.interrupted = network, interrupted
        self.device = network.output.weight.device
        counted = len(ids) - 1
        self.segments = segments
        self.length = -(-counted // segments)
        padded = np.zeros(self.length * segments + 1, dtype=ids.dtype)
        padded[: len(ids)] = ids
        self.inputs = torch.from_numpy(padded[:-1].reshape(segments, self.length))
        self.targets = torch.from_numpy(padded[1:].reshape(segments, self.length))
        self.chunks = [slice(start, min(start + chunk, self.length)) for start in range(0, self.length, chunk)]
        self.nats = torch.empty(
            segments, self.length, dtype=torch.promote_types(network.output.weight.dtype, torch.float32)
        )
        self.ends: list[State] = []

    def _read(self, rows: Tensor, columns: slice, state: State) -> State:
        if self.interrupted():
            raise Interrupted
        inputs = self.inputs[rows, columns].to(self.device)
        targets = self.targets[rows, columns].to(self.device).long()
        logits, state = self.network(inputs, state)
        nats = cross_entropy(logits.to(self.nats.dtype).flatten(0, 1), targets.flatten(), reduction="none")
        self.nats[rows, columns] = nats.view(len(rows), -1).cpu()
        return state

    def read_all(self) -> None:
        rows = torch.arange(self.segments)
        state = self.network.initial_state(self.segments)
        for columns in self.chunks:
            state = self._read(rows, columns, state)
            self.ends.append(state)

    def join_segments(self) -> None:
        """Begins segments again from where the one before them ended, until no beginning changes any more.

        The k-th time round the first k segments are final, so this ends after S rounds at the latest.
        """
        begun_from = self.network.initial_state(self.segments)
        for _ in range(1, self.segments):
            beginnings = _shifted_down(self.ends[-1])
            rows = _rows_that_differ(beginnings, begun_from)
            if not len(rows):
                return
            begun_from = beginnings
            self._read_again(rows, _select(beginnings, rows))

    def _read_again(self, rows: Tensor, state: State) -> None:
        for columns, recorded in zip(self.chunks, self.ends, strict=True):
            state = self._read(rows, columns, state)
            still = _rows_that_differ(state, _select(recorded, rows))
            for layer, kept in zip(state, recorded, strict=True):
                for part, place in zip(layer, kept, strict=True):
                    place[rows] = part
            if not len(still):
                return
            rows, state = rows[still], _select(state, still)


def _shifted_down(state: State) -> State:
    """Row s becomes that of segment s − 1; segment 0 begins with zeros."""
    return tuple(tuple(torch.cat([torch.zeros_like(part[:1]), part[:-1]]) for part in layer) for layer in state)


def _select(state: State, rows: Tensor) -> State:
    return tuple(tuple(part[rows.to(part.device)] for part in layer) for layer in state)


def _rows_that_differ(state: State, other: State) -> Tensor:
    """The rows in which any number differs by more than rounding. Not-a-number differs from all."""
    alike = [
        ((a - b).abs() <= TOLERANCE.get(a.dtype, 1e-3) * (1 + b.abs())).all(dim=1)
        for layer, other_layer in zip(state, other, strict=True)
        for a, b in zip(layer, other_layer, strict=True)
    ]
    return torch.stack(alike).all(dim=0).logical_not().nonzero().flatten().cpu()
