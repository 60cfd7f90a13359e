"""A stream of characters: the prime warms the state, then each character is drawn from the logits and read back in."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN, State
from charrnn.sampling.filters import apply_filters
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.step import FastStep
from charrnn.text.documents import DocumentSeparator
from charrnn.text.vocabulary import Vocabulary

STOPPED = -1  # what a stream yields once its text has ended
PRIME_CHUNK = 1024  # characters of a prime read at once
NOISE_CHARACTERS = 256  # for so many characters noise is drawn at once,
NOISE_NUMBERS = 1 << 20  # or for fewer (one at least), so that its block holds no more than this
LONGEST_END = 64  # characters of a document's end that are looked at to tell whether it is one
WORTH_THREADS = 30_000_000  # multiplications a step from which on more than one thread is used


def fresh_seed() -> int:
    """A seed nobody chose, short enough to type again."""
    return secrets.randbelow(10**9)


def generate(
    network: CharRNN,
    settings: SampleSettings,
    prime: np.ndarray | None = None,
    *,
    vocabulary: Vocabulary,
    state: State | None = None,
    documents: DocumentSeparator | None = None,
) -> Iterator[np.ndarray]:
    """Writes `settings.num` texts side by side, a character of each at a time, in memory that does not grow.

    prime: ids (P,) that every stream reads first; they are not yielded, and `settings.stop` is not looked for in them.
    Without one (None or empty) a stream reads one newline (the first character of the vocabulary if it has none), as if
    a line were beginning; it is not yielded either.
    state: the state before the prime, one row for all streams or N; None: zeros.
    documents: what separated the documents that the network was trained on, if it was. Then the opening newline is read
    before a prime too, and after the end of each document a stream begins the next one from a zero state.

    Yields N = `settings.num` ids as int64 (N,), up to `settings.length` times; −1 (`STOPPED`) for a stream that has
    written `settings.stop`, whose characters are the last it yields. Ends early when all streams have stopped.

    The weights are taken when this is called. Without a seed in the settings each call draws its own. Stream i of a
    seed is the same text for any number of streams and on any device, except where rounding decides between two
    characters (float32: about once in a million characters).

    Raises CharrnnError where the stop text holds characters that the vocabulary lacks or is empty.
    """
    stop = _stop_ids(settings, vocabulary)
    if prime is None or len(prime) == 0:
        prime = np.array([vocabulary.opening_id])
    elif documents is not None:
        prime = np.concatenate([[vocabulary.opening_id], prime])
    state = _warmed(network, np.asarray(prime)[:-1], network.initial_state(1) if state is None else state)
    state = tuple(tuple(part.expand(settings.num, -1).contiguous() for part in layer) for layer in state)
    ids = torch.full((settings.num,), int(prime[-1]), dtype=torch.int64, device=network.output.weight.device)
    ends = None if documents is None else _DocumentEnds(documents, vocabulary, settings.num)
    return _written(FastStep(network, settings.num), settings, ids, state, stop, ends)


def _written(
    step: FastStep,
    settings: SampleSettings,
    ids: Tensor,
    state: State,
    stop: np.ndarray | None,
    ends: _DocumentEnds | None,
) -> Iterator[np.ndarray]:
    noise: _GumbelNoise | None = None
    threads = _Threads(step.multiplications)
    ending = None if stop is None else _Ending(stop, settings.num)
    for written in range(settings.length):
        with torch.inference_mode(), threads:  # left before each yield: both would hold in the caller's code too
            logits, state = step(ids, state)
            if not settings.greedy:
                if noise is None:
                    noise = _GumbelNoise(settings, logits)
                logits = apply_filters(logits, settings) + noise.next(settings.length - written)
            ids = logits.argmax(dim=-1)
            drawn = ids.cpu().numpy().copy()
        if ending is not None:
            drawn[ending.stopped] = STOPPED
            ending.read(drawn)
        if ends is not None:
            ids, state = ends.begun_anew(drawn, ids, state)
        yield drawn
        if ending is not None and ending.stopped.all():
            return


class _Threads:
    """One thread for a step that is soon done, and the number there was before afterwards.

    Threads wait for each other at every operator. That costs more than they save in small ones, and a hundred times the
    work itself where other programs keep the processors busy: two threads on two busy processors were measured to take
    16 ms for a step of 0.03 ms.
    """

    def __init__(self, multiplications: int):
        self._one = multiplications < WORTH_THREADS

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._one:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self._one:
            torch.set_num_threads(self._before)


class _GumbelNoise:
    """Standard Gumbel noise (N, V) for one character after another.

    argmax(logits + noise) is a draw from softmax(logits) (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030). Each
    stream has a source of its own on the CPU, so what it draws depends on neither device nor number of streams. Noise
    that belongs to a character, rather than one number for all, lets small changes of the logits change few draws.
    """

    def __init__(self, settings: SampleSettings, like: Tensor):
        seed = fresh_seed() if settings.seed is None else settings.seed
        self._sources = [np.random.default_rng((seed, stream)) for stream in range(settings.num)]
        self._vocabulary_size, self._device = like.shape[-1], like.device
        self._block: Iterator[Tensor] = iter(())

    def next(self, still_wanted: int) -> Tensor:
        """The noise of the next character, (N, V). still_wanted: characters to come, this one included."""
        noise = next(self._block, None)
        if noise is None:
            fitting = NOISE_NUMBERS // (len(self._sources) * self._vocabulary_size)
            self._block = iter(self._drawn(max(1, min(NOISE_CHARACTERS, fitting, still_wanted))).unbind())
            noise = next(self._block)
        return noise

    def _drawn(self, characters: int) -> Tensor:
        noise = np.empty((characters, len(self._sources), self._vocabulary_size), np.float32)
        for stream, source in enumerate(self._sources):
            noise[:, stream] = source.standard_exponential((characters, self._vocabulary_size))
        np.maximum(noise, np.finfo(np.float32).tiny, out=noise)  # a zero would become infinite
        np.log(noise, out=noise)
        return torch.from_numpy(np.negative(noise, out=noise)).to(self._device)


class _Ending:
    """Watches what each stream writes for the stop text. `stopped` (N,): which have written it."""

    def __init__(self, stop: np.ndarray, streams: int):
        self._stop = stop
        self._latest = np.full((streams, len(stop)), STOPPED)
        self.stopped = np.zeros(streams, bool)

    def read(self, drawn: np.ndarray) -> None:
        self._latest[:, :-1] = self._latest[:, 1:]
        self._latest[:, -1] = drawn
        self.stopped |= (self._latest == self._stop).all(axis=1)


class _DocumentEnds:
    """Watches what each stream writes for the end of a document."""

    def __init__(self, documents: DocumentSeparator, vocabulary: Vocabulary, streams: int):
        self._documents, self._vocabulary = documents, vocabulary
        self._opening = vocabulary.opening_id
        self._latest: list[deque[int]] = [deque(maxlen=LONGEST_END) for _ in range(streams)]
        self._characters = [vocabulary.text([character]) for character in range(len(vocabulary))]

    def begun_anew(self, drawn: np.ndarray, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """What to read next, and from which state: the opening from zeros where a document has ended."""
        ended = [stream for stream, character in enumerate(drawn.tolist()) if self._ends(stream, character)]
        if not ended:
            return ids, state
        with torch.inference_mode():
            rows = torch.tensor(ended, device=ids.device)
            state = tuple(tuple(part.index_fill(0, rows, 0.0) for part in layer) for layer in state)
            return ids.index_fill(0, rows, self._opening), state

    def _ends(self, stream: int, character: int) -> bool:
        if character == STOPPED:
            return False
        latest = self._latest[stream]
        latest.append(character)
        if not self._documents.may_end_with(self._characters[character]):
            return False
        ended = self._documents.is_end(self._vocabulary.text(list(latest)))
        if ended:
            latest.clear()
        return ended


def _stop_ids(settings: SampleSettings, vocabulary: Vocabulary) -> np.ndarray | None:
    if settings.stop is None:
        return None
    if not settings.stop:
        raise CharrnnError("the stop text is empty", "give it at least one character")
    hint = "the model can never write it; choose another stop text"
    return vocabulary.encode(settings.stop, source="the stop text", hint=hint).astype(np.int64)


@torch.inference_mode()
def _warmed(network: CharRNN, ids: np.ndarray, state: State) -> State:
    """The state after reading ids (P,) from `state` (1 or N rows)."""
    rows = state[0][0].shape[0]
    was_training = network.training
    network.eval()
    try:
        for start in range(0, len(ids), PRIME_CHUNK):
            chunk = torch.from_numpy(ids[start : start + PRIME_CHUNK].astype(np.int64)).to(state[0][0].device)
            _, state = network.advance(chunk.expand(rows, -1), state)
    finally:
        network.train(was_training)
    return state
