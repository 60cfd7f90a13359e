"""Statistics against scikit-learn, SciPy and plain loops, on random data with many ties.

scikit-learn and SciPy take seconds to import, so only the tests that need them do.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.bootstrap import bootstrap_weights, interval
from charrnn.discovery.permutations import (
    episodes,
    holm,
    p_value,
    permutation_null,
    pseudo_label_null,
    runs,
    segment_count,
    shuffled_runs,
)
from charrnn.discovery.ranks import Labels, Strata, ranked, scaled_ranks
from charrnn.discovery.resampling import resampled_rank_correlation
from charrnn.discovery.statistics import (
    auc,
    balanced_accuracy,
    best_threshold,
    pearson,
    permutable_rank_correlation,
    rank_correlation,
)

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, length: int = 240, columns: int = 5, characters: int = 4):
    """Columns (N, U) with ties, a binary and a graded property, and characters (N,)."""
    draw = np.random.default_rng(seed)
    values = draw.integers(-6, 7, (length, columns)).astype(np.float32) / 4
    binary = draw.random(length) < 0.3
    binary[:2] = True, False
    graded = draw.integers(0, 9, length).astype(np.float64)
    graded[:2] = 0, 1
    return values, binary, graded, draw.integers(0, characters, length)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_scaled_ranks_equal_scipy(values):
    from scipy.stats import rankdata

    expected = (rankdata(values) - (len(values) + 1) / 2) / len(values)
    np.testing.assert_array_equal(scaled_ranks(np.array(values), Strata.single(len(values))), expected.astype("f4"))


@given(SEEDS)
@settings(max_examples=25)
def test_auc_and_spearman_equal_scikit_learn_and_scipy(seed):
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    values, binary, graded, _ = drawn(seed)
    strata = Strata.single(len(values))
    (cells,) = ranked(values, strata)
    found = rank_correlation(cells, Labels.of([binary, graded], strata))
    for column in range(values.shape[1]):
        assert auc(found[0, column]) == pytest.approx(roc_auc_score(binary, values[:, column]), abs=1e-6)
        assert found[1, column] == pytest.approx(spearmanr(graded, values[:, column]).statistic, abs=1e-6)


@given(SEEDS)
@settings(max_examples=25)
def test_auc_within_characters_is_a_weighted_mean(seed):
    from sklearn.metrics import roc_auc_score

    values, binary, _, characters = drawn(seed)
    (cells,) = ranked(values, Strata.by(characters))
    found = rank_correlation(cells, Labels.of([binary], cells.strata))[0]
    for column in range(values.shape[1]):
        weights, areas = [], []
        for character in np.unique(characters):
            here = characters == character
            positives = binary[here].sum()
            if 0 < positives < here.sum():
                weights.append(positives * (here.sum() - positives) / here.sum())
                areas.append(roc_auc_score(binary[here], values[here, column]))
        assert auc(found[column]) == pytest.approx(np.average(areas, weights=weights), abs=1e-6)


def test_spearman_within_characters_correlates_their_ranks():
    from scipy.stats import rankdata

    values, _, graded, characters = drawn(4)
    (cells,) = ranked(values, Strata.by(characters))
    found = rank_correlation(cells, Labels.of([graded], cells.strata))[0]
    for column in range(values.shape[1]):
        x, y = np.empty(len(values)), np.empty(len(values))
        for character in np.unique(characters):
            here = characters == character
            for ranks, own in ((x, values[here, column]), (y, graded[here])):
                ranks[here] = (rankdata(own) - (here.sum() + 1) / 2) / here.sum()
        assert found[column] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)


def test_strata_where_a_property_is_constant_do_not_count():
    """A rising function of the property has ρ = 1, whatever it does where the property is constant."""
    _, _, graded, characters = drawn(7)
    graded[characters == 3] = 5
    column = graded**3 + np.where(characters == 3, np.random.default_rng(0).random(len(graded)), characters)
    strata = Strata.by(characters)
    (cells,) = ranked(column[:, None].astype(np.float32), strata)
    assert rank_correlation(cells, Labels.of([graded], strata))[0, 0] == pytest.approx(1, abs=1e-6)
    weights = bootstrap_weights(6, 5, 0)
    resampled = resampled_rank_correlation(column, graded, strata, np.arange(len(graded)) * 6 // len(graded), weights)
    assert np.abs(resampled - 1).max() < 0.02


def test_reaction_to_a_character_is_0_within_characters():
    _, binary, graded, characters = drawn(1)
    binary |= characters == 2
    columns = (characters == 2).astype(np.float32)[:, None]
    plain, within = ranked(columns, Strata.single(len(columns)), Strata.by(characters))
    values = [binary, graded, characters == 2]
    assert auc(rank_correlation(plain, Labels.of(values, plain.strata))[0, 0]) > 0.6
    np.testing.assert_array_equal(rank_correlation(within, Labels.of(values, within.strata))[:, 0], 0)


def test_rare_characters_share_a_stratum():
    ids = np.concatenate([np.repeat(np.arange(255), 3), np.arange(255, 400)])
    strata = Strata.by(ids)
    assert strata.number == 256
    assert len(set(strata.of[ids >= 255])) == 1
    assert len(set(strata.of[ids < 255])) == 255
    assert strata.sizes.sum() == len(ids)


def test_pearson_equals_scipy():
    from scipy.stats import pearsonr

    values, _, graded, _ = drawn(2)
    for column in range(values.shape[1]):
        assert pearson(values[:, column], graded) == pytest.approx(
            pearsonr(values[:, column], graded).statistic, abs=1e-6
        )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_the_stepwise_rule(p_values):
    p_values = np.array(p_values)
    adjusted = holm(p_values, np.arange(len(p_values)))
    for level in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p_values), bool)
        for step, place in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[place] * (len(p_values) - step) > level:
                break
            rejected[place] = True
        np.testing.assert_array_equal(adjusted <= level, rejected)


def test_holm_counts_families():
    adjusted = holm(np.array([0.01, 0.02, 0.03, 0.01]), np.array([0, 0, 1, 0]))
    np.testing.assert_allclose(adjusted, [0.02, 0.04, 0.04, 0.02])


def test_p_value_is_never_0():
    assert p_value(2.0, np.zeros(999)) == 1 / 1000
    assert p_value(0.0, np.zeros(999)) == 1.0
    assert p_value(0.5, np.array([0.1, 0.5, 0.9])) == 3 / 4


def test_runs_of_binary_and_graded_properties():
    assert runs(np.array([0, 0, 1, 1, 0], bool)).tolist() == [0, 2, 4]
    assert runs(np.array([1.0, 2, 3, 0, 1, 0, 0, 5])).tolist() == [0, 3, 5]
    assert runs(np.array([3.0, 2, 1, 0, 2, 1, 0])).tolist() == [0, 4]
    assert episodes(np.array([1, 1, 0, 1, 0], bool)).tolist() == [2, 1]
    assert episodes(np.array([1.0, 2, 3, 0, 1])).tolist() == [3, 2]


def test_segments_are_5_times_the_longest_run():
    assert segment_count(10, 100_000) == 40
    assert segment_count(1000, 100_000) == 20


@given(SEEDS)
@settings(max_examples=25)
def test_shuffled_runs_keep_their_lengths(seed):
    draw = np.random.default_rng(seed)
    values = np.repeat(draw.random(60) < 0.4, draw.integers(1, 9, 60))
    (shuffled,) = shuffled_runs(values, values, 1, draw)
    assert len(shuffled) == len(values)
    assert shuffled[0] == values[0]
    for side in (values, ~values):
        other = shuffled if side is values else ~shuffled
        assert sorted(episodes(side)) == sorted(episodes(other))
    graded = draw.integers(0, 5, 80).astype(float)
    assert sorted(shuffled_runs(graded, graded, 1, draw)[0]) == sorted(graded)


def test_permutation_null_equals_a_loop():
    values, binary, graded, characters = drawn(3, length=6 * 40)
    draw = np.random.default_rng(8)
    permutations = np.stack([draw.permutation(6) for _ in range(20)])
    for strata in (Strata.single(len(values)), Strata.by(characters)):
        (cells,) = ranked(values, strata)
        labels = Labels.of([binary, graded], Strata.single(len(values)))
        found = permutation_null(cells, labels, permutations)
        for k, order in enumerate(permutations):
            moved = Labels(
                np.concatenate([labels.numbers[:, 40 * a : 40 * (a + 1)] for a in order], axis=1), labels.graded
            )
            expected = np.abs(permutable_rank_correlation(cells, moved)).max(axis=1)
            np.testing.assert_allclose(found[:, k], expected, atol=1e-5)


def test_pseudo_label_null_equals_a_loop():
    values, _, _, characters = drawn(6)
    binary = np.repeat(np.random.default_rng(1).random(60) < 0.4, 4)
    (cells,) = ranked(values, Strata.by(characters))
    found = pseudo_label_null(cells, binary, binary.astype(np.float32), 15, seed=5)
    draw = np.random.default_rng(5)
    for k in range(15):
        (shuffled,) = shuffled_runs(binary, binary, 1, draw)
        assert found[k] == pytest.approx(
            np.abs(rank_correlation(cells, Labels.of([shuffled], cells.strata))).max(), abs=1e-5
        )


@pytest.mark.parametrize("is_rare", [True, False])
@given(SEEDS)
@settings(max_examples=8)
def test_resampled_auc_equals_a_loop(is_rare, seed):
    values, binary, _, characters = drawn(seed, length=120)
    binary = binary if is_rare else ~binary
    segments = np.arange(120) * 6 // 120
    weights = np.concatenate([np.ones((1, 6)), bootstrap_weights(6, 4, seed)])
    strata = Strata.by(characters)
    found = resampled_rank_correlation(values[:, 0], binary, strata, segments, weights)
    (cells,) = ranked(values[:, :1], strata)
    assert found[0] == pytest.approx(rank_correlation(cells, Labels.of([binary], strata))[0, 0], abs=1e-6)
    for k, weight in enumerate(weights):
        won = pairs = 0.0
        for i, j in itertools.product(np.flatnonzero(binary), np.flatnonzero(~binary)):
            if characters[i] == characters[j]:
                share = weight[segments[i]] * weight[segments[j]] / strata.sizes[strata.of[i]]
                won += share * (float(values[i, 0] > values[j, 0]) + 0.5 * float(values[i, 0] == values[j, 0]))
                pairs += share
        if pairs:
            assert found[k] == pytest.approx(2 * won / pairs - 1, abs=1e-12)


def test_resampled_spearman_keeps_ranks():
    from scipy.stats import rankdata, spearmanr

    values, _, graded, _ = drawn(9, length=120)
    segments = np.arange(120) * 6 // 120
    weights = np.concatenate([np.ones((1, 6)), bootstrap_weights(6, 5, 0)])
    found = resampled_rank_correlation(values[:, 0], graded, Strata.single(120), segments, weights)
    assert found[0] == pytest.approx(spearmanr(values[:, 0], graded).statistic, abs=1e-6)
    for k, weight in enumerate(weights):
        places = np.repeat(np.arange(120), weight[segments].astype(int))
        expected = np.corrcoef(rankdata(values[:, 0])[places], rankdata(graded)[places])[0, 1]
        assert found[k] == pytest.approx(expected, abs=1e-5)


def test_interval_covers_the_truth():
    """40 trials at 95 %: fewer than 33 hits have a chance of 2 in 10,000. Positives are 1 higher: AUC = Φ(1/√2)."""
    truth, hits = 0.7602499389065233, 0
    weights = bootstrap_weights(40, 400, 0)
    for trial in range(40):
        draw = np.random.default_rng(trial)
        binary = draw.random(800) < 0.5
        column = (draw.standard_normal(800) + binary).astype(np.float32)
        correlations = resampled_rank_correlation(column, binary, Strata.single(800), np.arange(800) // 20, weights)
        low, high = interval(auc(correlations))
        hits += low <= truth <= high
    assert 33 <= hits <= 40


@given(SEEDS)
@settings(max_examples=25)
def test_best_threshold_maximizes_balanced_accuracy(seed):
    from sklearn.metrics import balanced_accuracy_score

    values, binary, _, _ = drawn(seed, length=60)
    column = values[:, 0]
    threshold = best_threshold(column, binary)
    accuracy = balanced_accuracy(column, binary, threshold)
    assert accuracy == pytest.approx(balanced_accuracy_score(binary, column > threshold))
    every = [balanced_accuracy(column, binary, candidate) for candidate in np.unique(column)]
    assert accuracy == pytest.approx(max(every))
