"""charrnn.training.forecast, charrnn.text.contexts"""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText
from charrnn.training.forecast import FEWEST, TextDifficulty


def plain_nats(train: list[int], test: list[int], longest: int) -> list[float]:
    """The same by counting each context anew. Before both texts stand characters that are in neither."""
    outside = [-1] * longest
    train, test = outside + train, outside + test
    sums, places = [0.0] * longest, range(longest + 1, len(test))
    for place in places:
        occurrences = train[longest:].count(test[place])
        probability = (occurrences + 1) / (len(train) - longest + len({*train, *test}))
        for k in range(1, longest + 1):
            context = test[place - k : place]
            after = [train[i] for i in range(longest + 1, len(train)) if train[i - k : i] == context]
            if after:
                different = len(set(after))
                probability = (after.count(test[place]) + different * probability) / (len(after) + different)
            sums[k - 1] -= math.log(probability)
    return [one / len(places) for one in sums]


def test_what_a_character_costs_after_the_last_few_is_as_counted_one_by_one() -> None:
    draw = np.random.default_rng(1)
    train, test = draw.integers(0, 3, 200), draw.integers(0, 3, 30)
    nats = list(Contexts(train, test, 4).nats())
    assert nats == pytest.approx(plain_nats(train.tolist(), test.tolist(), 3), rel=1e-12)


def test_a_text_without_order_is_as_hard_as_its_characters_are_many() -> None:
    ids = np.random.default_rng(2).integers(0, 20, 120_000).astype(np.uint8)
    assert TextDifficulty.of(EncodedText(ids[:100_000]), EncodedText(ids[100_000:])).nats == pytest.approx(
        math.log(20), abs=0.02
    )


def test_a_text_that_repeats_itself_costs_next_to_nothing() -> None:
    ids = np.tile(np.random.default_rng(3).integers(0, 50, 400), 300).astype(np.uint8)
    assert TextDifficulty.of(EncodedText(ids[:100_000]), EncodedText(ids[100_000:])).nats < 0.1


def test_documents_are_as_hard_as_their_characters() -> None:
    ids = np.random.default_rng(4).integers(0, 5, 30_000).astype(np.uint8)
    train, validation = ids[:25_000], ids[25_000:]
    documents = [EncodedText(one, np.arange(0, len(one), 10), 0) for one in (train, validation)]
    assert TextDifficulty.of(*documents) == TextDifficulty.of(EncodedText(train), EncodedText(validation))


def test_a_short_text_does_not_tell() -> None:
    ids = np.zeros(FEWEST, np.uint8)
    assert TextDifficulty.of(EncodedText(ids[:-1]), EncodedText(ids)) is None
    assert TextDifficulty.of(EncodedText(ids), EncodedText(ids[: FEWEST // 10 - 1])) is None


def test_more_reading_is_expected_to_help_and_a_harder_text_to_cost_more() -> None:
    easy, hard = (TextDifficulty(nats, 0.1, 400_000, 1_000_000) for nats in (1.7, 2.0))
    assert easy.nats_to_expect(1e7) < easy.nats_to_expect(1e6) < hard.nats_to_expect(1e6)


def test_what_is_not_read_does_not_help() -> None:
    short, long = (TextDifficulty(1.7, 0.1, 400_000, characters) for characters in (1_000_000, 100_000_000))
    assert short.nats_to_expect(1e6) == long.nats_to_expect(1e6)
    assert short.nats_to_expect(1e8) > long.nats_to_expect(1e8)
