"""Runs with changes at random: refused, or read as what is written there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.mutations import mutate_and_read


def test_a_run_changed_at_random_is_refused_or_read_as_it_is(folder: Path) -> None:
    counted = mutate_and_read(folder, 600, seed=1)
    assert counted.refused > 300
    assert counted.read > 20


@pytest.mark.slow
def test_a_run_changed_at_random_a_hundred_thousand_times_is_refused_or_read_as_it_is(folder: Path) -> None:
    counted = mutate_and_read(folder, 100_000, seed=2)
    print(counted)
    assert counted.slowest < 1
