"""`charrnn steer`."""

from __future__ import annotations

import json
import re

import pytest

from tests.planted import prose
from tests.untrained import invoke, make_run, refused

STEER = ("--cell", "1:3", "--texts", "2", "--length", "100")


def test_screen_and_json(home):
    make_run(home, prose(18_000))
    shown = invoke(*STEER, "--property", "inside parentheses", command="steer")
    assert shown.startswith("Cell 1:3, held outside → held inside:\n  inside parentheses ")
    assert max(map(len, shown.split("\n\n")[0].splitlines())) <= 80
    assert "moved inside" in shown
    assert re.search(r"^closes +how often it ends within a line, per 1,000 characters$", shown, re.M)
    assert re.search(r"^nats +loss per character, of the network without the hold", shown, re.M)
    assert re.search(r"^primed +nothing is held", shown, re.M)
    data = json.loads(invoke(*STEER, "--json", command="steer"))
    assert (data["cell"], data["signal"], len(data["conditions"])) == ("1:3", "c", 6)


def test_without_a_claim(home):
    make_run(home, prose(18_000), recurrence="gru")
    shown = invoke(*STEER, command="steer")
    assert "at its 95 %" in shown
    assert "no search has found what cell 1:3 tracks; run `charrnn inspect a` first, or" in shown
    invoke("--property", "line position")
    after = invoke(*STEER, command="steer")
    assert "the search found no property for cell 1:3; name one with --property" in after
    assert "charrnn inspect" not in after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "9"], "cell 9 does not exist"),
        ([*STEER, "--signal", "forget"], "forget cannot be held; choose h or c"),
        ([*STEER, "--property", "colour"], "there is no property 'colour'"),
        ([*STEER, "--property", "in math"], "in math never changes in this text"),
    ],
)
def test_mistake_is_one_line(home, arguments, message):
    make_run(home, prose(12_000))
    assert message in refused(*arguments, command="steer")
