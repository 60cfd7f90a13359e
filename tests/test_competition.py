"""Which property names a cell, and which cells react to one character."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.bootstrap import bootstrap_weights
from charrnn.discovery import candidates
from charrnn.discovery.activations import Recordings
from charrnn.discovery.candidates import choose_candidates, displayed_difference
from charrnn.discovery.competition import SEGMENTS, SegmentSums, compete
from charrnn.discovery.ranks import Labels, Strata, ranked
from charrnn.discovery.scores import score_cells
from charrnn.discovery.statistics import rank_correlation
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Vocabulary
from tests.planted import CLOSED, DETECTOR, LATCH, OPEN, SATURATED, network_for, plant, planted, prose
from tests.test_discovery import ignore, study_of


def sums_of(values: list[np.ndarray], columns: np.ndarray, ids: np.ndarray) -> tuple[SegmentSums, np.ndarray]:
    """Return the sums of columns (N, C), and their |rank correlations| (P, C)."""
    strata = Strata.by(ids)
    labels = Labels.of(values, strata)
    (within,) = ranked(columns.astype(np.float32), strata)
    return SegmentSums.of(within, labels, 1), np.abs(rank_correlation(within, labels))


def test_whole_text_as_a_resample_gives_the_scores():
    draw = np.random.default_rng(0)
    values = [draw.random(4000) < 0.3, draw.integers(0, 9, 4000).astype(float)]
    columns = np.stack([values[0] + draw.standard_normal(4000), values[1] + draw.standard_normal(4000)], axis=1)
    sums, scores = sums_of(values, columns, draw.integers(0, 5, 4000))
    for cell in range(2):
        resampled = sums.resampled(cell, np.ones((1, SEGMENTS)))
        np.testing.assert_allclose(resampled[0], scores[:, cell], atol=1e-4)


def test_joined_sums_are_those_of_all_cells():
    draw = np.random.default_rng(0)
    values, columns, ids = [draw.random(800) < 0.3], draw.standard_normal((800, 3)), draw.integers(0, 5, 800)
    parts = [sums_of(values, part, ids)[0] for part in (columns[:, :2], columns[:, 2:])]
    whole, _ = sums_of(values, columns, ids)
    np.testing.assert_array_equal(SegmentSums.joined(parts).products, whole.products)


@pytest.mark.parametrize(
    ("scores", "unique", "stability"),
    [
        ([0.97, 0.50], [0.02, 0.11], 1.0),  # a near-perfect fit to something rare
        ([0.50, 0.97], [0.11, 0.02], 0.0),
        ([0.90, 0.91], [0.20, 0.10], 1.0),  # a tie, which unique R² decides
        ([0.91, 0.90], [0.10, 0.20], 0.0),
        ([0.90, 0.90], [0.10, 0.10], 1.0),  # no winner: both keep the name
    ],
)
def test_better_score_wins_and_unique_r2_decides_ties(scores, unique, stability):
    resampled = np.tile(scores, (10, 1))
    result = compete(np.array(scores), resampled, np.array(unique), 0, [0, 1])
    assert (result.runner_up, result.runner_up_score, result.stability) == (1, scores[1], stability)


def test_stability_is_the_share_of_resamples_won():
    resampled = np.array([[0.9, 0.5, 0.2], [0.9, 0.5, 0.2], [0.6, 0.5, 0.7], [0.6, 0.8, 0.2]])
    result = compete(np.array([0.9, 0.8, 0.7]), resampled, np.zeros(3), 0, [0, 1, 2])
    assert (result.runner_up, result.stability) == (1, 0.5)
    assert compete(np.array([0.9]), resampled[:, :1], np.zeros(1), 0, [0]).stability == 1


def test_stability_falls_as_two_properties_become_alike():
    """A cell that follows one of two properties keeps its name; one that follows a mixture does not."""
    draw = np.random.default_rng(1)
    first, second = (np.repeat(draw.random(100) < 0.4, 100) for _ in range(2))
    noise = draw.standard_normal(10_000)
    columns = np.stack([first + noise, first + second + noise], axis=1)
    sums, scores = sums_of([first, second], columns, np.zeros(10_000, int))
    weights = bootstrap_weights(SEGMENTS, 200, 0)
    clear, mixed = (
        compete(scores[:, cell], sums.resampled(cell, weights), np.zeros(2), 0, [0, 1]).stability for cell in (0, 1)
    )
    assert clear == 1
    assert mixed < 0.9


def test_every_cell_that_could_be_named_is_a_candidate(monkeypatch):
    study, vocabulary = study_of(prose(20_000), ["inside parentheses"])
    network, latches = planted(vocabulary), [LATCH, 0, 1, 2, 3]
    layer, size = network.recurrences[0], network.settings.hidden_size
    for cell in latches[1:]:
        for weights in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0):
            weights.data[cell::size] = weights.data[LATCH::size]
        layer.weight_hh_l0.data[:, cell] = 0
    scores = score_cells(Recordings.of(network, study, ignore))
    chosen, left_out = choose_candidates(study, scores)
    assert {one.cell for one in chosen if one.property_index == 0} == set(latches)
    assert left_out == {}
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 4)
    chosen, left_out = choose_candidates(study, scores)
    assert sum(one.property_index == 0 for one in chosen) == 4
    assert left_out == {"inside parentheses": 1}


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        (np.array([True, True, False, False]), 2.0),
        (np.array([5.0, 4.0, 3.0, 2.0]), 3.0),
        (np.array([1.0, 0.0, 0.0, 0.0]), 2.0),
        (np.array([1.0, 1.0, 1.0, 0.0]), 2.0),
    ],
)
def test_displayed_difference(values, difference):
    assert displayed_difference(np.array([3.0, 2.0, 1.0, 0.0]), values) == pytest.approx(difference)


# Detectors of one character


def detectors_of(network: CharRNN, vocabulary: Vocabulary, characters: str) -> dict[Cell, str]:
    study, _ = study_of(characters, ["inside parentheses"])
    found = score_cells(Recordings.of(network, study, ignore)).detectors
    return {cell: vocabulary.symbols[character] for cell, character in found.items()}


def test_cell_that_reacts_to_a_class_is_no_detector():
    characters = prose(20_000)
    vocabulary = Vocabulary.of(characters)
    network, both = planted(vocabulary), {'"': SATURATED, "(": SATURATED}
    plant(network, 0, vocabulary, input=(-SATURATED, both), forget=CLOSED, output=OPEN, candidate=OPEN)
    found = detectors_of(network, vocabulary, characters)
    assert found.get(Cell(1, DETECTOR)) == '"'
    assert Cell(1, 0) not in found


def test_untrained_networks_have_next_to_no_detectors():
    characters = prose(20_000)
    vocabulary = Vocabulary.of(characters)
    found = [
        detectors_of(network_for(vocabulary, hidden_size=64, seed=seed), vocabulary, characters) for seed in (1, 2)
    ]
    assert sum(map(len, found)) <= 1  # of 128 cells
