"""charrnn.units"""

from __future__ import annotations

import math

import pytest

from charrnn.units import amount, bits, count, duration, file_size, perplexity


def test_a_nat_is_1_4427_bits_and_a_uniform_choice_has_its_number_as_perplexity() -> None:
    assert bits(1.0) == pytest.approx(1.4426950408889634)
    assert bits(math.log(256)) == pytest.approx(8.0)
    assert perplexity(math.log(65)) == pytest.approx(65.0)
    assert perplexity(1e9) == math.inf


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (145, "2 min 25 s"),
        (3600, "1 h 00 min"),
        (93600, "1 d 2 h"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_unknown_duration_is_said_to_be() -> None:
    assert duration(math.inf) == duration(math.nan) == "unknown"


def test_counts_and_sizes_keep_their_digits_until_millions() -> None:
    assert count(1115394) == "1,115,394"
    assert count(36_445_475) == "36.4 M"
    assert count(1e10) == "10.0 G"
    assert file_size(999) == "999 B"
    assert file_size(36_445_475) == "36.4 MB"


def test_one_of_a_thing_is_not_many() -> None:
    assert [amount(n, "step") for n in (0, 1, 2, 1200)] == ["0 steps", "1 step", "2 steps", "1,200 steps"]
    assert amount(3, "property", "properties") == "3 properties"
    assert amount(36_445_475, "byte", exact=True) == "36,445,475 bytes"
