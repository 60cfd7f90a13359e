"""`charrnn gates`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from charrnn.inspection.trace import trace
from charrnn.text.encoded_text import EncodedText
from tests.untrained import invoke, make_run, refused


def test_plot_and_json(home, short_text):
    run = make_run(home, short_text, layers=2)
    shown = invoke(command="gates")
    assert shown.index("layer 1") < shown.index("layer 2")
    assert "forget: wide open most of the time in" in shown
    network, _ = run.load_network()
    (chunk,) = trace(network, EncodedText(run.held_out_text().ids), signals=["forget"], chunk=100_000)
    data = {one["gate"]: one for one in json.loads(invoke("--json", command="gates"))}
    assert list(data) == ["input", "forget", "output"]
    np.testing.assert_allclose(data["forget"]["open"], (chunk.signals["forget"][500:] > 0.9).mean(axis=0), atol=1e-4)


def test_rnn_has_no_gates(home, short_text):
    make_run(home, short_text, recurrence="rnn")
    assert "a plain recurrent network has no gates" in refused(command="gates")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "no run called 'nobody'"),
        (["--skip-unknown"], "--skip-unknown needs a text of your own"),
        (["--text", "nowhere.txt"], "nowhere.txt"),
        (["--checkpoint", "77"], "no checkpoint '77'"),
        (["--color", "pink"], "--color must be one of"),
        (["--device", "tpu"], "--device must be one of"),
    ],
)
def test_mistake_is_one_line(home, short_text, arguments, message):
    make_run(home, short_text)
    assert message in refused(*arguments, command="gates")


def test_own_text(home, short_text, tmp_path):
    make_run(home, short_text)
    (tmp_path / "other.txt").write_text("the lazy fox, \u00e6\n" * 50)
    assert "U+00E6" in refused("--text", str(tmp_path / "other.txt"), command="gates")
    shown = invoke("--text", str(tmp_path / "other.txt"), "--skip-unknown", command="gates")
    assert "other.txt, 700 characters" in shown
