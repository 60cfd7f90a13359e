"""Cells clamped by an edit of the weights, against a loop in which they are overwritten."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.causal.clamp import Clamp, clamped
from charrnn.errors import UsageError
from charrnn.inspection.trace import Cell, trace, trace_streams
from charrnn.model.network import CharRNN
from charrnn.model.recurrences import RECURRENCES
from charrnn.scoring.score import score
from charrnn.text.encoded_text import EncodedText, Streams
from tests import textbook
from tests.test_trace import network_of, some_ids

TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def overwritten(network: CharRNN, ids: np.ndarray, clamps: list[Clamp], start: list[list[Tensor]]) -> Tensor:
    """Return log probabilities (N, V) with each clamped h or c set after every step. start: [layer][part], (H,)."""
    held = {signal: [clamp for clamp in clamps if clamp.signal == signal] for signal in ("h", "c")}

    def set_cells(values: Tensor, depth: int, signal: str) -> Tensor:
        values = values.clone()
        for clamp in held[signal]:
            if clamp.cell.layer == depth + 1:
                values[clamp.cell.index] = clamp.value
        return values

    state = [
        [set_cells(part, depth, signal) for part, signal in zip(layer, "hc", strict=False)]
        for depth, layer in enumerate(start)
    ]
    rows = []
    for character in ids.tolist():
        x = network.embedding.weight[character]
        for depth, layer in enumerate(network.recurrences):
            h, c = (*state[depth], torch.zeros(0))[:2]
            found = textbook.step(
                network.settings.recurrence, layer, x, h, c, lambda part, values, d=depth: set_cells(values, d, part)
            )
            state[depth] = [found[part] for part in network.recurrence.state_parts]
            x = found["h"]
        rows.append(torch.log_softmax(network.output.weight @ x + network.output.bias, -1))
    return torch.stack(rows)


def assert_equals_overwriting(network: CharRNN, clamps: list[Clamp], tolerance: float) -> None:
    ids = some_ids(80)
    edited, state = clamped(network, clamps)
    found = np.concatenate(
        [chunk.log_probabilities for chunk in trace(edited, EncodedText(ids), state=state, predictions=True)]
    )
    start = [[part[0] for part in layer] for layer in network.initial_state(1)]
    with torch.no_grad():
        expected = overwritten(network, ids, clamps, start).numpy()
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)
    untouched = np.concatenate(
        [chunk.log_probabilities for chunk in trace(network, EncodedText(ids), predictions=True)]
    )
    assert np.abs(found - untouched).max() > 1e-3


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("value", [0.0, 0.7, -1.5])
def test_clamped_h_equals_overwritten_h(recurrence, layer, dtype, tolerance, value):
    assert_equals_overwriting(network_of(recurrence, dtype=dtype), [Clamp(Cell(layer, 3), value)], tolerance)


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("value", [0.0, 0.7, -0.999, 1.0, -1.0, 1.85, -10.9])
def test_clamped_c_equals_overwritten_c(layer, dtype, tolerance, value):
    assert_equals_overwriting(network_of("lstm", dtype=dtype), [Clamp(Cell(layer, 3), value, "c")], tolerance)


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_clamps_in_several_layers(recurrence, dtype, tolerance):
    clamps = [Clamp(Cell(1, 0), 0.5), Clamp(Cell(1, 6), -0.3), Clamp(Cell(2, 2), 0.9), Clamp(Cell(2, 0), -1.0)]
    assert_equals_overwriting(network_of(recurrence, dtype=dtype), clamps, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_order_of_clamps_does_not_matter(dtype, tolerance):
    clamps = [
        Clamp(Cell(2, 1), -0.6, "c"),  # its gates read the two cells with clamped h
        Clamp(Cell(1, 4), 0.8),
        Clamp(Cell(2, 5), 0.4),
        Clamp(Cell(1, 2), -2.5, "c"),
        Clamp(Cell(1, 4), 0.1, "c"),
    ]
    for order in (clamps, clamps[::-1]):
        assert_equals_overwriting(network_of("lstm", dtype=dtype), order, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("value", [0.25, 1.0, -7.5])
def test_clamped_c_is_traced_at_its_value(value, dtype, tolerance):
    edited, _ = clamped(network_of("lstm", dtype=dtype), [Clamp(Cell(2, 3), value, "c")])
    text = EncodedText(some_ids(300), np.array([0, 40, 41, 250]))
    for part in (EncodedText(text.ids), text):
        (chunk,) = trace(edited, part, signals=["c"], cells=[Cell(2, 3)])
        np.testing.assert_allclose(chunk.signals["c"], value, rtol=tolerance)


def test_documents_start_from_the_clamped_value():
    clamps = [Clamp(Cell(1, 3), 2.5, "c"), Clamp(Cell(2, 0), -1.6, "c"), Clamp(Cell(2, 1), 0.3)]
    network = network_of("lstm")
    edited, _ = clamped(network, clamps)
    starts = np.array([0, 7, 60])
    text = EncodedText(some_ids(90), starts, opening=4)
    (found,) = trace(edited, text, predictions=True)
    costs = score(edited, text).nats
    zeros = [[part[0] for part in layer] for layer in network.initial_state(1)]
    for start, stop in itertools.pairwise([*starts, 90]):
        ids = np.concatenate([[4], text.ids[start:stop]])
        with torch.no_grad():
            expected = overwritten(network, ids, clamps, zeros).numpy()
        np.testing.assert_allclose(found.log_probabilities[start:stop], expected[1:], atol=1e-12)
        np.testing.assert_allclose(costs[start:stop], -expected[np.arange(len(ids) - 1), ids[1:]], atol=1e-12)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_text_is_scored_from_the_clamped_state(recurrence):
    clamps = [Clamp(Cell(1, 3), 0.7), *([Clamp(Cell(2, 1), -3.5, "c")] if recurrence == "lstm" else [])]
    edited, state = clamped(network_of(recurrence), clamps)
    ids = some_ids(100)
    (with_it,) = trace(edited, EncodedText(ids), state=state, predictions=True)
    costs = -with_it.log_probabilities[np.arange(99), ids[1:]]
    np.testing.assert_allclose(score(edited, EncodedText(ids)).nats, costs, atol=1e-12)


def test_given_state_changes_only_in_clamped_cells():
    network = network_of("lstm")
    ids = some_ids(3, 40)
    (chunk,) = trace_streams(network, Streams(ids, np.zeros(ids.shape, bool)))
    edited, state = clamped(network, [Clamp(Cell(1, 3), 0.7), Clamp(Cell(2, 0), -0.5, "c")], chunk.state)
    assert state[0][0][:, 3].tolist() == [0.7] * 3
    assert state[1][1][:, 0].tolist() == [-0.5] * 3
    changed = [
        (depth, part, column)
        for depth, (layer, before) in enumerate(zip(state, chunk.state, strict=True))
        for part, (now, then) in enumerate(zip(layer, before, strict=True))
        for column in (now != then).any(dim=0).nonzero().flatten().tolist()
    ]
    assert changed == [(0, 0, 3), (1, 1, 0)]
    assert edited is not network


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_network_is_not_modified(recurrence):
    network = network_of(recurrence)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    edited, _ = clamped(network, [Clamp(Cell(1, 3), 0.7), Clamp(Cell(2, 3), 0.7)])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(value is other for value, other in zip(network.parameters(), edited.parameters(), strict=True))
    assert not edited.training


@pytest.mark.parametrize(
    ("recurrence", "clamps", "message"),
    [
        ("lstm", [Clamp(Cell(3, 0), 0.5)], "cell 3:0 does not exist; this model has 2 layers of 7 cells"),
        ("lstm", [Clamp(Cell(1, 7), 0.5)], "cell 1:7 does not exist"),
        ("lstm", [Clamp(Cell(1, -1), 0.5)], "a cell is a number or LAYER:INDEX"),
        ("lstm", [Clamp(Cell(1, 0), float("nan"), "c")], "c of cell 1:0 cannot be clamped to nan"),
        ("lstm", [Clamp(Cell(1, 0), float("inf"))], "h of cell 1:0 cannot be clamped to inf"),
        ("lstm", [Clamp(Cell(1, 0), "x")], "h of cell 1:0 cannot be clamped to 'x'; give a finite number"),
        ("lstm", [Clamp(Cell(1, 0), 10**400)], "h of cell 1:0 cannot be clamped to 1000"),
        ("lstm", [Clamp(Cell(1, 0), None)], "h of cell 1:0 cannot be clamped to None; give a finite number"),
        ("lstm", [Clamp(Cell(1, 0), 0.5, "forget")], "forget of cell 1:0 cannot be clamped"),
        ("gru", [Clamp(Cell(1, 0), 0.5, "c")], r"this model \(gru\) has no signal 'c'"),
        ("rnn", [Clamp(Cell(1, 0), 0.5, "c")], r"this model \(rnn\) has no signal 'c'"),
        ("gru", [Clamp(Cell(1, 0), 0.5), Clamp(Cell(1, 0), 0.6)], "a cell cannot be clamped to two values"),
    ],
)
def test_invalid_clamps_are_refused(recurrence, clamps, message):
    with pytest.raises(UsageError, match=message):
        clamped(network_of(recurrence), clamps)
