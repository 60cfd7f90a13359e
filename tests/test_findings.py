"""Verdicts on evidence, and findings as text, table, data frame and cached file."""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.discovery.cache import (
    earlier_findings,
    hash_of,
    load_findings,
    question_key,
    save_json,
    search_run,
    subject_key,
)
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.excerpts import Excerpt
from charrnn.discovery.findings import Findings, columns_of, why_unknown
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.probe import Probe
from charrnn.discovery.report import score_with_interval
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.study import Effort
from charrnn.errors import CharrnnError
from charrnn.properties.catalog import CATALOG, Property, Text, register, searchable
from charrnn.properties.user_properties import find_property
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import network_for
from tests.untrained import make_run

NETWORK = network_for(Vocabulary.of("ab"), hidden_size=6)


def evidence(**changed: Any) -> Evidence:
    """Return evidence that is good enough for a name, apart from what is changed."""
    good: dict[str, Any] = {
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
        "linear_memory": 0.35,
        "beyond_kgram": (0.3, 0.6),
        "beyond_untrained": (0.3, 0.6),
        "beyond_linear_memory": (0.3, 0.6),
        "p": 1e-4,
        "p_holm": 0.004,
        "segments": 40,
        "comparable": 0.9,
        "pseudo": 0.2,
        "difference": 0.8,
        "unique": 0.2,
        "runner_up": "string or comment",
        "runner_up_selected": 0.7,
        "stability": 0.97,
        "pearson": None,
        "threshold": 0.0,
        "balanced_accuracy": 0.9,
        "mean_inside": 1.0,
        "mean_outside": 0.0,
        "episodes": 200,
        "excerpt": Excerpt(
            700, 2, ("x", "=", "'", "a", "\\n", "'"), (-0.5, -0.5, 0.9, 0.9, 1.0, -0.4), "h", -1.0, 1.0, 1.4
        ),
    }
    return Evidence(**{**good, **changed})


def findings(*found: Evidence) -> Findings:
    return Findings(
        cells=6,
        bits_per_character=2.5,
        characters=40_000,
        half=15_000,
        fitted_on="training text",
        seed=1,
        testable=("in string", "line position"),
        not_testable={"in math": "does not occur", "heading": "does not occur", "keyword": "only 3 episodes in a half"},
        controls=("t mod 7",),
        evidence=found,
        left_out={"in string": 4},
        probes=(Probe(1, "line position", "graded", 0.9, (0.85, 0.95), 0.5, (0.4, 0.6)),),
        matches=(MatchSummary("in string", 0.08, 190, ((" = ", "'abc'", ")⏎"),)),),
        detectors={"1:2": "a"},
        gradient_shares={"1:5": (0.06, 0.004), "1:3": (0.9, None)},
        summaries=tuple(CellSummary(f"1:{k}", "c", "in string", "binary", -0.5, -0.4) for k in range(6)),
    )


def data_of_excerpt(**changed: Any) -> dict[str, Any]:
    return dataclasses.asdict(evidence().excerpt) | changed


# Verdicts


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"beyond_kgram": (-0.1, 0.2)}, "the 5-gram reaches .70"),
        ({"beyond_untrained": (0.0, 0.2)}, "an untrained network reaches .65"),
        ({"beyond_linear_memory": (-0.1, 0.1)}, "a linear memory of the text shows it as clearly"),
        ({"p_holm": 0.06}, "permuted segments reach its score (p = 0.06)"),
        ({"pseudo": 0.95}, "a meaningless label of its time scale reaches .97"),
    ],
)
def test_score_that_a_baseline_reaches_is_no_verdict(changed, words):
    judged = evidence(**changed)
    assert (judged.verdict, judged.failed) == ("none", [words])
    assert evidence().verdict == "tracks"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"interval": (0.6, 0.9)}, "its score may be as low as .80"),
        ({"difference": 0.13}, "it changes by only .13 between inside and outside"),
        ({"stability": 0.62}, "another property, most often string or comment, fits it better in 38 % of resamples"),
    ],
)
def test_weak_invisible_or_unstable_fit_correlates(changed, words):
    judged = evidence(**changed)
    assert (judged.verdict, judged.failed) == ("correlates", [words])


def test_small_change_that_explains_much_of_a_cell_can_be_seen():
    assert evidence(difference=0.1, unique=0.3).verdict == "tracks"
    assert evidence(difference=0.5, unique=0.0).verdict == "tracks"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"interval": (0.41, 0.9)}, "correlates"),
        ({"interval": (0.39, 0.9)}, "none"),
        ({"interval": None}, "none"),
        ({"kind": "graded", "interval": (0.81, 0.9)}, "tracks"),
        ({"kind": "graded", "interval": (0.79, 0.9)}, "correlates"),
    ],
)
def test_correlation_needs_a_score_of_70(changed, kind):
    assert evidence(**changed).verdict == kind


def test_without_intervals_point_estimates_are_compared():
    found = evidence(interval=None, beyond_kgram=None, beyond_untrained=None)
    assert (found.verdict, found.failed, found.needs_intervals) == ("none", [], True)
    low = evidence(interval=None, beyond_kgram=None, rank_correlation=0.39)
    assert low.failed == ["its score is only .70", "the 5-gram reaches .70"]
    assert not low.needs_intervals


# Findings


def test_score_and_interval_have_the_sign_of_the_cell():
    assert score_with_interval(evidence()) == ".950 [.900, .975]"
    assert score_with_interval(evidence(sign=-1)) == ".950 [.900, .975]"
    assert score_with_interval(evidence(kind="graded")) == ".900 [.800, .950]"
    assert score_with_interval(evidence(kind="graded", sign=-1)) == "−.900 [−.950, −.800]"


def test_iteration_and_length_are_over_named_cells():
    found = findings(evidence(), evidence(cell="1:4", stability=0.6), evidence(cell="1:5", interval=None))
    assert [one.cell for one in found] == ["1:3"]
    assert len(found) == 1
    assert [one.cell for one in found.claims("correlates")] == ["1:4"]


def test_findings_are_indexed_by_cell_or_property():
    found = findings(evidence(), evidence(cell="1:4"))
    assert [one.cell for one in found["in string"]] == ["1:3", "1:4"]
    assert [one.cell for one in found["1:4"]] == ["1:4"]
    assert found["1:0"] == found["line position"] == []
    with pytest.raises(KeyError):
        found["speling"]


def test_claim_about_a_cell_ignores_controls():
    found = findings(evidence(), evidence(cell="1:4", property_name="t mod 7"), evidence(cell="1:5", interval=None))
    assert found.claim_about("1:3").verdict == "tracks"
    assert found.claim_about("1:4") is found.claim_about("1:5") is None


def test_table_and_caveats():
    found = findings(evidence(), evidence(cell="1:4", sign=-1, stability=0.6))
    assert found.table()[0] == [
        "1:3 c",
        "in string",
        "AUC .950 [.900, .975]",
        ".950",
        ".80",
        "97 %",
        "90, – %",
        ".70",
        ".65",
        "200",
    ]
    lines = found.caveats()
    assert "labels that earned a name: 0 of 1" in lines[0]
    failed = "another property, most often string or comment, fits it better in 40 % of resamples"
    assert f"correlates: 1:4 −c in string, AUC .950: {failed}" in lines
    assert "more cells than were judged: in string 4" in lines
    assert "not testable: in math, heading (does not occur); keyword (only 3 episodes in a half)" in lines
    assert "fitted on training text" in lines[0]


def test_repr_is_one_line():
    assert repr(findings(evidence())) == (
        "<Findings: 1 of 6 cells named, 0 correlate, 2 properties, 40,000 characters>"
    )


def test_every_cell_has_a_row():
    rows = findings(evidence()).cell_table()
    assert rows[3] == ["1:3 c", "in string", "AUC", ".750", ".700", "tracks", ""]
    assert rows[2][-1] == "a"
    assert findings().cell_table(layer=2) == []


def test_html_is_escaped():
    shown = findings(evidence(property_name="<b>&"))._repr_html_()
    assert "&lt;b&gt;&amp;" in shown
    assert "where <b>" not in shown


def test_dataframe_has_a_column_for_every_number():
    frame = findings(evidence(), evidence(interval=None)).to_dataframe()
    assert isinstance(frame, pytest.importorskip("pandas").DataFrame)
    assert {"verdict", "failed", "cell", "kgram_5", "interval_low", "interval_high", "p_holm"} <= set(frame.columns)
    assert frame["kgram_5"].tolist() == [0.4, 0.4]
    assert frame["interval_low"].isna().tolist() == [False, True]


def test_missing_pandas_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CharrnnError, match="needs pandas; pip install pandas"):
        findings(evidence()).to_dataframe()


def test_columns_hold_single_values():
    names, rows = columns_of([evidence()])
    assert names[:3] == ["verdict", "failed", "property_name"]
    assert all(not isinstance(value, tuple | list) for row in rows for value in row)
    assert columns_of([]) == ([], [])


# Cache


def test_findings_survive_json():
    found = findings(evidence(), evidence(interval=None, runner_up=None))
    assert Findings.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "findings" / "a-b.json"


def test_findings_are_cached_in_a_file(file):
    found = findings(evidence())
    assert load_findings(file, NETWORK) is None
    save_json(file, found.to_json())
    assert load_findings(file, NETWORK) == found


def test_unwritable_folder_is_no_error(file):
    file.parent.write_text("")
    save_json(file, findings().to_json())
    assert load_findings(file, NETWORK) is None


def test_links_are_not_followed(file, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    save_json(outside / "findings" / "a-b.json", findings(evidence()).to_json())
    file.parent.symlink_to(outside / "findings")
    assert load_findings(file, NETWORK) is None
    before = {path: path.read_bytes() for path in outside.rglob("*.json")}
    save_json(file, findings().to_json())
    assert {path: path.read_bytes() for path in outside.rglob("*.json")} == before


def test_linked_file_is_replaced(file, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("important")
    file.parent.mkdir()
    file.symlink_to(victim)
    (file.parent / f".aside-{os.getpid()}-{file.name}").symlink_to(victim)  # where the temporary file would be
    assert load_findings(file, NETWORK) is None
    for _ in range(2):  # the first attempt removes the temporary link
        save_json(file, findings().to_json())
    assert load_findings(file, NETWORK) == findings()
    assert victim.read_text() == "important"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data | {"cells": "many"},
        lambda data: data | {"more": 1},
        lambda data: {k: v for k, v in data.items() if k != "evidence"},
        lambda data: data | {"detectors": ["a"]},
        lambda data: data | {"controls": 7},
        lambda data: data | {"fitted_on": "nothing"},
        lambda data: data | {"testable": ["\x1b[2J"]},
        lambda data: data | {"bits_per_character": 10**400},
        lambda data: [],
        *(
            lambda data, changed=changed: data | {"evidence": [data["evidence"][0] | changed]}
            for changed in (
                {"rank_correlation": None},
                {"rank_correlation": 1.5},
                {"p": -0.1},
                {"episodes": -1},
                {"sign": True},
                {"kind": "other"},
                {"kind": "graded"},
                {"mean_outside": None},
                {"kgram": [0.1] * 4},
                {"cell": "abc"},
                {"cell": "1:6"},
                {"signal": "reset"},
                {"interval": [0.1]},
                {"excerpt": {}},
                {"excerpt": data_of_excerpt(values=[0.5])},
                {"excerpt": data_of_excerpt(focus=6)},
                {"excerpt": data_of_excerpt(low=-0.5)},
                {"excerpt": data_of_excerpt(symbols=["\x1b"] * 6)},
                {"property_name": "x" * 2000},
            )
        ),
    ],
)
def test_damaged_cache_counts_as_missing(file, damage):
    data = json.loads(json.dumps(findings(evidence()).to_json()))
    file.parent.mkdir()
    file.write_text(json.dumps(damage(data)))
    assert load_findings(file, NETWORK) is None


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, dict | list):
            yield from places(part)


STRANGE = (None, True, -1, 0, 2, 7, 10**400, -(10**18), 1e308, -1e-320, 0.5, "", "1:3", "\ud800", "\x1b[2J", "a" * 5000,
           "binary", "graded", [], [0.5, 0.1], [None] * 8, {}, {"1:0": "a"})  # fmt: skip


def test_mutated_findings_are_refused_or_shown():
    """Whatever `from_json` accepts can be printed, exported and searched for claims."""
    original = json.dumps(findings(evidence(), evidence(cell="1:4", stability=0.6)).to_json())
    draw = random.Random(0)
    accepted = 0
    for _ in range(3000):
        data = json.loads(original)
        for _ in range(draw.choice([1, 1, 2])):
            container, key = draw.choice(list(places(data)))
            if draw.random() < 0.1:
                del container[key]
            else:
                container[key] = copy.deepcopy(draw.choice(STRANGE))
        try:
            found = Findings.from_json(data)
        except ValueError:
            continue
        accepted += 1
        if accepted % 10 == 0:  # a table takes 3 ms
            str(found).encode()
        found._repr_html_().encode()
        found.claim_about("1:3")
        found.cell_table()
        csv.writer(io.StringIO()).writerows(columns_of(found.evidence)[1])
        json.dumps(found.to_json(), allow_nan=False)
        for one in found.claims():
            score_with_interval(one).encode()
    assert accepted > 100


def test_hash_separates_its_parts():
    assert hash_of(["ab", "c"]) != hash_of(["a", "bc"])


def test_subject_depends_on_weights_recurrence_and_text():
    vocabulary = Vocabulary.of("abc")
    text, other = EncodedText(np.array([0, 1, 2])), EncodedText(np.array([0, 1, 1]))
    documents = EncodedText(text.ids, np.array([0]))
    networks = [network_for(vocabulary, kind, seed=seed) for kind, seed in (("rnn", 0), ("irnn", 0), ("rnn", 1))]
    keys = {subject_key(network, text) for network in networks}
    keys |= {subject_key(networks[0], one) for one in (other, documents)}
    assert len(keys) == 5
    assert subject_key(networks[0], text) == subject_key(network_for(vocabulary, "rnn"), text)


@pytest.fixture
def outside_property() -> Iterator[Property]:
    """A property registered by code outside the package."""

    @register("vowel", "binary", "A vowel.")
    def _vowel(text: Text) -> np.ndarray:
        return text.is_any_of("aeiou")

    yield CATALOG["vowel"]
    CATALOG.pop("vowel", None)


def key(*properties: Property, language: str | None = None, training=None, effort: Effort | None = None) -> str | None:
    text = EncodedText(np.arange(5))
    return question_key(text, properties or searchable(), language, training, effort or Effort())


def test_question_depends_on_all_that_findings_depend_on():
    keys = {
        key(),
        key(CATALOG["URL"]),
        key(language="python"),
        key(training=np.arange(3)),
        key(effort=Effort(seed=5)),
        key(find_property("mine=a")),
        key(find_property("mine=b")),
    }
    assert len(keys) == 7
    assert key(find_property("mine=a")) == key(find_property("mine=a"))


def test_question_depends_on_the_code_of_a_users_function(tmp_path):
    file = tmp_path / "mine.py"

    def current_key(source: str) -> str | None:
        file.write_text(source)
        return key(find_property(f"{file}:vowel"))

    first = current_key("def vowel(text):\n    return [c in 'aeiou' for c in text]\n")
    second = current_key("def vowel(text):\n    return [c in 'aeiouy' for c in text]\n")
    assert first != second
    assert first == current_key("def vowel(text):\n    return [c in 'aeiou' for c in text]\n")


def test_property_of_unknown_code_is_not_cached():
    assert key(Property("mine", "binary", "Mine.", lambda text: text.upper, code=None)) is None


def test_registered_property_changes_every_question(outside_property):
    with_it = key(CATALOG["URL"])
    del CATALOG[outside_property.name]
    assert key(CATALOG["URL"]) != with_it


def test_users_property_is_searched_again_when_its_code_changes(home, short_text):
    run = make_run(home, short_text[:12_000])
    network, _ = run.load_network()
    file = home / "mine.py"
    effort = Effort(permutations=20, pseudo_labels=5, resamples=20, untrained=1)

    def is_searched(vowels: str) -> bool:
        file.write_text(f"def after_vowel(text):\n    return [False, *(c in {vowels!r} for c in text[:-1])]\n")
        stages: list[str] = []
        chosen = [find_property(f"{file}:after_vowel")]
        found = search_run(
            run, network, run.held_out_text(), chosen, effort=effort, progress=lambda stage, _: stages.append(stage)
        )
        assert found.testable == ("after_vowel",)
        return bool(stages)

    assert is_searched("aeiou")
    assert not is_searched("aeiou")
    assert is_searched("aeiouy")
    assert len(earlier_findings(run, network, run.held_out_text())) == 2


def test_reason_why_no_property_is_known():
    unnamed = evidence(cell="1:1", rank_correlation=0.6, interval=None, beyond_kgram=None)
    own = evidence(property_name="mine")
    assert why_unknown("1:3", []) == "no search has found what cell 1:3 tracks"
    assert why_unknown("1:1", [findings(unnamed)]) == "the search found no property for cell 1:1"
    assert why_unknown("1:4", [findings(evidence())]) == "the search found no property for cell 1:4"
    assert why_unknown("1:3", [findings(own)]) == "the search found 'mine' for cell 1:3, which is not in the catalog"
