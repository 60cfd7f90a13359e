"""What holding a planted cell changes in generated text."""

from __future__ import annotations

import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import torch

from charrnn.causal.levels import measure_levels
from charrnn.causal.steered import (
    HEADERS,
    Steering,
    changed_characters,
    claim,
    claim_lines,
    legend,
    samples,
    table_of,
    texts_read,
)
from charrnn.causal.steering import steer
from charrnn.discovery.inputs import characters_of
from charrnn.display.terminal import Terminal
from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell, trace_signal
from charrnn.model.network import CharRNN
from charrnn.properties.user_properties import find_property
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.scoring.score import score
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import LATCH, network_for, plant, planted, prose

TEXT = prose(12_000)
VOCABULARY = Vocabulary.of(TEXT)
ENCODED = EncodedText(VOCABULARY.encode(TEXT))
TERMINAL = Terminal(is_terminal=True, colors="none", width=80, unicode=True)
TEXTS, LENGTH = 8, 150


@torch.no_grad()
def closing_when_on() -> CharRNN:
    """Return the planted network with an output that closes a parenthesis often where the latch is on, else never."""
    network = planted(VOCABULARY)
    network.output.weight *= 0.1
    row = VOCABULARY.encode(")")[0]
    network.output.weight[row] = 0
    network.output.weight[row, LATCH] = 8.0
    network.output.bias[row] = -6.0
    return network


NETWORK = closing_when_on()


@functools.cache
def steering_of(cell: int, name: str | None = "inside parentheses") -> Steering:
    tracked = None if name is None else find_property(name)
    return steer(
        NETWORK,
        ENCODED,
        Cell(1, cell),
        tracked,
        signal="c",
        vocabulary=VOCABULARY,
        texts=TEXTS,
        length=LENGTH,
    )


def frequency(steering: Steering, symbol: str) -> tuple[float, float]:
    found = next(one for one in steering.frequencies if one.symbol == symbol)
    return found.low, found.high


def test_held_latch_changes_closing_marks():
    low, high = frequency(steering_of(LATCH), ")")
    assert low < 15
    assert high > 3 * low + 30
    assert steering_of(LATCH).frequencies[0].difference.low > 20


def test_cell_that_nothing_reads_changes_nothing():
    network = planted(VOCABULARY)
    with torch.no_grad():
        network.output.weight[:, LATCH] = 0
    found = steer(
        network, ENCODED, Cell(1, LATCH), None, signal="c", vocabulary=VOCABULARY, texts=TEXTS, length=LENGTH
    )  # fmt: skip
    free, *held = found.conditions
    assert all(one.sample == free.sample and one.measures == free.measures for one in held)
    assert all(one.nats == free.nats for one in held)


def test_constant_cell_can_be_steered():
    network = planted(VOCABULARY)
    plant(network, LATCH, VOCABULARY, candidate=(0.0, {}))
    found = steer(
        network,
        ENCODED,
        Cell(1, LATCH),
        find_property("inside parentheses"),
        signal="c",
        vocabulary=VOCABULARY,
        texts=2,
        length=20,
    )
    free, moved = found["not held"], found["moved inside"]
    assert moved.sample == free.sample


def test_text_without_a_hold_is_an_ordinary_sample():
    primes = np.random.default_rng(1)
    places = np.arange(len(ENCODED))[100 + 250 :]
    ends = primes.choice(places, TEXTS, replace=False)
    settings = SampleSettings(length=LENGTH, seed=1, temperature=1.0)
    prime = ENCODED.ids[ends[0] - 99 : ends[0] + 1]
    drawn = [int(one[0]) for one in generate(NETWORK, settings, prime, vocabulary=VOCABULARY)]
    assert VOCABULARY.text(drawn) == steering_of(LATCH).conditions[0].sample


def test_doses_go_from_outside_to_inside():
    found, truth = steering_of(LATCH), find_property("inside parentheses").of(characters_of(VOCABULARY, ENCODED.ids))
    levels = measure_levels(
        NETWORK,
        ENCODED,
        Cell(1, LATCH),
        "c",
        truth,
    )
    read = trace_signal(NETWORK, ENCODED, "c", [Cell(1, LATCH)])[:, 0]
    assert levels.inside == pytest.approx(np.median(read[truth]), abs=0.05)
    values = [one.value for one in found.conditions if one.kind == "held"]
    assert values == sorted(values)
    assert values[1] == pytest.approx(levels.outside)
    assert values[3] == pytest.approx(levels.inside)
    assert [one.natural for one in found.conditions if one.kind == "held"] == [False, True, True, True, False]


def test_baselines_and_fluency():
    found = steering_of(LATCH)
    assert found["primed inside"].measures["property"].mean > found["not held"].measures["property"].mean
    assert found["held inside+"].nats.mean > found["not held"].nats.mean + 0.05
    assert [one.kind for one in found.conditions] == ["free"] + ["held"] * 5 + ["primed"] * 2 + ["moved"] * 2


def test_fluency_is_the_score_of_the_text():
    found = steer(
        NETWORK, ENCODED, Cell(1, LATCH), None, signal="c", vocabulary=VOCABULARY, texts=2, length=300
    )  # fmt: skip
    ends = np.random.default_rng(1).choice(np.arange(len(ENCODED))[350:], 2, replace=False)
    settings, nats = SampleSettings(length=300, seed=1, temperature=1.0, num=2), []
    for stream, end in enumerate(ends):
        prime = ENCODED.ids[end - 99 : end + 1]
        ids = [int(one[stream]) for one in generate(NETWORK, settings, prime, vocabulary=VOCABULARY)]
        nats.append(score(NETWORK, EncodedText(np.array([*prime, *ids]))).nats[-300:].mean())
    assert found.conditions[0].nats.mean == pytest.approx(np.mean(nats), abs=1e-4)


@pytest.mark.parametrize("name", [None, "inside parentheses", "line position"])
def test_output_fits_the_terminal(name):
    found = steering_of(LATCH, name)
    words = legend(found, TERMINAL)
    lines = [*table_of(found, TERMINAL).splitlines(), *words.splitlines(), *samples(found, TERMINAL), texts_read(found)]
    assert max(map(len, lines)) <= 80
    assert ("*:" in words) == ("*" in table_of(found, TERMINAL))
    assert changed_characters(found)
    assert "cell 1:5" in claim(found).lower()
    assert json.loads(json.dumps(found.to_json()))["claim"] == claim(found)


@pytest.mark.parametrize("name", [None, "inside parentheses", "line position"])
def test_legend_explains_every_column_and_row(name):
    found = steering_of(LATCH, name)
    header, _, *rows = table_of(found, TERMINAL).splitlines()
    words = {line.split("  ")[0] for line in legend(found, TERMINAL).splitlines()} - {""}
    for title in ("value", "holds", "mean", *HEADERS.values(), "nats"):
        assert (title in words) == (f" {title} " in f"{header} ")
    kinds = {row.split()[0] for row in rows}
    assert kinds <= {word.split()[0] for word in words}


def test_claim_has_a_line_for_each_part():
    found = steering_of(LATCH)
    heading, *parts = claim_lines(found, TERMINAL)
    assert f"{heading} {'; '.join(part.strip() for part in parts)}" == claim(found)
    assert len(parts) == 3


def test_narrow_terminal_fits_the_claim_and_the_samples():
    found = steering_of(LATCH)
    narrow = dataclasses.replace(TERMINAL, is_terminal=True, width=40)
    same = [dataclasses.replace(one, sample="the same") for one in found.conditions]
    for steering in (found, dataclasses.replace(found, conditions=tuple(same))):
        heading, *parts = claim_lines(steering, narrow)
        assert all(part.startswith("  ") for part in parts)
        assert max(map(len, [heading, *parts, *samples(steering, narrow)])) <= 40


def test_samples_begin_where_they_differ():
    found = steering_of(LATCH)
    low, high = (
        dataclasses.replace(one, sample="the same line\n" * 6 + f"and then {word} it slept")
        for one, word in zip(found.compared[1:], ("noon", "Anna"), strict=True)
    )
    conditions = {found.low: low, found.high: high}
    changed = dataclasses.replace(
        found, conditions=tuple(conditions.get(place, one) for place, one in enumerate(found.conditions))
    )
    assert [re.split(" +│ ", line) for line in samples(changed, TERMINAL)] == [
        ["the first text from character 85 on"],
        ["held outside:", "held inside:"],
        ["and then noon it slept", "and then Anna it slept"],
    ]
    same = dataclasses.replace(changed, low=found.high)
    assert samples(same, TERMINAL) == ["held inside, held inside: the first text begins with the same 106 characters"]


@pytest.mark.parametrize("recurrence", ["gru", "rnn"])
def test_documents_and_other_recurrences(recurrence):
    network, documents = network_for(VOCABULARY, recurrence), DocumentSeparator("lines")
    text = documents.separate(ENCODED.ids, VOCABULARY)
    found = steer(
        network,
        text,
        Cell(1, 2),
        find_property("upper case"),
        signal="h",
        vocabulary=VOCABULARY,
        documents=documents,
        texts=3,
        length=100,
    )
    assert all(-1 <= one.value <= 1 for one in found.conditions if one.value is not None)
    assert 2 < found.conditions[0].nats.mean < 2 * np.log(len(VOCABULARY))


def test_short_text_is_an_error():
    with pytest.raises(CharrnnError, match="characters to continue"):
        steer(NETWORK, ENCODED[:90], Cell(1, LATCH), None, signal="c", vocabulary=VOCABULARY, texts=2, length=100)
