"""charrnn evaluate with other models of the same text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import charrnn
from tests.planted import prose
from tests.untrained import invoke, make_run, refused

TRAINING, HELD_OUT = prose(3_000), prose(800, seed=1)


def run_with_corpus(home: Path, documents: str | None = None) -> None:
    (home / "corpora" / "a.txt").write_text(TRAINING + HELD_OUT)
    make_run(home, HELD_OUT, corpus=TRAINING + HELD_OUT, documents=documents)


def evaluate(*arguments: str) -> dict:
    return json.loads(invoke(*arguments, "--json", command="evaluate"))


@pytest.mark.parametrize("documents", [None, "lines"], ids=["stream", "documents"])
def test_small_corpora_are_compared_by_default(home: Path, documents: str | None) -> None:
    run_with_corpus(home, documents)
    result = evaluate()
    names = [one["name"] for one in result["baselines"]]
    assert names == ["n-gram", "PPMd", "bzip2 -9", "xz -9"]
    assert all(0 < one["adaptive"] < 8 for one in result["baselines"])
    assert [one["frozen"] is not None for one in result["baselines"]] == [True, False, False, False]
    assert "3,000 characters" in result["baselines_note"]
    model = charrnn.load("a")
    assert [one.adaptive for one in model.baselines()] == [one["adaptive"] for one in result["baselines"]]


def test_a_text_of_the_user_is_compared_too(home: Path) -> None:
    run_with_corpus(home)
    (home / "mine.txt").write_text(prose(500, seed=2))
    assert len(evaluate("mine.txt")["baselines"]) == 4


def test_frozen_and_adaptive_scores_have_columns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with_corpus(home)
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke("--mix", command="evaluate")
    rows = {line.split("  ")[0]: line.split() for line in shown.splitlines() if line.split()}
    result = evaluate("--mix")
    frozen, adaptive = result["frozen_nats_per_character"], result["nats_per_character"]
    assert rows["a"][-2:] == [f"{nats / 0.6931471805599453:.4f}" for nats in (frozen, adaptive)]
    assert rows["xz -9"][-2] == "–"
    assert max(len(line) for line in shown.splitlines() if not line.startswith("All know")) <= 80


def test_a_corpus_of_two_files_is_named_as_one_argument(home: Path) -> None:
    for name, text in (("a b.txt", TRAINING), ("c.txt", HELD_OUT)):
        (home / name).write_text(text)
    charrnn.train(["a b.txt", "c.txt"], name="two", steps=1, hidden_size=8, device="cpu")
    said = refused("two", "--baselines", command="evaluate")
    assert said.endswith("as one argument with --corpus, such as 'a.txt b.txt' (they were 'a b.txt' c.txt)")
    assert len(evaluate("two", "--baselines", "--corpus", "'a b.txt' c.txt")["baselines"]) == 4
    assert "is not the corpus" in refused("two", "--corpus", "c.txt", command="evaluate")


def test_missing_corpus_is_one_line(home: Path) -> None:
    run_with_corpus(home)
    (home / "corpora" / "a.txt").rename(home / "moved.txt")
    result = evaluate()
    assert result["baselines"] == []
    folder = home / "corpora"
    note = f"the text that a was trained on is not in {folder}. Name its file with --corpus FILE"
    assert result["baselines_note"].startswith(f"No baselines: {note}")
    assert "--corpus" in refused("--baselines", command="evaluate")
    assert len(evaluate("--corpus", "moved.txt")["baselines"]) == 4


def test_no_baselines(home: Path) -> None:
    run_with_corpus(home)
    result = evaluate("--no-baselines")
    assert result["baselines"] == []
    assert result["baselines_note"] is None
    assert "xz" not in invoke("--no-baselines", command="evaluate")
    assert "--corpus is for" in refused("--no-baselines", "--corpus", "a.txt", command="evaluate")


def test_training_text_is_compared_only_on_request(home: Path) -> None:
    run_with_corpus(home)
    assert evaluate("a", "corpora/a.txt")["baselines"] == []
    assert len(evaluate("a", "corpora/a.txt", "--baselines")["baselines"]) == 4


def test_large_corpora_are_compared_only_on_request(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with_corpus(home)
    monkeypatch.setattr("charrnn.cli.evaluate.BASELINE_CHARACTERS", 4_000)
    assert "--baselines" in evaluate()["baselines_note"]
    assert len(evaluate("--baselines")["baselines"]) == 4
    (home / "corpora" / "a.txt").unlink()
    assert "--corpus" in evaluate()["baselines_note"]


def test_the_short_help_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large corpus needs it."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = " ".join(invoke("--help", command="evaluate").replace("│", " ").split())
    assert "--baselines Also score an n-gram" in shown
    assert "[default: for a text in corpora/ of up to 1,500,000 characters]" in shown


def test_missing_package_is_a_row(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with_corpus(home)
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    ppmd = evaluate()["baselines"][1]
    assert ppmd["adaptive"] is None
    assert ppmd["missing"] == "pip install pyppmd"
    assert "pip install pyppmd" in invoke(command="evaluate")
