"""Randomly changed runs are refused, or read as exactly what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.mutations import mutate_and_read


def test_changed_runs_are_refused_or_read_exactly(folder: Path) -> None:
    counts = mutate_and_read(folder, 300, seed=1)
    assert counts.refused > 150
    assert counts.read > 10


@pytest.mark.slow
def test_100_000_changed_runs_are_refused_or_read_exactly(folder: Path) -> None:
    counts = mutate_and_read(folder, 100_000, seed=2)
    print(counts)
    assert counts.slowest < 1
