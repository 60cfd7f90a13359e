"""`charrnn runs`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from charrnn.cli import manage, runs
from charrnn.cli.help import add_command
from charrnn.model import lookup
from charrnn.model.checkpoint import Progress
from charrnn.model.manage import run_size
from charrnn.model.network import CharRNN
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.trainer import Trainer
from charrnn.units import bits, file_size

VOCABULARY = Vocabulary.of("abcdefgh\n")


def ran(*arguments: str, width: int = 200):
    app = typer.Typer()
    app.callback()(lambda: None)
    add_command(app, runs.runs)
    return CliRunner().invoke(app, ["runs", *arguments], env={"COLUMNS": str(width), "NO_COLOR": "1"})


def a_run(home: Path, name: str, progress: Progress | None = None, **given: object) -> RunWriter:
    """Create a run with one checkpoint, and leave it locked as during training."""
    model = {k: v for k, v in given.items() if k in ModelSettings.options()}
    training = {k: v for k, v in given.items() if k in TrainingSettings.options()}
    settings = RunSettings(
        ModelSettings(**{"hidden_size": 8, "embedding_size": 4} | model),
        TrainingSettings(**{"batch_size": 2, "seq_length": 5, "steps": 100} | training),
        CorpusIdentity(name="plays", specs="plays.txt", sha256="0" * 64, characters=1000, held_out=100),
        Origin.here("cpu", "a test"),
    )
    network = CharRNN(settings.model, len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(1))
    writer = RunWriter.create(name, settings, VOCABULARY, b"abc", home / "checkpoints", network.state_dict())
    if progress is not None:
        trainer = Trainer(network, settings.training, EncodedText(np.zeros(100, np.uint8)))
        trainer.make_step()
        writer.save(progress, trainer.model_tensors(), trainer.training_tensors())
    return writer


@pytest.fixture
def three(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "built_in_path", lambda: None)
    a_run(home, "old", Progress(step=100, seconds=90, best_nats=1.5, best_step=100, finished=True)).close()
    a_run(home, "wide", Progress(step=40, seconds=30, best_nats=1.25, best_step=40), hidden_size=16).close()
    a_run(home, "slow", learning_rate=1e-4, dropout=0.25).close()
    for age, name in enumerate(("slow", "wide", "old")):  # file times may be too coarse to order the runs
        os.utime(home / "checkpoints" / name / "checkpoints", (1000 - age, 1000 - age))


def test_list(three: None, home: Path) -> None:
    result = ran()
    assert result.exit_code == 0
    assert result.stderr == ""
    first, second = result.stdout.split("\n\n")
    lines = first.splitlines()
    assert lines[0].split() == list(runs.HEADERS)
    assert [line.split()[0] for line in lines[2:]] == ["slow", "wide", "old"]
    size = file_size(run_size(home / "checkpoints" / "old")).split()
    figures = ["lstm", "1×8", "565", "100", "of", "100", "1.5000", f"{bits(1.5):.4f}", "1.5", *size, "finished"]
    assert lines[4].split() == ["old", "plays", *figures]
    assert "1×16" in lines[3]
    assert lines[3].endswith("stopped")
    assert lines[2].endswith("not started")
    table = [line.split() for line in second.splitlines()]
    assert table[0] == ["run", "dropout", "learning-rate"]
    assert table[2:] == [["slow", "0.25", "0.0001"], ["wide", "0", "0.012"], ["old", "0", "0.012"]]


def test_names_select_and_order(three: None) -> None:
    result = ran("old", "wide")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["old", "wide"]  # no other setting differs


def test_unknown_name(three: None) -> None:
    result = ran("olf")
    assert result.exception.exit_code == 2
    assert "no run called 'olf'" in str(result.exception)


def test_options_of_the_plot_need_a_plot(three: None) -> None:
    assert "--x is for --plot and --output" in str(ran("--x", "minutes").exception)
    assert "--json and --plot exclude each other" in str(ran("--json", "--plot").exception)


def test_json(three: None) -> None:
    listed = json.loads(ran("--json").stdout)
    assert [entry["run"] for entry in listed] == ["slow", "wide", "old"]
    assert [entry["best_validation_nats"] for entry in listed] == [None, 1.25, 1.5]
    assert [entry["state"] for entry in listed] == ["not started", "stopped", "finished"]
    assert listed[1]["model"]["hidden_size"] == 16
    assert set(listed[0]["training"]) == set(TrainingSettings.options())


def test_locked_run_is_in_training(home: Path) -> None:
    with a_run(home, "now", Progress(step=7)):
        assert json.loads(ran("--json").stdout)[0]["state"] == "training"
    assert json.loads(ran("--json").stdout)[0]["state"] == "stopped"


def test_finished_early(home: Path) -> None:
    a_run(home, "early", Progress(step=60, finished=True)).close()
    assert json.loads(ran("--json").stdout)[0]["state"] == "finished early"


def test_damaged_runs(three: None, home: Path) -> None:
    (home / "checkpoints/wide/run.json").write_text("{}")
    (home / "checkpoints/old/checkpoints/00000100/progress.json").write_text("{}")
    result = ran()
    assert result.exit_code == 0
    wide = next(line for line in result.stdout.splitlines() if line.startswith("wide"))
    assert wide.endswith("damaged")
    assert "run.json is damaged" in result.stderr
    assert "another checkpoint is used instead" in result.stderr
    by_name = {entry["run"]: entry for entry in json.loads(ran("--json").stdout)}
    assert by_name["wide"]["state"] == "damaged"
    assert "run.json" in by_name["wide"]["problem"]
    assert by_name["old"]["step"] == 0
    assert "progress.json" in by_name["old"]["warnings"][0]


def test_renamed_folder_is_shown_with_its_path(home: Path) -> None:
    a_run(home, "old", Progress(step=1)).close()
    (home / "checkpoints/old").rename(home / "checkpoints/my run (copy)")
    assert ran().stdout.splitlines()[2].startswith("/")


def test_absurd_values_stay_short(home: Path) -> None:
    a_run(home, "odd", Progress(step=1, seconds=1e300, best_nats=1e300, best_step=1)).close()
    lines = ran().stdout.splitlines()
    assert "1e+300" in lines[2]
    assert len(lines[2]) < 120


def test_without_a_run_the_built_in_one_is_listed(home: Path) -> None:
    (listed,) = json.loads(ran("--json").stdout)
    assert (listed["run"], listed["state"]) == ("code", "built in")
    assert "built in" in ran().stdout


def test_forty_columns(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.display.terminal.is_terminal", lambda stream: True)
    lines = ran(width=40).stdout.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["run", "model", "nats", "state"]
    assert lines[6].split() == ["run", "dropout", "learning-rate"]
    assert " ".join(lines).count("the lowest validation loss of each run, on its own held-out text") == 1
    assert "left out at this width: corpus," in " ".join(lines)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_takes_one_line_of_each_table(home: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.display.terminal.is_terminal", lambda stream: True)
    progress = Progress(step=100, seconds=90, best_nats=1.5, best_step=100, finished=True)
    a_run(home, "a-name-of-thirty-one-characters", progress, recurrence="gru", seq_length=7, documents="lines").close()
    a_run(home, "wide", progress, hidden_size=640, batch_size=8, learning_rate=1e-4, evaluations=3, seed=5).close()
    a_run(home, "deep", progress, layers=3, dropout=0.25, precision="fp32", val_characters=90, threads=1).close()
    lines = ran(width=width).stdout.splitlines()
    assert max(map(len, lines)) <= width
    for name in ("a-name-of-thirty-one-characters", "wide", "deep", "code"):
        assert len([line for line in lines if line.startswith(f"{name} ")]) == 2
    left_out = "\n".join(lines).partition("left out at this width: ")[2]
    assert "val-characters" in left_out


def test_show_names_settings_without_a_row_of_their_own(home: Path) -> None:
    a_run(home, "odd", Progress(step=1), seed=5, documents=r"\n\n+", batch_size=8).close()
    app = typer.Typer()
    app.callback()(lambda: None)
    add_command(app, manage.show)
    shown = CliRunner().invoke(app, ["show", "odd"], env={"COLUMNS": "120", "NO_COLOR": "1"}).stdout
    assert r"other settings  --documents '\n\n+', --seed 5" in shown
