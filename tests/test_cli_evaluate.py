"""charrnn evaluate --explain and --compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charrnn.api import Model
from tests.planted import prose
from tests.untrained import invoke, make_run, refused

TEXT = prose(800)


@pytest.fixture(autouse=True)
def run(home: Path) -> None:
    make_run(home, TEXT)


def test_explanation_shows_classes_and_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke("--explain", command="evaluate")
    assert "where the bits go" in shown
    assert "n-grams and rare words need the training text, which --corpus names" in shown
    assert "line " in shown
    assert json.loads(invoke("--explain", "--json", command="evaluate"))["explanation"]


def test_passages_have_the_colors_that_are_asked_for() -> None:
    shown = [
        invoke("--explain", "--color", "truecolor", "--background", one, command="evaluate")
        for one in ("dark", "light")
    ]
    assert shown[0] != shown[1]
    assert "\x1b[" not in invoke("--explain", "--color", "none", command="evaluate")


def test_passages_go_to_a_file(tmp_path: Path) -> None:
    assert invoke("--explain", "-o", str(tmp_path / "new" / "hard.html"), command="evaluate") == ""
    assert "bits per character" in (tmp_path / "new" / "hard.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output", "hard.html"], "--output is for --explain"),
        (["--explain", "--output", "hard.csv"], "--json prints the numbers"),
        (["--explain", "--output", "hard.docx"], "unknown suffix"),
        (["--explain", "--output", "file/hard.html"], "file is not a folder"),
    ],
)
def test_bad_output_is_refused_before_the_text_is_read(
    arguments: list[str], told: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setattr(Model, "score", lambda *_, **__: pytest.fail("the text was scored"))
    assert told in refused(*arguments, command="evaluate")


def test_runs_are_compared(home: Path) -> None:
    make_run(home, TEXT, name="b", recurrence="gru")
    shown = invoke("a", "--compare", "b", command="evaluate")
    assert "difference" in shown
    (compared,) = json.loads(invoke("a", "--compare", "b", "--json", command="evaluate"))["comparisons"]
    assert compared["run"] == "b"
