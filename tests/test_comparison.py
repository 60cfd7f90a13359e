"""charrnn.scoring.comparison, and charrnn evaluate --explain and --compare"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.errors import CharrnnError
from charrnn.properties.catalog import Text
from charrnn.scoring.comparison import CharacterBits, character_bits, compare_bits, shared_characters
from charrnn.scoring.score import Score
from charrnn.text.vocabulary import Vocabulary
from tests.planted import prose
from tests.untrained import invoke, make_run, refused

TRAINING, HELD_OUT = prose(1_500), prose(800, seed=1)


def differing(length: int, seed: int, effect: float) -> tuple[CharacterBits, CharacterBits]:
    """Bits of two models whose differences have this mean and are correlated over twenty characters."""
    draw = np.random.default_rng(seed)
    first = draw.exponential(2.0, length)
    noise = np.convolve(draw.normal(size=length + 19), np.ones(20) / 20, "valid")
    return CharacterBits(first, {}), CharacterBits(first + effect + noise, {})


def test_interval_covers_the_known_difference() -> None:
    """30 texts at 95 %: fewer than 25 hits have a chance of 2 in 1,000."""
    text, hits = Text("word " * 2_000), 0
    for seed in range(30):
        total = compare_bits(text, *differing(10_000, seed, 0.1)).total
        low, high = total.interval
        assert low < total.difference < high
        hits += low <= 0.1 <= high
    assert hits >= 25


def test_differences_by_class() -> None:
    text = Text("abc d\n" * 1_000)
    first = np.ones(6_000)
    second = np.where(text.letter, 3.0, 1.0)
    second[0] = np.nan
    found = compare_bits(text, CharacterBits(first, {}), CharacterBits(second, {}))
    kinds = {one.name: one for one in found.divisions["kind of character"]}
    assert (kinds["small letters"].characters, kinds["small letters"].difference) == (3_999, 2)
    assert kinds["small letters"].interval == pytest.approx((2, 2))
    assert kinds["spaces"].difference == 0
    assert kinds["digits"].difference is kinds["digits"].interval is None
    assert found.total.difference == pytest.approx(2 * 3_999 / 5_999)


def test_short_texts_have_no_interval() -> None:
    assert compare_bits(Text("abcd" * 100), *differing(400, 0, 0.1)).total.interval is None


def test_passages_are_where_the_models_differ() -> None:
    first, second = np.full(1_000, 2.0), np.full(1_000, 2.0)
    first[100:160], second[500:560] = 5.0, 4.0
    more, less = compare_bits(Text("x" * 1_000), CharacterBits(first, {}), CharacterBits(second, {})).passages(1)
    assert [(one.start, one.value) for one in more] == [(500, pytest.approx(2))]
    assert [(one.start, one.value) for one in less] == [(100, pytest.approx(3))]


def test_unknown_characters_have_no_bits() -> None:
    found = character_bits("añbñc€", Vocabulary.of("abc"), 3, Score(np.log(2) * np.array([4.0, 8.0])))
    np.testing.assert_allclose(found.bits, [np.nan, np.nan, 4, np.nan, 8, np.nan])
    assert found.unknown == {"ñ": 2, "€": 1}


def test_bytes_count_with_their_character() -> None:
    found = character_bits("añ€", Vocabulary.of_bytes(), 6, Score(np.log(2) * np.array([1.0, 2, 4, 8, 16])))
    np.testing.assert_allclose(found.bits, [np.nan, 3, 28])


def test_bytes_that_are_not_utf_8() -> None:
    ids, both = np.array([0x61, 0xE9], np.uint8), Vocabulary.of_bytes()
    assert shared_characters(both, both, ids) == "aé"
    with pytest.raises(CharrnnError, match="not UTF-8"):
        shared_characters(both, Vocabulary.of("aé"), ids)


def evaluate(*arguments: str) -> dict:
    return json.loads(invoke(*arguments, "--no-baselines", "--json", command="evaluate"))


@pytest.fixture
def runs(home: Path) -> Path:
    """A run `a` with its corpus, `gru` with another recurrence, `bytes`, and `poor`, which lacks most letters."""
    (home / "corpora" / "a.txt").write_text(TRAINING + HELD_OUT)
    make_run(home, HELD_OUT, name="gru", recurrence="gru", corpus=TRAINING + HELD_OUT)
    make_run(home, HELD_OUT, name="bytes", as_bytes=True)
    make_run(home, "the tenth hat\n" * 20, name="poor")
    make_run(home, HELD_OUT, corpus=TRAINING + HELD_OUT)
    return home


def test_explanation_adds_up(runs: Path) -> None:
    for flags in ([], ["--mix"]):
        result = evaluate("a", "--explain", *flags)
        explained = result["explanation"]
        total = result["bits_per_character"] * result["characters"]
        assert explained["bits"] == pytest.approx(total)
        assert explained["errors_know_the_training_text"]
        for shares in (*explained["divisions"].values(), explained["errors"]):
            assert sum(one["bits"] for one in shares) == pytest.approx(total)
    assert len(explained["passages"]) == 5


def test_explanation_without_the_corpus(runs: Path) -> None:
    (runs / "corpora" / "a.txt").unlink()
    assert evaluate("a", "--explain")["explanation"]["errors_know_the_training_text"] is False
    assert "not on this machine" in invoke("a", "--explain", command="evaluate")


def test_explanation_in_80_columns(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke("a", "--explain", "--compare", "gru", "--no-baselines", command="evaluate")
    for expected in ("kind of character", "word model", "the passages with the most bits", "difference"):
        assert expected in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_passages_in_a_file(runs: Path) -> None:
    invoke("a", "--explain", "--no-baselines", "--output", "p.html", command="evaluate")
    page = (runs / "p.html").read_text()
    assert "bits per character" in page
    assert 'class="red-' in page
    assert "--explain" in refused("a", "--output", "p.html", command="evaluate")
    assert "--json" in refused("a", "--explain", "--output", "p.json", command="evaluate")
    assert "suffix" in refused("a", "--explain", "--output", "p.doc", command="evaluate")


def test_comparison_of_runs(runs: Path) -> None:
    result = evaluate("a", "--compare", "gru", "--compare", "poor", "--compare", "bytes")
    gru, poor, as_bytes = result["comparisons"]
    assert gru["total"]["first"] == pytest.approx(result["bits_per_character"])
    assert gru["total"]["second"] == pytest.approx(charrnn.load("gru").score().bits_per_character)
    assert gru["note"] is None
    assert gru["total"]["characters"] == len(HELD_OUT) - 1
    assert set(poor["unknown"]["second"]) == set(HELD_OUT) - set("the tenth hat\n")
    assert poor["total"]["characters"] == sum(one in "the tenth hat\n" for one in HELD_OUT[1:])
    assert "another corpus" in poor["note"]
    held_out = charrnn.load("a").run.held_out_text()
    both = charrnn.load("a").compare(charrnn.load("bytes"), held_out)
    assert both.total.second == as_bytes["total"]["second"]
    shown = invoke("a", "--compare", "poor", command="evaluate")
    assert "poor does not know" in shown


def test_comparison_of_documents(home: Path) -> None:
    make_run(home, HELD_OUT, name="b", documents="lines")
    make_run(home, HELD_OUT)
    (compared,) = evaluate("a", "--compare", "b")["comparisons"]
    assert compared["total"]["characters"] == len(HELD_OUT) - 1
    assert "no run" in refused("a", "--compare", "nobody", command="evaluate")
