"""charrnn.training.loop"""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN
from charrnn.model.run import CorpusIdentity, Origin, Run, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import loop
from charrnn.training.deadline import Deadline
from charrnn.training.loop import (
    CheckpointFailed,
    CheckpointSaved,
    Evaluated,
    Exploded,
    Finished,
    Requests,
    StepsCorrected,
    StepsTaken,
    Trainer,
    train,
)

MODEL = ModelSettings(layers=2, hidden_size=12, embedding_size=6, dropout=0.2)
TRAINING = TrainingSettings(batch_size=3, seq_length=9, steps=40, evaluations=4, warmup_steps=4, seed=5)


def a_text(length: int = 1500) -> tuple[np.ndarray, Vocabulary]:
    text = ("abc def.\nghi abc!\n" * (length // 18 + 1))[:length]
    vocabulary = Vocabulary.of(text)
    return vocabulary.encode(text), vocabulary


def new_run(folder: Path, training: TrainingSettings = TRAINING, model: ModelSettings = MODEL) -> RunWriter:
    ids, vocabulary = a_text()
    identity = CorpusIdentity(name="a", specs="a", sha256="0" * 64, characters=len(ids), held_out=300)
    settings = RunSettings(model, training, identity, Origin.here("cpu", "a test"))
    return RunWriter.create("run", settings, vocabulary, b"abc", folder)


def fresh_network(writer: RunWriter) -> CharRNN:
    network = CharRNN(writer.run.settings.model, len(writer.run.vocabulary))
    network.initialize(torch.Generator().manual_seed(writer.run.settings.training.seed))
    return network


def run_through(writer: RunWriter, *, stop_after: list[int] | None = None) -> list[loop.Event]:
    """Trains to the end; stops and begins again from the last save after each of these steps."""
    ids, _ = a_text()
    events: list[loop.Event] = []
    resume = None
    for stop in [*(stop_after or []), None]:
        network = fresh_network(writer) if resume is None else CharRNN(MODEL, len(writer.run.vocabulary))
        requests = Requests()
        trainer_step = Trainer.make_step

        def counted(self: Trainer, stop=stop, requests=requests, trainer_step=trainer_step) -> None:
            trainer_step(self)
            requests.stop = requests.stop or self.step == stop

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "make_step", counted)
            events += train(
                writer, network, EncodedText(ids[:1200]), EncodedText(ids[1200:]), resume=resume, requests=requests
            )
        if stop is not None:
            assert events[-1].reason == "stopped"
            assert events[-1].progress.step == stop
            resume = writer.run.checkpoint("last")
    return events


def test_a_run_interrupted_five_times_equals_an_uninterrupted_one_to_the_last_bit(tmp_path: Path) -> None:
    """With dropout; interrupted after the first step, amid an epoch, between evaluations, before the last step."""
    whole, broken = new_run(tmp_path / "whole"), new_run(tmp_path / "broken")
    with whole, broken:
        events = run_through(whole)
        broken_events = run_through(broken, stop_after=[1, 7, 13, 22, 39])
    one, other = whole.run.checkpoint("last"), broken.run.checkpoint("last")
    assert one.step == other.step == 40
    for reader in (Run.read_model, Run.read_training):
        expected, found = reader(whole.run, one), reader(broken.run, other)
        assert expected.keys() == found.keys()
        for name in expected:
            assert torch.equal(expected[name], found[name]), name
    losses = [(e.step, e.validation_nats) for e in events if isinstance(e, Evaluated)]
    assert losses == [(e.step, e.validation_nats) for e in broken_events if isinstance(e, Evaluated)]
    assert one.progress.changed(seconds=0.0) == other.progress.changed(seconds=0.0)


def test_a_step_equals_the_same_step_written_out_with_plain_adamw() -> None:
    ids, vocabulary = a_text()
    settings = TRAINING.changed(weight_decay=0.1, grad_clip=0.05)
    network, plain = (CharRNN(MODEL.changed(dropout=0.0), len(vocabulary)).double() for _ in range(2))
    network.initialize(torch.Generator().manual_seed(1))
    plain.load_state_dict(network.state_dict())
    trainer = Trainer(network, settings, EncodedText(ids))
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in plain.named_parameters()}
    state = plain.initial_state(3)
    for step in range(6):
        window = trainer.batches.window(step)
        rate = trainer.learning_rate()
        trainer.make_step()
        logits, state = plain(window.inputs, state)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        loss = cross_entropy(logits.flatten(0, 1), window.targets.flatten())
        plain.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in plain.parameters()))
        assert norm > settings.grad_clip  # or else clipping would not be seen
        with torch.no_grad():
            for name, p in plain.named_parameters():  # Loshchilov & Hutter 2019, algorithm 2
                gradient = p.grad / float(np.float32(norm / settings.grad_clip))  # as exactly as the kernel is told
                m, v = moments[name]
                m.mul_(0.9).add_(gradient, alpha=0.1)
                v.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                p.mul_(1 - rate * (settings.weight_decay if p.ndim > 1 else 0))
                m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.99 ** (step + 1))
                p.sub_(rate * m_hat / (v_hat.sqrt() + 1e-8))
        for (name, p), q in zip(network.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-10, msg=name)


def test_the_rate_rises_over_the_warmup_and_falls_to_zero_over_the_run() -> None:
    ids, vocabulary = a_text()
    trainer = Trainer(CharRNN(MODEL, len(vocabulary)), TRAINING.changed(steps=1000, warmup_steps=50), EncodedText(ids))
    rates = []
    for trainer.step in range(1000):
        rates.append(trainer.learning_rate())
    assert rates[:50] == pytest.approx([TRAINING.learning_rate * k / 50 for k in range(1, 51)])
    assert max(rates) == rates[50] == TRAINING.learning_rate
    assert all(one > later for one, later in itertools.pairwise(rates[50:]))
    assert rates[525] == pytest.approx(TRAINING.learning_rate / 2, rel=1e-6)
    assert rates[-1] < 1e-5 * TRAINING.learning_rate


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


def test_it_stops_early_once_validation_has_clearly_turned(tmp_path: Path) -> None:
    settings = TRAINING.changed(steps=4000, evaluations=40, patience=3, learning_rate=0.03)
    with new_run(tmp_path, settings, MODEL.changed(dropout=0.0, hidden_size=48)) as writer:
        _, vocabulary = a_text()
        noise = np.random.default_rng(1).integers(0, len(vocabulary), 700).astype(np.uint8)  # nothing to learn in it
        *_, finished = train(writer, fresh_network(writer), EncodedText(noise[:500]), EncodedText(noise[500:]))
    assert finished.reason == "early"
    assert finished.progress.finished
    assert finished.progress.step < 4000
    assert finished.progress.best_step < finished.progress.step
    assert writer.run.checkpoint("best").step == finished.progress.best_step
    assert writer.run.checkpoint("last").step == finished.progress.step


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Makes the gradients of these steps infinite, once each."""
    total_norm, counter = torch.nn.utils.get_total_norm, iter(range(10**9))

    def poisoned(gradients, *args, **kwargs):
        if next(counter) in steps:
            gradients[0][0] = math.inf
        return total_norm(gradients, *args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", poisoned)


def test_a_step_with_an_infinite_gradient_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, vocabulary = a_text()
    trainer = Trainer(CharRNN(MODEL, len(vocabulary)), TRAINING, EncodedText(ids))
    poison(monkeypatch, {2})
    for _ in range(2):
        trainer.make_step()
    before = {name: p.clone() for name, p in trainer.parameters.items()}
    trainer.make_step()
    assert all(torch.equal(before[name], p) for name, p in trainer.parameters.items())
    assert all(not part.any() for layer in trainer.state for part in layer)
    assert trainer.skipped == trainer.skipped_in_a_row == 1
    trainer.make_step()
    assert not any(torch.equal(before[name], p) for name, p in trainer.parameters.items())
    assert (trainer.skipped, trainer.skipped_in_a_row) == (1, 0)


def test_ten_such_steps_in_a_row_go_back_to_the_last_save_with_half_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_run(tmp_path, TRAINING.changed(evaluations=2)) as writer:
        poison(monkeypatch, set(range(22, 32)))
        events = run_through(writer)
    exploded = [e for e in events if isinstance(e, Exploded)]
    assert exploded == [Exploded(step=20, rate_scale=0.5)]
    assert events[-1].reason == "done"
    assert events[-1].progress.rate_scale == 0.5


def test_training_that_explodes_again_and_again_ends_with_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_run(tmp_path, TRAINING.changed(evaluations=2)) as writer:
        poison(monkeypatch, set(range(22, 1000)))
        with pytest.raises(CharrnnError, match=r"training exploded .* lower --learning-rate"):
            run_through(writer)
    assert writer.run.checkpoint("last").step == 20


def test_training_goes_on_where_a_save_fails_and_the_save_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, calls = RunWriter.commit, iter(range(100))

    def failing(self: RunWriter, *args: object) -> None:
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        commit(self, *args)

    monkeypatch.setattr(RunWriter, "commit", failing)
    with new_run(tmp_path) as writer:
        events = run_through(writer)
    assert [e.step for e in events if isinstance(e, CheckpointFailed)] == [20]
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [10, 30, 40]
    assert events[-1].unsaved is None


def test_a_save_can_be_asked_for_at_any_step(tmp_path: Path) -> None:
    requests = Requests()
    ids, _ = a_text()
    with new_run(tmp_path) as writer:
        saved = []
        requests.save = True
        for event in train(
            writer, fresh_network(writer), EncodedText(ids[:1200]), EncodedText(ids[1200:]), requests=requests
        ):
            if isinstance(event, CheckpointSaved):
                saved.append(event.step)
    assert saved[0] == 1
    assert not requests.save


def test_saves_at_every_nth_step_are_made_and_kept_for_good(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(keep="every:7", evaluations=2)) as writer:
        run_through(writer)
    assert set(writer.run.checkpoint_steps()) >= {7, 14, 21, 28, 35}
    assert writer.run.checkpoint("last").step == 40


# The number of steps, planned again

TIMED = TRAINING.changed(warmup_steps=20, steps=300)


def with_deadline(folder: Path, training: TrainingSettings, steps: int, stop_at: int | None = None) -> RunWriter:
    """Trains for the time of so many steps, with a plan for half of them; evaluations take that of eighty."""
    writer, (ids, _) = new_run(folder, training), a_text()
    requests = Requests()
    with pytest.MonkeyPatch.context() as patch:
        step = 1000.0  # seconds, as if: so long that those which do pass make no difference
        patch.setattr(loop._Loop, "_seconds", lambda self: self.trainer.step * step)
        deadline = Deadline(time.perf_counter() + (steps - 20) * step, per_step=2 * step, for_evaluations=160 * step)
        for event in train(
            writer,
            fresh_network(writer),
            EncodedText(ids[:1200]),
            EncodedText(ids[1200:]),
            requests=requests,
            deadline=deadline,
        ):
            if isinstance(event, StepsCorrected):
                assert event.step == 20
                requests.stop = stop_at == 20
    return writer


def final_weights(writer: RunWriter) -> dict[str, torch.Tensor]:
    return writer.run.read_model(writer.run.checkpoint("last"))


def test_a_plan_that_is_off_is_corrected_after_the_warm_up_as_if_it_had_been_right_from_the_start(
    tmp_path: Path,
) -> None:
    with with_deadline(tmp_path / "corrected", TIMED, steps=350) as writer:
        assert Run(writer.run.path).settings.training == writer.run.settings.training
        steps = writer.run.settings.training.steps
        assert steps == 350 - 80
        assert writer.run.checkpoint_steps()[-1] == steps
        assert writer.run.checkpoint("last").progress.finished
        corrected = final_weights(writer)
    with new_run(tmp_path / "right", TIMED.changed(steps=steps)) as writer:
        evaluated = [event.step for event in run_through(writer) if isinstance(event, Evaluated)]
        assert evaluated == [68, 135, 202, 270]
        right = final_weights(writer)
    assert all(torch.equal(corrected[name], right[name]) for name in right)


def test_a_run_that_was_stopped_after_its_plan_was_corrected_goes_on_to_the_corrected_end(tmp_path: Path) -> None:
    with with_deadline(tmp_path / "stopped", TIMED, steps=350, stop_at=20) as writer:
        assert writer.run.checkpoint_steps()[-1] == 20
    run, (ids, _) = Run(tmp_path / "stopped" / "run"), a_text()
    with RunWriter.open(run) as writer:
        network = CharRNN(MODEL, len(run.vocabulary))
        *_, finished = train(
            writer, network, EncodedText(ids[:1200]), EncodedText(ids[1200:]), resume=run.checkpoint("last")
        )
        stopped = final_weights(writer)
    assert (finished.reason, finished.progress.step) == ("done", 270)
    with with_deadline(tmp_path / "whole", TIMED, steps=350) as writer:
        whole = final_weights(writer)
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("steps", "training"),
    [
        (390, TIMED),  # near enough
        (270, TIMED),  # fewer than ten times the warm-up
        (520, TIMED.changed(steps=150)),  # the rate has already followed from the number of steps
        (520, TIMED.changed(evaluations=20)),  # there has been an evaluation, or nearly
        (520, TIMED.changed(warmup_steps=10)),  # too few to tell
        (520, TIMED.changed(warmup_steps=0)),
    ],
)
def test_a_plan_that_is_right_or_can_no_longer_be_changed_stays(
    steps: int, training: TrainingSettings, tmp_path: Path
) -> None:
    with with_deadline(tmp_path, training, steps) as writer:
        assert writer.run.checkpoint_steps()[-1] == training.steps
        assert not (writer.run.path / "steps.json").exists()


@pytest.mark.parametrize("call", ["charrnn.model.writer.write_and_sync", "charrnn.files.sync_folder"])
def test_a_disk_that_refuses_the_correction_leaves_the_plan_as_it_was(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    correct_steps = RunWriter.correct_steps

    def refused(self: RunWriter, steps: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(call, refuse)
            correct_steps(self, steps)

    monkeypatch.setattr(RunWriter, "correct_steps", refused)
    with with_deadline(tmp_path, TIMED, steps=350) as writer:
        assert writer.run.checkpoint_steps()[-1] == TIMED.steps
        assert [path.name for path in writer.run.path.iterdir() if "steps" in path.name] == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "7", '{"seed": 3}', '{"steps": 9, "seed": 3}'),
        *(f'{{"steps": {value}}}' for value in ("0", "1.5", '"9"', "1e99", "true", "9" * 2000)),
    ],
)
def test_a_correction_that_is_no_number_of_steps_is_refused(content: str, tmp_path: Path) -> None:
    new_run(tmp_path).close()
    (tmp_path / "run" / "steps.json").write_text(content)
    with pytest.raises(CharrnnError, match=r"steps\.json"):
        Run(tmp_path / "run")


def test_a_link_in_place_of_a_correction_is_not_followed(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    (tmp_path / "elsewhere").write_text('{"steps": 9}')
    (tmp_path / "run" / "steps.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharrnnError, match="not a regular file"):
        Run(tmp_path / "run")


def test_a_save_beyond_the_end_of_its_run_is_the_end(tmp_path: Path) -> None:
    with new_run(tmp_path, TRAINING.changed(keep="every:1")) as writer:
        run_through(writer)
        (writer.run.path / "steps.json").write_text('{"steps": 7}')
    run, (ids, _) = Run(tmp_path / "run"), a_text()
    with RunWriter.open(run) as writer:
        network = CharRNN(MODEL, len(run.vocabulary))
        *_, finished = train(
            writer, network, EncodedText(ids[:1200]), EncodedText(ids[1200:]), resume=run.checkpoint("33")
        )
    assert (finished.reason, finished.progress.step) == ("done", 33)
