"""charrnn.scoring.ngram"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from charrnn.scoring.ngram import mixed_score, ngram_score
from charrnn.scoring.score import Score
from charrnn.text.encoded_text import EncodedText

LETTERS = 4


def repetitive_ids(length: int, seed: int = 0) -> np.ndarray:
    """Ids drawn with a strong preference for the previous id plus one."""
    draw, ids = np.random.default_rng(seed), [0]
    while len(ids) < length:
        ids.append((ids[-1] + 1) % LETTERS if draw.random() < 0.7 else int(draw.integers(LETTERS)))
    return np.array(ids, np.uint8)


class PlainNgram:
    """Modified Kneser-Ney, one character at a time.

    A shorter context counts a character only where it was new after the longer one.
    """

    def __init__(self, order: int):
        self.counts = [defaultdict[tuple[int, ...], Counter[int]](Counter) for _ in range(order + 1)]
        self.discounts: list[list[float]] = []

    def count(self, history: list[int], character: int) -> None:
        for length in reversed(range(len(self.counts))):
            counts = self.counts[length][tuple(history[len(history) - length :])]
            counts[character] += 1
            if counts[character] > 1:
                return

    def estimate_discounts(self) -> None:
        for contexts in self.counts:
            having = Counter(value for counts in contexts.values() for value in counts.values())
            one, two, three, four = (max(1, having[value]) for value in (1, 2, 3, 4))
            share = one / (one + 2 * two)
            raw = (1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three)
            self.discounts.append([0.0, *(min(max(d, 0.05), j - 0.05) for j, d in enumerate(raw, start=1))])

    def probability(self, history: list[int], character: int) -> float:
        probability = 1 / LETTERS
        for length, discounts in enumerate(self.discounts):
            counts = (
                self.counts[length].get(tuple(history[len(history) - length :])) if length <= len(history) else None
            )
            if counts:
                freed = sum(discounts[min(value, 3)] for value in counts.values())
                discounted = counts[character] - discounts[min(counts[character], 3)]
                probability = (discounted + freed * probability) / counts.total()
        return probability


@pytest.mark.parametrize("adaptive", [False, True])
def test_probabilities_are_those_of_the_formula(adaptive: bool) -> None:
    training, ids = repetitive_ids(600), repetitive_ids(60, seed=1)
    result = ngram_score(EncodedText(training), EncodedText(ids), LETTERS, adaptive=adaptive, order=3)
    plain, history = PlainNgram(3), [-1, -1, LETTERS]
    for character in training.tolist():
        plain.count(history, character)
        history.append(character)
    plain.estimate_discounts()
    history.append(LETTERS)
    expected = []
    for character in ids.tolist():
        expected.append(-math.log(plain.probability(history, character)))
        if adaptive:
            plain.count(history, character)
        history.append(character)
    np.testing.assert_allclose(result.nats, expected[1:], rtol=1e-9)


@pytest.mark.parametrize("adaptive", [False, True])
def test_probabilities_sum_to_one(adaptive: bool) -> None:
    training, ids = EncodedText(repetitive_ids(500)), repetitive_ids(80, seed=2)
    texts = [np.append(ids, np.uint8(last)) for last in range(LETTERS)]
    nats = [ngram_score(training, EncodedText(each), LETTERS, adaptive=adaptive).nats[-1] for each in texts]
    assert np.exp(-np.array(nats)).sum() == pytest.approx(1)


@pytest.mark.parametrize("starts", [[], [0, 17, 40]], ids=["stream", "documents"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_what_follows_does_not_matter(adaptive: bool, starts: list[int]) -> None:
    training = EncodedText(repetitive_ids(500))
    text = EncodedText(repetitive_ids(90, seed=3), np.array(starts, np.int64))
    whole = ngram_score(training, text, LETTERS, adaptive=adaptive)
    part = ngram_score(training, text[:60], LETTERS, adaptive=adaptive)
    np.testing.assert_array_equal(part.nats, whole.nats[: len(part)])
    assert len(whole) == text.predicted


def test_adaptive_ngram_learns_what_the_training_text_lacks() -> None:
    text = EncodedText(np.tile(np.array([0, 2, 1, 3, 3], np.uint8), 20))
    frozen, adaptive = (
        ngram_score(EncodedText(repetitive_ids(500)), text, LETTERS, adaptive=adaptive) for adaptive in (False, True)
    )
    assert adaptive.mean < 0.5 * frozen.mean


def test_mixture_follows_the_better_model() -> None:
    """The models take turns to be right; the mixture loses little against the one that is."""
    right, wrong = np.full(1000, 0.1), np.full(1000, 3.0)
    mixed = mixed_score(Score(np.concatenate([right, wrong])), Score(np.concatenate([wrong, right])))
    assert mixed.nats[0] == pytest.approx(-math.log((math.exp(-0.1) + math.exp(-3)) / 2))
    assert mixed.mean < 0.4
    assert mixed.nats[[999, 1999]] == pytest.approx(0.1, abs=0.01)


def test_mixture_of_a_model_with_itself() -> None:
    nats = np.random.default_rng(0).exponential(size=50)
    np.testing.assert_allclose(mixed_score(Score(nats), Score(nats)).nats, nats)
