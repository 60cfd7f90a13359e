"""charrnn evaluate --dynamic and --mix, and charrnn sample --adapt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import charrnn
from charrnn.cli.app import app
from charrnn.errors import UsageError
from tests.planted import prose
from tests.untrained import invoke, make_run, refused

TRAINING, HELD_OUT = prose(300), prose(400, seed=1)


def run_with_corpus(home: Path, documents: str | None = None, as_bytes: bool = False) -> None:
    (home / "corpora" / "a.txt").write_text(TRAINING + HELD_OUT)
    make_run(home, HELD_OUT, corpus=TRAINING + HELD_OUT, documents=documents, as_bytes=as_bytes)


KINDS = pytest.mark.parametrize(
    ("documents", "as_bytes"), [(None, False), ("lines", False), (None, True)], ids=["stream", "documents", "bytes"]
)


@KINDS
def test_modes_are_scored_beside_the_frozen_model(home: Path, documents: str | None, as_bytes: bool) -> None:
    run_with_corpus(home, documents, as_bytes)
    frozen, mixed, both = (
        json.loads(invoke(*flags, "--json", command="evaluate")) for flags in ([], ["--mix"], ["--dynamic", "--mix"])
    )
    for result in (mixed, both):
        assert result["frozen_nats_per_character"] == frozen["nats_per_character"]
        assert result["characters"] == frozen["characters"]
    assert both["nats_per_character"] < mixed["nats_per_character"] < frozen["nats_per_character"]
    assert (mixed["mode"], both["mode"]) == ("mix", "dynamic + mix")


def test_table_shows_the_frozen_score_too(home: Path) -> None:
    run_with_corpus(home)
    shown = invoke("--mix", command="evaluate")
    assert "frozen" in shown
    assert "characters per second" in shown


def test_missing_corpus_is_one_line(home: Path) -> None:
    run_with_corpus(home)
    (home / "corpora" / "a.txt").rename(home / "moved.txt")
    assert "--corpus" in refused("--dynamic", command="evaluate")
    invoke("--mix", "--corpus", str(home / "moved.txt"), command="evaluate")


@KINDS
def test_adapted_model_is_kept_as_a_run(home: Path, documents: str | None, as_bytes: bool) -> None:
    make_run(home, HELD_OUT, documents=documents, as_bytes=as_bytes)
    (home / "mine.txt").write_text(HELD_OUT[:100])
    before = charrnn.load("a")
    text = invoke("a", "--adapt", "mine.txt", "--save-as", "b", "--seed", "1", "--length", "40", command="sample")
    adapted = charrnn.load("b")
    assert text == invoke("b", "--seed", "1", "--length", "40", command="sample")
    assert adapted.score(Path("mine.txt")).mean < before.score(Path("mine.txt")).mean
    assert adapted.run.settings.origin.chosen_because == "the weights of a, step 3, adapted to mine.txt"
    assert adapted.checkpoint.progress.finished
    assert "run b exists already" in refused("a", "--adapt", "mine.txt", "--save-as", "b", command="sample")


def test_what_an_adapted_model_became_is_told(home: Path) -> None:
    make_run(home, HELD_OUT)
    (home / "mine.txt").write_text(HELD_OUT[:100])
    command = ["sample", "a", "--adapt", "mine.txt", "--length", "5"]
    assert "adapted to mine.txt; --save-as NAME" in CliRunner().invoke(app, command).stderr
    kept = CliRunner().invoke(app, [*command, "--save-as", "b"])
    assert "adapted to mine.txt; the adapted model is the run b, in " in kept.stderr


def test_text_to_adapt_to_is_in_the_encoding_of_the_corpus(home: Path) -> None:
    make_run(home, HELD_OUT)
    (home / "latin.txt").write_bytes(b"caf\xe9")
    message = refused("--adapt", "latin.txt", command="sample")
    assert message.endswith("at offset 3; convert it to utf-8, the encoding of the run's corpus")


@pytest.mark.parametrize("text", ["", "t"])
def test_adapting_needs_a_character_to_predict(home: Path, text: str) -> None:
    make_run(home, HELD_OUT)
    (home / "mine.txt").write_text(text)
    assert "mine.txt is too short to learn from" in refused("--adapt", "mine.txt", command="sample")


def test_adapting_to_unknown_characters(home: Path) -> None:
    make_run(home, HELD_OUT)
    (home / "mine.txt").write_text("the ñandú sat on a mat\n")
    assert "ñ" in refused("--adapt", "mine.txt", command="sample")
    invoke("--adapt", "mine.txt", "--skip-unknown", "--length", "5", command="sample")


def test_adapting_from_standard_input(home: Path) -> None:
    make_run(home, HELD_OUT)
    invoke("--adapt", "-", "--length", "5", standard_input="the cat sat", command="sample")
    assert "standard input" in refused("--adapt", "-", "--prime", "-", command="sample")
    assert "--adapt" in refused("--save-as", "b", command="sample")


def test_clamped_cells_do_not_adapt(home: Path) -> None:
    make_run(home, HELD_OUT)
    with pytest.raises(UsageError, match="clamped"):
        charrnn.load("a").clamp("1:2", 0.5).adapt("the cat")


def test_adapted_model_differs_and_the_run_does_not(home: Path) -> None:
    make_run(home, HELD_OUT)
    model = charrnn.load("a")
    adapted = model.adapt("the cat sat on a mat")
    assert not torch.equal(adapted.network.output.weight, model.network.output.weight)
    np.testing.assert_array_equal(charrnn.load("a").score().nats, model.score().nats)
