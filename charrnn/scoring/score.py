"""The exact cross-entropy of every character of a text, computed in parallel.

One stream is slow on any device. So the text is cut into segments that are read in parallel from a zero state. Each
segment is then read again from the state in which the previous one ended, until its states agree with those of the
first reading. Networks forget, so this takes a few hundred characters; at worst it is one sequential reading. The
result differs from a sequential reading by rounding alone.

Documents are independent and are read in batches of similar length.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN, State, map_state
from charrnn.progress import FractionProgress, no_progress
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import bits, count, perplexity

SEGMENTS = 64
SHORTEST_SEGMENT = 1024
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what is computed at once. They change time and memory, and the result by rounding alone.

    chunk: characters of each segment. part: characters whose states are kept. row: characters of a document read in a
    batch; a longer one is read like a text without documents. documents, characters: of a batch.
    multiplications: between two calls of `should_stop`, about a second on one core.
    """

    chunk: int = 64
    part: int = 1 << 19
    row: int = 4096
    documents: int = 256
    characters: int = 16384
    logits: int = 4_000_000
    multiplications: int = 10**10


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """The cross-entropy of a text.

    nats: −ln p of each scored character given those before it. Without documents the first character is not scored.
    """

    nats: np.ndarray

    @property
    def mean(self) -> float:
        """Nats per character."""
        return torch.from_numpy(self.nats).sum(dtype=torch.float64).item() / len(self.nats)

    @property
    def bits_per_character(self) -> float:
        return bits(self.mean)

    @property
    def perplexity(self) -> float:
        """exp of the mean; infinite where that overflows."""
        return perplexity(self.mean)

    def __len__(self) -> int:
        return len(self.nats)

    def __repr__(self) -> str:
        return (
            f"Score({self.bits_per_character:.4f} bits per character, {self.mean:.4f} nats, "
            f"perplexity {self.perplexity:.4g}, {count(len(self))} characters)"
        )


@dataclass(frozen=True)
class LineScore:
    """The cross-entropy of a line. nats: the mean of its scored characters, None if it has none."""

    number: int
    text: str
    characters: int
    nats: float | None


def score_lines(score: Score, text: EncodedText, vocabulary: Vocabulary) -> list[LineScore]:
    """Split the score of a text into lines. A newline belongs to the line that it ends."""
    unscored = len(text) - len(score)  # the first character, except of documents
    newline = vocabulary.encode("\n", skip_unknown=True)
    ends = [position + 1 for position in np.isin(text.ids, newline).nonzero()[0].tolist()]
    bounds = [0, *ends, len(text)] if not ends or ends[-1] < len(text) else [0, *ends]
    lines = []
    for number, (start, stop) in enumerate(itertools.pairwise(bounds), start=1):
        nats = score.nats[max(0, start - unscored) : stop - unscored]
        mean = float(nats.mean(dtype=float)) if len(nats) else None
        lines.append(LineScore(number, vocabulary.text(text.ids[start:stop]).removesuffix("\n"), len(nats), mean))
    return lines


class ScoringStopped(Exception):  # noqa: N818 - requested, not an error
    """`should_stop` returned True before the score was complete."""


class _Watch:
    """Reports progress and stops the scoring on request. Each character counts twice: it may be read twice."""

    def __init__(self, characters: int, should_stop: Callable[[], bool], progress: FractionProgress):
        self._total, self._should_stop, self._progress = 2 * characters, should_stop, progress
        self._done = 0.0

    def check(self) -> None:
        if self._should_stop():
            raise ScoringStopped

    def read(self, characters: float) -> None:
        """Count characters that are read for the first time, or will not be read again."""
        self._done += characters
        self._progress(min(1.0, self._done / self._total))


@torch.inference_mode()
def score(
    network: CharRNN,
    text: EncodedText,
    *,
    segments: int | None = None,
    limits: Limits = Limits(),
    should_stop: Callable[[], bool] = lambda: False,
    progress: FractionProgress = no_progress,
) -> Score:
    """Return the cross-entropy of a text, read from a zero state; each document from its own.

    segments: read in parallel; `segments_of` its length if None. should_stop: called about once a second. progress:
    called with the fraction done, as often.

    Raises CharrnnError where the text has nothing to predict, ScoringStopped where `should_stop` returned True.
    """
    if text.predicted < 1:
        raise CharrnnError("the text is too short to score", "give it at least two characters")
    text = text.as_documents()
    nats = torch.empty(text.predicted, dtype=_loss_dtype(network))
    watch = _Watch(text.predicted, should_stop, progress)
    was_training = network.training
    network.eval()
    try:
        if text.has_documents:
            _score_documents(network, text, nats, limits, watch)
        else:
            _score_stream(network, text.ids, nats, segments, limits, watch)
    finally:
        network.train(was_training)
    return Score(nats.numpy())


def segments_of(characters: int) -> int:
    """Return how many segments a text of this length is cut into."""
    return max(1, min(SEGMENTS, (characters - 1) // SHORTEST_SEGMENT))


def _loss_dtype(network: CharRNN) -> torch.dtype:
    return torch.promote_types(network.output.weight.dtype, torch.float32)


def _score_stream(
    network: CharRNN, ids: np.ndarray, nats: Tensor, segments: int | None, limits: Limits, watch: _Watch
) -> None:
    """Fill nats (N − 1,) from ids (N,), one part after the other."""
    segments = segments or segments_of(len(ids))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    columns = min(limits.logits // network.vocabulary_size, limits.multiplications // parameters) // segments
    chunk = max(1, min(limits.chunk, columns))
    part = segments * max(1, limits.part // segments)  # every part but the last fills its segments
    state = network.initial_state(1)
    for start in range(0, len(nats), part):
        stop = min(start + part, len(nats))
        reading = _ParallelReading(network, ids[start : stop + 1], state, segments, chunk, watch)
        reading.read_all()
        reading.correct()
        watch.read(stop - start)
        nats[start:stop] = reading.nats.flatten()[: stop - start]
        state = _select(reading.ends[-1], torch.tensor([segments - 1]))


def _score_documents(network: CharRNN, documents: EncodedText, nats: Tensor, limits: Limits, watch: _Watch) -> None:
    """Fill nats (N,), short documents in batches and long ones one by one."""
    lengths = np.array(documents.document_lengths())
    order = np.argsort(lengths, kind="stable")
    logits = limits.logits // network.vocabulary_size
    short = order[lengths[order] <= min(limits.row, logits)]
    for document in order[len(short) :]:
        start, stop = documents.starts[document], documents.starts[document] + lengths[document]
        opened = np.concatenate([np.full(1, documents.opening, documents.ids.dtype), documents.ids[start:stop]])
        _score_stream(network, opened, nats[start:stop], None, limits, watch)
    first = 0
    while first < len(short):
        watch.check()
        size = min(limits.documents, len(short) - first)
        while size > 1 and size * lengths[short[first + size - 1]] > min(limits.characters, logits):
            size //= 2
        batch = short[first : first + size]
        _score_batch(network, documents, batch, lengths, nats)
        watch.read(2 * int(lengths[batch].sum()))
        first += size


def _score_batch(
    network: CharRNN, documents: EncodedText, batch: np.ndarray, lengths: np.ndarray, nats: Tensor
) -> None:
    """Fill nats (N,) for the documents of a batch, padded to the longest. batch: their indices, ascending in length."""
    columns = np.arange(lengths[batch[-1]])
    real = columns < lengths[batch, None]
    positions = np.where(real, documents.starts[batch, None] + columns, 0)
    targets = torch.from_numpy(documents.ids[positions].astype(np.int64)).to(network.output.weight.device)
    inputs = torch.cat([torch.full_like(targets[:, :1], documents.opening), targets[:, :-1]], dim=1)
    logits, _ = network(inputs, network.initial_state(len(batch)))
    losses = cross_entropy(logits.to(nats.dtype).flatten(0, 1), targets.flatten(), reduction="none").cpu()
    is_real = torch.from_numpy(real)
    nats[torch.from_numpy(positions)[is_real]] = losses.view(is_real.shape)[is_real]


class _ParallelReading:
    """A text cut into S segments of equal length, read in parallel chunk by chunk. The last segment is padded.

    state: one row, before the first segment. nats: (S, n). ends: the state of every segment after each chunk.
    """

    def __init__(self, network: CharRNN, ids: np.ndarray, state: State, segments: int, chunk: int, watch: _Watch):
        self.network, self.ids, self.state, self.watch = network, ids, state, watch
        self.segments = segments
        self.length = -(-(len(ids) - 1) // segments)
        self.chunks = [slice(start, min(start + chunk, self.length)) for start in range(0, self.length, chunk)]
        self.nats = torch.empty(segments, self.length, dtype=_loss_dtype(network))
        self.ends: list[State] = []

    def read_all(self) -> None:
        """Read every segment but the first from a zero state."""
        rows = torch.arange(self.segments)
        state = self._starts(self.network.initial_state(self.segments))
        for columns in self.chunks:
            state = self._read(rows, columns, state)
            self.ends.append(state)
            self.watch.read((len(self.ids) - 1) * (columns.stop - columns.start) / self.length)

    def correct(self) -> None:
        """Read segments again from where the previous one ended, until no segment starts from another state.

        After the k-th round the first k + 1 segments are final, so S − 1 rounds suffice.
        """
        read_from = self._starts(self.network.initial_state(self.segments))
        for _ in range(1, self.segments):
            starts = self._starts(self.ends[-1])
            rows = _differing_rows(starts, read_from)
            if not len(rows):
                return
            read_from = starts
            self._read_again(rows, _select(starts, rows))

    def _starts(self, ends: State) -> State:
        """Shift rows by one: segment s starts where segment s − 1 ended, segment 0 where the text starts."""
        return map_state(lambda first, part: torch.cat([first, part[:-1]]), self.state, ends)

    def _read(self, rows: Tensor, columns: slice, state: State) -> State:
        self.watch.check()
        positions = rows.numpy()[:, None] * self.length + np.arange(columns.start, columns.stop + 1)
        ids = self.ids[np.minimum(positions, len(self.ids) - 1)].astype(np.int64)
        characters = torch.from_numpy(ids).to(self.network.output.weight.device)
        inputs, targets = characters[:, :-1], characters[:, 1:]
        logits, state = self.network(inputs, state)
        nats = cross_entropy(logits.to(self.nats.dtype).flatten(0, 1), targets.flatten(), reduction="none")
        self.nats[rows, columns] = nats.view(len(rows), -1).cpu()
        return state

    def _read_again(self, rows: Tensor, state: State) -> None:
        """Read these segments, each until its state agrees with the recorded one."""
        for columns, recorded in zip(self.chunks, self.ends, strict=True):
            state = self._read(rows, columns, state)
            differing = _differing_rows(state, _select(recorded, rows))
            for layer, recorded_layer in zip(state, recorded, strict=True):
                for part, recorded_part in zip(layer, recorded_layer, strict=True):
                    recorded_part[rows] = part
            if not len(differing):
                return
            rows, state = rows[differing], _select(state, differing)


def _select(state: State, rows: Tensor) -> State:
    return map_state(lambda part: part[rows.to(part.device)], state)


def _differing_rows(state: State, other: State) -> Tensor:
    """Return the rows in which any value differs by more than rounding. NaN differs from everything."""
    equal = [
        ((a - b).abs() <= TOLERANCE.get(a.dtype, 1e-3) * (1 + b.abs())).all(dim=1)
        for layer, other_layer in zip(state, other, strict=True)
        for a, b in zip(layer, other_layer, strict=True)
    ]
    return torch.stack(equal).all(dim=0).logical_not().nonzero().flatten().cpu()
