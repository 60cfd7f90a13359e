"""Generate text: read a prime, then sample one character after another and feed it back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.model.network import CharRNN, State, map_state, overflow_error
from charrnn.sampling.grammar import ANY_TEXT, Automaton
from charrnn.sampling.infilling import Suffix
from charrnn.sampling.matching import Matching
from charrnn.sampling.noise import GumbelNoise
from charrnn.sampling.novelty import CopyLimit, TrainingIndex
from charrnn.sampling.particles import Particles
from charrnn.sampling.registry import FilterChain, SampleContext
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.step import FastStep
from charrnn.sampling.stops import STOPPED, Stops
from charrnn.text.documents import DocumentSeparator
from charrnn.text.vocabulary import Vocabulary

PRIME_CHUNK = 1024  # characters of a prime read at once
CHECK_INTERVAL = 16  # characters between two checks of the logits; each takes a tenth of a small step
LONGEST_END = 64  # characters in which the end of a document is recognized
MULTITHREADED = 30_000_000  # multiplications in a step from which more than one thread pays
Report = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Phase:
    """A network of the same shape that takes over from another. first: the character from which on, counted from 0."""

    first: int
    network: CharRNN


def generate(*args: Any, **kwargs: Any) -> Iterator[np.ndarray]:
    """Generate texts as `generate_states` does, with the same arguments, and yield the ids alone."""
    return (ids for ids, _ in generate_states(*args, **kwargs))


def generate_states(
    network: CharRNN,
    settings: SampleSettings,
    prime_ids: np.ndarray | None = None,
    *,
    vocabulary: Vocabulary,
    state: State | None = None,
    documents: DocumentSeparator | None = None,
    later: Sequence[Phase] = (),
    index: TrainingIndex | None = None,
    form: str = "none",
    history: np.ndarray | None = None,
    particles: Particles | None = None,
    report: Report | None = None,
) -> Iterator[tuple[np.ndarray, State]]:
    """Generate `settings.num` texts in parallel, in constant memory.

    prime_ids: ids (P,) that every stream reads first, or (N, P) of each stream, which continue from `state`. They are
    not yielded, and do not count for the stop texts, but filters see them. None or empty: the opening character, as if
    a line started.
    state: before the prime, one row for all streams or N; None: the initial state.
    documents: of the training. The opening character is then read before the prime, and a stream restarts from the
    initial state after the end of each document.
    later: networks that take over, in order of their first characters. The state is carried over; cells that either
    network holds are set to their values at the change.
    index: of the training text, which `settings.max_copy` needs. form: of the training text, as for
    `charrnn.text.normalization.normalized`; expressions of the settings are for the composed text (NFC).
    history: ids (H,) that `state` has read. Filters see them before the prime.
    particles: the streams are particles, resampled after each character; `Particles.texts` chooses among them.
    report: called with the log-weights (N,) of texts that match an expression, when all have ended.

    Yields ids (N,), int64, and the state after reading them, up to `settings.length` times. A stream that has met a
    stop condition of the settings yields `STOPPED` from then on; the iterator ends when all have. `settings.best_of`
    and the number of particles are left to the caller.

    The weights are copied at the call. Without a seed each call draws one. Stream i of a seed is the same for any
    number of streams and any device, except where rounding decides (float32: about one in a million characters).

    Raises CharrnnError where the vocabulary lacks a character that a setting names or a setting cannot be applied, and
    while generating where the weights are so large that logits are not finite, or the settings leave no character.
    """
    prime_ids = np.empty(0, np.int64) if prime_ids is None else prime_ids
    prime = np.broadcast_to(prime_ids, (settings.num, prime_ids.shape[-1]))
    stops = _stops(settings, vocabulary, prime, form)
    seen = prime if history is None else np.hstack([np.tile(history, (settings.num, 1)), prime])
    filters = FilterChain(SampleContext(settings, vocabulary, seen, network.output.weight.device))
    if not prime_ids.shape[-1]:
        prime_ids = np.array([vocabulary.opening_id])
    elif documents is not None and prime_ids.ndim == 1:
        prime_ids = np.concatenate([[vocabulary.opening_id], prime_ids])
    state = read_prime(network, prime_ids[..., :-1], network.initial_state(1) if state is None else state)
    state = map_state(lambda part: part.expand(settings.num, -1).contiguous(), state)
    last = np.broadcast_to(prime_ids[..., -1], settings.num).astype(np.int64)
    ids = torch.from_numpy(last).to(network.device)
    ends = None if documents is None else _DocumentEnds(documents, vocabulary, prime)
    copies = None if settings.max_copy is None else _copy_limit(index, settings.max_copy, settings.num)
    suffix = None if settings.suffix is None else Suffix(vocabulary.encode(settings.suffix, source="the suffix"))
    step = _PhasedStep(network, later, settings.num)
    resampling = _Resampling(filters, stops, ends, particles, suffix, report)
    return _generate(step, filters, settings, ids, state, stops, ends, copies, resampling)


def _copy_limit(index: TrainingIndex | None, limit: int, streams: int) -> CopyLimit:
    if index is None:
        raise ValueError("max_copy needs the index of the training text")
    return CopyLimit(index.substrings(limit), limit, streams)


def _stops(settings: SampleSettings, vocabulary: Vocabulary, prime: np.ndarray, form: str) -> Stops | Matching:
    """Return what ends the texts of the streams."""
    if settings.matching is None and settings.suffix is None:
        return Stops(settings, vocabulary, prime, form=form)
    expression = ANY_TEXT if settings.matching is None else settings.matching
    return Matching(Automaton.compile(expression, vocabulary, settings.ban, form), settings, len(prime))


@torch.inference_mode()
def read_prime(network: CharRNN, ids: np.ndarray, state: State, *, chunk: int = PRIME_CHUNK) -> State:
    """Return the state after reading ids (P,) from a state of 1 or N rows, or (N, P) from one of N rows."""
    rows = state[0][0].shape[0]
    was_training = network.training
    network.eval()
    try:
        for start in range(0, ids.shape[-1], chunk):
            part = torch.from_numpy(ids[..., start : start + chunk].astype(np.int64)).to(state[0][0].device)
            _, state = network.advance(part.expand(rows, -1), state)
    finally:
        network.train(was_training)
    return state


def _generate(
    step: _PhasedStep,
    filters: FilterChain,
    settings: SampleSettings,
    ids: Tensor,
    state: State,
    stops: Stops | Matching,
    ends: _DocumentEnds | None,
    copies: CopyLimit | None,
    resampling: _Resampling,
) -> Iterator[tuple[np.ndarray, State]]:
    seed = settings.seeded().seed or 0  # never None
    generators = [np.random.default_rng((seed, stream)) for stream in range(settings.num)]
    noise = None if settings.greedy else GumbelNoise(generators, step.network.vocabulary_size, ids.device)
    fast = _FastMode(step.multiplications)  # left before each yield: it would apply to the caller's code
    with fast:
        logits, state = step(0, ids, state)
        resampling.score_ends(logits, state, step.network)
    for generated in range(settings.length):
        if stops.all_stopped:
            break
        with fast:
            is_checked = generated % CHECK_INTERVAL == 0 or generated == settings.length - 1
            if is_checked and not math.isfinite(logits.sum().item()):
                raise overflow_error()
            if isinstance(stops, Matching):  # before the filters, so that they choose among what is left
                logits = stops.apply(logits)
            if copies is not None:
                logits = copies.apply(logits)
            logits = filters(logits)
            if noise is not None:
                logits = logits + noise.next(settings.length - generated)
            ids = logits.argmax(dim=-1)
            drawn = ids.cpu().numpy().copy()
            filters.update(drawn)
            stops.update(drawn)
            if copies is not None:
                copies.update(drawn)
            if stops.all_stopped and (drawn == STOPPED).all():
                break
            if ends is not None:
                ids, state = ends.restart_ended(drawn, ids, state, step.network)
            ids, state = resampling(drawn, ids, state)
            logits, state = step(generated + 1, ids, state)
            resampling.score_ends(logits, state, step.network)
        yield drawn, state
    resampling.finish()


@dataclass(frozen=True)
class _Resampling:
    """What becomes of particles after each character. It does nothing without particles.

    suffix: what follows each text. report: as for `generate_states`.
    """

    filters: FilterChain
    stops: Stops | Matching
    ends: _DocumentEnds | None
    particles: Particles | None
    suffix: Suffix | None
    report: Report | None

    def __call__(self, drawn: np.ndarray, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Take in the drawn ids (N,), and return the ids and the state of the particles that continue."""
        if self.particles is None or not isinstance(self.stops, Matching):
            return ids, state
        resampled = self.particles.resample(drawn, self.stops.log_weights)
        if resampled is None:
            return ids, state
        rows, log_weights = resampled
        self.filters.select(rows)
        self.stops.select(rows, log_weights)
        if self.ends is not None:
            self.ends.select(rows)
        selected = torch.from_numpy(rows).to(ids.device)
        return ids[selected], map_state(itemgetter(selected), state)

    def score_ends(self, logits: Tensor, state: State, network: CharRNN) -> None:
        """Weigh the texts that match after the latest character by the probability of the suffix."""
        if self.suffix is None or self.particles is None or not isinstance(self.stops, Matching):
            return
        log_weights = np.full(len(logits), -np.inf)
        rows = np.flatnonzero(self.stops.matched)
        following = self.suffix.log_probabilities(network, logits, state, rows, self.stops.temperature)
        log_weights[rows] = self.stops.log_weights[rows] + following
        self.particles.add_ends(log_weights)

    def finish(self) -> None:
        """Report the log-weights, or leave that to the particles."""
        if not isinstance(self.stops, Matching):
            return
        if self.particles is None:
            if self.report is not None:
                self.report(self.stops.log_weights)
        elif self.suffix is None:
            self.particles.add_ends(self.stops.log_weights)


class _PhasedStep:
    """A step of a network, or of the one that has taken over from it. network: the current one."""

    def __init__(self, network: CharRNN, later: Sequence[Phase], streams: int):
        self.network, self._step = network, FastStep(network, streams)
        self._later = [(phase, FastStep(phase.network, streams)) for phase in later]
        self.multiplications = self._step.multiplications

    def __call__(self, character: int, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read ids (N,) and predict the character of this number. Held cells have their values in the new state."""
        while self._later and self._later[0][0].first <= character:
            phase, self._step = self._later.pop(0)
            state = phase.network.hold(self.network.hold(state))
            self.network = phase.network
        logits, state = self._step(ids, state)
        return logits, self.network.hold(state) if self.network.held else state


class _FastMode:
    """Compute without gradients, and small steps on one thread; restore both afterwards. It can be entered repeatedly.

    Threads synchronize at every operator, which costs more than they gain in small ones: on two busy processors, two
    threads took 16 ms for a step of 0.03 ms.
    """

    def __init__(self, multiplications: int):
        self._is_small = multiplications < MULTITHREADED
        self._inference = torch.inference_mode()

    def __enter__(self) -> None:
        self._inference.__enter__()
        self._before = torch.get_num_threads()
        if self._is_small and self._before > 1:
            torch.set_num_threads(1)

    def __exit__(self, *error: Any) -> None:
        if self._is_small and self._before > 1:
            torch.set_num_threads(self._before)
        self._inference.__exit__(*error)


class _DocumentEnds:
    """Finds the ends of documents in each stream. prime: ids (N, P); an end may begin in it."""

    def __init__(self, documents: DocumentSeparator, vocabulary: Vocabulary, prime: np.ndarray):
        self._documents, self._vocabulary = documents, vocabulary
        self._latest = [deque(row.tolist(), LONGEST_END) for row in prime[:, -LONGEST_END:]]
        self._characters = [vocabulary.text([character]) for character in range(len(vocabulary))]

    def restart_ended(self, drawn: np.ndarray, ids: Tensor, state: State, network: CharRNN) -> tuple[Tensor, State]:
        """Return the next ids and state: the opening and the network's initial state where a document has ended."""
        ended = [stream for stream, character in enumerate(drawn.tolist()) if self._has_ended(stream, character)]
        if not ended:
            return ids, state
        with torch.inference_mode():
            rows = torch.tensor(ended, device=ids.device)
            first = map_state(lambda part: part.expand(len(ended), -1), network.initial_state(1))
            state = map_state(lambda part, start: part.index_copy(0, rows, start), state, first)
            return ids.index_fill(0, rows, self._vocabulary.opening_id), state

    def select(self, rows: np.ndarray) -> None:
        """Continue with these streams (N,) in place of the present ones."""
        self._latest = [self._latest[row].copy() for row in rows.tolist()]

    def _has_ended(self, stream: int, character: int) -> bool:
        if character == STOPPED:
            return False
        latest = self._latest[stream]
        latest.append(character)
        if not self._documents.may_end_with(self._characters[character]):
            return False
        has_ended = self._documents.is_end(self._vocabulary.text(list(latest)))
        if has_ended:
            latest.clear()
        return has_ended
