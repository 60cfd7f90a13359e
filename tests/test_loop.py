"""charrnn.training.loop and charrnn.training.checkpointing"""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.errors import CharrnnError
from charrnn.model.checkpoint import Checkpoint, Progress
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.run_settings import CorpusIdentity, Correction, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.scoring.score import score
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.events import (
    CheckpointFailed,
    CheckpointSaved,
    Evaluated,
    Event,
    Exploded,
    Finished,
    Requests,
    StepsTaken,
)
from charrnn.training.loop import train
from charrnn.training.schedule import Clock, Deadline

MODEL = ModelSettings(layers=2, hidden_size=12, embedding_size=6, dropout=0.2)
TRAINING = TrainingSettings(batch_size=3, seq_length=9, steps=40, evaluations=4, warmup_steps=4, seed=5)
TEXT = ("abc def.\nghi abc!\n" * 84)[:1500]
VOCABULARY = Vocabulary.of(TEXT)
TRAIN_TEXT, VALIDATION_TEXT = EncodedText(VOCABULARY.encode(TEXT)).split(0.2)


def new_run(
    folder: Path,
    training: TrainingSettings = TRAINING,
    model: ModelSettings = MODEL,
    writer: type[RunWriter] = RunWriter,
) -> RunWriter:
    identity = CorpusIdentity(name="a", specs="a", sha256="0" * 64, characters=len(TEXT), held_out=300)
    settings = RunSettings(model, training, identity, Origin.here("cpu", "a test"))
    return writer.create("run", settings, VOCABULARY, b"abc", folder)


def new_network(model: ModelSettings = MODEL, vocabulary: Vocabulary = VOCABULARY) -> CharRNN:
    network = CharRNN(model, len(vocabulary))
    network.initialize(torch.Generator().manual_seed(TRAINING.seed))
    return network


def events_of(
    writer: RunWriter,
    network: CharRNN | None = None,
    texts: tuple[EncodedText, EncodedText] = (TRAIN_TEXT, VALIDATION_TEXT),
    *,
    resume: Checkpoint | None = None,
    requests: Requests | None = None,
    deadline: Deadline | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[Event]:
    settings = writer.run.settings
    return train(
        network or new_network(settings.model),
        settings.training,
        *texts,
        writer=writer,
        resume=resume,
        requests=requests,
        deadline=deadline,
        clock=clock,
    )


def run_through(
    writer: RunWriter,
    stops: Iterable[int] = (),
    texts: tuple[EncodedText, EncodedText] = (TRAIN_TEXT, VALIDATION_TEXT),
) -> list[Event]:
    """Train to the end. Stop after each of these steps and resume with a network of other weights."""
    events: list[Event] = []
    resume, step = None, 0
    for stop in [*stops, None]:
        model, vocabulary, requests = writer.run.settings.model, writer.run.vocabulary, Requests()
        network = new_network(model, vocabulary) if resume is None else CharRNN(model, len(vocabulary))

        def count(module: CharRNN, *_: object, stop: int | None = stop, requests: Requests = requests) -> None:
            nonlocal step
            step += module.training
            requests.stop = step == stop

        network.register_forward_hook(count)
        events += events_of(writer, network, texts, resume=resume, requests=requests)
        if stop is not None:
            assert isinstance(events[-1], Finished)
            assert (events[-1].reason, events[-1].progress.step) == ("stopped", stop)
            resume = writer.run.checkpoint("last")
    return events


def poison(network: CharRNN, steps: Iterable[int]) -> CharRNN:
    """Make the gradients of these steps, counted from 1 and across explosions, infinite."""
    calls, poisoned = itertools.count(1), set(steps)
    network.output.weight.register_hook(lambda gradient: gradient * math.inf if next(calls) in poisoned else None)
    return network


def last_weights(writer: RunWriter) -> dict[str, torch.Tensor]:
    return writer.run.read_model(writer.run.checkpoint("last"))


def assert_equal(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


def test_resume_is_bit_exact(tmp_path: Path) -> None:
    """With dropout; stopped after the first step, within an epoch, between evaluations, before the last step."""
    with new_run(tmp_path / "whole") as whole, new_run(tmp_path / "broken") as broken:
        events, broken_events = run_through(whole), run_through(broken, [1, 7, 13, 22, 39])
    one, other = whole.run.checkpoint("last"), broken.run.checkpoint("last")
    assert one.step == other.step == 40
    assert_equal(broken.run.read_model(other), whole.run.read_model(one))
    assert_equal(broken.run.read_training(other), whole.run.read_training(one))
    losses = [(e.step, e.validation_nats) for e in events if isinstance(e, Evaluated)]
    assert losses == [(e.step, e.validation_nats) for e in broken_events if isinstance(e, Evaluated)]
    assert one.progress.changed(seconds=0.0) == other.progress.changed(seconds=0.0)


def test_events_come_in_order_and_losses_fall(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(steps=200, learning_rate=0.02)) as writer:
        events = run_through(writer)
    evaluated = [e for e in events if isinstance(e, Evaluated)]
    assert [e.step for e in evaluated] == [50, 100, 150, 200]
    assert evaluated[-1].validation_nats < 0.7 * evaluated[0].validation_nats
    kinds = [type(e) for e in events if not isinstance(e, StepsTaken)]
    assert kinds == [Evaluated, CheckpointSaved] * 4 + [Finished]
    assert events[-1].reason == "done"
    assert events[-1].progress.finished
    assert [m["step"] for m in writer.run.metrics() if m["event"] == "evaluation"] == [50, 100, 150, 200]


def test_reports_follow_the_clock(tmp_path: Path) -> None:
    """Each look at this clock advances it by 0.2 s, so every step is reported."""
    ticks = itertools.count()
    with new_run(tmp_path) as writer:
        events = list(events_of(writer, clock=lambda: 0.2 * next(ticks)))
    reports = [e for e in events if isinstance(e, StepsTaken)]
    assert [e.step for e in reports] == list(range(1, 41))
    assert all(0 < e.characters_per_second <= 27 / 0.2 * 1.001 for e in reports)


def test_early_stopping(tmp_path: Path) -> None:
    """On noise, which a network can only memorize."""
    settings = TRAINING.changed(steps=4000, evaluations=40, patience=3, learning_rate=0.03)
    model = MODEL.changed(dropout=0.0, hidden_size=48)
    noise = EncodedText(np.random.default_rng(1).integers(0, len(VOCABULARY), 700).astype(np.uint8))
    with new_run(tmp_path, settings, model) as writer:
        *_, finished = train(new_network(model), settings, noise[:500], noise[500:], writer=writer)
    assert isinstance(finished, Finished)
    assert finished.reason == "early"
    assert finished.progress.finished
    assert finished.progress.best_step < finished.progress.step < 4000
    assert writer.run.checkpoint("best").step == finished.progress.best_step
    assert writer.run.checkpoint("last").step == finished.progress.step


# Without a run


def test_training_without_a_run_gives_the_same_weights(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        run_through(writer)
    network = new_network()
    events = list(train(network, TRAINING, TRAIN_TEXT, VALIDATION_TEXT))
    assert_equal(network.state_dict(), last_weights(writer))
    assert {type(e) for e in events} <= {StepsTaken, Evaluated, Finished}
    assert events[-1].progress.step == 40
    assert events[-1].progress.best_nats == writer.run.checkpoint("last").progress.best_nats


def test_explosion_without_a_run_is_an_error() -> None:
    with pytest.raises(CharrnnError, match="training exploded at step 31"):
        list(train(poison(new_network(), range(22, 32)), TRAINING, TRAIN_TEXT, VALIDATION_TEXT))


# Explosions


def test_ten_skipped_steps_return_to_the_last_checkpoint(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(evaluations=2)) as writer:
        events = list(events_of(writer, poison(new_network(), range(23, 33))))
    assert [e for e in events if isinstance(e, Exploded)] == [Exploded(step=20, rate_scale=0.5)]
    assert events[-1].reason == "done"
    assert events[-1].progress.rate_scale == 0.5


def test_repeated_explosions_are_an_error(tmp_path: Path) -> None:
    with (
        new_run(tmp_path, TRAINING.changed(evaluations=2)) as writer,
        pytest.raises(CharrnnError, match=r"training exploded .* lower `learning_rate`"),
    ):
        list(events_of(writer, poison(new_network(), range(23, 1000))))
    assert writer.run.checkpoint("last").step == 20


# Checkpoints


class FailingWriter(RunWriter):
    """Fails to write the checkpoint of step 20, and any correction of the number of steps."""

    def save(self, progress: Progress, *tensors: dict[str, torch.Tensor]) -> None:
        if progress.step == 20:
            raise OSError(28, "No space left on device")
        super().save(progress, *tensors)

    def correct_steps(self, corrections: Sequence[Correction]) -> None:
        raise OSError(28, "No space left on device")


def test_training_outlasts_a_failed_checkpoint(tmp_path: Path) -> None:
    with new_run(tmp_path, writer=FailingWriter) as writer:
        events = list(events_of(writer))
    assert [e.step for e in events if isinstance(e, CheckpointFailed)] == [20]
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [10, 30, 40]
    assert events[-1].unsaved is None


def test_a_checkpoint_can_be_requested(tmp_path: Path) -> None:
    requests = Requests(checkpoint=True)
    with new_run(tmp_path) as writer:
        saved = [e.step for e in events_of(writer, requests=requests) if isinstance(e, CheckpointSaved)]
    assert saved == [1, 10, 20, 30, 40]
    assert not requests.checkpoint


def test_checkpoints_follow_the_clock(tmp_path: Path) -> None:
    """A step takes 100 s: a checkpoint is due five minutes after the last one."""
    network, now = new_network(), 0.0

    def advance(module: CharRNN, *_: object) -> None:
        nonlocal now
        now += 100 * module.training

    network.register_forward_hook(advance)
    with new_run(tmp_path) as writer:
        events = list(events_of(writer, network, clock=lambda: now))
    assert [e.step for e in events if isinstance(e, CheckpointSaved)][:5] == [3, 6, 9, 10, 13]


def test_every_nth_step_is_kept(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(keep="every:7", evaluations=2)) as writer:
        run_through(writer)
    assert set(writer.run.checkpoint_steps()) >= {7, 14, 21, 28, 35}
    assert writer.run.checkpoint("last").step == 40


# Validation on a part of the text

PART = TRAINING.changed(val_characters=100)


def test_evaluations_of_a_part_are_comparable_and_the_end_is_of_all(tmp_path: Path) -> None:
    with new_run(tmp_path, PART) as writer:
        *events, finished = run_through(writer)
    network, _ = writer.run.load_network("last")
    evaluated = [e.validation_nats for e in events if isinstance(e, Evaluated)]
    assert evaluated[-1] == score(network, VALIDATION_TEXT[:100]).mean
    assert finished.progress.best_nats == min(evaluated)
    assert finished.held_out_nats == score(network, VALIDATION_TEXT).mean != evaluated[-1]
    assert writer.run.metrics()[-1] == {"event": "held_out", "step": 40, "nats": finished.held_out_nats}


def test_evaluations_of_all_are_not_repeated_at_the_end(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(val_characters=10**6)) as writer:
        assert run_through(writer)[-1].held_out_nats is None


def test_the_smallest_part_can_be_scored(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(val_characters=1)) as writer:
        assert run_through(writer)[-1].reason == "done"


def test_a_stop_ends_a_validation(tmp_path: Path) -> None:
    """During an evaluation the run is stopped, and its resumption evaluates again; at the end it is done."""
    requests = Requests()

    def stop(fraction: float) -> None:
        requests.stop = True

    def events(writer: RunWriter, resume: Checkpoint | None) -> list[Event]:
        network, settings = new_network(), writer.run.settings.training
        texts = TRAIN_TEXT, VALIDATION_TEXT
        return list(
            train(network, settings, *texts, writer=writer, resume=resume, requests=requests, validation_progress=stop)
        )

    with new_run(tmp_path, PART.changed(evaluations=1)) as writer:
        stopped = events(writer, None)
        assert (stopped[-1].reason, stopped[-1].progress.step) == ("stopped", 40)
        assert stopped[-1].progress.evaluated_step == 0
        requests.stop = False
        *_, finished = run_through_from(writer, requests)
    assert finished.reason == "done"


def run_through_from(writer: RunWriter, requests: Requests) -> list[Event]:
    """Resume, and request a stop during the validation at the end."""
    events = []
    for event in events_of(writer, resume=writer.run.checkpoint("last"), requests=requests):
        requests.stop = isinstance(event, CheckpointSaved)
        events.append(event)
    assert events[-1].held_out_nats is None
    return events


def test_no_validation_of_all_after_the_deadline(tmp_path: Path) -> None:
    def held_out_nats(folder: str, final: float) -> float | None:
        ticks = itertools.count()
        with new_run(tmp_path / folder, PART) as writer:
            deadline = Deadline(1e6, 1e6, per_step=1.0, per_evaluation=1.0, final=final)
            *_, finished = events_of(writer, deadline=deadline, clock=lambda: 1e6 - 40 + 0.01 * next(ticks))
        return finished.held_out_nats

    assert held_out_nats("quick", 1.0) is not None
    assert held_out_nats("slow", 1e9) is None
    assert held_out_nats("none", 0.0) is None


# Correction of the number of steps

TIMED = TRAINING.changed(warmup_steps=20, steps=300)
BUDGET = 300.0  # seconds


def train_until(
    folder: Path, slowness: Callable[[int], float], *, stop: int | None = None, writer: type[RunWriter] = RunWriter
) -> RunWriter:
    """Train with a deadline. slowness: of each step, which is planned to take one second. stop: after this step."""
    network, requests, now, step = new_network(), Requests(), 0.0, 0

    def advance(module: CharRNN, *_: object) -> None:
        nonlocal now, step
        step += module.training
        now += slowness(step) if module.training else 0.0
        requests.stop = step == stop

    network.register_forward_hook(advance)
    run = new_run(folder, TIMED, writer=writer)
    deadline = Deadline(BUDGET, BUDGET, per_step=1.0, per_evaluation=1.0)
    for _ in events_of(run, network, requests=requests, deadline=deadline, clock=lambda: now):
        pass
    assert stop is not None or writer is FailingWriter or 0.85 * BUDGET < now < 1.15 * BUDGET
    return run


def slower_from_60(step: int) -> float:
    return 3.0 if step > 60 else 1.0


def faster_from_30(step: int) -> float:
    return 5.0 if step <= 30 else 0.5


@pytest.mark.parametrize(("slowness", "stop"), [(slower_from_60, 110), (faster_from_30, 10)])
def test_corrected_run_resumes_exactly(slowness: Callable[[int], float], stop: int, tmp_path: Path) -> None:
    """The checkpoint to resume from is older than most corrections, which are recorded."""
    with train_until(tmp_path / "whole", slowness) as writer:
        run, whole = writer.run, last_weights(writer)
        evaluated = [m["step"] for m in run.metrics() if m["event"] == "evaluation"]
        assert len(run.corrections) > 2
    folder = tmp_path / f"stopped-{stop}"
    train_until(folder, slowness, stop=stop).close()
    shutil.copy(run.path / "steps.json", folder / "run" / "steps.json")
    stopped = Run(folder / "run")
    assert stopped.corrections == run.corrections
    assert stopped.settings.training == run.settings.training
    with RunWriter.open(stopped) as writer:
        *_, finished = events_of(writer, CharRNN(MODEL, len(VOCABULARY)), resume=stopped.checkpoint(str(stop)))
        assert_equal(last_weights(writer), whole)
    assert (finished.reason, finished.progress.step) == ("done", run.corrections[-1].steps)
    assert [m["step"] for m in stopped.metrics() if m["event"] == "evaluation"] == evaluated


def test_plan_stays_if_its_correction_cannot_be_written(tmp_path: Path) -> None:
    with train_until(tmp_path, slower_from_60, writer=FailingWriter) as writer:
        assert writer.run.checkpoint_steps()[-1] == TIMED.steps


PLAN = Correction(0, 300, 4)
WRONG_CORRECTIONS = (
    *("[]", "7", "null, 3", '"a"', "[[0, 270]]", "[[0, 270, 4, 1]]", "[[0, 270.0, 4]]", "[[0, true, 4]]"),
    "[[0, 300, 4]]",
    "[[0, 270, 5]]",
    "[[1, 270, 4]]",
    "[[0, 300, 4], [20, 270, 0]]",
    "[[0, 300, 4], [20, 270, 100000]]",
    "[[0, 300, 4], [300, 270, 1]]",
    "[[0, 200, 4], [190, 270, 1, true]]",
    "[[0, 200, 4], [200, 270, 1]]",
    "[[0, 270, 4, true]]",
    "[[0, 200, 4], [200, 270, 1, 1]]",
    "[[0, 300, 4], [290, 270, 1]]",
    "[[0, 300, 4], [20, 280, 4], [20, 270, 4]]",
    str([[step, 500, 4] for step in range(150)] + [[150, 270, 1]]),
)


def test_corrections_are_read_back(tmp_path: Path) -> None:
    corrections = (PLAN, Correction(20, 270, 3), Correction(100, 400, 2), Correction(400, 500, 2, restart=True))
    with new_run(tmp_path, TIMED) as writer:
        writer.correct_steps(corrections[:2])
        writer.correct_steps(corrections, writer.run.settings.origin.changed(minutes=2.5))
        assert writer.run.settings == Run(tmp_path / "run").settings
    assert Run(tmp_path / "run").corrections == corrections
    assert Run(tmp_path / "run").settings.training.steps == 500
    assert Run(tmp_path / "run").settings.origin.minutes == 2.5


@pytest.mark.parametrize("call", ["charrnn.model.writer.write_and_sync", "charrnn.files.sync_folder"])
def test_failed_correction_leaves_no_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with new_run(tmp_path, TIMED) as writer:
        monkeypatch.setattr(call, refuse)
        with pytest.raises(OSError, match="No space"):
            writer.correct_steps([PLAN, Correction(20, 270, 3)])
        assert writer.run.settings.training == TIMED
        assert [path.name for path in writer.run.path.iterdir() if "steps" in path.name] == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "7", '{"seed": 3}', '{"steps": 9, "seed": 3}'),
        *(f'{{"steps": 270, "corrections": {corrections}}}' for corrections in WRONG_CORRECTIONS),
        *(f'{{"steps": {value}}}' for value in ("0", "1.5", '"9"', "1e99", "true", "9" * 2000)),
    ],
)
def test_invalid_correction_is_refused(content: str, tmp_path: Path) -> None:
    new_run(tmp_path).close()
    (tmp_path / "run" / "steps.json").write_text(content)
    with pytest.raises(CharrnnError, match=r"steps\.json"):
        Run(tmp_path / "run")


def test_correction_may_not_be_a_link(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    (tmp_path / "elsewhere").write_text('{"steps": 9}')
    (tmp_path / "run" / "steps.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharrnnError, match="not a regular file"):
        Run(tmp_path / "run")


def test_checkpoint_beyond_the_last_step_is_the_end(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(keep="every:1")) as writer:
        run_through(writer)
        (writer.run.path / "steps.json").write_text('{"steps": 7}')
    run = Run(tmp_path / "run")
    with RunWriter.open(run) as writer:
        *_, finished = events_of(writer, CharRNN(MODEL, len(VOCABULARY)), resume=run.checkpoint("33"))
    assert (finished.reason, finished.progress.step) == ("done", 33)
