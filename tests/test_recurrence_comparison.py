"""charrnn.training.recurrence_comparison, `charrnn train --model rnn,gru,lstm` and `charrnn runs --plot`"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charrnn.cli.curves import validation_curve
from charrnn.errors import UsageError
from charrnn.model.lookup import open_run, run_names, runs_folder
from charrnn.model.network import parameter_count
from charrnn.settings import ModelSettings
from charrnn.text.corpus import load_corpus
from charrnn.training.options import TrainOptions
from charrnn.training.recurrence_comparison import matching_size, plan_comparison
from tests.untrained import invoke, refused

SETTINGS = {"embedding_size": 4, "batch_size": 2, "seq_length": 8, "steps": 6, "evaluations": 3, "hidden_size": 8}
TINY = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
TINY += ["--device", "cpu"]


@pytest.fixture
def text(home: Path, short_text: str) -> Path:
    path = home / "corpora" / "mine.txt"
    path.write_text(short_text[:1000])
    return path


def test_models_are_of_nearly_equal_size_with_equal_settings(text: Path) -> None:
    comparison = plan_comparison(load_corpus(["mine"]), TrainOptions(SETTINGS, device="cpu"), ["rnn", "gru", "lstm"])
    assert comparison.models[2].hidden_size == 8  # as given, for the kind with the most parameters
    assert max(comparison.parameters) < 1.1 * min(comparison.parameters)
    shared = [{**one.settings, "recurrence": "", "hidden_size": 0} for one in comparison.options]
    assert shared[0] == shared[1] == shared[2]
    assert {"learning_rate", "dropout", "weight_decay"} <= shared[0].keys()


@pytest.mark.parametrize("recurrence", ["rnn", "gru", "irnn", "lstm"])
def test_matching_size_is_the_nearest(recurrence: str) -> None:
    model = matching_size(ModelSettings(recurrence), 50, 300_000)
    sizes = [model.hidden_size + change for change in (-1, 0, 1)]
    distances = [abs(parameter_count(model.changed(hidden_size=size), 50) - 300_000) for size in sizes]
    assert min(distances) == distances[1]


def test_comparison_ends_with_a_plot_and_a_table(text: Path) -> None:
    out = invoke("mine", "--model", "rnn,lstm", *TINY, command="train")
    assert set(run_names(runs_folder())) == {"mine", "mine-2"}
    end = out[out.index("validation loss, nats per character") :]
    rows = [line for line in end.splitlines() if line.startswith("mine")]
    assert [row.split()[2] for row in rows[:2]] == ["rnn", "lstm"]
    invoke("mine", "--model", "gru,rnn", "--name", "both", *TINY, command="train")
    assert set(run_names(runs_folder())) == {"mine", "mine-2", "both-gru", "both-rnn"}
    steps = {open_run(name).checkpoint("last").step for name in ("both-gru", "both-rnn")}
    assert steps == {6}
    assert "there is a run both-gru already" in refused("mine", "--model", "gru,rnn", "--name", "both", command="train")


def test_json_has_all_runs(text: Path) -> None:
    told = json.loads(invoke("mine", "--model", "rnn,gru", *TINY, "--json", command="train"))
    assert [one["model"]["recurrence"] for one in told["runs"]] == ["rnn", "gru"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--model", "rnn,rnn"), "compares two to 4 different kinds"),
        (("--model", "rnn,xyz"), "--model must be one of"),
        (("--model", "rnn,"), "--model must be one of"),
        (("--model", "rnn,gru", "--resume"), "start new runs"),
        (("--model", "rnn,gru", "--more-minutes", "1"), "start new runs"),
    ],
)
def test_wrong_comparisons(arguments: tuple[str, ...], error: str, text: Path) -> None:
    assert error in refused("mine", *arguments, command="train")
    assert run_names(runs_folder()) == []


def test_plot_of_runs(text: Path) -> None:
    for name in ("one", "two"):
        invoke("mine", "--name", name, *TINY, command="train")
    out = invoke("one", "two", "--plot", command="runs")
    assert "characters read, in millions" in out
    assert "· one   o two" in out
    assert "minutes" in invoke("--plot", "--x", "minutes", command="runs")
    assert "--x must be one of" in refused("--plot", "--x", "hours", command="runs")
    assert [x for x, _ in validation_curve(open_run("one"), "steps")] == [2, 4, 6]
    assert [x for x, _ in validation_curve(open_run("one"), "characters")] == [2 * 16e-6, 4 * 16e-6, 6 * 16e-6]
    with pytest.raises(UsageError):
        validation_curve(open_run("one"), "epochs")


def test_note_about_a_kind_alone(text: Path) -> None:
    size = TINY.index("--hidden-size")
    chosen = [*TINY[:size], *TINY[size + 2 :]]
    assert "compares fairly" in invoke("mine", "--model", "rnn", *chosen, command="train")
    assert "compares fairly" not in invoke("mine", "--model", "lstm", *chosen, command="train")
