"""`charrnn memory`."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from xml.etree import ElementTree

import pytest

from charrnn.api import Model
from tests.untrained import invoke, make_run, refused


def test_screen_json_csv_and_figure_agree(home, short_text, monkeypatch):
    monkeypatch.setattr(Model, "memory", functools.partialmethod(Model.memory, positions=4))
    make_run(home, short_text[:1000], recurrence="rnn", name="b")
    make_run(home, short_text[:1000], name="a")
    shown = invoke("a", "--against", "b", command="memory")
    assert "a · lstm 1×6 · held-out text, 1,000 characters" in shown and "b · rnn 1×6" in shown
    assert re.search(r"^text more than \d+ characters? back is (still )?worth .*\.01 bit", shown, re.M)
    assert "tracks" not in shown, "no search has named a cell"
    assert "each text" in shown[shown.rindex("gradient share") :]
    alone = " ".join(invoke("a", command="memory").split())
    for legend in (
        "norm: of the gradient of the loss by the state k characters before",
        "bits lost: per character, with all but the last n characters replaced by other text",
        "gradient share: the cell's share of the squared gradient k characters back, over 4 positions of",
        "typical: mean of the shares at each position, at k = 100",
    ):
        assert legend in alone
    norms, lost, shares = (alone.index(one) for one in ("norm, k =", "bits lost, n =", "gradient share, k ="))
    assert norms < alone.index("norm: ") < lost < alone.index("bits lost: ") < shares < alone.index("gradient share: ")
    (data,) = json.loads(invoke("b", "--json", command="memory"))["runs"]
    norms = data["gradient_norm"]["geometric_mean"]
    assert norms[0] == pytest.approx(1) and len(norms) == 201
    rows = list(csv.DictReader(io.StringIO(invoke("b", "--csv", command="memory"))))
    assert [float(row["gradient_norm"]) for row in rows if row["gradient_norm"]] == norms
    invoke("a", "-o", "figures/memory.svg", command="memory")
    figure = ElementTree.parse(home / "figures" / "memory.svg")
    assert len(figure.findall(".//{*}polyline")) == len(figure.findall(".//{*}polygon")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--csv"], "--json and --csv exclude each other"),
        (["-o", "figure.txt"], "figure.txt is not a figure; end the name in one of .svg, .pdf, .png"),
        (["--against", "nobody"], "no run called 'nobody'"),
        (["-o", "checkpoints/a/run.json/a.svg"], "a.svg cannot be written: "),
    ],
)
def test_wrong_input(home, short_text, arguments, message):
    make_run(home, short_text)
    assert message in refused(*arguments, command="memory")


def test_short_text(home, short_text):
    make_run(home, short_text[:900])
    assert "needs a text of 1,000 characters or more, and this one has 900" in refused(command="memory")
