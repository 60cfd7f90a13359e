"""charrnn.training.recurrence_comparison, charrnn.model.losses, `train --model rnn,gru,lstm` and `runs --plot`"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import charrnn
from charrnn.errors import CharrnnError, UsageError
from charrnn.model.lookup import open_run, run_names, runs_folder
from charrnn.model.losses import LossPlot, validation_curve
from charrnn.model.network import parameter_count
from charrnn.settings import ModelSettings
from charrnn.text.corpus import load_corpus
from charrnn.training import planning
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
    assert "run both-gru exists already" in refused("mine", "--model", "gru,rnn", "--name", "both", command="train")


def test_json_has_all_runs(text: Path) -> None:
    told = json.loads(invoke("mine", "--model", "rnn,gru", *TINY, "--json", command="train"))
    assert [one["model"]["recurrence"] for one in told["runs"]] == ["rnn", "gru"]


def test_models_are_validated_on_the_same_text(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = iter([40, 60])
    monkeypatch.setattr(planning, "_evaluated_characters", lambda *given: next(parts))
    invoke("mine", "--model", "rnn,gru", *TINY, command="train")
    assert {open_run(name).settings.training.val_characters for name in ("mine", "mine-2")} == {40}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--model", "rnn,rnn"), "2 to 4 different kinds of --model"),
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


def test_figure_of_runs(text: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        invoke("mine", "--name", name, *TINY, command="train")
    file = tmp_path / "new" / "curves.svg"
    assert invoke("one", "two", "--plot", "-o", str(file), "--x", "minutes", command="runs") == ""
    words = "".join(ElementTree.parse(file).getroot().itertext())
    assert all(part in words for part in ("one", "two", "minutes", "Validation loss, nats per character"))
    invoke("--output", str(tmp_path / "curves.png"), command="runs")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.jpg is not a figure; end the name in one of .svg, .pdf, .png" in refused(
        "-o", "curves.jpg", command="runs"
    )
    assert "exclude each other" in refused("-o", "curves.svg", "--json", command="runs")


def test_no_figure_without_an_evaluation(text: Path, tmp_path: Path) -> None:
    plot = LossPlot.of([])
    assert str(plot) == ""
    assert plot._repr_svg_() is None
    with pytest.raises(CharrnnError, match="none of these runs has an evaluation"):
        plot.save(tmp_path / "curves.svg")


def test_comparison_in_python(text: Path, tmp_path: Path) -> None:
    events: list[object] = []
    models = charrnn.compare("mine", ["rnn", "lstm"], name="all", device="cpu", on_event=events.append, **SETTINGS)
    assert [model.name for model in models] == ["all-rnn", "all-lstm"]
    assert [type(event).__name__ for event in events].count("Finished") == 2
    assert [loss.step for loss in models[0].losses] == [2, 4, 6]
    plot = charrnn.loss_plot(models, "steps")
    assert plot.curves["all-lstm"] == validation_curve(open_run("all-lstm"), "steps")
    plot.save(tmp_path / "curves.pdf")
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert "all-rnn" in str(plot)
    assert plot._repr_svg_() == plot.svg()
    with pytest.raises(UsageError, match="run all-rnn exists already"):
        charrnn.compare("mine", ["rnn", "lstm"], name="all", device="cpu", **SETTINGS)


def test_note_about_a_kind_alone(text: Path) -> None:
    size = TINY.index("--hidden-size")
    chosen = [*TINY[:size], *TINY[size + 2 :]]
    assert "compares fairly" in invoke("mine", "--model", "rnn", *chosen, command="train")
    assert "compares fairly" not in invoke("mine", "--model", "lstm", *chosen, command="train")


def test_the_corpus_is_described_once(home: Path, short_text: str) -> None:
    (home / "marks.txt").write_text(f"e\N{COMBINING ACUTE ACCENT} {short_text}")
    out = invoke(str(home / "marks.txt"), "--model", "rnn,gru", *TINY, command="train")
    assert out.count("not NFC") == out.count("\ncorpus  ") == 1
    assert out.count("\nplan  ") == 2
