"""The training loop. It yields events and prints nothing.

Every number that a step depends on comes from the settings, the seed and the step's number, or is part of a
checkpoint. An interrupted run ends bit for bit as an uninterrupted one, on a CPU with the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from charrnn.errors import CharrnnError
from charrnn.model.checkpoint import Checkpoint, Progress
from charrnn.model.device import cpu_threads, synchronize
from charrnn.model.network import CharRNN
from charrnn.model.run_settings import Correction
from charrnn.model.writer import RunWriter
from charrnn.progress import FractionProgress, no_progress
from charrnn.scoring.score import ScoringStopped, score
from charrnn.settings import TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.checkpointing import Checkpointer
from charrnn.training.distributed import CUDA_FLAGS_INTERVAL, SINGLE_PROCESS, ControlFlags, ProcessGroup
from charrnn.training.events import (
    CheckpointFailed,
    CheckpointSaved,
    Evaluated,
    Event,
    Exploded,
    Finished,
    GradientTrouble,
    Requests,
    StepsCorrected,
    StepsTaken,
)
from charrnn.training.gradient_watch import GradientWatch
from charrnn.training.schedule import REPORT_INTERVAL, Clock, Deadline, Schedule
from charrnn.training.trainer import Trainer

MIN_WORSENING = 1.01  # ratio of validation losses: less is no reason to stop early
MAX_SKIPPED_IN_A_ROW = 10  # steps without a finite gradient before training returns to a checkpoint
MAX_EXPLOSIONS = 3


def train(
    network: CharRNN,
    settings: TrainingSettings,
    train_text: EncodedText,
    validation_text: EncodedText,
    *,
    writer: RunWriter | None = None,
    resume: Checkpoint | None = None,
    requests: Requests | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    deadline: Deadline | None = None,
    clock: Clock = time.perf_counter,
    validation_progress: FractionProgress = no_progress,
) -> Iterator[Event]:
    """Train a network and yield what happens.

    In a group every process calls this with its own copy of the network and the same settings and training text. The
    first process provides the weights, evaluates, and writes the run; `validation_text`, `writer`, `resume` and
    `deadline` of the others are ignored.

    network: on the device to train on, with initial weights. writer: the run to write checkpoints and metrics to, if
    any. resume: a checkpoint of that run to continue from. requests: its flags request a stop or a checkpoint.
    deadline: when the run has to end; the number of steps is corrected for it. clock: in seconds, monotonic.
    validation_progress: called with the fraction of a validation that is done, about once a second.
    Raises CharrnnError where training explodes repeatedly, or without a checkpoint to return to.
    """
    trainer = Trainer(network, settings, train_text, group)
    recorded = writer.run.corrections if writer is not None and resume is not None else ()
    corrections = [Correction(*each) for each in group.broadcast_object(recorded)]
    schedule = Schedule(settings, corrections, deadline, clock)
    trainer.timetable = schedule.timetable
    checkpointer = Checkpointer(trainer, group, writer, clock)
    loop = _Loop(trainer, schedule, checkpointer, validation_text, requests or Requests(), group, validation_progress)
    events = loop.events(resume)
    while True:
        with cpu_threads(settings.threads):  # left before each yield: it would apply to the caller's code
            event = next(events, None)
        if event is None:
            return
        yield event


class _Report:
    """The span of steps that the next `StepsTaken` covers."""

    def __init__(self, trainer: Trainer, schedule: Schedule):
        self._trainer, self._schedule = trainer, schedule
        self.start()

    def start(self) -> None:
        self._loss, self._weight = self._trainer.loss_sum.item(), self._trainer.weight_sum.item()
        self.start_clock()

    def start_clock(self) -> None:
        """Leave the time up to now out of the speed."""
        self._time = self._schedule.clock()

    def is_due(self) -> bool:
        return self._schedule.clock() - self._time >= REPORT_INTERVAL

    def finish(self) -> StepsTaken:
        """Return the report and start the next one."""
        trainer, settings = self._trainer, self._schedule.settings
        weight = trainer.weight_sum.item() - self._weight
        characters = weight * settings.batch_size * settings.seq_length
        event = StepsTaken(
            step=trainer.step,
            nats=(trainer.loss_sum.item() - self._loss) / (weight or 1),
            characters_per_second=characters / (self._schedule.clock() - self._time),
            learning_rate=trainer.learning_rate(),
            seconds=self._schedule.seconds(),
        )
        self.start()
        return event


class _Loop:
    """The decisions after each step.

    All processes of a group take the same decisions. What differs between them, signals and clocks, is exchanged as
    control flags first.
    """

    def __init__(
        self,
        trainer: Trainer,
        schedule: Schedule,
        checkpointer: Checkpointer,
        validation_text: EncodedText,
        requests: Requests,
        group: ProcessGroup,
        validation_progress: FractionProgress,
    ):
        self.trainer, self.schedule, self.checkpointer = trainer, schedule, checkpointer
        self.validation_progress = validation_progress
        self.validation_text, self.requests, self.group = validation_text, requests, group
        self.progress = Progress()
        self.train_nats: float | None = None
        self.reason: str | None = None
        self._gradients = GradientWatch()
        self._report = _Report(trainer, schedule)
        self._group_flags = ControlFlags()

    def _start(self, resume: Checkpoint | None) -> None:
        if self.group.broadcast_object(resume is not None):
            self.progress = self.checkpointer.restore(resume)
        else:
            self.group.broadcast(list(self.trainer.parameters.values()))
        self.schedule.start(self.trainer.step, self.progress.seconds)
        self._report.start()

    def events(self, resume: Checkpoint | None) -> Iterator[Event]:
        """Do what is due at the current step: recover, evaluate, save, end, or make the next step."""
        self._start(resume)
        while self.reason is None:
            evaluate, save = self._evaluation_is_due(), self._checkpoint_is_due()
            if (evaluate or save) and not self.trainer.is_finite():
                yield self._recover()
            elif evaluate:
                yield from self._evaluate()
            elif save:
                self.requests.checkpoint = False
                yield self._save()
            elif self.trainer.step >= self.schedule.timetable.steps:
                self.reason = "done"
            elif self._flags().stop:
                self.reason = "stopped"
            else:
                self._step()
                yield from self._after_step()
        yield from self._finish(self.reason)

    def _step(self) -> None:
        if self.group.is_single:
            self.trainer.make_step()
            return
        self._group_flags = self.trainer.make_step(self._own_flags())
        if self.trainer.device.type == "cuda" and self.trainer.step % CUDA_FLAGS_INTERVAL == 0:
            self._group_flags = self.group.reduce_flags(self._own_flags())

    def _flags(self) -> ControlFlags:
        """Return the flags as they are now, or as the group agreed on them in the last step."""
        return self._own_flags() if self.group.is_single else self._group_flags

    def _own_flags(self) -> ControlFlags:
        return ControlFlags(
            stop=self.requests.stop,
            checkpoint=self.requests.checkpoint or self.checkpointer.is_due(),
            report=self._report.is_due(),
            forecast=self.schedule.forecast_is_due(self.trainer.step),
        )

    def _evaluation_is_due(self) -> bool:
        """Return whether this step has to be evaluated, also if an earlier session was stopped while it did so."""
        step = self.trainer.step
        return self.schedule.timetable.evaluates_after(step) and self.progress.evaluated_step != step

    def _checkpoint_is_due(self) -> bool:
        if not self.checkpointer.can_save():
            return False
        return self._flags().checkpoint or self.schedule.settings.keeps(self.trainer.step)

    def _after_step(self) -> Iterator[Event]:
        step, flags = self.trainer.step, self._flags()
        report = flags.report
        if flags.forecast and self._correct_steps():
            yield StepsCorrected(step, self.schedule.timetable.steps)
        # Reading the counter of skipped steps waits for the device, which costs nothing on a CPU.
        check = report or self.trainer.device.type == "cpu"
        if check and self.trainer.skipped_in_a_row.item() >= MAX_SKIPPED_IN_A_ROW:
            yield self._recover()
        elif report or self._evaluation_is_due():
            yield self._report.finish()
            trouble = self._gradients.read(*self.trainer.gradient_norms())
            if trouble is not None:
                yield GradientTrouble(step, *trouble)

    def _correct_steps(self) -> bool:
        """Correct the number of steps for the deadline. Return whether it changed."""
        synchronize(self.trainer.device)
        corrections: list[Correction] | None = None
        correction = self.schedule.correction(self.trainer.step)
        if correction is not None:
            corrections = [*self.schedule.timetable.corrections, correction]
            if not self.checkpointer.record(corrections):
                corrections = None
        corrections = self.group.broadcast_object(corrections)
        if corrections is None:
            return False
        self.schedule.correct([Correction(*each) for each in corrections])
        self.trainer.timetable = self.schedule.timetable
        return True

    def _evaluate(self) -> Iterator[Event]:
        """Score the validation text and save. Training ends if its loss got worse, or a stop was requested."""
        start = self.schedule.clock()
        nats = self.group.broadcast_object(self._validation_nats(self.schedule.settings.val_characters))
        if nats is None:
            self.reason = "stopped"
            return
        step = self.trainer.step
        self.train_nats = train_nats = self._mean_training_loss()
        self.progress = _evaluated(self.progress, step, nats)
        seconds = self.schedule.seconds()
        self.checkpointer.log(
            "evaluation",
            step=step,
            train_nats=_finite(train_nats),
            validation_nats=_finite(nats),
            learning_rate=self.trainer.learning_rate(),
            seconds=round(seconds, 3),
        )
        self.trainer.loss_sum.zero_()
        self.trainer.weight_sum.zero_()
        self._report.start()
        yield Evaluated(step, train_nats, nats, self.progress.best_step == step, seconds, self.trainer.network)
        since = self.schedule.timetable.restarted_at
        ends_early = _got_worse(self.progress, self.schedule.settings.patience, since)
        if self.checkpointer.is_enabled:
            yield self._save(finished=ends_early)
        self.schedule.evaluated(start)
        self.reason = "early" if ends_early else None

    def _validation_nats(self, characters: int, *, is_last: bool = False) -> float | None:
        """Return the loss of the first characters of the validation text; 0 is all of it.

        None where a stop was requested, or the last one is overdue, and on all processes but the first.
        """
        if not self.group.is_first:
            return None
        text = self.validation_text[: max(2, characters)] if characters else self.validation_text
        try:
            return score(
                self.trainer.network,
                text,
                should_stop=lambda: self.requests.stop or (is_last and self.schedule.is_overdue()),
                progress=self.validation_progress,
            ).mean
        except ScoringStopped:
            return None

    def _held_out_nats(self) -> float | None:
        """Return the loss of all of the validation text, where evaluations measure a part, and time is left."""
        characters = self.schedule.settings.val_characters
        if not 0 < characters < len(self.validation_text) or not self.schedule.has_time_for_final():
            return None
        nats = self._validation_nats(0, is_last=True)
        if nats is not None:
            self.checkpointer.log("held_out", step=self.trainer.step, nats=_finite(nats))
        return nats

    def _mean_training_loss(self) -> float:
        """Return the mean since the last evaluation."""
        return self.trainer.loss_sum.item() / (self.trainer.weight_sum.item() or 1)

    def _save(self, finished: bool = False) -> CheckpointSaved | CheckpointFailed:
        self._update_progress(finished)
        event = self.checkpointer.save(self.progress)
        self._report.start_clock()
        return event

    def _update_progress(self, finished: bool) -> None:
        step = self.trainer.step
        evaluated_here = self.progress.evaluated_step == step
        self.progress = self.progress.changed(
            **self.trainer.progress(),
            seconds=self.schedule.seconds(),
            validation_nats=self.progress.validation_nats if evaluated_here else None,
            finished=finished or (step == self.schedule.timetable.steps and evaluated_here),
        )

    def _recover(self) -> Exploded:
        """Return to the last checkpoint with half the learning rate."""
        step, scale = self.trainer.step, self.trainer.rate_scale / 2
        progress = self.checkpointer.restore_latest() if scale >= 0.5**MAX_EXPLOSIONS else None
        if progress is None:
            raise CharrnnError(
                f"training exploded at step {step}: losses or weights are no longer finite",
                "use a lower `learning_rate`, or a lower `grad_clip`",
            )
        self.progress = progress
        self.trainer.rate_scale = scale
        self.trainer.skipped_in_a_row.zero_()
        self.schedule.restart(self.trainer.step)
        self._report.start()
        self.checkpointer.log("explosion", step=progress.step, rate_scale=scale)
        return Exploded(progress.step, scale)

    def _finish(self, reason: str) -> Iterator[Event]:
        if self.trainer.step > self.progress.evaluated_step:
            self.train_nats = self._mean_training_loss()
        unsaved = None
        if not self.checkpointer.is_enabled:
            self._update_progress(finished=reason == "early")
        elif not self.checkpointer.is_current:
            event = self._save(finished=reason == "early")
            unsaved = event.reason if isinstance(event, CheckpointFailed) else None
            yield event
        held_out_nats = None if reason == "stopped" else self.group.broadcast_object(self._held_out_nats())
        yield Finished(reason, self.progress, self.train_nats, unsaved, held_out_nats)


def _evaluated(progress: Progress, step: int, nats: float) -> Progress:
    """Return the progress after an evaluation."""
    is_best = math.isfinite(nats) and (progress.best_nats is None or nats < progress.best_nats)
    return progress.changed(
        step=step,
        evaluated_step=step,
        validation_nats=_finite(nats),
        best_nats=nats if is_best else progress.best_nats,
        best_step=step if is_best else progress.best_step,
        evaluations_without_better=0 if is_best else progress.evaluations_without_better + 1,
    )


def _got_worse(progress: Progress, patience: int, restarted_at: int) -> bool:
    """Return whether the validation loss is clearly above its best, and patience is exhausted.

    restarted_at: the step of a restart, after which the rate, and with it the loss, is high until it has a new best.
    """
    if not patience or progress.evaluations_without_better < patience or progress.best_nats is None:
        return False
    if progress.best_step is not None and progress.best_step <= restarted_at:
        return False
    return progress.validation_nats is None or progress.validation_nats > MIN_WORSENING * progress.best_nats


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
