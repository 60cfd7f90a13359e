"""Search by example, gate saturation, profiles and histories of cells, on networks whose cells are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from charrnn.discovery.history import History, cell_history
from charrnn.discovery.profile import cell_profile, contradictions
from charrnn.discovery.span_match import find_occurrences, match_span
from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.inspection.gates import gate_saturation
from charrnn.inspection.trace import Cell, trace
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import CATALOG, Text
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import COUNTER, LATCH, network_for, planted, prose
from tests.test_findings import evidence


def test_occurrences_have_neighbors_and_may_overlap():
    assert find_occurrences("aa", "aaaab aa") == [1, 2]
    assert find_occurrences("ab", "ab ab ab") == [3]
    assert find_occurrences("x", "abc") == []


@pytest.mark.parametrize("length", [9_000, 40_000])
def test_planted_latch_matches_every_parenthesis(length):
    characters = prose(length)
    vocabulary = Vocabulary.of(characters)
    start = characters.index("(", 3000)
    span = characters[start : characters.index(")", start) + 1]
    places = find_occurrences(span, characters)
    found = match_span(planted(vocabulary), EncodedText(vocabulary.encode(characters)), places, len(span))
    latch = next(one for one in found.cells if one.cell == Cell(1, LATCH))
    assert latch.sign == 1
    assert latch.hits == len(places)
    inside = CATALOG["inside parentheses"].of(Text(characters))
    assert latch.share == pytest.approx(inside.mean(), abs=1e-3)
    assert all(inside[a:b].all() for a, b in found.elsewhere)
    assert not any(a <= place < b for a, b in found.elsewhere for place in places)


def test_documents_are_read_from_their_opening():
    characters = prose(40_000)
    vocabulary = Vocabulary.of(characters)
    network = network_for(vocabulary, seed=3)
    documents = DocumentSeparator("lines").separate(vocabulary.encode(characters), vocabulary)
    assert len(documents.starts) > 300
    signals = [chunk.signals for chunk in trace(network, documents)]
    c, forget = (np.concatenate([one[name] for one in signals]) for name in ("c", "forget"))
    found = gate_saturation(network, documents)[1]
    np.testing.assert_allclose(found.right, (forget[500:] > 0.9).mean(axis=0), atol=1e-4)
    places = find_occurrences("the", characters)
    for one in match_span(network, documents, places, 3).cells:
        assert one.share == pytest.approx((one.sign * np.tanh(c[:, one.cell.index]) >= 0.3).mean(), abs=1e-4)
    found = cell_history({1: network}.__getitem__, [1], documents, Cell(1, 3), "c", c[:, 3])
    assert found.rank_correlations == (pytest.approx(1, abs=2e-4),)


def test_saturation_is_below_10_and_above_90_percent():
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network, ids = planted(vocabulary), vocabulary.encode(characters)
    found = {one.gate: one for one in gate_saturation(network, EncodedText(ids))}
    assert found["forget"].right[LATCH] > 0.9
    assert found["forget"].left[LATCH] == pytest.approx((ids[500:] == vocabulary.encode(")")[0]).mean())
    assert found["input"].right[COUNTER] == 1
    some = gate_saturation(network, EncodedText(ids), [Cell(1, COUNTER)])
    assert some[1].left[0] == found["forget"].left[COUNTER]


def test_profile_of_a_planted_latch():
    """Where it is on, which passages show it, and what it does to the prediction."""
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network, text = planted(vocabulary), EncodedText(vocabulary.encode(characters))
    with torch.no_grad():
        network.output.weight[vocabulary.encode(")")[0], LATCH] = 9
    inside = CATALOG["inside parentheses"].of(Text(characters))
    profile = cell_profile(network, text, Cell(1, LATCH), passages=3, claimed=("inside parentheses", inside))
    assert profile.memory > 1000
    np.testing.assert_array_equal(profile.holds, profile.values > 0.5)
    kinds = [one.kind for one in profile.passages]
    assert kinds == [kind for kind in ("highest", "95 %", "50 %", "5 %", "lowest", "random") for _ in range(3)]
    assert all(inside[one.position] for one in profile.passages[:3])
    assert all(one.value == pytest.approx(profile.values[one.position]) for one in profile.passages)
    positions = sorted(one.position for one in profile.passages)
    assert min(np.diff(positions)) >= 80
    high, low = profile.effects
    assert high.raised[0] == (vocabulary.encode(")")[0], pytest.approx(9 * 0.76 * (1 - inside[500:].mean()), abs=0.05))
    assert low.lowered[0][0] == vocabulary.encode(")")[0]
    start = profile.busiest(200, characters)
    changes = np.abs(np.diff(inside.astype(int)))
    assert changes[start : start + 199].sum() >= 0.8 * max(changes[k : k + 199].sum() for k in range(500, 11_800))
    assert characters[start - 1] in " \n"


def test_first_passage_shows_both_classes():
    """The cell changes most where the property never holds; the passage shown first has both classes all the same."""
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    text = EncodedText(vocabulary.encode(characters))
    rare = np.zeros(len(text), bool)
    rare[9_000:9_100] = True
    profile = cell_profile(planted(vocabulary), text, Cell(1, LATCH), claimed=("rare", rare))
    start = dataclasses.replace(profile, holds=None).busiest(200, characters)
    assert not rare[start : start + 200].any()
    start = profile.busiest(200, characters)
    assert 200 / 7 <= rare[start : start + 200].sum() <= 200 * 6 / 7
    rare[9_010:] = False  # too short for a seventh of any passage
    assert dataclasses.replace(profile, holds=rare).busiest(200, characters) == dataclasses.replace(
        profile, holds=None
    ).busiest(200, characters)


def test_classes_of_a_graded_property_are_its_halves():
    characters = prose(2_000)
    vocabulary = Vocabulary.of(characters)
    values = CATALOG["line position"].of(Text(characters))
    text = EncodedText(vocabulary.encode(characters))
    profile = cell_profile(planted(vocabulary), text, Cell(1, LATCH), claimed=("line position", values))
    (high, above), (low, below) = profile.classes()
    assert (high, low) == ("high line position", "low line position")
    assert len(above) == (values > np.median(values))[profile.skipped :].sum()
    assert len(above) + len(below) == len(values) - profile.skipped


def test_correlated_cells_of_a_profile():
    characters = prose(9_000)
    vocabulary = Vocabulary.of(characters)
    network, text = network_for(vocabulary, "gru"), EncodedText(vocabulary.encode(characters))
    profile = cell_profile(network, text, Cell(1, 3), passages=0)
    assert [one.gate for one in profile.gates] == ["reset", "update"]
    hidden = np.concatenate([chunk.signals["h"] for chunk in trace(network, text, signals=["h"])])
    wanted = np.corrcoef(hidden[500:], rowvar=False)[3]
    order = np.argsort(-np.abs(wanted))[1:6]
    assert [cell.index for cell, _ in profile.correlated] == order.tolist()
    np.testing.assert_allclose([value for _, value in profile.correlated], wanted[order], atol=1e-5)


def test_contradictions_are_where_cell_and_property_disagree():
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network, ids = planted(vocabulary), vocabulary.encode(characters)
    claim = evidence(cell=f"1:{LATCH}", threshold=0.5)
    text = Text(characters)
    assert contradictions(network, EncodedText(ids), text, claim, CATALOG["inside parentheses"]) == []
    found = contradictions(network, EncodedText(ids), text, claim, CATALOG["inside “…”"])
    values = np.concatenate(
        [k.signals["c"] for k in trace(network, EncodedText(ids), signals=["c"], cells=[Cell(1, LATCH)])]
    )[:, 0]
    truth = CATALOG["inside “…”"].of(text)
    assert len(found) == 3
    assert all(truth[one.position] == one.holds and (values[one.position] > 0.5) != one.holds for one in found)


def test_history_has_a_score_for_each_checkpoint():
    characters = prose(20_000)
    vocabulary = Vocabulary.of(characters)
    networks = {10: network_for(vocabulary, seed=3), 20: planted(vocabulary), 30: planted(vocabulary)}
    labels = CATALOG["inside parentheses"].of(Text(characters))
    ids = vocabulary.encode(characters)
    found = cell_history(networks.__getitem__, [10, 20, 30], EncodedText(ids), Cell(1, LATCH), "c", labels)
    assert found.steps == (10, 20, 30)
    first, second, third = found.rank_correlations
    assert abs(first) < 0.6
    assert second == third == pytest.approx(1, abs=1e-6)
    assert found.settled_at == 20
    itself = cell_history(networks.__getitem__, [10, 30], EncodedText(ids), Cell(1, COUNTER), "c")
    assert itself.rank_correlations[1] == pytest.approx(1, abs=1e-6)


def test_damaged_checkpoints_are_left_out_of_a_history():
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    ids = vocabulary.encode(characters)

    def networks(step: int) -> CharRNN:
        if step in (20, 40):
            raise CharrnnError(f"checkpoint {step} is damaged", "train again")
        return planted(vocabulary)

    with pytest.warns(CharrnnWarning, match="checkpoint .0 is damaged; this checkpoint is left out") as warned:
        found = cell_history(networks, [10, 20, 30, 40], EncodedText(ids), Cell(1, COUNTER), "c")
    assert len(warned) == 2
    assert found.steps == (10, 30)
    assert found.rank_correlations == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    with pytest.raises(CharrnnError, match="checkpoint 20 is damaged; train again"):
        cell_history(networks, [20, 40], EncodedText(ids), Cell(1, COUNTER), "c")


@pytest.mark.parametrize(("course", "step"), [((0.0, 0.95, 0.5, 0.92, 1.0), 4), ((0.5, -0.9), 2), ((0.5, 0.05), None)])
def test_cell_has_settled_once_it_stays_above_90_percent(course, step):
    assert History(Cell(1, 0), "c", None, "graded", tuple(range(1, len(course) + 1)), course).settled_at == step
