"""charrnn.scoring.divisions, error_kinds and explanation"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from charrnn.properties.catalog import Text
from charrnn.scoring.divisions import DISTANCES, KINDS, LINE_POSITIONS, WORD_POSITIONS, closed_distance, divisions_of
from charrnn.scoring.error_kinds import CLASSES, WORD, TrainingStatistics, by_error, by_oracle
from charrnn.scoring.explanation import PASSAGE, explain_score, highest_passages
from charrnn.scoring.score import Score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import prose

NO_STARTS = np.zeros(0, np.int64)


def errors_of(
    text: str,
    probability: float | np.ndarray = 0.45,
    *,
    words: dict[str, int] | None = None,
    ngram: np.ndarray | None = None,
    starts: np.ndarray = NO_STARTS,
) -> list[str]:
    """The class of each character. Words are frequent in the training text, unless `words` says how frequent."""
    bits = -np.log2(np.full(len(text), probability))
    counts = Counter(dict.fromkeys(WORD.findall(text), 99) | (words or {}))
    known = TrainingStatistics(counts, np.zeros(len(text)) if ngram is None else ngram)
    return [CLASSES[number] for number in by_error(Text(text), bits, starts, known).of]


def test_divisions_add_up_to_the_text() -> None:
    text = prose(3_000)
    nats = np.random.default_rng(0).exponential(size=len(text) - 1).astype(np.float32)
    vocabulary = Vocabulary.of(text)
    encoded = EncodedText(vocabulary.encode(text))
    training = EncodedText(vocabulary.encode(prose(1_500, seed=1)))
    for known in (None, training):
        found = explain_score(Score(nats), encoded, Text(text), known, vocabulary)
        total = math.fsum(nats.astype(float) / math.log(2))
        for shares in (*found.divisions.values(), found.errors, found.oracles):
            assert sum(one.characters for one in shares) == len(nats)
            assert math.fsum(one.bits for one in shares) == pytest.approx(total, rel=1e-14)


def test_classes_of_a_small_text() -> None:
    text = "Ab, c1\n(dé)\t€"
    kind, word, line, closing = ([one.classes[number] for number in one.of] for one in divisions_of(Text(text)))
    assert kind == [
        KINDS[number] for number in (1, 0, 5, 3, 0, 2, 4, 5, 0, 0, 5, 3, 5)
    ]  # a capital, a small letter, punctuation, a space, …
    assert word == [WORD_POSITIONS[number] for number in (0, 1, 5, 6, 0, 5, 6, 6, 0, 1, 5, 6, 6)]
    assert line == [LINE_POSITIONS[number] for number in (0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1)]
    assert closing == [DISTANCES[1] if character == ")" else DISTANCES[0] for character in text]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("(a[b]c)", None, {4: 2, 6: 6}),
        ('"a" "bc"', None, {2: 2, 7: 3}),
        ("“a “b”", None, {5: 2}),
        ("(a\n\nb)", None, {}),
        ("a)b]", None, {}),
        ("([a)]", None, {3: 3}),
        ("f(')', \"x\")", "python", {10: 9}),
    ],
)
def test_distance_to_what_is_closed(text: str, language: str | None, expected: dict[int, int]) -> None:
    found = closed_distance(Text(text, language))
    assert {place: int(found[place]) for place in np.flatnonzero(found)} == expected


def test_oracles_come_in_order() -> None:
    """Each error is removed by the first oracle that can; p = ½ is no error."""
    ngram = np.zeros(10)
    ngram[0] = 0.6
    probability = np.full(10, 0.45)
    probability[1] = 0.5
    found = errors_of("ab cd, efg", probability, ngram=ngram, words={"efg": 0})
    assert found == [
        "n-gram",
        "no error",
        "boost: 0.1",
        "word model",
        "boost: 0.1",
        "punctuation",
        "boost: 0.1",
        *["rare words: seen 0 times"] * 3,
    ]


def test_memory_begins_with_the_second_letter() -> None:
    found = errors_of("Mary x Mary")
    assert found[:4] == ["boost: 0.1"] * 4
    assert found[7:] == ["word model", *["memory: 100 characters"] * 3]


@pytest.mark.parametrize(
    ("distance", "size"), [(100, "100"), (101, "500"), (501, "1,000"), (5000, "5,000"), (5001, None)]
)
def test_memory_is_as_long_as_needed(distance: int, size: str | None) -> None:
    """The distance is from the first letter of the one word to the first letter of the other."""
    found = errors_of("Mary" + "." * (distance - 4) + "Mary")[-1]
    assert found == ("boost: 0.1" if size is None else f"memory: {size} characters")


def test_memory_ends_with_the_document() -> None:
    assert errors_of("Mary Mary", starts=np.array([0, 5]))[-1] == "boost: 0.1"
    assert errors_of("Mary Mary", starts=np.array([0, 4]))[-1] == "boost: 0.1"
    assert errors_of("Mary Mary", starts=np.array([0]))[-1] == "memory: 100 characters"


@pytest.mark.parametrize("times", [0, 3, 5, 6])
def test_rare_words(times: int) -> None:
    found = errors_of("word", words={"word": times})
    assert found == [f"rare words: seen {times} times" if times <= 5 else "boost: 0.1"] * 4


@pytest.mark.parametrize("before", [" ", "\n", '"', "’"])
def test_word_model_follows_a_gap(before: str) -> None:
    assert errors_of(f"a{before}b")[2] == "word model"


@pytest.mark.parametrize(
    ("probability", "boost"), [(0.4, "0.1"), (0.39, "0.2"), (0.3, "0.2"), (0.05, "0.5"), (0.0001, "0.5")]
)
def test_boost_is_what_the_probability_lacks(probability: float, boost: str) -> None:
    assert errors_of("ab", probability)[1] == f"boost: {boost}"


def test_without_the_training_text() -> None:
    bits = np.full(4, 1.2)
    found = by_error(Text("word"), bits, NO_STARTS, None)
    shares = {one.name: one for one in by_oracle(found.shares(bits))}
    assert shares["boost"].characters == 4
    assert shares["rare words"].characters == shares["n-gram"].characters == 0


def test_passages_are_the_highest_and_do_not_overlap() -> None:
    values = np.full(1_000, 1.0)
    values[0] = np.nan
    values[300 : 300 + PASSAGE], values[700 : 700 + PASSAGE] = 9.0, 7.0
    found = highest_passages("x\n" * 500, values, 3)
    assert [one.start for one in found[:2]] == [300, 700]
    assert [one.value for one in found[:2]] == pytest.approx([9, 7])
    assert found[0].line == 151
    assert len({one.start // PASSAGE for one in found}) == 3


def test_passage_of_a_short_text() -> None:
    (found,) = highest_passages("abc", np.array([np.nan, 1.0, 2.0]), 5)
    assert (found.start, found.stop, found.value) == (0, 3, 1.5)
