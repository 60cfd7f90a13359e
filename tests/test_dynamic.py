"""charrnn.scoring.dynamic"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN, detach_state
from charrnn.scoring.dynamic import LEAST_RMS, Dynamics, adapt, choose_dynamics, dynamic_score, gradient_rms
from charrnn.scoring.score import score
from charrnn.settings import RECURRENCE_NAMES
from charrnn.text.encoded_text import EncodedText
from tests.conftest import small_network

SEGMENT = 4


def repetitive_text(length: int, starts: list[int] | None = None) -> EncodedText:
    ids = np.tile(np.array([0, 3, 1, 4, 1, 5, 9, 2, 6], np.uint8), 1 + length // 9)[:length]
    return EncodedText(ids, np.array(starts or [], np.int64), opening=7)


def dynamics_of(network: CharRNN, rate: float = 0.01, decay: float = 0.1) -> Dynamics:
    draw = torch.Generator().manual_seed(1)
    rms = [torch.rand(each.shape, generator=draw, dtype=each.dtype) * 0.1 for each in network.parameters()]
    return Dynamics(rms, rate, decay, SEGMENT)


def plain_nats(network: CharRNN, ids: np.ndarray, dynamics: Dynamics) -> list[float]:
    """−ln p of each character after the first, with the update written out."""
    network, trained = copy.deepcopy(network), dict(network.named_parameters())
    mean = np.concatenate([each.flatten().numpy() for each in dynamics.rms]).mean()
    state, nats = network.initial_state(1), []
    for start in range(0, len(ids) - 1, SEGMENT):
        piece = torch.from_numpy(ids[start : start + SEGMENT + 1].astype(np.int64))
        logits, state = network(piece[None, :-1], detach_state(state))
        losses = cross_entropy(logits[0], piece[1:], reduction="none")
        nats += losses.tolist()
        network.zero_grad()
        torch.autograd.backward(losses.sum() / SEGMENT)
        with torch.no_grad():
            for (name, weight), rms in zip(network.named_parameters(), dynamics.rms, strict=True):
                assert weight.grad is not None
                weight.sub_(dynamics.rate * weight.grad / torch.clamp(rms, min=LEAST_RMS * mean))
                weight.add_(torch.clamp(dynamics.decay * rms / mean, max=1) * (trained[name] - weight))
    return nats


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_update_is_that_of_the_paper(recurrence: str, layers: int) -> None:
    network, text = small_network(recurrence, layers=layers), repetitive_text(41)
    dynamics = dynamics_of(network)
    result = dynamic_score(network, text, dynamics)
    np.testing.assert_allclose(result.nats, plain_nats(network, text.ids, dynamics), rtol=1e-9)


def test_gradient_statistics_skip_the_warm_up() -> None:
    """One place of 15 segments, of which the last 11 count."""
    network, text = small_network(), repetitive_text(16 * SEGMENT + 1)
    squares, state = [torch.zeros_like(each) for each in network.parameters()], network.initial_state(1)
    ids = torch.from_numpy(text.ids.astype(np.int64))
    for start in range(0, 16 * SEGMENT - SEGMENT, SEGMENT):
        logits, state = network(ids[None, start : start + SEGMENT], detach_state(state))
        loss = cross_entropy(logits[0], ids[start + 1 : start + SEGMENT + 1])
        if start >= 4 * SEGMENT:
            for square, gradient in zip(squares, torch.autograd.grad(loss, list(network.parameters())), strict=True):
                square += gradient**2
    found = gradient_rms(network, text[: 15 * SEGMENT + 1], SEGMENT)
    for rms, square in zip(found, squares, strict=True):
        torch.testing.assert_close(rms, (square / 11).sqrt())


@pytest.mark.parametrize("starts", [[], [0, 5, 23, 24]], ids=["stream", "documents"])
def test_rate_of_zero_gives_the_frozen_score(starts: list[int]) -> None:
    network, text = small_network(), repetitive_text(60, starts)
    result = dynamic_score(network, text, dynamics_of(network, rate=0.0))
    np.testing.assert_allclose(result.nats, score(network, text).nats, atol=1e-9)


@pytest.mark.parametrize("starts", [[], [0, 5, 23, 24]], ids=["stream", "documents"])
def test_what_follows_does_not_matter(starts: list[int]) -> None:
    network, text = small_network(), repetitive_text(60, starts)
    whole, part = (dynamic_score(network, each, dynamics_of(network)) for each in (text, text[:42]))
    np.testing.assert_allclose(part.nats, whole.nats[: len(part)], rtol=1e-12)


def test_slice_that_starts_within_a_document_is_read_whole() -> None:
    network = small_network()
    result = dynamic_score(network, repetitive_text(41, [0, 12, 30])[7:], dynamics_of(network))
    np.testing.assert_array_equal(
        result.nats, dynamic_score(network, repetitive_text(41, [0, 7, 12, 30])[7:], dynamics_of(network)).nats
    )


def test_network_stays_as_it_is() -> None:
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    dynamic_score(network, repetitive_text(60), dynamics_of(network))
    adapt(network, repetitive_text(60), dynamics_of(network))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_untrained_network_gets_the_highest_rate() -> None:
    network, fractions = small_network(layers=1), list[float]()
    chosen = choose_dynamics(network, repetitive_text(300), fractions.append)
    assert chosen.rate == 8e-4
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def test_adapted_network_predicts_what_it_did_not_read() -> None:
    network, text = small_network(), repetitive_text(400)
    adapted = adapt(network, text[:300], dynamics_of(network))
    assert score(adapted, text[300:]).mean < score(network, text[300:]).mean - 0.5


def test_too_short_texts() -> None:
    network = small_network()
    with pytest.raises(CharrnnError, match="too short"):
        dynamic_score(network, repetitive_text(1), dynamics_of(network))
    with pytest.raises(CharrnnError, match="too short"):
        choose_dynamics(network, repetitive_text(30))
