"""Baselines: a linear memory of the text, and untrained networks that remember."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from charrnn.discovery.baselines import TIME_CONSTANTS, linear_memory, linear_memory_baselines, untrained_networks
from charrnn.discovery.ranks import Labels, Strata
from charrnn.discovery.resampling import resampled_correlation
from charrnn.discovery.ridge import RIDGE, NormalEquations, predictions
from charrnn.model.gate_weights import gate_weights
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import network_for, prose
from tests.test_discovery import FAST, ignore, study_of


@pytest.mark.parametrize("starts", [[], [0, 70, 71, 200], [5, 129]])
def test_linear_memory_is_a_leaky_count_that_starts_again_in_each_document(starts):
    characters = np.array([1, 3])
    text = EncodedText(np.random.default_rng(0).integers(0, 5, 300), np.array(starts, np.int64), opening=3)
    found = linear_memory(text, characters)
    states = np.zeros((len(TIME_CONSTANTS), 2))
    decay = np.exp(-1 / np.array(TIME_CONSTANTS))[:, None]
    for place, (one, row) in enumerate(zip(text.ids, found, strict=True)):
        if place in starts:
            states = np.zeros_like(states) + (characters == text.opening)
        states = decay * states + (one == characters)
        np.testing.assert_allclose(row, states.reshape(-1), rtol=1e-5, atol=1e-5)


def test_linear_memory_knows_whether_a_mark_was_lately():
    study, _ = study_of(prose(20_000), ["lately=(?<=;).{6}|,", "inside parentheses"])
    found = linear_memory_baselines(study, ignore)
    k = [one.name for one in study.properties].index("inside parentheses")
    assert 0.5 < found[k].rank_correlation < 1
    assert found[k].values.shape == study.confirm.ids.shape
    assert set(found) == set(study.searched)


@pytest.mark.parametrize("left_out", [False, True])
def test_ridge_equals_scikit_learn_on_deviations_from_strata(left_out):
    ridge = pytest.importorskip("sklearn.linear_model").Ridge(alpha=RIDGE * 9000, fit_intercept=False)
    draw = np.random.default_rng(1)
    length, width = 9000, 6
    ids = draw.integers(0, 4, length)
    features = (draw.standard_normal((length, width)) * 10.0 ** np.arange(width) - 5 + ids[:, None]).astype(np.float32)
    features[:, 2] = 7
    values = [draw.random(length) < 1 / (1 + np.exp(-features[:, 0])), draw.random(length)]
    strata = Strata.by(ids)
    labels = Labels.of(values, strata)
    without = np.arange(width) == 0 if left_out else None
    weights = NormalEquations.of(features, labels, strata).weights(without)

    def deviation(rows: np.ndarray) -> np.ndarray:
        return rows - np.stack([rows[ids == one].mean(axis=0) for one in range(4)])[ids]

    x, y = deviation(features.astype(np.float64)), deviation(labels.numbers.T.astype(np.float64))
    used = np.array([column for column in range(width) if column != 2 and not (left_out and column == 0)])
    spread = x[:, used].std(axis=0)
    fitted = ridge.fit(x[:, used] / spread, y)
    np.testing.assert_allclose(weights[used], (fitted.coef_ / spread).T, rtol=2e-3, atol=1e-6)
    assert not weights[np.setdiff1d(np.arange(width), used)].any()
    expected = features.astype(np.float64) @ weights
    found = predictions(features, weights)
    for one in range(len(values)):
        assert np.corrcoef(found[:, one], expected[:, one])[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("recurrence", "gate"), [("lstm", "forget"), ("gru", "update"), ("rnn", None)])
def test_untrained_networks_open_their_memory_gates_in_turn(recurrence, gate):
    network = network_for(Vocabulary.of(prose(1000)), recurrence, 5)
    *fresh, _ = untrained_networks(network, replace(FAST, untrained=5))
    layers = [one.recurrences[0] for one in fresh]
    opened = [None if gate is None else network.recurrence.gate_rows(gate, 5) for _ in layers]
    biases = [0.0 if rows is None else gate_weights(layer, rows).input_bias.unique().item()
              for layer, rows in zip(layers, opened, strict=True)]  # fmt: skip
    assert biases == ([0, 0, 0, 0, 0] if gate is None else [0, 2, 4, 6, 0])
    assert len({gate_weights(layer).hidden[0, 0].item() for layer in layers}) == 5
    for layer in layers:
        assert sum(torch.count_nonzero(bias).item() for bias in gate_weights(layer)[2:]) in (0, 5)


def test_untrained_networks_are_no_wider_than_512():
    fresh, shuffled = untrained_networks(network_for(Vocabulary.of("ab"), hidden_size=520), FAST)
    assert (fresh.settings.hidden_size, shuffled.settings.hidden_size) == (512, 512)


def test_resampled_correlation_equals_a_loop():
    draw = np.random.default_rng(2)
    ids, y = draw.integers(0, 3, 600), draw.random(600) < 0.4
    y[ids == 2] = True
    x, segments = draw.standard_normal(600) + y + ids, np.arange(600) // 100
    weights = draw.multinomial(6, np.full(6, 1 / 6), size=4).astype(float)
    found = resampled_correlation(x, y.astype(float), Strata.by(ids), segments, weights)
    for one, drawn in zip(found, weights, strict=True):
        places = np.concatenate([np.flatnonzero(segments == s) for s in range(6) for _ in range(int(drawn[s]))])
        deviations = [
            np.concatenate([part[places][ids[places] == v] - part[places][ids[places] == v].mean() for v in (0, 1)])
            for part in (x, y.astype(float))
        ]
        assert one == pytest.approx(np.corrcoef(*deviations)[0, 1], abs=1e-6)
