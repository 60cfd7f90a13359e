"""The search of some seconds after a training."""

from __future__ import annotations

import itertools

import pytest

from charrnn.discovery.quick import quick_cell
from charrnn.text.vocabulary import Vocabulary
from tests.planted import LATCH, planted, prose
from tests.untrained import make_run


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory):
    text = prose(20_000)
    return make_run(tmp_path_factory.mktemp("home"), text, network=planted(Vocabulary.of(text)))


def test_quick_search_finds_a_planted_cell(planted_run):
    before = sorted(planted_run.path.rglob("*"))
    found = quick_cell(planted_run, seconds=600)
    assert found is not None
    cell, name = found
    assert (cell, name) == (f"1:{LATCH}", "inside parentheses")
    assert sorted(planted_run.path.rglob("*")) == before


def test_quick_search_stops_in_time(planted_run):
    assert quick_cell(planted_run, seconds=2, clock=itertools.count().__next__) is None


def test_quick_search_needs_10_000_characters(tmp_path):
    assert quick_cell(make_run(tmp_path, prose(5_000)), seconds=600) is None
