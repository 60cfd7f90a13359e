"""`charrnn ablate`, and `charrnn inspect --prove`."""

from __future__ import annotations

import json

import pytest

from charrnn import inspected_model
from charrnn.api import load
from charrnn.causal.effects import Ablation
from tests.planted import prose
from tests.test_findings import evidence, findings
from tests.untrained import invoke, make_run, refused

ABLATE = ("--cell", "1:3", "--property", "inside parentheses", "--controls", "20")


def test_screen_json_and_cache(home):
    run = make_run(home, prose(18_000))
    shown = invoke(*ABLATE, command="ablate")
    assert shown.startswith('cell 1:3 is not shown to be necessary for "inside parentheses"')
    assert "closing )" in shown
    assert "control cells" in shown
    assert "dose response" not in shown
    details = invoke(*ABLATE, "--details", command="ablate").split("\n\n")[-1]  # a paragraph after the tables
    assert "dose response" in details and "held states" not in details
    data = json.loads(invoke(*ABLATE, "--json", command="ablate"))
    assert (data["cell"], data["signal"], data["stars"]) == ("1:3", "c", 0)
    (kept,) = load().earlier_ablations()
    assert kept == Ablation.from_json(data)
    called = []
    assert load().ablate("1:3", "inside parentheses", controls=20, progress=lambda *_: called.append(1)) == kept
    assert not called
    for file in (run.path / "ablations").iterdir():
        file.write_text("[]")
    assert load().earlier_ablations() == []


def test_named_cells_are_proved(home):
    make_run(home, prose(18_000), recurrence="gru")
    named = findings(evidence(property_name="inside parentheses", signal="h"), evidence(property_name="unknown"))
    shares: list[float] = []
    (found,) = load().prove(named, 2, controls=1, progress=lambda stage, share: shares.append(share))
    assert (found.cell, found.signal, found.controls) == ("1:3", "h", 1)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)  # one bar over all stages


def test_screen_of_proved_cells(home, monkeypatch):
    make_run(home, prose(18_000))
    named = findings(evidence(cell="1:3", property_name="inside parentheses"))
    monkeypatch.setattr(inspected_model, "search_run", lambda *_, **__: named)
    assert "not shown" in invoke("--prove", "1")
    (proof,) = json.loads(invoke("--prove", "1", "--json"))["ablations"]
    assert (proof["cell"], proof["property_name"]) == ("1:3", "inside parentheses")


@pytest.mark.parametrize(("cell", "pointed_out"), [("1:3", True), ("1:4", False)])
def test_a_search_of_other_characters_is_pointed_out(home, monkeypatch, cell, pointed_out):
    make_run(home, prose(18_000))
    searched = findings(evidence(cell=cell))  # of 40,000 characters
    monkeypatch.setattr(inspected_model.Model, "earlier_findings", lambda *_: [searched])
    shown = " ".join(invoke(*ABLATE, command="ablate").split())
    assert ("The search that chose the cell read 40,000" in shown) == pointed_out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "9", *ABLATE[2:]], "cell 9 does not exist; this model has 1 layer of 6 cells"),
        ([*ABLATE, "--signal", "forget"], "forget cannot be held; choose h or c"),
        ([*ABLATE, "--signal", "x"], "has no signal 'x'"),
        (["--cell", "1:3", "--property", "colour"], "there is no property 'colour'"),
        (["--cell", "1:3", "--property", "in math"], "in math ends 0 times and begins 0 times"),
        ([*ABLATE, "--characters", "5000"], "10,000 characters or more"),
    ],
)
def test_mistake_is_one_line(home, arguments, message):
    make_run(home, prose(12_000))
    assert message in refused(*arguments, command="ablate")


def test_gru_has_no_c(home):
    make_run(home, prose(2_000), recurrence="gru")
    assert "this model (gru) has no signal 'c'" in refused(*ABLATE, "--signal", "c", command="ablate")
