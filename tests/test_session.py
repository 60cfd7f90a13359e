"""charrnn.training.session, setup and options"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.lookup import open_run, runs_folder
from charrnn.model.writer import RunWriter
from charrnn.text.corpus import load_corpus
from charrnn.training.events import CheckpointSaved, Event, Finished, Requests
from charrnn.training.options import TrainOptions
from charrnn.training.session import training_session
from tests.golden.test_golden import edit_json

SETTINGS = {"hidden_size": 8, "embedding_size": 4, "batch_size": 2, "seq_length": 8, "steps": 6, "evaluations": 2}


@pytest.fixture
def text(home: Path, short_text: str) -> Path:
    path = home / "corpora" / "mine.txt"
    path.write_text(short_text[:1000])
    return path


def trained(corpus: list[str] | None, options: TrainOptions, requests: Requests | None = None) -> list[Event]:
    with training_session(corpus, options) as session:
        return list(session.events(requests))


def test_a_session_trains_a_new_run(text: Path) -> None:
    with training_session(load_corpus(["mine"]), TrainOptions(SETTINGS, device="cpu")) as session:
        assert session.run.is_being_trained()
        *_, finished = session.events()
    assert isinstance(finished, Finished)
    assert session.run.name == "mine"
    assert session.run.checkpoint("last").step == 6
    assert not session.run.is_being_trained()


def test_a_session_resumes_the_newest_run_and_finds_its_corpus(text: Path) -> None:
    stopped = trained(["mine"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    resumed = trained(None, TrainOptions(resume=True, device="cpu"))
    assert stopped[-1].progress.step == 0
    assert resumed[-1].progress.step == 6


def test_a_corpus_finds_its_run(text: Path) -> None:
    """Not the newest run, which was trained on another text, nor one that is damaged."""
    text.with_name("other.txt").write_bytes(text.read_bytes()[::-1])
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    for name in ("other", "damaged"):
        trained([str(text.with_name("other.txt"))], TrainOptions(SETTINGS, name=name, device="cpu"))
    (runs_folder() / "damaged" / "run.json").write_text("{")
    with training_session(["mine"], TrainOptions(resume=True, device="cpu")) as session:
        assert session.run.name == "mine"
        assert list(session.events())[-1].progress.step == 6
    assert trained(["mine"], TrainOptions(more_steps=2, device="cpu"))[-1].progress.step == 8
    text.write_bytes(text.read_bytes() + b"more")
    for options in ({"resume": True}, {"more_steps": 2}):
        message = (
            f"no run was trained on mine as it is now; .*; leave `{next(iter(options))}={next(iter(options.values()))}`"
        )
        with pytest.raises(UsageError, match=message):
            trained(["mine"], TrainOptions(**options, device="cpu"))


def test_a_damaged_run_hides_no_other_error(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    text.with_name("other.txt").write_bytes(text.read_bytes()[::-1])
    trained(["other"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    (runs_folder() / "mine" / "run.json").write_text("{")
    with pytest.raises(CharrnnError, match=r"missing\.txt"):
        trained(["missing.txt"], TrainOptions(resume=True, device="cpu"))
    message = r"no run was trained on mine as it is now; one cannot be opened: .*mine.run\.json"
    with pytest.raises(UsageError, match=message):
        trained(["mine"], TrainOptions(resume=True, device="cpu"))


def test_run_from_before_newlines_keeps_them(text: Path) -> None:
    """It stores neither encoding nor newlines, and its text was read as it is."""
    text.write_bytes(text.read_bytes().replace(b"\n", b"\r\n"))
    options = TrainOptions({**SETTINGS, "newlines": "keep"}, device="cpu")
    trained(["mine"], options, Requests(stop=True))
    file = runs_folder() / "mine" / "run.json"
    for name in ("encoding", "newlines", "include", "exclude"):
        edit_json(file, lambda content, name=name: content["corpus"].pop(name))
    assert trained(None, TrainOptions(resume=True, device="cpu"))[-1].progress.step == 6
    run = open_run("mine")
    assert "\r" in run.vocabulary.characters
    assert len(run.read("mine").ids) == run.settings.corpus.characters


def test_corpus_that_was_read_in_another_way_is_not_resumed(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    with (
        pytest.raises(UsageError, match="mine reads its text as utf-8, lf, not as utf-8, keep"),
        training_session(load_corpus(["mine"], newlines="keep"), TrainOptions(resume=True, device="cpu")),
    ):
        pass


def test_a_finished_run_is_not_resumed(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"))
    with pytest.raises(UsageError, match="mine is finished, at step 6"):
        trained(None, TrainOptions(resume=True, device="cpu"))


def extended(**more: float) -> list[Event]:
    return trained(None, TrainOptions(device="cpu", **more))


def test_a_finished_run_is_extended_bit_exactly(text: Path) -> None:
    """Stopped in the middle and resumed, an extended run ends as one that was not stopped."""
    for name in ("whole", "stopped"):
        trained(["mine"], TrainOptions({**SETTINGS, "keep": "every:4"}, name=name, device="cpu"))
    assert extended(more_steps=5, name="whole")[-1].progress.step == 11
    with training_session(None, TrainOptions(more_steps=5, name="stopped", device="cpu")) as session:
        requests = Requests()
        for event in session.events(requests):
            requests.stop |= isinstance(event, CheckpointSaved) and event.step == 8  # others depend on the speed
    assert open_run("stopped").checkpoint("last").step == 8
    trained(None, TrainOptions(resume=True, name="stopped", device="cpu"))
    whole, stopped = open_run("whole"), open_run("stopped")
    assert whole.settings.training == stopped.settings.training
    for name, tensor in whole.read_model(whole.checkpoint("last")).items():
        assert torch.equal(tensor, stopped.read_model(stopped.checkpoint("last"))[name]), name
    assert whole.is_finished(whole.checkpoint("last"))
    assert extended(more_steps=2, name="whole")[-1].progress.step == 13


def test_an_extension_that_was_killed_at_once_is_resumed(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"))
    with training_session(None, TrainOptions(more_steps=4, device="cpu")):
        pass
    assert not open_run("mine").is_finished(open_run("mine").checkpoint("last"))
    with pytest.raises(UsageError, match="mine is not finished; resume it first, with `resume=True` `name='mine'`"):
        extended(more_steps=4)
    assert trained(None, TrainOptions(resume=True, device="cpu"))[-1].progress.step == 10


def test_more_minutes_are_those_of_the_extension(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"))
    seconds = open_run("mine").checkpoint("last").progress.seconds
    before = time.perf_counter()
    with training_session(None, TrainOptions(more_minutes=0.5, device="cpu")) as session:
        assert 25 < session.prepared.plan.deadline.at - before < 35
        assert session.prepared.settings.training.steps >= 26
    assert open_run("mine").settings.origin.minutes == pytest.approx(0.5 + seconds / 60)


def test_only_finished_runs_are_extended(text: Path) -> None:
    trained(["mine"], TrainOptions(SETTINGS, device="cpu"), Requests(stop=True))
    with pytest.raises(UsageError, match="mine is not finished"):
        extended(more_minutes=1)
    for more in ({"minutes": 1}, {"init_from": "mine"}, {"more_steps": 3}):
        with pytest.raises(UsageError, match="exclude each other"):
            TrainOptions(more_minutes=1, **more)
    for more in ({"more_minutes": 0}, {"more_steps": 0}, {"more_steps": 10**11}):
        with pytest.raises(UsageError, match=r"`more_\w+` must be"):
            TrainOptions(**more)


def test_the_number_of_threads_is_resumed(text: Path) -> None:
    """It is set only while the run trains, not while its events are handled or afterwards."""
    before = torch.get_num_threads()
    options = TrainOptions({**SETTINGS, "threads": before + 1}, device="cpu")
    with training_session(["mine"], options) as session:
        assert next(session.events()) is not None
        assert torch.get_num_threads() == before
    with training_session(None, TrainOptions(resume=True, device="cpu")) as session:
        used = set()
        session.prepared.network.register_forward_hook(lambda *_: used.add(torch.get_num_threads()))
        list(session.events())
    assert used == {before + 1}
    assert torch.get_num_threads() == before


def test_the_minutes_of_a_resumed_run_are_those_left(text: Path) -> None:
    options = TrainOptions({name: SETTINGS[name] for name in SETTINGS if name != "steps"}, minutes=0.5, device="cpu")
    trained(["mine"], options, Requests(stop=True))
    before = time.perf_counter()
    with training_session(None, TrainOptions(resume=True, device="cpu")) as session:
        deadline = session.prepared.plan.deadline
    trained_before = session.prepared.checkpoint.progress.seconds
    assert 0 < deadline.at - before - (30 - trained_before) < 5
    assert deadline.budget == 30


def test_a_restart_resumes_the_run(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun starts the same command again, which created the run."""
    options = TrainOptions(SETTINGS, name="run", device="cpu")
    trained(["mine"], options, Requests(stop=True))
    with pytest.raises(UsageError, match="run run exists already"):
        trained(["mine"], options)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert trained(["mine"], options)[-1].progress.step == 6


def test_a_restart_needs_a_name(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(UsageError, match="give it a `name`"):
        trained(["mine"], TrainOptions(SETTINGS, device="cpu"))


def test_a_corpus_is_needed(home: Path) -> None:
    with pytest.raises(UsageError, match="no corpus given"):
        trained(None, TrainOptions(SETTINGS))


def test_a_short_corpus_is_refused(home: Path) -> None:
    (home / "short.txt").write_text("ab" * 5)
    with pytest.raises(CharrnnError, match="short is too short to hold out a validation text: it has 10 characters"):
        trained(["short.txt"], TrainOptions(SETTINGS, device="cpu"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "minutes": 1}, "`epochs` and `minutes` exclude each other"),
        ({"settings": {"steps": 1}, "minutes": 1}, "`steps` and `minutes` exclude each other"),
        ({"resume": True, "init_from": "a"}, "`resume` and `init_from` exclude each other"),
        ({"epochs": 0.0}, "`epochs` must be above 0"),
        ({"minutes": 1e10}, "`minutes` must be above 0 and below 1e"),
        ({"settings": {"hidden_size": 0}}, "`hidden_size` must be at least 1"),
        ({"settings": {"hiden_size": 8}}, "unknown setting 'hiden_size'"),
        ({"settings": {"documents": "("}}, "`documents`"),
        ({"settings": {"encoding": "klingon"}}, "unknown encoding 'klingon'"),
        ({"settings": {"encoding": "latin-1"}, "as_bytes": True}, "`as_bytes` and `encoding` exclude each other"),
        ({"settings": {"newlines": "lf"}, "as_bytes": True}, "`as_bytes` and `newlines` exclude each other"),
        ({"settings": {"newlines": "cr"}}, "`newlines` must be one of keep, lf"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainOptions(**options)


def test_a_name_taken_during_the_preparation_is_not_used(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = RunWriter.create

    def lose_the_race(name: str, *arguments: Any) -> RunWriter:
        if name in ("mine", "named"):
            (runs_folder() / name).mkdir(parents=True)
        return create(name, *arguments)

    monkeypatch.setattr(RunWriter, "create", lose_the_race)
    with training_session(["mine"], TrainOptions(SETTINGS, device="cpu")) as session:
        assert session.run.name == "mine-2"
    with pytest.raises(UsageError, match="run named exists already"):
        trained(["mine"], TrainOptions(SETTINGS, name="named", device="cpu"))
