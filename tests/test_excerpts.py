"""An excerpt shows both classes of a property, is typical, and fits into the lines it is given."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charrnn.discovery.checked import from_json
from charrnn.discovery.excerpts import LENGTH, Excerpt, typical_excerpt, typical_excerpts
from charrnn.discovery.study import Split
from charrnn.display.activations import excerpt_lines
from charrnn.display.terminal import STYLE, Terminal
from charrnn.display.view import View
from charrnn.inspection.trace import Cell, trace_signal
from charrnn.model.recurrences import RECURRENCES
from charrnn.properties.catalog import Text
from charrnn.properties.user_properties import find_property
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import small_network

SYMBOLS = Vocabulary.of("abc \n(").symbols
GRU = RECURRENCES["gru"]


def excerpt_of(values, truth, positions=None) -> Excerpt | None:
    number = len(values)
    positions = np.arange(number) if positions is None else positions
    return typical_excerpt(GRU, "h", positions, np.arange(number) % 6, np.array(values), np.array(truth), SYMBOLS)


def episodes(number: int, length: int, every: int) -> np.ndarray:
    return (np.arange(number) % every >= every - length) & (np.arange(number) < number - every // 2)


def test_median_episode_is_chosen() -> None:
    truth = episodes(2000, 20, 200)
    strengths = np.repeat([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.0], 200)
    found = excerpt_of(np.where(truth, strengths, 0), truth)
    assert found.contrast == pytest.approx(0.5)
    assert found.start + found.focus == 2 * 200 + 180
    assert len(found.symbols) == len(found.values) == LENGTH


def test_both_classes_are_shown() -> None:
    for length in (1, 40, 100, 180):
        truth = episodes(2000, length, 200)
        found = excerpt_of(np.where(truth, 1.0, -1.0), truth)
        assert found.contrast == 2
        assert found.values[found.focus - 1] != found.values[found.focus]
    assert excerpt_of(np.zeros(300), np.zeros(300, bool)) is None


def test_blocks_in_parallel_give_the_values_of_the_whole_text(short_text: str) -> None:
    """But for the state from before a block, which the gap of 1,000 characters lets fade."""
    vocabulary = Vocabulary.of(short_text)
    text = EncodedText(vocabulary.encode(short_text)[:15_000])
    network, split = small_network(layers=1, vocabulary_size=len(vocabulary)), Split.of(len(text))
    asked = [(Cell(1, 3), "c", find_property("upper case")), (Cell(1, 4), "h", find_property("word ends"))]
    characters = Text(short_text[: len(text)])
    excerpts = typical_excerpts(network, text, characters, asked, vocabulary.symbols, split)
    for (cell, signal, _), found in zip(asked, excerpts, strict=True):
        assert found is not None
        whole = network.recurrence.displayed(signal, trace_signal(network, text, signal, [cell])[:, 0])
        stop = found.start + len(found.symbols)
        assert found.symbols == tuple(vocabulary.symbols[one] for one in text.ids[found.start : stop])
        np.testing.assert_allclose(found.values, whole[found.start : stop], atol=1e-3)


def test_graded_property_is_split_at_its_median() -> None:
    position = (np.arange(2000) % 60).astype(float)
    found = excerpt_of(position / 60, position)
    assert found.contrast > 0.4
    assert found.focus > 0


def test_gap_is_not_crossed() -> None:
    positions = np.concatenate([np.arange(500), np.arange(5000, 5500)])
    truth = np.zeros(1000, bool)
    truth[490:510] = True
    assert excerpt_of(np.where(truth, 1.0, 0.0), truth, positions) is None
    truth[800:820] = True
    assert excerpt_of(np.where(truth, 1.0, 0.0), truth, positions).start in range(5000, 5350)


def test_findings_can_store_it() -> None:
    truth = episodes(2000, 20, 200)
    found = excerpt_of(np.where(truth, 0.123456, -0.5), truth)
    assert from_json(Excerpt, json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_lines() -> None:
    truth = episodes(2000, 20, 200)
    found = excerpt_of(np.where(truth, 1.0, -1.0), truth)
    for colors, rows, lines in (("truecolor", 1, 1), ("256", 2, 2), ("none", 1, 4)):
        shown = found.lines(Terminal(True, colors, 80, True), width=70, rows=rows)
        assert len(shown) == lines
        assert all(cell_len(STYLE.sub("", line)) <= 70 for line in shown)
        if colors != "none":
            assert len(set(STYLE.findall(shown[0]))) > 3
    assert {"+", "-"} <= set(shown[1])


@pytest.mark.parametrize("text", ["a\n\tb ", b"a\n\t\xe9 "])
def test_white_space_is_shown(text: str | bytes) -> None:
    vocabulary = Vocabulary("bytes", "") if isinstance(text, bytes) else Vocabulary.of(text)
    symbols = tuple(vocabulary.symbols[one] for one in vocabulary.encode(text))
    found = Excerpt(0, 1, symbols, (0.0,) * 5, "h", -1.0, 1.0, 0.0)
    (line,) = found.lines(Terminal(True, "truecolor", 80, True), width=70)
    assert STYLE.sub("", line) == ("a↵→ b·" if isinstance(text, str) else "a↵→ \\xe9·")


@given(
    st.text(st.sampled_from("ab \n\t日e\u0301\x1b"), min_size=1, max_size=200), st.integers(20, 80), st.integers(1, 2)
)
def test_excerpt_keeps_the_focus_and_fits(text: str, width: int, rows: int) -> None:
    focus = len(text) // 3
    values = [1.0 if place == focus else 0.0 for place in range(len(text))]
    shown = excerpt_lines(View(text, values, "h"), Terminal(True, "256", 80, True), width, rows=rows, focus=focus)
    assert 1 <= len(shown) <= rows
    assert all(cell_len(STYLE.sub("", line)) <= width for line in shown)
    if text[focus] != "\u0301":  # a mark has the color of its base
        assert any("48;5" in line for line in shown)
        assert sum(line.count(";1;4m") for line in shown) == 1  # the focus is marked
