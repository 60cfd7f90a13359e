"""`charrnn history`."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from charrnn.errors import CharrnnWarning
from charrnn.model.network import CharRNN
from charrnn.settings import ModelSettings
from tests.untrained import invoke, make_run, refused


def test_last_checkpoint_is_the_reference(home, short_text):
    make_run(home, short_text)
    data = json.loads(invoke("--cell", "2", "--json", command="history"))
    assert data["scores"] == [{"step": 3, "rank_correlation": pytest.approx(1)}]
    assert data["since"] == 3


def test_comparison_with_itself_says_so(home, short_text):
    make_run(home, short_text, saves=(3, 6))
    shown = invoke("--cell", "2", command="history")
    assert "compared with the cell at the last checkpoint" in shown
    assert "matches the last checkpoint from step 3 on (ρ of at least .9)" in shown
    assert "tracked" not in shown


def test_cell_that_changed_until_the_end(home, short_text):
    last, size = make_run(home, short_text, saves=(6,)), len(set(short_text))
    other = CharRNN(ModelSettings("lstm", 1, 6, 4), size)
    other.initialize(torch.Generator().manual_seed(2))
    earlier = make_run(home, short_text, name="earlier", network=other)
    shutil.copytree(earlier.path / "checkpoints" / "00000003", last.path / "checkpoints" / "00000003")
    assert "no earlier checkpoint matches the last" in invoke("a", "--cell", "2", command="history")


@pytest.mark.parametrize("arguments", [(), ("-p", "line position")])
def test_single_checkpoint_tells_no_beginning(home, short_text, arguments):
    make_run(home, short_text)
    shown = invoke("--cell", "2", *arguments, command="history")
    assert "from step" not in shown
    assert "the run has only 1 checkpoint" in shown


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
