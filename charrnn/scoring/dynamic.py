"""Dynamic evaluation: the weights keep learning from the text that is scored.

Krause et al. 2018, arXiv 1709.07432, section 4.2: after each segment, a step of gradient descent on it, with gradients
divided by their root mean square over the training text, and a decay towards the trained weights.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN, State, detach_state
from charrnn.progress import FractionProgress, no_progress
from charrnn.scoring.score import Score, score
from charrnn.text.encoded_text import EncodedText

SEGMENT = 10
"""Characters between two updates. With 20 it takes half the time, and the loss is 0.005 nats higher."""
RATES, DECAYS = (2e-4, 4e-4, 8e-4), (1e-4, 5e-4, 2e-3)
"""The rates are compared first, with the middle decay."""
TUNED_CHARACTERS = 6_000
"""At the end of the training text, which rate and decay are chosen on."""
PLACES, SEGMENTS_AT_A_PLACE, WARM_UP = 24, 12, 4
"""Where the training text's gradients are sampled: segments at each place, after some that only carry the state.
A short text has fewer places."""
LEAST_RMS = 0.05
"""Smaller root mean squares are raised to this share of their mean: rare characters have few gradients there."""
MOST_PASSES, READ_IN_PASSES = 8, 200_000
"""`adapt` reads a text at most this often, and this many characters at most if it reads it more than once."""


@dataclass(frozen=True, eq=False)
class Dynamics:
    """How the weights of a network follow a text.

    rms: of the gradients of each weight over the training text, parameter by parameter. rate: η, of gradients divided
    by it. decay: λ, towards the trained weights at each update, times rms over its mean. segment: characters between
    two updates.
    """

    rms: list[Tensor]
    rate: float = RATES[1]
    decay: float = DECAYS[1]
    segment: int = SEGMENT


class _Learner:
    """A copy of a network, and its state, which learns from the segments it reads."""

    def __init__(self, network: CharRNN, segment: int):
        self.network = copy.deepcopy(network).eval()
        self.parameters = list(self.network.parameters())
        self.trained = [parameter.detach().clone() for parameter in self.parameters]
        self.segment = segment

    def read(self, text: EncodedText) -> Iterator[Tensor]:
        """Yield −ln p of the characters of each segment, (T,), with its graph."""
        state: State = ()
        for ids, begins in _segments(text, self.segment):
            characters = torch.from_numpy(ids.astype(np.int64)).to(self.network.device)
            before = self.network.initial_state(1) if begins else state
            logits, after = self.network(characters[None, :-1], before)
            state = detach_state(after)
            yield cross_entropy(logits[0], characters[1:], reduction="none")

    def gradients(self, nats: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of the sum of nats over the segment length: a shorter piece changes the weights less."""
        return torch.autograd.grad(nats.sum() / self.segment, self.parameters)

    def follow(self, text: EncodedText, dynamics: Dynamics) -> Iterator[Tensor]:
        """Yield −ln p of the characters of each segment, (T,), after the weights have learned from it."""
        mean = float(torch.cat([each.flatten() for each in dynamics.rms]).mean()) or 1.0
        steps = [dynamics.rate / each.clamp(min=LEAST_RMS * mean) for each in dynamics.rms]
        decays = [(each * (dynamics.decay / mean)).clamp(max=1) for each in dynamics.rms]
        for nats in self.read(text):
            gradients = self.gradients(nats)
            with torch.no_grad():
                for weight, gradient, step, decay, origin in zip(
                    self.parameters, gradients, steps, decays, self.trained, strict=True
                ):
                    weight.addcmul_(gradient, step, value=-1).lerp_(origin, decay)
            yield nats.detach()


def _segments(text: EncodedText, segment: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the ids to read and predict of each segment, (T + 1,), and whether a text begins there.

    Documents are cut into segments one by one, the first with the opening character.
    """
    bounds = [*text.as_documents().starts.tolist(), len(text)] if text.has_documents else [0, len(text)]
    for start, stop in itertools.pairwise(bounds):
        ids = text.ids[start:stop]
        if text.has_documents:
            ids = np.concatenate([np.full(1, text.opening, ids.dtype), ids])
        for place in range(0, len(ids) - 1, segment):
            yield ids[place : place + segment + 1], place == 0


def gradient_rms(network: CharRNN, training: EncodedText, segment: int = SEGMENT) -> list[Tensor]:
    """Return the root mean square of each weight's gradient over segments sampled from a text."""
    learner = _Learner(network, segment)
    squares = [torch.zeros_like(parameter) for parameter in learner.parameters]
    length, sampled = segment * (WARM_UP + SEGMENTS_AT_A_PLACE), 0
    places = min(PLACES, max(1, len(training) // length))
    for place in np.linspace(0, max(0, len(training) - length), places).astype(int).tolist():
        for nats in itertools.islice(learner.read(training[place : place + length]), WARM_UP, None):
            sampled += 1
            for square, gradient in zip(squares, learner.gradients(nats), strict=True):
                square.addcmul_(gradient, gradient)
    if not sampled:
        raise CharrnnError("the training text is too short for dynamic evaluation")
    return [(square / sampled).sqrt_() for square in squares]


def choose_dynamics(network: CharRNN, training: EncodedText, progress: FractionProgress = no_progress) -> Dynamics:
    """Return the gradient statistics of a training text, and the rate and decay that suit its end best.

    Raises CharrnnError where the text is too short.
    """
    text = training[max(0, len(training) - TUNED_CHARACTERS) :]
    dynamics, done = Dynamics(gradient_rms(network, training)), 0
    runs = len(RATES) + len(DECAYS) - 1

    def loss(rate: float, decay: float) -> float:
        nonlocal done
        tried = replace(dynamics, rate=rate, decay=decay)
        found = dynamic_score(network, text, tried, lambda part: progress((done + part) / runs)).mean
        done += 1
        return found if math.isfinite(found) else math.inf

    losses = {(rate, dynamics.decay): loss(rate, dynamics.decay) for rate in RATES}
    best_rate = min(losses, key=losses.__getitem__)[0]
    losses |= {(best_rate, decay): loss(best_rate, decay) for decay in DECAYS if decay != dynamics.decay}
    rate, decay = min(losses, key=losses.__getitem__)
    return replace(dynamics, rate=rate, decay=decay)


def dynamic_score(
    network: CharRNN, text: EncodedText, dynamics: Dynamics, progress: FractionProgress = no_progress
) -> Score:
    """Return the cross-entropy of a text, each segment of which is scored before the weights learn from it.

    Documents are read in order, each from a zero state. The network stays as it is.
    """
    if text.predicted < 1:
        raise CharrnnError("the text is too short to score", "give it at least two characters")
    nats, done = [], 0
    for piece in _Learner(network, dynamics.segment).follow(text, dynamics):
        nats.append(piece.cpu())
        done += len(piece)
        progress(done / text.predicted)
    return Score(torch.cat(nats).numpy())


def adapt(network: CharRNN, text: EncodedText, dynamics: Dynamics, progress: FractionProgress = no_progress) -> CharRNN:
    """Return a copy of a network whose weights have learned from a text.

    The number of passes is the one with the lowest loss on the last fifth of the text, which is held out to find it.
    """
    passes = min(MOST_PASSES, max(1, READ_IN_PASSES // max(1, len(text))))
    kept = len(text) * 4 // 5
    if passes > 1 and text[kept:].predicted > 0 and text[:kept].predicted > 0:
        passes = _best_passes(network, text[:kept], text[kept:], dynamics, passes, lambda part: progress(part / 2))
    learner = _Learner(network, dynamics.segment)
    for done in _passes(learner, text, dynamics, passes):
        progress((1 + done / passes) / 2)
    return learner.network


def _best_passes(
    network: CharRNN, seen: EncodedText, unseen: EncodedText, dynamics: Dynamics, most: int, progress: FractionProgress
) -> int:
    """Return after how many passes over one text the loss of another is lowest. Stop at the first that raises it."""
    learner, losses = _Learner(network, dynamics.segment), [math.inf]
    for done in _passes(learner, seen, dynamics, most):
        progress(done / most)
        if done == len(losses):
            losses.append(score(learner.network, unseen).mean)
            if not losses[-1] < losses[-2]:
                break
    return max(1, int(np.nanargmin(losses)))


def _passes(learner: _Learner, text: EncodedText, dynamics: Dynamics, passes: int) -> Iterator[float]:
    """Read a text several times. Yield how many passes are done, after each segment."""
    for number in range(passes):
        done = 0
        for nats in learner.follow(text, dynamics):
            done += len(nats)
            yield number + done / text.predicted
