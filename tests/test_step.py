"""The fast step equals the plain step, which equals the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from charrnn.model import fast_layer
from charrnn.model.network import CharRNN, State, plain_step
from charrnn.model.recurrences import RECURRENCES, Recurrence
from charrnn.sampling.step import FastStep
from charrnn.settings import RECURRENCE_NAMES
from tests.conftest import small_network

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def random_state(network: CharRNN, streams: int) -> State:
    draw = torch.Generator().manual_seed(5)
    return tuple(
        tuple(torch.rand(part.shape, generator=draw, dtype=part.dtype) * 2 - 1 for part in layer)
        for layer in network.initial_state(streams)
    )


def random_ids(network: CharRNN, streams: int, seed: int = 9) -> Tensor:
    return torch.randint(network.vocabulary_size, (streams,), generator=torch.Generator().manual_seed(seed))


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare within a tolerance relative to the largest value, which is unbounded in a ReLU network."""
    largest = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


def assert_equal_states(a: State, b: State, tolerance: float) -> None:
    for layer_a, layer_b in zip(a, b, strict=True):
        for part_a, part_b in zip(layer_a, layer_b, strict=True):
            assert_close(part_a, part_b, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_fast_step_plain_step_and_network_agree(recurrence: str, layers: int, dtype: torch.dtype) -> None:
    network = small_network(recurrence, layers=layers, hidden_size=24).to(dtype)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    tolerance = TOLERANCE[dtype]
    for streams in (1, 2, 3, 4, 5):
        fast = FastStep(network, streams)
        by_fast = by_plain = by_network = random_state(network, streams)
        for position in range(10):
            ids = random_ids(network, streams, seed=position)
            from_fast, by_fast = fast(ids, by_fast)
            from_plain, by_plain = plain_step(network, ids, by_plain)
            from_network, by_network = network(ids.unsqueeze(1), by_network)
            assert_close(from_plain, from_network[:, 0], tolerance)
            assert_close(from_fast, from_plain, tolerance)
        assert_equal_states(by_plain, by_network, tolerance)
        assert_equal_states(by_fast, by_plain, tolerance)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_packed_and_ordinary_products_agree(recurrence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network(recurrence, hidden_size=33).float()
    ids, state = random_ids(network, 6), random_state(network, 6)
    packed = FastStep(network, 6)(ids, state)
    monkeypatch.setattr(fast_layer, "PACKED_FROM", 7)
    ordinary = FastStep(network, 6)(ids, state)
    torch.testing.assert_close(packed[0], ordinary[0], rtol=0, atol=1e-5)
    assert_equal_states(packed[1], ordinary[1], 1e-5)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@pytest.mark.parametrize("streams", [1, 5])
def test_step_does_not_modify_states(recurrence: str, streams: int) -> None:
    network = small_network(recurrence).float()
    fast = FastStep(network, streams)
    given = random_state(network, streams)
    first_logits, first = fast(random_ids(network, streams), given)
    copies = [tuple(tuple(part.clone() for part in layer) for layer in state) for state in (given, first)]
    logits_copy = first_logits.clone()
    fast(random_ids(network, streams, seed=2), first)
    assert_equal_states(given, copies[0], 0)
    assert_equal_states(first, copies[1], 0)
    assert torch.equal(first_logits, logits_copy)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_later_training_does_not_change_a_step(recurrence: str) -> None:
    network = small_network(recurrence)
    ids, state = random_ids(network, 2), random_state(network, 2)
    fast = FastStep(network, 2)
    before, _ = fast(ids, state)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert torch.equal(fast(ids, state)[0], before)
    assert not torch.allclose(FastStep(network, 2)(ids, state)[0], before)


def test_recurrence_without_a_fast_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network("gru", dropout=0.5).train()
    ids, state = random_ids(network, 3), random_state(network, 3)
    expected, expected_state = plain_step(network, ids, state)
    monkeypatch.setattr(type(RECURRENCES["gru"]), "fast_layer", Recurrence.fast_layer)
    logits, after = FastStep(network, 3)(ids, state)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    assert_equal_states(after, expected_state, 1e-12)
    assert network.training


def test_step_refuses_another_number_of_streams() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="made for 3 streams"):
        FastStep(network, 3)(random_ids(network, 2), random_state(network, 2))


def test_saturated_gates_give_finite_values() -> None:
    for recurrence in RECURRENCE_NAMES:
        network = small_network(recurrence)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter *= 1e4
        logits, after = FastStep(network, 2)(random_ids(network, 2), random_state(network, 2))
        assert torch.isfinite(logits).all()
        assert all(torch.isfinite(part).all() for layer in after for part in layer)
