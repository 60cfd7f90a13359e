"""How many nats each character of a text costs a network, exactly, and many characters at a time.

A recurrent network reads one character after the other, and one stream at a time is slow. So the text is cut into
segments that are read side by side; then each segment is begun again from the state in which the one before it really
ended, and read on until its states no longer differ from those of the first reading, which for a network that forgets
takes a few hundred characters. What is left differs from one long reading by rounding alone. Where a network does not
forget, the reading again goes on for as long as states still change: at worst that is one long reading.

A text of documents is scored document by document, those of about one length side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.model.network import CharRNN, State
from charrnn.text.encoded_text import EncodedText

SEGMENTS = 64
SHORTEST_SEGMENT = 1024
LOGITS_AT_ONCE = 4_000_000
MULTIPLICATIONS_AT_ONCE = 10**10  # about a second of one core: so soon a stop is supports_found_inf
PART = 1 << 19  # characters of which all states are kept while they are scored; a longer text is scored part by part
LONGEST_ROW = 4096  # characters of a document that is read in one go, beside others
DOCUMENTS_AT_ONCE = 256
CHARACTERS_AT_ONCE = 16384
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


@dataclass(frozen=True)
class Score:
    """The nats of a text. `nats` (N − 1,): −ln p of each character but the first, given all those before it.

    Of documents `nats` is (N,): every character given those before it in its document.
    """

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
    text: EncodedText,
    *,
    segments: int | None = None,
    chunk: int = 64,
    interrupted: Callable[[], bool] = lambda: False,
) -> Score:
    """Scores a text from a zero state, the state carried over the whole of it, or over each of its documents.

    text: at least one character to predict; where it is mapped, only what is read at the
    time comes into memory. segments: how many are read side by side; chunk: characters of each read at once. Both
    change the time it takes and the memory, not the result beyond rounding. interrupted: asked between chunks; once it
    says yes, Interrupted is raised.
    """
    counted = text.predicted
    if counted < 1:
        raise ValueError("a text needs at least two characters to be scored")
    nats = torch.empty(counted, dtype=torch.promote_types(network.output.weight.dtype, torch.float32))
    was_training = network.training
    network.eval()
    try:
        if text.has_documents:
            _score_documents(network, text, nats, interrupted)
        else:
            _score_text(network, text.ids, nats, segments, chunk, interrupted)
    finally:
        network.train(was_training)
    return Score(nats)


def segments_of(characters: int) -> int:
    """How many segments of a text of this length are read side by side."""
    return max(1, min(SEGMENTS, (characters - 1) // SHORTEST_SEGMENT))


def _score_text(
    network: CharRNN,
    ids: np.ndarray,
    nats: Tensor,
    segments: int | None = None,
    chunk: int = 64,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Fills nats (N − 1,)."""
    segments = segments or segments_of(len(nats) + 1)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    most = min(LOGITS_AT_ONCE // network.vocabulary_size, MULTIPLICATIONS_AT_ONCE // parameters)
    chunk = max(1, min(chunk, most // segments))
    part = segments * max(1, PART // segments)  # every part but the last fills its segments to their ends
    state = network.initial_state(1)
    for start in range(0, len(nats), part):
        stop = min(start + part, len(nats))
        reading = _Reading(network, ids[start : stop + 1], state, segments, chunk, interrupted)
        reading.read_all()
        reading.join_segments()
        nats[start:stop] = reading.nats.flatten()[: stop - start]
        state = _select(reading.ends[-1], torch.tensor([segments - 1]))


def _score_documents(
    network: CharRNN, documents: EncodedText, nats: Tensor, interrupted: Callable[[], bool] = lambda: False
) -> None:
    """Fills nats (N,)."""
    device = network.output.weight.device
    lengths = np.array(documents.document_lengths())
    order = np.argsort(lengths, kind="stable")
    longest_row = min(LONGEST_ROW, LOGITS_AT_ONCE // network.vocabulary_size)
    rows = order[lengths[order] <= longest_row]
    for document in order[len(rows) :]:
        start, stop = documents.starts[document], documents.starts[document] + lengths[document]
        opened = np.concatenate([np.full(1, documents.opening, documents.ids.dtype), documents.ids[start:stop]])
        _score_text(network, opened, nats[start:stop], interrupted=interrupted)
    first = 0
    while first < len(rows):
        if interrupted():
            raise Interrupted
        last = min(first + DOCUMENTS_AT_ONCE, len(rows))
        while last - first > 1 and (last - first) * lengths[rows[last - 1]] > min(
            CHARACTERS_AT_ONCE, LOGITS_AT_ONCE // network.vocabulary_size
        ):
            last = first + (last - first) // 2
        together = rows[first:last]
        columns = np.arange(lengths[together[-1]])
        real = columns < lengths[together, None]
        places = np.where(real, documents.starts[together, None] + columns, 0)
        targets = torch.from_numpy(documents.ids[places].astype(np.int64)).to(device)
        inputs = torch.cat([torch.full_like(targets[:, :1], documents.opening), targets[:, :-1]], dim=1)
        logits, _ = network(inputs, network.initial_state(len(together)))
        costs = cross_entropy(logits.to(nats.dtype).flatten(0, 1), targets.flatten(), reduction="none").cpu()
        real = torch.from_numpy(real)
        nats[torch.from_numpy(places)[real]] = costs.view(real.shape)[real]
        first = last


class _Reading:
    """A text cut into `segments` rows of equal length (the last one filled up), read in chunks of columns.

    state: of one row, from which the text is read on.
    nats (S, n): the cost of each character; `ends[k]`: the state of every segment after its chunk k.
    """

    def __init__(
        self,
        network: CharRNN,
        ids: np.ndarray,
        state: State,
        segments: int,
        chunk: int,
        interrupted: Callable[[], bool],
    ):
        self.network, self.ids, self.state, self.interrupted = network, ids, state, interrupted
        self.device = network.output.weight.device
        counted = len(ids) - 1
        self.segments = segments
        self.length = -(-counted // segments)
        self.chunks = [slice(start, min(start + chunk, self.length)) for start in range(0, self.length, chunk)]
        self.nats = torch.empty(
            segments, self.length, dtype=torch.promote_types(network.output.weight.dtype, torch.float32)
        )
        self.ends: list[State] = []

    def _read(self, rows: Tensor, columns: slice, state: State) -> State:
        if self.interrupted():
            raise Interrupted
        firsts = rows.numpy()[:, None] * self.length
        places = firsts + np.arange(columns.start, columns.stop + 1)
        ids = self.ids[np.minimum(places, len(self.ids) - 1)].astype(np.int64)
        read = torch.from_numpy(ids).to(self.device)
        inputs, targets = read[:, :-1], read[:, 1:]
        logits, state = self.network(inputs, state)
        nats = cross_entropy(logits.to(self.nats.dtype).flatten(0, 1), targets.flatten(), reduction="none")
        self.nats[rows, columns] = nats.view(len(rows), -1).cpu()
        return state

    def read_all(self) -> None:
        rows = torch.arange(self.segments)
        state = self._beginnings(self.network.initial_state(self.segments))
        for columns in self.chunks:
            state = self._read(rows, columns, state)
            self.ends.append(state)

    def join_segments(self) -> None:
        """Begins segments again from where the one before them ended, until no beginning changes any more.

        The k-th time round the first k segments are final, so this ends after S rounds at the latest.
        """
        begun_from = self._beginnings(self.network.initial_state(self.segments))
        for _ in range(1, self.segments):
            beginnings = self._beginnings(self.ends[-1])
            rows = _rows_that_differ(beginnings, begun_from)
            if not len(rows):
                return
            begun_from = beginnings
            self._read_again(rows, _select(beginnings, rows))

    def _beginnings(self, ends: State) -> State:
        """Row s becomes that of segment s − 1; segment 0 begins with the text."""
        return tuple(
            tuple(torch.cat([first, part[:-1]]) for first, part in zip(firsts, layer, strict=True))
            for firsts, layer in zip(self.state, ends, strict=True)
        )

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
