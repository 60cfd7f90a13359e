"""What holding a planted cell costs, and where."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json

import numpy as np
import pytest
import torch

from charrnn.causal.ablation import ablate
from charrnn.causal.contrast import contrast_of
from charrnn.causal.effects import Ablation
from charrnn.causal.reading import Windows, read_blocks
from charrnn.discovery.study import Split
from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Text
from charrnn.properties.user_properties import find_property
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import COUNTER, LATCH, PAIR, plant, planted, planted_pair, prose

TEXT = Text(prose(18_000))
VOCABULARY = Vocabulary.of(TEXT.characters)
ENCODED = EncodedText(VOCABULARY.encode(TEXT.characters))
RANDOM = 3


SPARE = LATCH + 1


@torch.no_grad()
def reading_cells(*readers: tuple[str, int, float]) -> CharRNN:
    """Return the planted network with an output in which some characters depend on one weight each, or on several.

    SPARE is a copy of LATCH.
    """
    network = planted(VOCABULARY)
    layer, size = network.recurrences[0], network.settings.hidden_size
    for weight in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0):
        weight.unflatten(0, (-1, size))[:, SPARE] = weight.unflatten(0, (-1, size))[:, LATCH]
    layer.weight_hh_l0[:, SPARE] = 0
    network.output.weight *= 0.3
    rows = [int(VOCABULARY.encode(character)[0]) for character, _, _ in readers]
    network.output.weight[rows] = 0
    for row, (_, cell, weight) in zip(rows, readers, strict=True):
        network.output.weight[row, cell] = weight
    return network


NETWORK = reading_cells((")", LATCH, 4.0), ("(", LATCH, -4.0), ("\n", COUNTER, 6.0))


@functools.cache
def ablation_of(cell: int, name: str = "inside parentheses", network: CharRNN = NETWORK) -> Ablation:
    return ablate(
        network, ENCODED, TEXT, Cell(1, cell), find_property(name), signal="c", symbols=VOCABULARY.symbols, controls=5
    )


@pytest.fixture
def latch() -> Ablation:
    return ablation_of(LATCH)


def test_needed_cell_dissociates_doubly(latch):
    closing, opening = latch.directions
    assert (closing.held, closing.event, closing.symbol) == ("outside", "closing", ")")
    assert (opening.held, opening.event, opening.symbol) == ("inside", "opening", "(")
    assert (latch.median_outside, latch.median_inside) == pytest.approx((0, 1), abs=1e-6)
    for one in (closing, opening):
        assert one.effect.bits > 3
        assert abs(one.own.bits) < 0.05
        assert one.beyond_matched.low > 3
        assert one.controls_below == 1
        assert one.direct == pytest.approx(one.effect.bits, abs=0.01)  # nothing else reads the latch
    assert latch.stars == 2
    assert latch.is_monotone


def test_cell_that_is_not_read_earns_no_star():
    found = ablation_of(RANDOM)
    assert found.stars == 0
    assert all(abs(one.effect.bits) < 0.5 for one in found.directions)
    assert "not shown to be necessary" in repr(found)


def test_constant_cell_is_no_control_of_itself():
    network = copy.deepcopy(NETWORK)
    plant(network, RANDOM, VOCABULARY, candidate=(0.0, {}))
    found = ablation_of(RANDOM, network=network)
    assert found.stars == 0
    assert Ablation.from_json(found.to_json()) == found  # which checks that no count is negative


@pytest.mark.slow
def test_counter_moves_late_newlines():
    found = ablation_of(COUNTER, "line position")
    late = found.directions[0]
    assert (late.held, late.event, late.symbol) == ("low", "late", "\\n")
    assert late.effect.bits > 0.5
    assert found.is_specific(late)


def test_swapped_state_brings_back_the_difference(latch):
    shares = {one.characters: (one.share, one.flipped) for one in latch.stored}
    assert min(shares[1]) > 0.5
    assert min(shares[20]) > 0.99  # the random cells have forgotten the opening
    assert latch.is_stored
    assert all(abs(one.share) < 0.05 for one in ablation_of(RANDOM).stored)


def test_groups_contain_the_best_cell(latch):
    first = latch.groups[0]
    assert first.effects == pytest.approx([one.effect.bits for one in latch.directions], rel=0.1)
    assert max(np.abs(first.random)) < 0.5


def test_spare_cell_hides_the_need():
    """Where two cells each suffice, neither is shown to be needed at the end of an episode; together they are."""
    found = ablation_of(LATCH, network=reading_cells((")", LATCH, 12.0), (")", SPARE, 12.0)))
    assert not found.is_specific(found.directions[0])
    alone, both = found.groups[:2]
    assert alone.effects[0] < 0.1
    assert both.effects[0] > 3


@pytest.mark.slow
@pytest.mark.parametrize("cell", PAIR)
def test_cell_that_tells_with_another_only_earns_no_star(cell):
    network = planted_pair(VOCABULARY)
    with torch.no_grad():
        for character, weight in ((")", 8.0), ("(", -8.0)):
            row = network.output.weight[int(VOCABULARY.encode(character)[0])]
            row.zero_()
            row[list(PAIR)] = torch.tensor([weight, -weight])
    found = ablation_of(cell, network=network)
    assert found.stars == 0
    assert found.groups[2].effects[1] > 5


def test_json_and_data_frame(latch):
    data = json.loads(json.dumps(latch.to_json()))
    assert data["stars"] == 2
    assert Ablation.from_json(data) == latch
    with pytest.raises(ValueError, match="out of range"):
        Ablation.from_json({**data, "cell": "x"})
    frame = latch.to_dataframe()
    assert frame["effect_bits"].tolist() == [one.effect.bits for one in latch.directions]
    assert "closing )" in str(latch)


def test_stars_need_every_condition(latch):
    closing, opening = latch.directions
    needed_by_both = dataclasses.replace(latch, directions=(closing, dataclasses.replace(opening, own=closing.effect)))
    assert needed_by_both.stars == 0  # neither hold is specific: one fails at its own class, the other across
    assert dataclasses.replace(latch, directions=(closing,)).stars == 1
    weak = [dataclasses.replace(one, controls_below=0.98) for one in latch.directions]
    assert dataclasses.replace(latch, directions=tuple(weak)).stars == 0
    turning = tuple(
        dataclasses.replace(one, effects=tuple((k % 2) * 3.0 for _ in latch.directions))
        for k, one in enumerate(latch.doses)
    )
    assert dataclasses.replace(latch, doses=turning).stars == 1


def test_windows_continue_documents():
    starts = np.flatnonzero(ENCODED.ids == VOCABULARY.encode("\n")[0])[:-1:10] + 1
    text = EncodedText(ENCODED.ids, np.concatenate([[0], starts]))
    split, cell = Split.of(len(text)), Cell(1, LATCH)
    contrast = contrast_of(find_property("inside parentheses").of(TEXT), text, split, "it")
    reading = read_blocks(NETWORK, text, split, (contrast.outside, contrast.inside), cell, "c", lambda *_: None)
    for kind in contrast.kinds:
        windows = Windows.ending_at(reading, kind.places, 60)
        found = -windows.base.gather(1, windows.following[:, None])[:, 0] / np.log(2)
        np.testing.assert_allclose(found, kind.places.of(reading.surprise), atol=1e-4)


def test_distance_to_natural_states():
    split, cell = Split.of(len(TEXT)), Cell(1, RANDOM)
    everywhere = np.ones(ENCODED.streams(split.streams).ids.shape, bool)
    reading = read_blocks(NETWORK, ENCODED, split, (~everywhere, everywhere), cell, "h", lambda *_: None)
    state = tuple(tuple(part[-1, 0::2].clone() for part in layer) for layer in reading.states)
    assert reading.distance_to_natural(state, 1, 0).max() < 0.01
    state[0][0][:, RANDOM] += 100
    assert reading.distance_to_natural(state, 1, 0).min() > 20


def test_too_few_events():
    split = Split.of(len(TEXT))
    values = np.zeros(len(TEXT), bool)
    values[3000:3005] = True
    with pytest.raises(CharrnnError, match="ends 1 times and begins 1 times in half of this text"):
        contrast_of(values, ENCODED, split, "rare")


def test_events_change_the_property():
    split = Split.of(len(TEXT))
    contrast = contrast_of(find_property("inside parentheses").of(TEXT), ENCODED, split, "it")
    characters = ENCODED.streams(split.streams).ids
    for kind, symbol in zip(contrast.kinds, ")(", strict=True):
        following = characters[kind.places.rows, kind.places.columns + 1]
        assert set(following.tolist()) == set(VOCABULARY.encode(symbol).tolist())
        assert kind.places.of(contrast.of_class(kind.natural)).all()
        assert (kind.places.rows % 2 == 1).all()
