"""charrnn.model.network"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from charrnn.model.network import CharRNN, parameter_count
from charrnn.settings import RECURRENCE_NAMES, ModelSettings
from tests import textbook
from tests.conftest import small_network

every_recurrence = pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)


def written_out(network: CharRNN, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, T, V) by the equations, one character at a time, from a zero state."""
    zeros = torch.zeros(len(ids), network.settings.hidden_size, dtype=torch.float64)
    h, c = [zeros] * network.settings.layers, [zeros] * network.settings.layers
    logits = []
    for t in range(ids.shape[1]):
        x = network.embedding.weight[ids[:, t]]
        for depth, layer in enumerate(network.recurrences):
            found = textbook.step(network.settings.recurrence, layer, x, h[depth], c[depth])
            h[depth], c[depth] = found["h"], found.get("c", zeros)
            x = found["h"]
        logits.append(x @ network.output.weight.T + network.output.bias)
    return torch.stack(logits, dim=1)


def some_ids(batch: int = 3, length: int = 29) -> torch.Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(5))


@every_recurrence
def test_logits_follow_the_equations(recurrence: str) -> None:
    network, ids = small_network(recurrence), some_ids()
    logits, _ = network(ids, network.initial_state(3))
    torch.testing.assert_close(logits, written_out(network, ids), rtol=0, atol=1e-12)


@every_recurrence
def test_gradients_follow_the_equations(recurrence: str) -> None:
    network, ids = small_network(recurrence), some_ids(length=13)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        return torch.autograd.grad(loss, list(network.parameters()))

    fused = gradients(network(ids, network.initial_state(3))[0])
    plain = gradients(written_out(network, ids))
    for (name, _), one, other in zip(network.named_parameters(), fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12, msg=name)


@every_recurrence
def test_windows_equal_one_pass(recurrence: str) -> None:
    network, ids = small_network(recurrence), some_ids(length=60)
    whole, end = network(ids, network.initial_state(3))
    state, parts = network.initial_state(3), []
    for start, stop in ((0, 1), (1, 20), (20, 21), (21, 60)):
        logits, state = network(ids[:, start:stop], state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)
    for layer, other in zip(state, end, strict=True):
        for part, other_part in zip(layer, other, strict=True):
            torch.testing.assert_close(part, other_part, rtol=0, atol=1e-12)


@every_recurrence
def test_stacked_layers_equal_one_module_of_two(recurrence: str) -> None:
    network, ids = small_network(recurrence), some_ids()
    options = {"nonlinearity": "relu"} if recurrence == "irnn" else {}
    whole = type(network.recurrences[0])(5, 7, num_layers=2, batch_first=True, **options).double()
    with torch.no_grad():
        for number, layer in enumerate(network.recurrences):
            for name, weights in layer.named_parameters():
                getattr(whole, name.replace("_l0", f"_l{number}")).copy_(weights)
    hidden, _ = network.advance(ids, network.initial_state(3))
    expected, _ = whole(network.embedding(ids))
    torch.testing.assert_close(hidden[-1], expected, rtol=0, atol=1e-12)


@every_recurrence
def test_initial_recurrent_matrices_are_orthogonal_and_biases_zero(recurrence: str) -> None:
    network = small_network(recurrence)
    for layer in network.recurrences:
        for gate in network.recurrence.gates:
            rows = network.recurrence.gate_rows(gate, 7)
            block = layer.weight_hh_l0[rows]
            torch.testing.assert_close(block @ block.T, torch.eye(7, dtype=torch.float64), atol=1e-6, rtol=0)
        assert not layer.bias_ih_l0.any()
        assert not layer.bias_hh_l0.any()


def test_dropout_follows_its_generator() -> None:
    network, ids = small_network(dropout=0.5), some_ids()
    state = network.initial_state(3)
    still = network(ids, state)[0]
    torch.testing.assert_close(network(ids, state)[0], still, rtol=0, atol=0)
    network.train()
    first, second, third = (network(ids, state, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_dropout_keeps_the_mean() -> None:
    """With the identity as the output layer, logits are h after dropout."""
    network = small_network(dropout=0.25, layers=1, hidden_size=64, vocabulary_size=64).train()
    nn.init.eye_(network.output.weight)
    ids = torch.randint(64, (4, 100), generator=torch.Generator().manual_seed(5))
    (hidden,), _ = network.advance(ids, network.initial_state(4))
    logits, _ = network(ids, network.initial_state(4), torch.Generator().manual_seed(1))
    factors = logits / hidden
    assert set(factors.detach().round(decimals=6).unique().tolist()) == {0.0, round(1 / 0.75, 6)}
    # The mean of 25,600 draws has a standard deviation of 0.0036, and deviates by five of them once in two million.
    assert factors.mean().item() == pytest.approx(1.0, abs=0.018)


def test_load_matching_weights_keeps_new_characters() -> None:
    parent, child = small_network(vocabulary_size=11), small_network(vocabulary_size=13)
    fresh = child.embedding.weight[11:].clone()
    child.load_matching_weights(parent.state_dict())
    ids = some_ids()
    expected, _ = parent(ids, parent.initial_state(3))
    logits, _ = child(ids, child.initial_state(3))
    torch.testing.assert_close(logits[..., :11], expected, rtol=0, atol=1e-12)
    assert torch.equal(child.embedding.weight[11:], fresh)


def test_parameter_count() -> None:
    settings = ModelSettings(hidden_size=512, embedding_size=64)
    assert parameter_count(settings, 65) == 65 * 64 + 4 * 512 * (64 + 512 + 2) + 65 * 513
