"""charrnn.cli.screen"""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from pathlib import Path

import pytest
import torch

from charrnn.cli.screen import SAMPLE_INTERVAL, TrainingScreen
from charrnn.training.events import Evaluated, Requests, StepsCorrected, StepsTaken
from charrnn.training.options import TrainOptions
from charrnn.training.session import training_session

SETTINGS = {"hidden_size": 8, "embedding_size": 4, "batch_size": 2, "seq_length": 8, "steps": 40, "evaluations": 4}
OPTIONS = {"dropout": 0.3, "precision": "fp32"}


class FakeTerminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def text(home: Path, short_text: str) -> Path:
    path = home / "corpora" / "mine.txt"
    path.write_text(short_text[:1000])
    return path


def trained(out: io.StringIO, name: str, seconds_per_look: float) -> dict[str, torch.Tensor]:
    """Train with a screen whose clock advances at each look. Return the weights.

    Steps are reported before each of the four evaluations at least.
    """
    requests, ticks = Requests(), itertools.count()
    with training_session(["mine"], TrainOptions(SETTINGS | OPTIONS, name=name, device="cpu")) as session:
        screen = TrainingScreen(out, requests, clock=lambda: seconds_per_look * next(ticks))
        screen.show_plan(session.prepared, session.run)
        out.truncate(0)
        for event in session.events(requests):
            screen.show(event, session.run)
        return session.run.read_model(session.run.checkpoint("last"))


def test_a_sample_appears_without_an_evaluation(text: Path) -> None:
    out = FakeTerminal()
    trained(out, "often", SAMPLE_INTERVAL)
    lines = out.getvalue().replace("\0", "").splitlines()
    titles = [index for index, line in enumerate(lines) if line.split() == ["step", "40"]]
    assert titles
    assert lines[titles[0] + 1].startswith("    ")


def test_samples_wait_for_their_interval(text: Path) -> None:
    out = FakeTerminal()
    trained(out, "rarely", 0.001)
    assert [line for line in out.getvalue().splitlines() if line.split() == ["step", "40"]] == []


def test_a_pipe_gets_no_sample(text: Path) -> None:
    out = io.StringIO()
    trained(out, "pipe", SAMPLE_INTERVAL)
    assert not any(line.startswith("    ") for line in out.getvalue().splitlines())


def test_samples_do_not_change_training(text: Path) -> None:
    often, rarely = trained(FakeTerminal(), "often", SAMPLE_INTERVAL), trained(FakeTerminal(), "rarely", 0.001)
    assert all(torch.equal(often[name], rarely[name]) for name in often)


def test_a_long_validation_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them: after 1.1 s the first one is shown, and the second one ends within a second."""
    times, err = iter([0.0, 0.0, 0.5, 1.1, 10.0, 10.5]), FakeTerminal()
    monkeypatch.setattr("sys.stderr", err)
    screen = TrainingScreen(FakeTerminal(), Requests(), clock=lambda: next(times))
    with screen.progress_bar(10, 0):
        for fraction in (0.1, 0.2, 0.4, 0.15, 0.3):
            screen.show_validation(fraction)
    assert {*re.findall(r"validating: (\d+) %", err.getvalue())} == {"40"}


def test_large_corrections_are_shown() -> None:
    out = io.StringIO()
    screen = TrainingScreen(out, Requests())
    with screen.progress_bar(1000, 0):
        for step, steps in enumerate([1100, 1240, 1260, 1300, 1500, 1000], start=1):
            screen.show(StepsCorrected(step, steps), run=None)
    shown = [("3", "1,260"), ("6", "1,000")]
    assert re.findall(r"step (\d): now ([\d,]+) steps", out.getvalue()) == shown


@pytest.mark.parametrize("corrected", [[1300, 1500, 900], [990]])
def test_the_summary_names_the_planned_steps(text: Path, corrected: list[int]) -> None:
    out = io.StringIO()
    with training_session(["mine"], TrainOptions(SETTINGS | OPTIONS, name="busy", device="cpu")) as session:
        screen = TrainingScreen(out, Requests())
        with screen.progress_bar(1000, 0):
            for step, steps in enumerate(corrected, start=1):
                screen.show(StepsCorrected(step, steps), session.run)
            *_, finished = session.events()
        screen.show_result(session.run, finished)
    assert re.findall("corrected +(.*)", out.getvalue()) == ["from 1,000 steps, to end on time"]


@pytest.mark.parametrize(("reports", "is_drawn"), [(4, False), (5, True)])
def test_a_few_reports_are_not_plotted(text: Path, reports: int, is_drawn: bool) -> None:
    out = io.StringIO()
    with training_session(["mine"], TrainOptions(SETTINGS | OPTIONS, name="short", device="cpu")) as session:
        screen = TrainingScreen(out, Requests())
        for step in range(1, reports + 1):
            screen.show(StepsTaken(step, 3.0 / step, 1e4, 0.01, 1.0), session.run)
        *_, finished = session.events()
        screen.show_summary(session.run, finished)
    assert ("nats per character" in out.getvalue()) == is_drawn


@pytest.mark.parametrize(
    ("characters", "corpora", "searched"),
    [(12_000, 1, "inspect short --text"), (12_000, 2, "inspect short --cell 1"), (4000, 1, "inspect short --cell 1")],
)
def test_suggested_search_has_enough_text(
    home: Path, short_text: str, characters: int, corpora: int, searched: str
) -> None:
    """The held-out text is too short for one; a single file may not be."""
    files = [home / f"{number}.txt" for number in range(corpora)]
    for file in files:
        file.write_text((short_text * 20)[:characters])
    out = io.StringIO()
    with training_session([*map(str, files)], TrainOptions(SETTINGS | OPTIONS, name="short", device="cpu")) as session:
        *_, finished = session.events()
        TrainingScreen(out, Requests()).show_summary(session.run, finished)
    assert f"charrnn {searched}" in out.getvalue()


@pytest.mark.parametrize(("val_characters", "high"), [(0, "0.42"), (50, "0.48"), (900, "0.42")])
def test_forecast_is_a_range(text: Path, val_characters: int, high: str) -> None:
    """It is wider where training validates on a part of the held-out text."""
    out = io.StringIO()
    settings = SETTINGS | OPTIONS | {"val_characters": val_characters}
    with training_session(["mine"], TrainOptions(settings, device="cpu")) as session:
        prepared = dataclasses.replace(session.prepared, forecast_nats=0.4)
        TrainingScreen(out, Requests()).show_plan(prepared, session.run)
    assert f"validation loss about 0.38 to {high} nats" in out.getvalue()


def test_the_curve_of_a_resumed_run_is_whole(text: Path) -> None:
    """The plot's x-axis begins before the step that the run was resumed from."""
    requests = Requests()
    with training_session(["mine"], TrainOptions(SETTINGS | OPTIONS, name="two", device="cpu")) as session:
        for event in session.events(requests):
            requests.stop = requests.stop or (isinstance(event, Evaluated) and event.step >= 20)
    out = io.StringIO()
    with training_session(["mine"], TrainOptions({}, name="two", resume=True, device="cpu")) as session:
        stopped_at = session.prepared.checkpoint.step
        screen = TrainingScreen(out, Requests())
        screen.show_plan(session.prepared, session.run)
        for event in session.events(Requests()):
            screen.show(event, session.run)
        screen.show_summary(session.run, event)
    first = int(re.search(r"- step\n +(\d+)", out.getvalue())[1])
    assert first < stopped_at
