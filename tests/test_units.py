"""charrnn.units"""

from __future__ import annotations

import math

import pytest

from charrnn.units import amount, bits, count, decimal, duration, file_size, moment, perplexity, shortened


def test_bits() -> None:
    assert bits(1.0) == pytest.approx(1.4426950408889634)
    assert bits(math.log(256)) == pytest.approx(8.0)


def test_perplexity_of_a_uniform_distribution_is_its_size() -> None:
    assert perplexity(math.log(65)) == pytest.approx(65.0)


def test_perplexity_overflows_to_infinity() -> None:
    assert perplexity(1e9) == math.inf


def test_decimal_has_no_zero_before_the_point() -> None:
    assert [decimal(value, 2) for value in (0.984, -0.5, 1.0, 10.25, -20.5)] == [
        ".98",
        "−.50",
        "1.00",
        "10.25",
        "−20.50",
    ]
    assert [decimal(value, 1, sign=True) for value in (10.0, 0.4, -0.4)] == ["+10.0", "+.4", "−.4"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (145, "2 min 25 s"),
        (3600, "1 h 00 min"),
        (93600, "1 d 2 h"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(("number", "expected"), [(1115394, "1,115,394"), (36_445_475, "36.4 M"), (1e10, "10.0 G")])
def test_count(number: float, expected: str) -> None:
    assert count(number) == expected


@pytest.mark.parametrize(("number", "expected"), [(999, "999 B"), (36_445_475, "36.4 MB")])
def test_file_size(number: int, expected: str) -> None:
    assert file_size(number) == expected


def test_amount() -> None:
    assert [amount(n, "step") for n in (0, 1, 2, 1200)] == ["0 steps", "1 step", "2 steps", "1,200 steps"]
    assert amount(3, "property", "properties") == "3 properties"
    assert amount(36_445_475, "byte", exact=True) == "36,445,475 bytes"


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        ("2026-12-01T01:58:18+00:00", "2026-12-01 01:58 UTC"),
        ("2026-12-01T01:58:18+02:00", "2026-11-30 23:58 UTC"),
        ("2026-12-01T01:58:18", "2026-12-01 01:58 UTC"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("long ago", "long ago"),
    ],
)
def test_moment(iso: str, expected: str) -> None:
    assert moment(iso) == expected


def test_shortened() -> None:
    assert shortened("a") == "'a'"
    assert len(shortened("a" * 1000)) == 100
