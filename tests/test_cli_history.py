"""`charrnn history`."""

from __future__ import annotations

import json

import pytest

from charrnn.errors import CharrnnWarning
from tests.untrained import invoke, make_run, refused


def test_last_checkpoint_is_the_reference(home, short_text):
    make_run(home, short_text)
    data = json.loads(invoke("--cell", "2", "--json", command="history"))
    assert data["scores"] == [{"step": 3, "rank_correlation": pytest.approx(1)}]
    assert data["since"] == 3


def test_property(home, short_text):
    make_run(home, short_text)
    shown = invoke("--cell", "2", "-p", "line position", command="history")
    assert "compared with line position" in shown
    assert "ρ" in shown
    assert "train with --keep every:N" in shown
    assert "AUC" in invoke("--cell", "2", "-p", "dog=dog", command="history")


def test_damaged_checkpoint_is_skipped(home, short_text):
    run = make_run(home, short_text, saves=(3, 6))
    weights = run.path / "checkpoints" / "00000003" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.warns(CharrnnWarning, match="this checkpoint is left out"):
        data = json.loads(invoke("--cell", "2", "--json", command="history"))
    assert [one["step"] for one in data["scores"]] == [6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "9999"], "cell 9999 does not exist; this model has 1 layer of 6 cells, 1:0 to 1:5"),
        (["--cell", "x"], "a cell is a number or LAYER:INDEX, not 'x'"),
        (["--cell", "1", "-p", "speling"], "no property 'speling'"),
        (["--cell", "1", "--signal", "reset"], "no signal 'reset'"),
        (["--cell", "1", "--skip-unknown"], "--skip-unknown needs a text of your own"),
        (["--cell", "1", "-p", "line position", "--language", "klingonian"], "no language 'klingonian'"),
    ],
)
def test_mistake_is_one_line(home, short_text, arguments, message):
    make_run(home, short_text)
    assert message in refused(*arguments, command="history")
