"""Gradients over many characters, against plain autograd and networks that are known to remember."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from charrnn.causal.clamp import Clamp, clamped
from charrnn.errors import CharrnnError
from charrnn.inspection.gradients import gradient_share, sampled_positions, state_gradients
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.model.recurrences import RECURRENCES
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import contracted, small_network
from tests.planted import COUNTER, LATCH, planted, prose
from tests.textbook import step

LENGTH, LAGS = 1200, 6


def random_text(documents: bool = False) -> EncodedText:
    ids = np.random.default_rng(0).integers(0, 11, LENGTH).astype(np.uint8)
    return EncodedText(ids, np.arange(0, LENGTH, 5) if documents else np.zeros(0, np.int64), opening=3)


def autograd_norms(network: CharRNN, ids: np.ndarray, opened: bool) -> list[float]:
    """Return ‖∂L/∂s‖ for the state after the last character but one, the one before, … by one graph of all steps."""
    name, layers = network.settings.recurrence, network.settings.layers
    zeros = torch.zeros(network.settings.hidden_size, dtype=torch.float64)
    states, copies = [(zeros, zeros)] * layers, []
    for character in ids[:-1]:
        x = network.embedding.weight[int(character)]
        after = []
        for layer, (h, c) in zip(network.recurrences, states, strict=True):
            found = step(name, layer, x, h, c)
            x = found["h"]
            after.append((x, found.get("c", zeros)))
        states = [(h.clone(), c.clone()) for h, c in after]  # only the next character reads these
        copies.append([part for layer in states for part in layer if part.requires_grad])
    loss = cross_entropy(network.output(states[-1][0]), torch.tensor(int(ids[-1])))
    norms = []
    first = 1 if opened else len(copies) - LAGS - 1  # the state after the opening is not of the document
    for parts in reversed(copies[first:]):
        found = torch.autograd.grad(loss, parts, retain_graph=True, materialize_grads=True)
        norms.append(float(torch.cat(found).norm()))
    return norms


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_norms_equal_plain_autograd(recurrence: str, layers: int) -> None:
    network, text = contracted(small_network(recurrence, layers=layers)), random_text()
    found = state_gradients(network, text, positions=3, lags=LAGS)
    for logs, end in zip(found.log_norms, sampled_positions(text, 3, before=LAGS, after=1), strict=True):
        read = text.ids[end - LAGS + 1 - 300 : end + 2]  # the first character is read from zeros: LENGTH / 4 before
        np.testing.assert_allclose(np.exp(logs), autograd_norms(network, read, False), rtol=1e-9)


def test_lags_end_at_the_start_of_a_document() -> None:
    network, text = small_network(), random_text(documents=True)
    found = state_gradients(network, text, positions=4, lags=LAGS)
    for logs, end in zip(found.log_norms, sampled_positions(text, 4, before=LAGS, after=1), strict=True):
        start = end - end % 5
        expected = autograd_norms(network, np.r_[text.opening, text.ids[start : end + 2]], True)
        np.testing.assert_allclose(np.exp(logs[: len(expected)]), expected, rtol=1e-9)
        assert np.isnan(logs[len(expected) :]).all()
        assert len(expected) == end % 5 + 1 < 5


def test_known_eigenvalue() -> None:
    """h' = ReLU(λ·h + …) where all units stay positive is linear: the norm shrinks by λ with each character."""
    network = small_network("irnn", layers=1)
    with torch.no_grad():
        layer = network.recurrences[0]
        layer.weight_hh_l0.copy_(0.01 * torch.eye(7, dtype=torch.float64))
        layer.bias_ih_l0.fill_(100.0)
    logs = state_gradients(network, random_text(), positions=2, lags=200).log_norms
    np.testing.assert_allclose(np.diff(logs, axis=1), np.log(0.01), rtol=1e-9)
    assert (logs < np.log(1e-320)).all(axis=0)[-1]  # below what float64 can hold


def test_planted_latch_carries_the_gradient() -> None:
    text = prose(6000)
    vocabulary = Vocabulary.of(text)
    network = planted(vocabulary)
    with torch.no_grad():
        network.output.weight[vocabulary.encode(")")[0], LATCH] = 2.0
        network.output.weight[:, COUNTER] = 0
    share = gradient_share(network, EncodedText(vocabulary.encode(text)), lags=(20, 40), positions=64)
    assert share.largest(1) == [Cell(1, LATCH)]
    assert share.of(Cell(1, LATCH))[40] > 0.99
    np.testing.assert_allclose(share.shares.sum(axis=1), 1.0)
    assert (share.half_from >= 1).all() and (share.half_from <= share.positions).all()


@pytest.mark.parametrize(("signal", "value"), [("h", 0.9), ("c", 0.5), ("c", 3.0)])
def test_held_cell_carries_no_gradient(signal: str, value: float) -> None:
    network, _ = clamped(small_network(), [Clamp(Cell(1, 2), value, signal)])
    found = state_gradients(network, random_text(), positions=4, lags=LAGS, kept=(LAGS,))
    assert np.isfinite(found.log_norms).all()
    assert not found.kept[LAGS][:, 2].any()


def test_share_is_of_the_mean_square() -> None:
    network, text = small_network(layers=2), random_text()
    found = state_gradients(network, text, positions=8, lags=LAGS, kept=(LAGS,))
    share = gradient_share(network, text, lags=(LAGS,), positions=8)
    squares = (np.exp(found.log_norms[:, LAGS])[:, None] * found.kept[LAGS]) ** 2
    np.testing.assert_allclose(share.shares[0], squares.mean(axis=0) / squares.mean(axis=0).sum(), rtol=1e-4)
    assert share.shares.shape == (1, 14) and share.signal == "c"


def test_short_text_is_refused() -> None:
    with pytest.raises(CharrnnError, match="1,000 characters or more, and this one has 999"):
        state_gradients(small_network(), random_text()[:999])
