"""How far back a network remembers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.causal.reach import EffectiveContext, Reach, effective_context, measure_memory
from charrnn.text.encoded_text import EncodedText
from tests.conftest import contracted, small_network

TEXT = EncodedText(np.random.default_rng(1).integers(0, 11, 4000).astype(np.uint8))


def test_reach_of_known_norms() -> None:
    logs = -0.1 * np.arange(201.0)
    reach = Reach(np.stack([logs, logs - 2.0 * (np.arange(201) > 0)]))
    assert reach.mean[50] == pytest.approx(math.exp(-6.0))
    assert reach.quantile(0.0)[50] == pytest.approx(math.exp(-7.0))
    assert reach.half_life == pytest.approx(math.log(2) / 0.1)
    assert Reach(np.zeros((1, 201))).half_life == math.inf
    assert Reach(np.full((1, 201), -np.inf)).half_life == 0
    assert np.isnan(Reach(np.full((1, 201), np.nan)).mean).all()


def test_effective_context_is_where_the_excess_stays_small() -> None:
    assert EffectiveContext(np.array([1.0, 0.5, 0.005, 0.02, 0.009]), 1).characters == 4
    assert EffectiveContext(np.array([1.0, 0.5]), 1).characters is None
    assert EffectiveContext(np.array([1.0, 0.5, np.nan]), 1).characters is None  # the documents end


def test_excess_equals_rereading_each_context() -> None:
    """Reading on from another state gives the loss of every context length at once: compare with separate readings."""
    network = contracted(small_network("gru", layers=2))
    found = effective_context(network, TEXT, splices=2)
    assert found.splices == 2
    starts = np.array([501, 4000 - 502])  # of the first and the last splice
    losses = []
    for own, other in zip(starts, starts[::-1], strict=True):
        true = TEXT.ids[own - 499 : own + 5]
        spliced = np.concatenate([TEXT.ids[other - 499 : other + 1], TEXT.ids[own + 1 : own + 5]])
        losses.append([_loss(network, part) for part in (spliced, true)])
    expected = np.mean([a - b for a, b in losses]) / math.log(2)
    assert found.excess[3] == pytest.approx(expected, rel=1e-4)


def _loss(network, ids: np.ndarray) -> float:
    from charrnn.scoring.score import score

    return float(score(network, EncodedText(ids)).nats[-1])


def test_memory_of_short_documents() -> None:
    text = EncodedText(TEXT.ids[:1000], np.arange(0, 1000, 8))
    memory = measure_memory(small_network(), text, positions=20)
    assert np.isfinite(memory.reach.mean[:7]).all() and np.isnan(memory.reach.mean[7:]).all()
    assert np.isfinite(memory.context.excess[:7]).all() and np.isnan(memory.context.excess[9:]).all()
    assert memory.share.positions.tolist() == [0, 0] and memory.share.largest(3, 0.01) == []
    assert memory.to_json()["gradient_norm"]["geometric_mean"][7] is None
