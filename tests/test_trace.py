"""Signals of a traced text against the equations, one character at a time."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from charrnn.errors import UsageError
from charrnn.inspection.trace import (
    Cell,
    all_cells,
    find_cell,
    state_after,
    trace,
    trace_streams,
)
from charrnn.model.network import CharRNN, plain_step
from charrnn.model.recurrences import RECURRENCES
from charrnn.scoring.score import score
from charrnn.settings import ModelSettings
from charrnn.text.encoded_text import EncodedText, Streams
from tests import textbook

VOCABULARY = 11


def network_of(recurrence: str, layers: int = 2, hidden_size: int = 7, dtype: torch.dtype = torch.float64) -> CharRNN:
    generator = torch.Generator().manual_seed(3)
    network = CharRNN(ModelSettings(recurrence, layers, hidden_size, 5, 0.3), VOCABULARY)
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.normal_(0, 0.5, generator=generator)
    return network.to(dtype).eval()


def some_ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, VOCABULARY, shape).astype(np.uint8)


def whole(network: CharRNN, text: np.ndarray | EncodedText, **details) -> dict[str, np.ndarray]:
    """Name → values (N, K) of the whole text. text: ids (N,), or an encoded text."""
    text = text if isinstance(text, EncodedText) else EncodedText(text)
    chunks = list(trace(network, text, **details))
    return {name: np.concatenate([chunk.signals[name] for chunk in chunks], axis=-2) for name in chunks[0].signals}


def step_by_step(network: CharRNN, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return name → (N, L·H) by the equations, one character at a time, in double precision."""
    network = copy.deepcopy(network).double()
    zeros = torch.zeros(network.settings.hidden_size, dtype=torch.float64)
    h, c = [zeros] * network.settings.layers, [zeros] * network.settings.layers
    rows: dict[str, list[torch.Tensor]] = {}
    for character in ids.tolist():
        x = network.embedding.weight[character]
        now: dict[str, list[torch.Tensor]] = {}
        for depth, layer in enumerate(network.recurrences):
            found = textbook.step(network.settings.recurrence, layer, x, h[depth], c[depth])
            h[depth], c[depth] = found["h"], found.get("c", zeros)
            x = found["h"]
            for name, values in found.items():
                now.setdefault(name, []).append(values)
        for name, layers in now.items():
            rows.setdefault(name, []).append(torch.cat(layers))
    return {name: torch.stack(values).detach().numpy() for name, values in rows.items()}


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_signals_follow_the_equations(recurrence, dtype, tolerance):
    network = network_of(recurrence, dtype=dtype)
    ids = some_ids(300)
    expected = step_by_step(network, ids)
    for chunk in (None, 300, 64, 1):
        found = whole(network, ids, chunk=chunk)
        assert set(found) == set(network.recurrence.signals) == set(expected)
        for name, values in found.items():
            assert values.dtype == (np.float64 if dtype == torch.float64 else np.float32)
            np.testing.assert_allclose(values, expected[name], atol=tolerance, rtol=0)


def test_h_is_the_output_gate_times_tanh_c():
    found = whole(network_of("lstm"), some_ids(200))
    np.testing.assert_allclose(found["h"], found["output"] * np.tanh(found["c"]), atol=1e-14)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_columns_are_the_requested_cells_in_order(recurrence):
    network, ids = network_of(recurrence), some_ids(90)
    everything = whole(network, ids)
    cells = [Cell(2, 3), Cell(1, 6), Cell(2, 0), Cell(1, 6)]
    columns = [all_cells(network).index(cell) for cell in cells]
    for name in network.recurrence.signals:
        found = whole(network, ids, signals=[name], cells=cells, chunk=40)
        assert list(found) == [name]
        np.testing.assert_allclose(found[name], everything[name][:, columns], atol=1e-14)


def test_streams_equal_each_stream_alone():
    network, ids = network_of("lstm"), some_ids(3, 50)
    chunks = list(trace_streams(network, Streams(ids, np.zeros(ids.shape, bool)), chunk=16))
    for stream in range(3):
        for name, values in whole(network, ids[stream]).items():
            together = np.concatenate([chunk.signals[name] for chunk in chunks], axis=1)
            np.testing.assert_allclose(together[stream], values, atol=1e-14)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_states_of_streams_equal_each_stream_alone(recurrence):
    """Whole states without gates are stepped through where there are several streams."""
    network, ids = network_of(recurrence), some_ids(5, 50)
    states = RECURRENCES[recurrence].state_signals
    chunks = list(trace_streams(network, Streams(ids, np.zeros(ids.shape, bool)), signals=states, chunk=20))
    for stream in range(len(ids)):
        alone = whole(network, ids[stream])
        for name in states:
            together = np.concatenate([chunk.signals[name] for chunk in chunks], axis=1)
            np.testing.assert_allclose(together[stream], alone[name], atol=1e-13)
    after = state_after(network, EncodedText(ids[0]))
    for part, expected in zip(sum(chunks[-1].state, ()), sum(after, ()), strict=True):
        np.testing.assert_allclose(part[0].numpy(), expected[0].numpy(), atol=1e-13)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_trace_continues_from_a_state(recurrence):
    network, ids = network_of(recurrence), some_ids(120)
    state = state_after(network, EncodedText(ids[:70]))
    later = whole(network, ids[70:], state=state)
    for name, values in whole(network, ids).items():
        np.testing.assert_allclose(later[name], values[70:], atol=1e-13)


def test_predictions_equal_the_plain_step():
    network, ids = network_of("gru"), some_ids(40)
    found = np.concatenate(
        [chunk.log_probabilities for chunk in trace(network, EncodedText(ids), predictions=True, chunk=17)]
    )
    state, expected = network.initial_state(1), []
    with torch.no_grad():
        for character in ids:
            logits, state = plain_step(network, torch.tensor([int(character)]), state)
            expected.append(torch.log_softmax(logits[0], -1).numpy())
    np.testing.assert_allclose(found, np.array(expected), atol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, atol=1e-12)


def test_chunks_cover_the_text_once():
    chunks = list(trace(network_of("rnn"), EncodedText(some_ids(100)), signals=["h"], chunk=30))
    assert [(chunk.start, len(chunk.signals["h"])) for chunk in chunks] == [(0, 30), (30, 30), (60, 30), (90, 10)]
    assert chunks[0].log_probabilities is None
    assert list(trace(network_of("rnn"), EncodedText(some_ids(0)), signals=["h"])) == []


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [("42", None, "1:42"), ("300", None, "2:44"), ("2:17", None, "2:17"), ("17", 2, "2:17"), ("2:17", 2, "2:17")],
)
def test_cell_names(name, layer, expected):
    assert str(find_cell(name, 2, 256, layer)) == expected


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("9999", None, "cell 9999 does not exist; this model has 1 layer of 384 cells, 1:0 to 1:383"),
        ("2:0", None, "cell 2:0 does not exist"),
        ("1:384", None, "cell 1:384 does not exist"),
        ("0:1", None, "cell 0:1 does not exist"),
        ("1", 2, "layer 2 does not exist"),
        ("1:5", 1, None),
        ("five", None, "a cell is a number or LAYER:INDEX, not 'five'"),
        ("-1", None, "a cell is a number"),
        ("٣", None, "a cell is a number"),
        ("1:" + "9" * 5000, None, "a cell is a number"),
    ],
)
def test_missing_cell_is_refused_with_the_shape(name, layer, message):
    if message is None:
        assert str(find_cell(name, 1, 384, layer)) == name
        return
    with pytest.raises(UsageError, match=message):
        find_cell(name, 1, 384, layer)


def test_cell_of_another_layer_is_refused():
    with pytest.raises(UsageError, match="not in layer 1"):
        find_cell("2:17", 2, 256, 1)


def test_missing_signal_is_refused_with_those_available():
    assert [RECURRENCES[kind].find_signal("auto") for kind in ("lstm", "gru", "rnn")] == ["c", "h", "h"]
    assert RECURRENCES["lstm"].find_signal("forget") == "forget"
    with pytest.raises(UsageError, match=r"\(gru\) has no signal 'c'; it has h, reset, update, candidate"):
        RECURRENCES["gru"].find_signal("c")


def documents_of(lengths: list[int], opening: int = 4) -> EncodedText:
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return EncodedText(some_ids(sum(lengths)), starts, opening)


LENGTHS = [1, 30, 1, 1, 7, 7, 64, 2, 130, 3]


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("chunk", [None, 40, 7, 1])
def test_documents_start_from_opening_and_zeros(recurrence, chunk):
    network, documents = network_of(recurrence), documents_of(LENGTHS)
    chunks = list(trace(network, documents, predictions=True, chunk=chunk))
    found = whole(network, documents, chunk=chunk)
    logs = np.concatenate([one.log_probabilities for one in chunks])
    for start, length in zip(documents.starts, LENGTHS, strict=True):
        own = documents.ids[start : start + length]
        opened = np.concatenate([[documents.opening], own]).astype(np.uint8)
        (alone,) = trace(network, EncodedText(opened), predictions=True)
        for name, values in alone.signals.items():
            np.testing.assert_allclose(found[name][start : start + length], values[1:], atol=1e-13)
        np.testing.assert_allclose(logs[start : start + length], alone.log_probabilities[1:], atol=1e-13)
    for part, expected in zip(sum(chunks[-1].state, ()), sum(alone.state, ()), strict=True):
        np.testing.assert_allclose(part.numpy(), expected.numpy(), atol=1e-13)


def test_trace_and_score_of_documents_agree():
    network, documents = network_of("lstm"), documents_of(LENGTHS)
    logs = np.concatenate([chunk.log_probabilities for chunk in trace(network, documents, predictions=True)])
    nats = score(network, documents).nats
    inside = np.setdiff1d(np.arange(1, len(documents)), documents.starts)
    np.testing.assert_allclose(-logs[inside - 1, documents.ids[inside]], nats[inside], atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 13])
def test_streams_of_documents_continue_from_states(chunk):
    network, documents = network_of("lstm"), documents_of(LENGTHS)
    passage = documents[: 3 * 80].streams(lambda values: values.reshape(3, 80))
    before = some_ids(3, 20)
    *_, last = trace_streams(network, Streams(before, np.zeros(before.shape, bool)))
    state = last.state
    together = list(trace_streams(network, passage, state=state, chunk=chunk))
    for stream in range(3):
        row = Streams(passage.ids[stream : stream + 1], passage.begins[stream : stream + 1], passage.opening)
        alone = list(
            trace_streams(network, row, state=tuple(tuple(p[stream : stream + 1] for p in lay) for lay in state))
        )
        for name in ("c", "h", "forget"):
            found = np.concatenate([one.signals[name] for one in together], axis=1)[stream]
            np.testing.assert_allclose(found, np.concatenate([one.signals[name][0] for one in alone]), atol=1e-13)
        for part, expected in zip(sum(together[-1].state, ()), sum(alone[-1].state, ()), strict=True):
            np.testing.assert_allclose(part[stream].numpy(), expected[0].numpy(), atol=1e-13)


def test_state_after_is_within_the_last_document():
    network, documents = network_of("gru"), documents_of(LENGTHS)
    stop = int(documents.starts[6]) + 10
    found = state_after(network, documents[:stop])
    opened = np.concatenate([[documents.opening], documents.ids[documents.starts[6] : stop]]).astype(np.uint8)
    for part, expected in zip(sum(found, ()), sum(state_after(network, EncodedText(opened)), ()), strict=True):
        np.testing.assert_allclose(part.numpy(), expected.numpy(), atol=1e-13)
