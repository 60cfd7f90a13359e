"""The search on networks of which it is known what their cells do."""

from __future__ import annotations

import argparse
import inspect
import json
import textwrap

import numpy as np
import pytest
import torch

from charrnn.discovery import cache as store
from charrnn.discovery.confounds import Design, Moments, unique_shares
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.findings import Findings, columns_of
from charrnn.discovery.naming import verdict
from charrnn.discovery.report import score_with_interval
from charrnn.discovery.search import discover
from charrnn.discovery.study import Effort, Split, reason_not_testable
from charrnn.errors import CharrnnError
from charrnn.inspection.gates import memory_length
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import CATALOG, Text
from charrnn.properties.user_properties import find_property
from charrnn.scoring.score import score
from charrnn.settings import ModelSettings
from charrnn.text.contexts import Contexts
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

LITTLE = Effort(characters=40_000, permutations=2_000, pseudo_labels=40, resamples=300, untrained=2, seed=1)
FAR = 30.0  # a gate's input at which it is shut or open to within 1e-13
LATCH, COUNTER, DETECTOR = 5, 11, 17


def prose(length: int, seed: int = 0) -> str:
    """Words in lines of very different length, with parentheses and quotations that may go over several lines."""
    draw = np.random.default_rng(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "then", "it", "slept", "until", "noon", "Anna", "saw", "it"]
    parts, size, parenthesis, quotation = [], 0, 0, 0
    while size < length:
        word = words[draw.integers(len(words))]
        if parenthesis == 0 and draw.random() < 0.03:
            word, parenthesis = "(" + word, int(draw.integers(1, 12)) + 1
        elif quotation == 0 and draw.random() < 0.03:
            word, quotation = '"' + word, int(draw.integers(1, 12)) + 1
        if parenthesis:
            parenthesis -= 1
            word += "" if parenthesis else ")"
        if quotation:
            quotation -= 1
            word += "" if quotation else '"'
        parts.append(word + ("\n" if draw.random() < 0.12 else " "))
        size += len(parts[-1])
    return "".join(parts)[:length]


def network_for(vocabulary: Vocabulary, recurrence: str = "lstm", hidden_size: int = 24, seed: int = 0) -> CharRNN:
    network = CharRNN(ModelSettings(recurrence, 1, hidden_size, 16), len(vocabulary))
    network.initialize(torch.Generator().manual_seed(seed))
    return network.eval()


@torch.no_grad()
def plant(network: CharRNN, cell: int, vocabulary: Vocabulary, **gates: tuple[float, dict[str, float]]) -> None:
    """Wires a cell by hand: for each gate what it takes in at any character, and what instead at certain ones.

    No other cell of the layer reads it, so that none can do the same at second hand.
    """
    layer, size = network.recurrences[0], network.settings.hidden_size
    layer.weight_hh_l0[:, cell] = 0
    for gate, (usually, at) in gates.items():
        row = network.recurrence.gate_rows(gate, size).start + cell
        layer.weight_hh_l0[row] = 0
        layer.weight_ih_l0[row] = 0
        layer.bias_hh_l0[row] = 0
        layer.bias_ih_l0[row] = usually
        for character, value in at.items():
            layer.weight_ih_l0[row, DIMENSION[character]] = value - usually


DIMENSION = {"(": 0, ")": 1, "\n": 2, '"': 3}


@torch.no_grad()
def planted(vocabulary: Vocabulary, seed: int = 0) -> CharRNN:
    """A random network in which one cell is on between ( and ), one counts characters since the newline, and one is on
    after a quotation mark, whether it opens or closes."""
    network = network_for(vocabulary, seed=seed)
    network.embedding.weight[:, : len(DIMENSION)] = 0
    for character, dimension in DIMENSION.items():
        network.embedding.weight[vocabulary.encode(character)[0], dimension] = 1
    open_wide, wide = (FAR, {}), {"output": (FAR, {}), "candidate": (FAR, {})}
    plant(network, LATCH, vocabulary, input=(-FAR, {"(": FAR}), forget=(FAR, {")": -FAR}), **wide)
    plant(
        network,
        COUNTER,
        vocabulary,
        input=open_wide,
        forget=(FAR, {"\n": -FAR}),
        candidate=(0.01, {"\n": 0.0}),
        output=open_wide,
    )
    plant(network, DETECTOR, vocabulary, input=(-FAR, {'"': FAR}), forget=(-FAR, {}), **wide)
    return network


def searched(network: CharRNN, characters: str, vocabulary: Vocabulary, *, language=None, effort=LITTLE, names=()):
    chosen = [find_property(name) for name in names] or [p for p in CATALOG.values() if not p.control]
    ids = vocabulary.encode(characters)
    return discover(
        network, EncodedText(ids), Text(characters, language), chosen, symbols=vocabulary.symbols, effort=effort
    )


@pytest.fixture(scope="module")
def found() -> Findings:
    characters = prose(40_000)
    vocabulary = Vocabulary.of(characters)
    return searched(planted(vocabulary), characters, vocabulary)


def named(findings: Findings) -> dict[str, str]:
    return {evidence.cell: evidence.property_name for evidence, _ in findings.of_kind("tracks")}


def test_a_planted_latch_and_a_planted_counter_are_found_and_named_and_nothing_else(found):
    assert named(found) == {f"1:{LATCH}": "inside parentheses", f"1:{COUNTER}": "line position"}


def test_what_a_planted_cell_does_is_measured_rightly(found):
    latch = next(e for e in found.evidence if e.cell == f"1:{LATCH}" and e.property_name == "inside parentheses")
    assert latch.score == pytest.approx(1)
    assert latch.sign == 1
    assert latch.balanced_accuracy == pytest.approx(1)
    assert latch.mean_inside > 0.7
    assert abs(latch.mean_outside) < 1e-6
    assert latch.p == 1 / (1 + LITTLE.permutations)
    assert latch.horizon is None
    assert latch.memory > 1000
    counter = next(e for e in found.evidence if e.cell == f"1:{COUNTER}" and e.property_name == "line position")
    assert counter.plain == pytest.approx(1, abs=1e-4)
    assert counter.score > 0.999
    assert counter.pearson > 0.99
    assert counter.episodes > 300


def test_a_detector_of_a_quotation_mark_is_not_called_a_quote_cell(found):
    assert f"1:{DETECTOR}" not in named(found)
    assert found.detectors[f"1:{DETECTOR}"] == '"'
    assert "inside “…”" in found.testable
    claims = [verdict(e).kind for e in found.evidence if e.cell == f"1:{DETECTOR}" and e.property_name == "inside “…”"]
    assert set(claims) <= {"none"}


def test_control_labels_take_part_and_earn_no_name(found):
    assert set(found.controls) == {"hash of the word [next]", "t mod 7"}
    assert {e.property_name for e in found.evidence} >= set(found.controls)
    assert not set(found.controls) & {e.property_name for kind in ("tracks", "related") for e, _ in found.of_kind(kind)}


def test_what_cannot_be_tested_is_listed_with_the_reason(found):
    assert found.not_testable["in string"] == "not a property of this kind of text"
    assert found.not_testable["speaker name"] == "does not occur"
    assert not set(found.testable) & set(found.not_testable)
    assert len(found.testable) + len(found.not_testable) == len(CATALOG) - 2


def test_a_seed_makes_a_search_repeatable():
    characters = prose(15_000)
    vocabulary = Vocabulary.of(characters)
    effort = Effort(characters=15_000, permutations=50, pseudo_labels=10, resamples=50, untrained=1, seed=4)
    first, second = (
        searched(planted(vocabulary), characters, vocabulary, effort=effort, names=["line position"]) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("recurrence", ["gru", "rnn"])
def test_other_recurrences_are_searched_by_h(recurrence):
    characters = prose(15_000)
    vocabulary = Vocabulary.of(characters)
    effort = Effort(characters=15_000, permutations=50, pseudo_labels=10, resamples=50, untrained=1)
    findings = searched(network_for(vocabulary, recurrence, 8), characters, vocabulary, effort=effort)
    assert {e.signal for e in findings.evidence} == {"h"}
    assert all((e.memory is None) == (recurrence == "rnn") for e in findings.evidence)
    assert named(findings) == {}
    assert len(findings.summaries) == findings.cells == 8


def test_a_search_reads_each_document_for_itself():
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network = network_for(vocabulary)
    documents = DocumentSeparator("lines").separate(vocabulary.encode(characters), vocabulary)
    found = discover(
        network,
        documents,
        Text(characters),
        [CATALOG["line position"]],
        symbols=vocabulary.symbols,
        effort=LITTLE,
    )
    plan = Split.of(len(documents))
    told = np.concatenate([start + np.arange(1, plan.block) for start in plan.starts])
    nats = score(network, documents).nats[np.setdiff1d(told, documents.starts)]
    assert found.bits_per_character == pytest.approx(float(nats.mean()) / np.log(2), abs=1e-5)


def test_a_users_own_property_is_searched_for_alone(found):
    characters = prose(30_000)
    vocabulary = Vocabulary.of(characters)
    network = planted(vocabulary)
    findings = searched(network, characters, vocabulary, names=[r"bracketed=\([^()]*(?=\))"])
    assert findings.testable == ("bracketed [next]",)
    assert named(findings) == {}
    best = max(
        (e for e in findings.evidence if e.property_name == "bracketed [next]"), key=lambda e: e.rank_correlation
    )
    assert best.cell == f"1:{LATCH}"
    assert "explains" in verdict(best).failed[0]


def python_source() -> str:
    return "".join(inspect.getsource(module) for module in (argparse, textwrap, inspect))[:120_000]


@pytest.mark.slow
def test_twenty_untrained_networks_earn_no_more_names_than_the_error_rate_allows():
    """At 5 % family-wise error for each, more than 3 of 20 would come by chance with a probability of 1.6 %."""
    characters = python_source()
    vocabulary = Vocabulary.of(characters)
    effort = Effort(characters=80_000, permutations=2_000, pseudo_labels=40, resamples=500, untrained=2)
    names = []
    for seed in range(20):
        network = network_for(vocabulary, hidden_size=32, seed=1000 + seed)
        names += named(searched(network, characters, vocabulary, language="python", effort=effort)).values()
    assert len(names) <= 3, names


def test_blocks_alternate_and_keep_a_gap():
    plan = Split.of(200_000)
    assert (len(plan.starts), plan.block, plan.gap) == (20, 9000, 1000)
    places = np.arange(200_000)
    select, confirm = plan.select(places), plan.confirm(places)
    assert len(select) == len(confirm) == 90_000
    assert not set(select) & set(confirm)
    edges = np.sort(np.concatenate([plan.starts, plan.starts + plan.block - 1]))
    assert (np.diff(edges)[1::2] > 1000).all()
    streams = plan.streams(places)
    assert streams.shape == (20, 10_000)
    assert np.array_equal(streams[0::2, plan.gap :].reshape(-1), select)
    short = Split.of(10_000)
    assert short.starts[-1] + short.block <= 10_000
    with pytest.raises(CharrnnError, match="10,000 characters or more"):
        Split.of(9_999)


def test_a_property_is_testable_with_thirty_episodes_and_between_1_and_99_percent():
    on = np.tile(np.repeat([True, False], [2, 8]), 30)
    assert reason_not_testable(on) is None
    assert reason_not_testable(on[:290]) == "only 29 episodes in a half"
    assert reason_not_testable(np.zeros(100, bool)) == "does not occur"
    assert reason_not_testable(np.arange(10_000) % 200 == 0) == "holds at 0.50 % of the characters"
    assert reason_not_testable(np.arange(10_000) % 200 != 0) == "holds at 99.50 % of the characters"
    assert reason_not_testable(np.tile(np.arange(10.0), 30)) is None
    assert reason_not_testable(np.zeros(100)) == "does not occur"


def test_k_grams_expect_what_followed_the_same_characters_in_training():
    train = np.array([0, 1, 0, 1, 2, 1])
    values = np.array([0, 1, 0, 1, 0, 0], float)
    one, two = Contexts(train, np.array([2, 1, 0, 1]), longest=2).expectations(values)
    mean = values.mean()
    after_1 = (2 + mean) / (3 + 1)
    after_0 = (0 + mean) / (2 + 1)
    after_2 = (0 + mean) / (1 + 1)
    np.testing.assert_allclose(one, [after_2, after_1, after_0, after_1])
    np.testing.assert_allclose(two, [after_2, (0 + after_1) / 2, (0 + after_0) / 2, (2 + after_1) / 3])


def test_the_unique_share_of_a_property_is_what_it_adds_to_r_squared_last():
    draw = np.random.default_rng(0)
    length = 4000
    first, second = draw.random((2, length)) < 0.3
    third = first | (draw.random(length) < 0.05)
    ids = draw.integers(0, 4, length)
    cells = np.stack([first + 0.5 * draw.standard_normal(length), draw.standard_normal(length)], 1).astype(np.float32)
    halves = [slice(0, length // 2), slice(length // 2, length)]
    designs, moments = [], []
    for half in halves:
        like = designs[0] if designs else None
        designs.append(Design.of([first[half], second[half], third[half]], ids[half], ids[half], like))
        moments.append(Moments.of(designs[-1], cells[half]))
    alone = unique_shares(designs[0], moments[0], designs[1], moments[1], [None, None, None])
    family = unique_shares(designs[0], moments[0], designs[1], moments[1], ["a", None, "a"])
    variance = 0.3 * 0.7 / (0.3 * 0.7 + 0.25)
    assert family[0, 0] == pytest.approx(variance, abs=0.04)
    assert 0.03 < alone[0, 0] < family[0, 0] - 0.2
    assert np.abs(alone[1]).max() < 0.01
    assert np.abs(alone[:, 1]).max() < 0.02


def test_memory_is_that_of_the_usual_step():
    assert memory_length(np.array([0.99] * 60 + [0.01] * 40)) == pytest.approx(-1 / np.log(0.99))
    assert memory_length(np.full(5, 1.0)) > 1e6


def evidence(**changed) -> Evidence:
    good = {
        "property_name": "in string",
        "kind": "binary",
        "cell": "1:3",
        "signal": "c",
        "sign": 1,
        "selected": 0.9,
        "rank_correlation": 0.9,
        "plain": 0.9,
        "interval": (0.8, 0.95),
        "plain_interval": (0.8, 0.95),
        "kgram": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        "kgram_plain": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        "untrained": 0.3,
        "beyond_kgram": (0.3, 0.6),
        "beyond_untrained": (0.3, 0.6),
        "p": 1e-4,
        "p_holm": 0.004,
        "segments": 40,
        "comparable": 0.9,
        "pseudo": 0.2,
        "unique": 0.3,
        "competitor": "indentation",
        "competitor_unique": 0.1,
        "better_in_family": None,
        "pearson": None,
        "threshold": 0.0,
        "balanced_accuracy": 0.9,
        "mean_inside": 1.0,
        "mean_outside": 0.0,
        "memory": 50.0,
        "episodes": 200,
    }
    return Evidence(**{**good, **changed})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"interval": (0.6, 0.9)}, "its score may be as low as .80"),
        ({"beyond_kgram": (-0.1, 0.2)}, "the 5-gram reaches .70"),
        ({"beyond_untrained": (0.0, 0.2)}, "an untrained network reaches .65"),
        ({"p_holm": 0.06}, "p = 0.06"),
        ({"pseudo": 0.95}, "a meaningless label of its time scale reaches .97"),
        ({"unique": 0.04, "competitor_unique": 0.0}, "explains .04 of its variance by itself"),
        ({"unique": 0.19}, "explains .19 of its variance by itself, indentation .10"),
        ({"better_in_family": "string or comment"}, "string or comment fits it better"),
    ],
)
def test_a_cell_that_fails_one_condition_is_related_and_two_are_nothing(changed, words):
    assert verdict(evidence()).kind == "tracks"
    judged = verdict(evidence(**changed))
    assert (judged.kind, judged.failed) == ("related", (words,))
    also = {"p_holm": 0.5} if "p_holm" not in changed else {"beyond_kgram": None}
    assert verdict(evidence(**changed, **also)).kind == "none"


def test_score_and_interval_are_shown_with_one_sign():
    assert score_with_interval(evidence()) == ".950 [.900, .975]"
    assert score_with_interval(evidence(sign=-1)) == ".950 [.900, .975]"
    assert score_with_interval(evidence(kind="graded")) == ".900 [.800, .950]"
    assert score_with_interval(evidence(kind="graded", sign=-1)) == "−.900 [−.950, −.800]"


def test_below_seventy_nothing_is_related():
    assert verdict(evidence(interval=(0.41, 0.9))).kind == "related"
    assert verdict(evidence(interval=(0.39, 0.9))).kind == "none"
    assert verdict(evidence(interval=None)).kind == "none"
    assert verdict(evidence(kind="graded", interval=(0.81, 0.9))).kind == "tracks"
    assert verdict(evidence(kind="graded", interval=(0.79, 0.9))).kind == "related"


def test_the_horizon_is_the_fewest_characters_that_do_as_well():
    assert evidence(plain=0.45).horizon == 6
    assert evidence(plain=0.0).horizon == 1
    assert evidence().horizon is None


def test_findings_go_to_json_and_back_and_are_kept_beside_the_run(found, tmp_path):
    assert Findings.from_json(json.loads(json.dumps(found.to_json()))) == found
    subject, question = store.hash_of(["weights", b"ids"]), store.hash_of(["everything"])
    assert store.load_findings(tmp_path, subject, question) is None
    assert store.load_all_findings(tmp_path, subject) == []
    store.save_findings(tmp_path, subject, question, found)
    assert store.load_findings(tmp_path, subject, question) == found
    assert store.load_all_findings(tmp_path, subject) == [found]
    assert store.load_findings(tmp_path, store.hash_of(["weights", b"other ids"]), question) is None
    assert store.hash_of(["ab", "c"]) != store.hash_of(["a", "bc"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data | {"cells": "many"},
        lambda data: data | {"more": 1},
        lambda data: {k: v for k, v in data.items() if k != "evidence"},
        lambda data: data | {"evidence": [data["evidence"][0] | {"rank_correlation": None}]},
        lambda data: data | {"detectors": ["a"]},
        lambda data: [],
    ],
)
def test_findings_that_are_not_as_they_were_written_count_as_not_there(found, tmp_path, spoil):
    data = json.loads(json.dumps(found.to_json()))
    (tmp_path / "findings").mkdir()
    (tmp_path / "findings" / "a-b.json").write_text(json.dumps(spoil(data)))
    assert store.load_findings(tmp_path, "a", "b") is None
    assert store.load_all_findings(tmp_path, "a") == []


def test_evidence_becomes_a_table_with_a_column_for_every_number(found):
    names, rows = columns_of(found.evidence)
    assert len(rows) == len(found.evidence)
    assert {"verdict", "failed", "cell", "kgram_5", "interval_low", "interval_high", "p_holm"} <= set(names)
    assert all(not isinstance(value, tuple | list) for row in rows for value in row)
