"""charrnn.training.forecast, charrnn.text.contexts"""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText
from charrnn.training.forecast import MIN_TRAINING_TEXT, MIN_VALIDATION_TEXT, LossForecast, range_of


def plain_nats(train: list[int], test: list[int], longest: int) -> list[float]:
    """Count each context separately. Both texts are padded on the left with characters that neither contains."""
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


def test_ngram_loss_equals_that_counted_one_by_one() -> None:
    draw = np.random.default_rng(1)
    train, test = draw.integers(0, 3, 200), draw.integers(0, 3, 30)
    nats = list(Contexts(train, test, 4).nats())
    assert nats == pytest.approx(plain_nats(train.tolist(), test.tolist(), 3), rel=1e-12)


def test_random_text_costs_the_entropy_of_its_characters() -> None:
    ids = np.random.default_rng(2).integers(0, 20, 120_000).astype(np.uint8)
    assert LossForecast.fit(EncodedText(ids[:100_000]), EncodedText(ids[100_000:])).nats == pytest.approx(
        math.log(20), abs=0.02
    )


def test_repeated_text_costs_almost_nothing() -> None:
    ids = np.tile(np.random.default_rng(3).integers(0, 50, 400), 300).astype(np.uint8)
    assert LossForecast.fit(EncodedText(ids[:100_000]), EncodedText(ids[100_000:])).nats < 0.1


def test_document_starts_do_not_matter() -> None:
    ids = np.random.default_rng(4).integers(0, 5, 30_000).astype(np.uint8)
    train, validation = ids[:25_000], ids[25_000:]
    documents = [EncodedText(one, np.arange(0, len(one), 10), 0) for one in (train, validation)]
    assert LossForecast.fit(*documents) == LossForecast.fit(EncodedText(train), EncodedText(validation))


def test_a_short_text_has_no_forecast() -> None:
    ids = np.zeros(MIN_TRAINING_TEXT, np.uint8)
    assert LossForecast.fit(EncodedText(ids[:-1]), EncodedText(ids)) is None
    assert LossForecast.fit(EncodedText(ids), EncodedText(ids[: MIN_VALIDATION_TEXT - 1])) is None


def test_forecast_falls_with_characters_read() -> None:
    easy, hard = (LossForecast(nats, 0.1, 400_000, 1_000_000) for nats in (1.7, 2.0))
    assert easy.nats_after(1e7) < easy.nats_after(1e6) < hard.nats_after(1e6)


def test_unread_text_does_not_help() -> None:
    short, long = (LossForecast(1.7, 0.1, 400_000, characters) for characters in (1_000_000, 100_000_000))
    assert short.nats_after(1e6) == long.nats_after(1e6)
    assert short.nats_after(1e8) > long.nats_after(1e8)


@pytest.mark.parametrize(
    ("nats", "read", "vocabulary_size"),
    [
        (1.7, 50_000, 65),  # a few steps
        (4.6, 1_000_000, 222),
        (25.9, 1_000_000, 1000),
        (0.01, 10_000_000, 65),
    ],
)
def test_an_implausible_loss_is_not_forecast(nats: float, read: float, vocabulary_size: int) -> None:
    forecast = LossForecast(nats, 0.0, 400_000, 1_000_000)
    assert forecast.plausible_nats_after(read, vocabulary_size) is None


def test_a_plausible_loss_is_forecast() -> None:
    forecast = LossForecast(1.7, 0.1, 400_000, 1_000_000)
    assert forecast.plausible_nats_after(1e6, 65) == forecast.nats_after(1e6)


@pytest.mark.parametrize(
    ("read", "result"),
    [(544_000, 1.837), (1_105_000, 1.649), (2_089_000, 1.412), (4_900_000, 1.190), (11_900_000, 1.135)],
)
def test_losses_of_the_library_of_python_are_foreseen(read: int, result: float) -> None:
    """n-gram losses of Python 3.11's library, and validation losses on all of its held-out text."""
    nats = LossForecast(1.7258, 0.1142, 400_000, 10_905_509).nats_after(read)
    assert nats == pytest.approx(result, rel=0.06)


def test_a_part_of_the_held_out_text_has_a_wider_range() -> None:
    low, high = range_of(1.6, of_part=True)  # of the run above that read 1,105,000 characters
    assert low < 1.649 < range_of(1.6, of_part=False)[1] < 1.840 < high
