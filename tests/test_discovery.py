"""The search for cells, as a whole and stage by stage, on networks whose cells are known."""

from __future__ import annotations

import argparse
import inspect
import json
import textwrap
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from charrnn.discovery import activations
from charrnn.discovery.activations import Recordings, cell_groups, record
from charrnn.discovery.baselines import (
    Baselines,
    kgram_baselines,
    linear_memory_baselines,
    untrained_baselines,
    untrained_networks,
)
from charrnn.discovery.candidates import Candidate, choose_candidates, gather_evidence
from charrnn.discovery.confounds import Design, Moments, unique_r_squared
from charrnn.discovery.findings import Findings
from charrnn.discovery.scores import score_cells, segments_to_permute, summarize_cells
from charrnn.discovery.search import discover
from charrnn.discovery.statistics import auc
from charrnn.discovery.study import Effort, Split, Study, prepare_study, reason_not_testable
from charrnn.errors import CharrnnError
from charrnn.inspection.gates import memory_length
from charrnn.inspection.trace import Cell, trace
from charrnn.model.network import CharRNN
from charrnn.model.recurrences import RECURRENCES
from charrnn.properties import source_code
from charrnn.properties.catalog import CATALOG, Text, searchable
from charrnn.properties.user_properties import find_property
from charrnn.scoring.score import score
from charrnn.text.contexts import Contexts
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import (
    CLOSED,
    COUNTER,
    DETECTOR,
    DIMENSION,
    LATCH,
    OPEN,
    SMALL_EFFORT,
    network_for,
    plant,
    planted,
    prose,
)

FAST = Effort(characters=15_000, permutations=100, pseudo_labels=10, resamples=50, untrained=1, seed=4)


def search(
    network: CharRNN,
    characters: str,
    vocabulary: Vocabulary,
    names: Sequence[str] = (),
    *,
    language: str | None = None,
    effort: Effort = SMALL_EFFORT,
) -> Findings:
    chosen = [find_property(name) for name in names] or searchable()
    text = EncodedText(vocabulary.encode(characters))
    return discover(network, text, Text(characters, language), chosen, symbols=vocabulary.symbols, effort=effort)


def study_of(characters: str, names: Sequence[str] = ()) -> tuple[Study, Vocabulary]:
    vocabulary = Vocabulary.of(characters)
    chosen = [find_property(name) for name in names] or searchable()
    text = EncodedText(vocabulary.encode(characters))
    return prepare_study(text, Text(characters), chosen, replace(FAST, characters=len(characters))), vocabulary


def ignore(stage: str, share: float) -> None:
    """Take the progress of a stage and do nothing."""


WEAK = 3


@pytest.fixture(scope="module")
def found() -> Findings:
    """Findings about a network in which random cells read the latch, and WEAK reads it weakly."""
    characters = prose(40_000)
    vocabulary = Vocabulary.of(characters)
    network, draw = planted(vocabulary), torch.Generator().manual_seed(2)
    layer, size = network.recurrences[0], network.settings.hidden_size
    plant(network, WEAK, vocabulary, input=OPEN, forget=CLOSED, output=OPEN, candidate=(0.0, {}))
    candidate = network.recurrence.gate_rows("candidate", size).start + WEAK
    with torch.no_grad():
        for cell in {*range(size)} - {LATCH, COUNTER, DETECTOR, WEAK}:
            layer.weight_hh_l0[cell::size, LATCH] = 0.4 * torch.rand(4, generator=draw) - 0.2
        layer.weight_hh_l0[candidate, LATCH] = 0.1
        layer.weight_ih_l0[candidate, len(DIMENSION) :] = torch.randn(16 - len(DIMENSION), generator=draw)
    return search(network, characters, vocabulary)


def named(findings: Findings) -> dict[str, str]:
    return {one.cell: one.property_name for one in findings}


# The whole search


def test_planted_cells_are_named(found):
    assert named(found) == {f"1:{LATCH}": "inside parentheses", f"1:{COUNTER}": "line position"}


def test_difference_that_cannot_be_seen_earns_no_name(found):
    (claim,) = (one for one in found["inside parentheses"] if one.cell == f"1:{WEAK}")
    assert claim.score > 0.99
    assert abs(claim.difference) < 0.1
    assert claim.verdict != "tracks"
    change = f"{claim.difference:.2f}".replace("0.", ".").replace("-", "−")
    assert f"it changes by only {change} between inside and outside" in claim.failed


def test_evidence_for_a_latch(found):
    (latch,) = (one for one in found["inside parentheses"] if one.cell == f"1:{LATCH}")
    assert latch.score == pytest.approx(1)
    assert latch.sign == 1
    assert latch.balanced_accuracy == pytest.approx(1)
    assert latch.mean_inside > 0.7
    assert abs(latch.mean_outside) < 1e-6
    assert latch.p == 1 / (1 + SMALL_EFFORT.permutations)


def test_evidence_for_a_counter(found):
    (counter,) = (one for one in found["line position"] if one.cell == f"1:{COUNTER}")
    assert counter.plain == pytest.approx(1, abs=1e-4)
    assert counter.score > 0.999
    assert counter.pearson > 0.99
    assert counter.episodes > 300


def test_quote_detector_is_not_named_a_quote_cell(found):
    cell = f"1:{DETECTOR}"
    assert cell not in named(found)
    assert found.detectors[cell] == '"'
    assert "inside “…”" in found.testable
    assert {one.verdict for one in found["inside “…”"] if one.cell == cell} <= {"none"}


def test_control_labels_take_part_and_are_not_named(found):
    assert set(found.controls) == {"hash of the word [next]", "t mod 7"}
    assert {one.property_name for one in found.evidence} >= set(found.controls)
    claims = [one for one in found.evidence if one.verdict == "tracks"]
    assert not set(found.controls) & {one.property_name for one in claims}


def test_untestable_properties_are_listed_with_reasons(found):
    assert found.not_testable["in string"] == "not a property of this kind of text"
    assert found.not_testable["speaker name"] == "does not occur"
    assert not set(found.testable) & set(found.not_testable)
    assert len(found.testable) + len(found.not_testable) == len(searchable())


def test_property_of_the_current_character_is_not_testable():
    with pytest.raises(CharrnnError, match=r"capital .next.: follows from the current character"):
        study_of(prose(20_000), ["capital=[A-Z]"])


def test_properties_of_code_that_takes_too_long_to_lex_are_not_testable(monkeypatch):
    monkeypatch.setattr(source_code, "MAX_SECONDS", 0.0)
    characters = prose(15_000)
    vocabulary = Vocabulary.of(characters)
    findings = search(planted(vocabulary), characters, vocabulary, language="c", effort=FAST)
    assert findings.not_testable["in string"] == "Pygments takes too long to read it as C"
    assert "line position" in findings.testable


def test_same_seed_gives_the_same_findings():
    characters = prose(15_000)
    vocabulary = Vocabulary.of(characters)
    first, second = (
        search(planted(vocabulary), characters, vocabulary, ["line position"], effort=FAST) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("recurrence", ["gru", "rnn"])
def test_recurrences_without_c_are_searched_by_h(recurrence):
    characters = prose(15_000)
    vocabulary = Vocabulary.of(characters)
    findings = search(network_for(vocabulary, recurrence, 8), characters, vocabulary, effort=FAST)
    assert {one.signal for one in findings.evidence} == {"h"}
    assert named(findings) == {}
    assert len(findings.summaries) == findings.cells == 8


def test_documents_are_read_from_their_opening():
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network = network_for(vocabulary)
    documents = DocumentSeparator("lines").separate(vocabulary.encode(characters), vocabulary)
    chosen = [CATALOG["line position"]]
    found = discover(network, documents, Text(characters), chosen, symbols=vocabulary.symbols, effort=SMALL_EFFORT)
    split = Split.of(len(documents))
    predicted = np.concatenate([start + np.arange(1, split.block) for start in split.starts])
    nats = score(network, documents).nats[np.setdiff1d(predicted, documents.starts)]
    assert found.bits_per_character == pytest.approx(float(nats.mean()) / np.log(2), abs=1e-5)


def test_user_property_competes_with_the_catalog():
    characters = prose(30_000)
    vocabulary = Vocabulary.of(characters)
    findings = search(planted(vocabulary), characters, vocabulary, [r"bracketed=\([^()]*(?=\))"])
    assert findings.testable == ("bracketed [next]",)
    (best,) = findings
    assert best.cell == f"1:{LATCH}"
    assert best.runner_up in ("inside parentheses", "in brackets")
    (summary,) = findings.matches
    assert (summary.property_name, summary.episodes > 60) == ("bracketed [next]", True)
    assert all(inside.startswith("(") and after.startswith(")") for _, inside, after in summary.examples)


@pytest.mark.slow
def test_untrained_networks_are_named_no_more_often_than_the_error_rate():
    """At 5 % family-wise error for each of 20 networks, more than 3 names have a probability of 1.6 %."""
    characters = "".join(inspect.getsource(module) for module in (argparse, textwrap, inspect))[:120_000]
    vocabulary = Vocabulary.of(characters)
    effort = Effort(characters=80_000, permutations=2_000, pseudo_labels=40, resamples=500, untrained=2)
    names = []
    for seed in range(20):
        network = network_for(vocabulary, hidden_size=32, seed=1000 + seed)
        names += named(search(network, characters, vocabulary, language="python", effort=effort)).values()
    assert len(names) <= 3, names


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("scale", [1e9, 3e38])
def test_overflow_is_one_error(recurrence, scale):
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network = network_for(vocabulary, recurrence, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.sign() * scale)
    try:
        found = search(network, characters, vocabulary, ["line position"], effort=FAST)
    except CharrnnError as error:
        assert "weights are too large" in str(error)
    else:
        json.dumps(found.to_json(), allow_nan=False)


# Study


def test_blocks_alternate_and_keep_a_gap():
    split = Split.of(200_000)
    assert (len(split.starts), split.block, split.gap) == (20, 9000, 1000)
    positions = np.arange(200_000)
    select, confirm = split.select(positions), split.confirm(positions)
    assert len(select) == len(confirm) == 90_000
    assert not set(select) & set(confirm)
    edges = np.sort(np.concatenate([split.starts, split.starts + split.block - 1]))
    assert (np.diff(edges)[1::2] > 1000).all()
    streams = split.streams(positions)
    assert streams.shape == (20, 10_000)
    assert np.array_equal(streams[0::2, split.gap :].reshape(-1), select)


def test_short_text_is_split_into_shorter_blocks():
    short = Split.of(10_000)
    assert short.starts[-1] + short.block <= 10_000
    with pytest.raises(CharrnnError, match="10,000 characters or more"):
        Split.of(9_999)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.tile(np.repeat([True, False], [2, 8]), 30), None),
        (np.tile(np.repeat([True, False], [2, 8]), 30)[:290], "only 29 episodes in a half"),
        (np.zeros(100, bool), "does not occur"),
        (np.arange(10_000) % 200 == 0, "holds at 0.50 % of the characters"),
        (np.arange(10_000) % 200 != 0, "holds at 99.50 % of the characters"),
        (np.tile(np.arange(10.0), 30), None),
        (np.zeros(100), "does not occur"),
    ],
)
def test_property_needs_30_episodes_and_1_to_99_percent(values, reason):
    assert reason_not_testable(values) == reason


def test_study_searches_what_is_asked_for_and_the_controls():
    study, _ = study_of(prose(20_000), ["line position"])
    names = [study.properties[k].name for k in study.searched]
    assert names == ["line position", "hash of the word", "t mod 7"]
    assert "inside parentheses" in {study.properties[k].name for k in study.meaningful}
    assert study.titles(control=False) == ("line position",)
    for half, take in ((study.select, study.split.select), (study.confirm, study.split.confirm)):
        np.testing.assert_array_equal(half.ids, take(study.text.ids))
        np.testing.assert_array_equal(half.values[0], take(CATALOG["line position"].of(study.characters)))


def test_study_without_a_testable_property_is_refused():
    with pytest.raises(CharrnnError, match=r"none of the properties can be tested .* in string: not a property"):
        study_of(prose(20_000), ["in string"])


# Activations and scores


def test_recorded_halves_are_the_trace_of_the_text():
    study, vocabulary = study_of(prose(20_000), ["line position"])
    network, cells = planted(vocabulary), [Cell(1, LATCH), Cell(1, COUNTER)]
    recorded = record(network, study, cells, ["c", "h"], bits=True, progress=ignore, stage="reading")
    (chunk,) = trace(network, study.text, signals=["c", "h"], cells=cells, chunk=20_000)
    expected = np.concatenate([chunk.signals["c"], chunk.signals["h"]], axis=1)
    np.testing.assert_allclose(recorded.select[:, [0, 2]], study.split.select(expected)[:, [0, 2]], atol=1e-5)
    np.testing.assert_allclose(recorded.confirm[:, [1, 3]], study.split.confirm(expected)[:, [1, 3]], atol=1e-5)
    assert recorded.bits_per_character == pytest.approx(np.log2(len(vocabulary)), abs=0.5)


def test_scores_do_not_depend_on_how_cells_are_grouped(monkeypatch):
    study, vocabulary = study_of(prose(20_000), ["line position", "inside parentheses"])
    network = planted(vocabulary)
    whole = score_cells(Recordings.of(network, study, ignore))
    monkeypatch.setattr(activations, "VALUES_IN_MEMORY", 7 * 2 * 20_000)
    assert [len(group) for group in cell_groups(network, study)] == [7, 7, 7, 3]
    grouped = score_cells(Recordings.of(network, study, ignore))
    assert grouped.cells == whole.cells
    assert grouped.detectors == whole.detectors
    for name in ("select", "confirm", "comparable", "unique", "permuted", "pseudo"):
        np.testing.assert_allclose(getattr(grouped, name), getattr(whole, name), atol=5e-5, err_msg=name)


def test_scores_and_summaries_of_planted_cells():
    study, vocabulary = study_of(prose(20_000), ["line position", "inside parentheses"])
    scores = score_cells(Recordings.of(planted(vocabulary), study, ignore))
    assert scores.signals == ("c", "h")
    assert scores.confirm[0, 0, COUNTER] == pytest.approx(1, abs=1e-3)
    assert auc(scores.confirm[1, 0, LATCH]) == pytest.approx(1)
    assert scores.unique[1, scores.response(0, "binary"), LATCH] > 0.3
    assert (scores.permuted[list(study.searched)] > 0).all()
    assert vocabulary.symbols[scores.detectors[Cell(1, DETECTOR)]] == '"'
    summary = summarize_cells(study, scores)[LATCH]
    assert (summary.cell, summary.property_name) == (f"1:{LATCH}", "inside parentheses")
    assert choose_candidates(study, scores)[0][0] == Candidate(0, 0, COUNTER)


def test_permutation_uses_20_to_40_segments():
    assert segments_to_permute(np.tile([True, False], 50_000)) == 40
    one_long_run = np.tile([True, False], 50_000)
    one_long_run[:10_000] = True
    assert segments_to_permute(one_long_run) == 40
    assert segments_to_permute(np.repeat([True, False] * 10, 5_000)) == 20


# Baselines and evidence


def test_kgram_knows_a_property_of_the_last_characters():
    study, _ = study_of(prose(20_000), ["an=(?<=a)n", "inside parentheses"])
    found = kgram_baselines(study, None, ignore)
    assert set(found) == set(study.searched)
    assert found[0].plain[0] < 0.99
    assert found[0].plain[1] == pytest.approx(1)
    assert found[1].within[4] < 0.9


def test_kgram_can_be_fitted_on_training_text():
    study, vocabulary = study_of(prose(20_000), ["inside parentheses"])
    training = prose(30_000, seed=1)
    found = kgram_baselines(study, (vocabulary.encode(training), Text(training)), ignore)
    assert found[0].within.shape == (8,)
    assert not np.allclose(found[0].within, kgram_baselines(study, None, ignore)[0].within)


def test_untrained_networks_are_fresh_or_shuffled():
    _, vocabulary = study_of(prose(20_000), ["line position"])
    network = planted(vocabulary)
    fresh, shuffled = untrained_networks(network, FAST)
    weight, original = shuffled.output.weight.detach(), network.output.weight.detach()
    assert not weight.equal(original)
    assert weight.flatten().sort().values.equal(original.flatten().sort().values)
    assert not fresh.output.weight.equal(original)


def test_untrained_baseline_stays_below_a_planted_cell():
    study, vocabulary = study_of(prose(20_000), ["inside parentheses"])
    found = untrained_baselines(planted(vocabulary), study, ignore)
    assert 0 < found[0].rank_correlation < 0.8
    assert found[0].values.shape == study.confirm.ids.shape


def test_evidence_is_gathered_for_each_candidate():
    study, vocabulary = study_of(prose(20_000), ["inside parentheses"])
    network = planted(vocabulary)
    recordings = Recordings.of(network, study, ignore)
    scores = score_cells(recordings)
    candidates, _ = choose_candidates(study, scores)
    baselines = Baselines(
        kgram_baselines(study, None, ignore),
        untrained_baselines(network, study, ignore),
        linear_memory_baselines(study, ignore),
    )
    found = gather_evidence(recordings, scores, candidates, baselines, vocabulary.symbols)
    assert [one.cell for one in found] == [str(scores.cells[one.cell]) for one in candidates]
    assert found[0].cell == f"1:{LATCH}"
    assert found[0].interval == (pytest.approx(1), pytest.approx(1))
    assert found[0].beyond_kgram[0] > 0
    assert {one.interval for one in found if one.score < 0.7} <= {None}
    assert found[0].verdict in ("tracks", "correlates")


def test_kgram_expectations_interpolate_what_followed_in_training():
    train = np.array([0, 1, 0, 1, 2, 1])
    values = np.array([0, 1, 0, 1, 0, 0], float)
    one, two = Contexts(train, np.array([2, 1, 0, 1]), longest=2).expectations(values)
    mean = values.mean()
    after_1 = (2 + mean) / (3 + 1)
    after_0 = (0 + mean) / (2 + 1)
    after_2 = (0 + mean) / (1 + 1)
    np.testing.assert_allclose(one, [after_2, after_1, after_0, after_1])
    np.testing.assert_allclose(two, [after_2, (0 + after_1) / 2, (0 + after_0) / 2, (2 + after_1) / 3])


def test_unique_r2_is_what_a_property_adds_last():
    draw = np.random.default_rng(0)
    length = 4000
    first, second = draw.random((2, length)) < 0.3
    third = first | (draw.random(length) < 0.05)
    ids = draw.integers(0, 4, length)
    cells = np.stack([first + 0.5 * draw.standard_normal(length), draw.standard_normal(length)], 1).astype(np.float32)
    designs: list[Design] = []
    moments = []
    for half in (slice(0, length // 2), slice(length // 2, length)):
        like = designs[0] if designs else None
        designs.append(Design.of([first[half], second[half], third[half]], ids[half], ids[half], like))
        moments.append(Moments.of(designs[-1], cells[half]))
    halves = list(zip(designs, moments, strict=True))
    alone = unique_r_squared(halves, [None, None, None])[1]
    family = unique_r_squared(halves, ["a", None, "a"])[1]
    variance = 0.3 * 0.7 / (0.3 * 0.7 + 0.25)
    assert family[0, 0] == pytest.approx(variance, abs=0.04)
    assert 0.03 < alone[0, 0] < family[0, 0] - 0.2
    assert np.abs(alone[1]).max() < 0.01
    assert np.abs(alone[:, 1]).max() < 0.02


def test_memory_length_is_that_of_the_median_step():
    assert memory_length(np.array([0.99] * 60 + [0.01] * 40)) == pytest.approx(-1 / np.log(0.99))
    assert memory_length(np.full(5, 1.0)) > 1e6
