"""The training loop. It yields events and prints nothing; who runs it draws them.

Every number that a step depends on comes from the settings, the seed and the step's number, or is part of a save. So
a run that was interrupted, however often, ends bit for bit as one that was not (on a CPU, with as many threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.device import autocast, choose_precision, keep_freed_memory, synchronize, tf32_allowed
from charrnn.model.network import CharRNN, Shard, State, detach_state
from charrnn.model.run import FIRST_LOSS_SCALE, Checkpoint, Progress, RunSettings, training_shapes
from charrnn.model.writer import RunWriter
from charrnn.scoring.score import ScoringStopped, score
from charrnn.settings import TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.batches import NOT_COUNTED, Batches, Window, derived_seed
from charrnn.training.deadline import Deadline
from charrnn.training.distributed import CUDA_STEPS_BETWEEN_WORDS, SINGLE_PROCESS, ProcessGroup
from charrnn.training.document_batches import DocumentBatches
from charrnn.training.optimizer import AdamW

WARMUP_SHARE = 10  # the warm-up is at most one of so many parts of the steps
SECONDS_BETWEEN_REPORTS = 0.1
SECONDS_BETWEEN_SAVES = 300
SHARE_OF_TIME_FOR_SAVES = 0.03
ADAM_BETAS = (0.9, 0.99)
CLEARLY_TURNED = 1.01
NOT_FINITE_IN_A_ROW = 10
STEPS_BETWEEN_SCALES = 1000
EXPLOSIONS = 3
FEWEST_STEPS_TIMED = 20
CLEARLY_OFF = 0.05


@dataclass(frozen=True)
class StepsTaken:
    """Some steps were made. nats: their mean training loss; characters_per_second: over them."""

    step: int
    nats: float
    characters_per_second: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The whole validation part was scored. train_nats: mean training loss since the last evaluation.

    network: in evaluation mode; not to be changed.
    """

    step: int
    train_nats: float
    validation_nats: float
    is_best: bool
    seconds: float
    network: CharRNN


@dataclass(frozen=True)
class CheckpointSaved:
    """path: the run; None on a rank that did not write it."""

    step: int
    path: Path | None
    seconds: float


@dataclass(frozen=True)
class CheckpointFailed:
    """The disk refused; training goes on, the save before this one stays, and it is tried again later."""

    step: int
    reason: str


@dataclass(frozen=True)
class Exploded:
    """Too many steps in a row were not finite, or a weight is not: back to the save of `step`, with rates multiplied by
    `rate_scale`."""

    step: int
    rate_scale: float


@dataclass(frozen=True)
class Finished:
    """Training is over. reason: `done`, `early` (validation had turned) or `stopped` (asked to)."""

    reason: str
    progress: Progress
    train_nats: float | None
    unsaved: str | None = None


@dataclass(frozen=True)
class StepsCorrected:
    """The first steps took another time than planned: the run is now of so many, to end when it was to end."""

    step: int
    steps: int


Event = StepsTaken | Evaluated | CheckpointSaved | CheckpointFailed | Exploded | Finished | StepsCorrected


@dataclass
class Requests:
    """What a person or a signal asks of a loop that runs; looked at after every step."""

    stop: bool = False
    save: bool = False


class Trainer:
    """The network, its optimizer and the streams' state, and how one step changes them.

    Where several ranks train, each has one of these, with its rows of the streams. words: what this rank has to say
    with its next step; heard: for each word, whether any rank said so with the last one (`ProcessGroup.all_reduce`).
    """

    def __init__(
        self,
        network: CharRNN,
        settings: TrainingSettings,
        train_text: EncodedText,
        ranks: ProcessGroup = SINGLE_PROCESS,
    ):
        self.network, self.settings, self.ranks = network, settings, ranks
        self.device = network.output.weight.device
        self.rows = ranks.rows(settings.batch_size)
        self.shard = None if ranks.is_single else Shard(settings.batch_size, self.rows)
        self.own_streams = self.rows.stop - self.rows.start
        self.words: tuple[bool, ...] = ()
        self.heard: tuple[bool, ...] = ()
        self.batches = _batches(train_text, settings, self.device, ranks)
        self.parameters = dict(network.named_parameters())
        decayed = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimizer = AdamW([(decayed, settings.weight_decay), (others, 0.0)], ADAM_BETAS)
        self.masks = torch.Generator(self.device)
        self.precision = choose_precision(settings.precision, self.device, network.settings.recurrence)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.restart(Progress())

    def restart(self, progress: Progress) -> None:
        """Sets the counters, with a zero state. Since the last evaluation, `loss_sum`: training nats, each step's for
        B · T characters; `weight_sum`: for how many times B · T they are."""
        self.step = progress.step
        self.rate_scale = progress.rate_scale
        self.state: State = self.network.initial_state(self.own_streams)
        self.skipped = torch.tensor(float(progress.skipped_steps), device=self.device)
        self.skipped_in_a_row = torch.tensor(float(progress.skipped_in_a_row), device=self.device)
        precision = torch.float32 if self.device.type == "mps" else torch.float64
        self.loss_scale = torch.tensor(progress.loss_scale, device=self.device) if self.precision == "fp16" else None
        self.loss_sum = torch.tensor(progress.loss_sum, dtype=precision, device=self.device)
        self.weight_sum = torch.tensor(progress.weight_sum, dtype=precision, device=self.device)

    def learning_rate(self) -> float:
        """Rises in a straight line over the warm-up, then falls to zero along half a cosine over the rest of the run
        (Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts)."""
        total = self.settings.steps
        warmup = min(self.settings.warmup_steps, total // WARMUP_SHARE)
        peak = self.settings.learning_rate * self.rate_scale
        if self.step < warmup:
            return peak * (self.step + 1) / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / (total - warmup)))

    def make_step(self) -> None:
        """Reads one window and updates the weights.

        Where the loss or a gradient is not finite, the weights stay as they are and the streams' state becomes zero.
        That is decided on the device, without waiting for it.
        """
        window = self.batches.window(self.step)
        if window.begins:
            self.state = self.network.initial_state(len(window.inputs))
        self.masks.manual_seed(derived_seed(self.settings.seed, "dropout", self.step))
        self.network.train()
        self.optimizer.zero_grad()
        with tf32_allowed(self.precision):
            with autocast(self.device, self.precision):
                logits, state = self.network(window.inputs, self.state, self.masks, window.shard or self.shard)
            loss = self._loss(logits, window)
            (loss if self.loss_scale is None else loss * self.loss_scale).backward()
        loss = loss.detach()
        gradients = [p.grad for p in self.parameters.values()]
        self.heard = self.ranks.all_reduce([loss, *gradients], self.words)
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        skipped_step = finite.logical_not().float()
        self.optimizer.step(self.learning_rate(), skipped_step, self._divisor(norm))
        if window.continues:
            kind = self.network.output.weight.dtype
            self.state = tuple(
                tuple(torch.where(finite, part.to(kind), 0.0) for part in layer) for layer in detach_state(state)
            )
        else:
            self.state = self.network.initial_state(self.own_streams)
        if self.loss_scale is not None:
            self._scale_the_next_loss(finite)
        self.skipped += skipped_step
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * skipped_step
        self.loss_sum += torch.where(finite, loss, 0.0)
        self.weight_sum += torch.where(finite, window.weight, 0.0)
        self.step += 1

    def _loss(self, logits: Tensor, window: Window) -> Tensor:
        """The nats of this rank's rows for each of B · T characters, so that the sum of all ranks' is the loss.

        Where less is counted the loss is the smaller: every character weighs the same, whatever it is read with.
        """
        logits, targets = logits.flatten(0, 1), window.targets.flatten()
        if isinstance(self.batches, DocumentBatches):
            nats = cross_entropy(logits, targets, ignore_index=NOT_COUNTED, reduction="sum")
            return nats / (self.settings.batch_size * self.settings.seq_length)
        return self.own_streams / self.settings.batch_size * cross_entropy(logits, targets)

    def _divisor(self, norm: Tensor) -> Tensor:
        """What the gradients are divided by: the loss scale, and what makes their joint norm `grad_clip` where it is
        more (Pascanu et al. 2013, arXiv 1211.5063, algorithm 1). The optimizer does it, in the same pass."""
        scale = torch.ones((), device=self.device) if self.loss_scale is None else self.loss_scale
        if not self.settings.grad_clip:
            return scale
        return torch.maximum(scale, (norm / self.settings.grad_clip).float())

    def _scale_the_next_loss(self, finite: Tensor) -> None:
        """Half the scale after a step that is left out, so that an overflow in fp16 does not come again; from time to
        time twice as much, up to the first scale (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2)."""
        grown = self.loss_scale * (2.0 if (self.step + 1) % STEPS_BETWEEN_SCALES == 0 else 1.0)
        self.loss_scale = torch.where(finite, grown, self.loss_scale / 2).clamp(1.0, FIRST_LOSS_SCALE)

    def model_tensors(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def training_tensors(self) -> dict[str, Tensor]:
        """The optimizer's moments, and the state of all streams, those of other ranks among them."""
        tensors = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            tensors[f"adam.m.{name}"], tensors[f"adam.v.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
        for number, layer in enumerate(self.state, start=1):
            for part, values in zip(self.network.recurrence.state_parts, layer, strict=True):
                tensors[f"state.{number}.{part}"] = self.ranks.all_gather(values, self.settings.batch_size)
        return tensors

    def is_finite(self) -> bool:
        """Whether every number of this trainer is. A gradient may be while what it was added to is not."""
        tensors = {**self.model_tensors(), **self.training_tensors()}
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()]).all())

    def load(self, model: dict[str, Tensor], training: dict[str, Tensor], progress: Progress) -> None:
        """Makes this trainer what it was when the save was made."""
        self.network.load_state_dict(model)
        self.restart(progress)
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(progress.step - progress.skipped_steps), device=self.device),
                "exp_avg": training[f"adam.m.{name}"].to(self.device),
                "exp_avg_sq": training[f"adam.v.{name}"].to(self.device),
            }
        self.state = tuple(
            tuple(training[f"state.{number}.{part}"][self.rows].to(self.device) for part in self.network.recurrence.state_parts)
            for number in range(1, self.network.settings.layers + 1)
        )


def _batches(
    text: EncodedText, settings: TrainingSettings, device: torch.device, ranks: ProcessGroup = SINGLE_PROCESS
) -> Batches | DocumentBatches:
    shape = (settings.batch_size, settings.seq_length, settings.seed, device)
    if text.has_documents:
        return DocumentBatches(text, *shape, None if ranks.is_single else ranks.rows, fewest_rows=ranks.size)
    return Batches(text.ids, *shape, ranks.rows(settings.batch_size))


def steps_per_epoch(text: EncodedText, settings: TrainingSettings) -> int:
    """How many steps read the whole text once."""
    return _batches(text, settings, torch.device("cpu")).windows_per_epoch


@dataclass
class _Window:
    """Where a span began over which the training loss is averaged: what the trainer's sums were there."""

    sum_before: float = 0.0
    weight_before: float = 0.0
    time_before: float = field(default_factory=time.perf_counter)


def train(
    writer: RunWriter,
    network: CharRNN,
    train_text: EncodedText,
    validation_text: EncodedText,
    *,
    resume: Checkpoint | None = None,
    requests: Requests | None = None,
    ranks: ProcessGroup = SINGLE_PROCESS,
    deadline: Deadline | None = None,
) -> Iterator[Event]:
    """Trains a network as the run's settings say, and saves it into the run.

    network: freshly initialized, or with the weights to begin from; on the device to train on. resume: a save of this
    run to go on from. requests: how to ask for a stop or a save while it runs. ranks: the processes that train it
    together; this is the first of them, the others call `follow`. deadline: when a new run is to end, if the number of
    its steps may be corrected for that.
    Raises CharrnnError where training cannot go on: nothing finite is left after repeated explosions, or the last save
    cannot be written.
    """
    settings = writer.run.settings
    loop = _Loop(writer, settings, network, train_text, validation_text, requests or Requests(), ranks, deadline)
    return loop.events(resume)


def follow(
    settings: RunSettings,
    network: CharRNN,
    train_text: EncodedText,
    ranks: ProcessGroup,
    requests: Requests | None = None,
) -> Iterator[Event]:
    """What every rank but the first does while that is in `train`: its share, to the same end.

    network: of the same shape; the weights come from the first rank. The events are the first rank's too, but for what
    is read from a clock.
    """
    nothing = EncodedText(np.zeros(0, np.uint8))
    return _Loop(None, settings, network, train_text, nothing, requests or Requests(), ranks).events(None)


class _ControlFlags(NamedTuple):
    """What a rank wishes to be done after a step, because of a signal or its clock."""

    stop: bool = False
    save: bool = False
    report: bool = False


class _Loop:
    """All ranks go through the same loop. What may differ among them, such as signals and clocks, is agreed on before
    anything depends on it."""

    def __init__(
        self,
        writer: RunWriter | None,
        settings: RunSettings,
        network: CharRNN,
        train_text: EncodedText,
        validation_text: EncodedText,
        requests: Requests,
        ranks: ProcessGroup,
        deadline: Deadline | None = None,
    ):
        self.writer, self.requests, self.validation_text, self.ranks = writer, requests, validation_text, ranks
        self.deadline = deadline
        self.model_settings, self.settings = settings.model, settings.training
        self.trainer = Trainer(network, self.settings, train_text, ranks)
        self.heard = _ControlFlags()
        self.progress = Progress()
        self.train_nats: float | None = None
        self.evaluate_at = _spread(self.settings.steps, self.settings.evaluations)

    def events(self, resume: Checkpoint | None) -> Iterator[Event]:
        if self.ranks.broadcast_object(resume is not None):
            self._go_back_to(resume)
        else:
            self.ranks.broadcast(list(self.trainer.parameters.values()))
        self.began = time.perf_counter() - self.progress.seconds
        self.saved_at_step, self.saved_at_time, self.save_seconds = self.trainer.step, time.perf_counter(), 0.0
        self._begin_report()
        reason = None
        while reason is None:
            if self._evaluation_is_pending():
                if not self.trainer.is_finite():
                    yield self._recover()
                    continue
                event = self._evaluate()
                if event is None:
                    reason = "stopped"
                    break
                yield event
                turned = self._has_turned()
                yield self._save(finished=turned)
                reason = "early" if turned else None
            elif self.trainer.step != self.saved_at_step and (
                self._control_flags().save or self.settings.keeps(self.trainer.step)
            ):
                self.requests.save = False
                yield self._save() if self.trainer.is_finite() else self._recover()
            if self.trainer.step >= self.settings.steps:
                reason = reason or "done"
            elif self._control_flags().stop:
                reason = reason or "stopped"
            if reason is not None:
                break
            self._make_step()
            if self.trainer.step == self.settings.warmup_steps and self._has_been_replanned():
                yield StepsCorrected(self.trainer.step, self.settings.steps)
            due = self._control_flags().report
            if (due or self.trainer.device.type == "cpu") and self._has_exploded():
                yield self._recover()
            elif due or self._evaluation_is_pending():
                yield self._report(time.perf_counter())
        yield from self._finish(reason)

    def _make_step(self) -> None:
        trainer = self.trainer
        if self.ranks.is_single:
            trainer.make_step()
            return
        trainer.words = self._own_control_flags()
        trainer.make_step()
        self.heard = _ControlFlags(*trainer.heard)
        if trainer.device.type == "cuda" and trainer.step % CUDA_STEPS_BETWEEN_WORDS == 0:
            self.heard = _ControlFlags(*self.ranks.any(self._own_control_flags()))

    def _has_been_replanned(self) -> bool:
        """Corrects the number of steps, at the end of the warm-up, where the plan is clearly off."""
        steps = self.ranks.broadcast_object(self._corrected_steps())
        if steps is None:
            return False
        self.settings = self.trainer.settings = self.settings.changed(steps=steps)
        self.evaluate_at = _spread(steps, self.settings.evaluations)
        return True

    def _corrected_steps(self) -> int | None:
        """How many steps there is time for, written into the run; None where the plan stays as it is."""
        deadline, self.deadline = self.deadline, None  # not again, where an explosion leads back to before this
        if self.writer is None or deadline is None or self.trainer.step < FEWEST_STEPS_TIMED:
            return None
        synchronize(self.trainer.device)
        made, planned, evaluations = self.trainer.step, self.settings.steps, self.settings.evaluations
        steps = deadline.steps(made, self._seconds())
        fewest = made * max(WARMUP_SHARE, evaluations + 1)
        if min(steps, planned) < fewest or abs(steps / planned - 1) < CLEARLY_OFF:
            return None
        try:
            self.writer.correct_steps(steps)
        except OSError:
            return None
        return steps

    def _control_flags(self) -> _ControlFlags:
        """What is to be done after this step: on one's own what is wished now, else what was agreed on with it."""
        return self._own_control_flags() if self.ranks.is_single else self.heard

    def _own_control_flags(self) -> _ControlFlags:
        now = time.perf_counter()
        return _ControlFlags(
            stop=self.requests.stop,
            save=self.requests.save or self._save_is_due(now),
            report=now - self.reported.time_before >= SECONDS_BETWEEN_REPORTS,
        )

    def _evaluation_is_pending(self) -> bool:
        """Of a run that was stopped during an evaluation, also when it goes on."""
        return self.trainer.step in self.evaluate_at and self.progress.evaluated_step != self.trainer.step

    def _seconds(self) -> float:
        return time.perf_counter() - self.began

    def _loss_sum(self) -> float:
        return self.trainer.loss_sum.item()

    def _weight_sum(self) -> float:
        return self.trainer.weight_sum.item()

    def _begin_report(self) -> None:
        """Begins the span that the next `StepsTaken` tells of."""
        self.reported = _Window(self._loss_sum(), self._weight_sum())

    def _mean_since_evaluation(self) -> float:
        return self._loss_sum() / (self._weight_sum() or 1)

    def _report(self, now: float) -> StepsTaken:
        weight = self._weight_sum() - self.reported.weight_before
        event = StepsTaken(
            step=self.trainer.step,
            nats=(self._loss_sum() - self.reported.sum_before) / (weight or 1),
            characters_per_second=weight
            * self.settings.batch_size
            * self.settings.seq_length
            / (now - self.reported.time_before),
            learning_rate=self.trainer.learning_rate(),
            seconds=self._seconds(),
        )
        self._begin_report()
        return event

    def _evaluate(self) -> Evaluated | None:
        """Scores the validation part. None where a stop was asked for meanwhile."""
        nats = self.ranks.broadcast_object(self._scored() if self.writer is not None else None)
        if nats is None:
            return None
        self.train_nats = train_nats = self._mean_since_evaluation()
        best = math.isfinite(nats) and (self.progress.best_nats is None or nats < self.progress.best_nats)
        self.progress = self.progress.changed(
            step=self.trainer.step,
            evaluated_step=self.trainer.step,
            validation_nats=nats if math.isfinite(nats) else None,
            best_nats=nats if best else self.progress.best_nats,
            best_step=self.trainer.step if best else self.progress.best_step,
            evaluations_without_better=0 if best else self.progress.evaluations_without_better + 1,
        )
        event = Evaluated(self.trainer.step, train_nats, nats, best, self._seconds(), self.trainer.network)
        self._log(
            "evaluation",
            step=event.step,
            train_nats=_finite(train_nats),
            validation_nats=_finite(nats),
            learning_rate=self.trainer.learning_rate(),
            seconds=round(event.seconds, 3),
        )
        self.trainer.loss_sum.zero_()
        self.trainer.weight_sum.zero_()
        self._begin_report()
        return event

    def _scored(self) -> float | None:
        try:
            return score(self.trainer.network, self.validation_text, should_stop=lambda: self.requests.stop).mean
        except ScoringStopped:
            return None

    def _log(self, event: str, **values: float | None) -> None:
        if self.writer is not None:
            self.writer.log(event, **values)

    def _has_turned(self) -> bool:
        """Validation has got worse by more than a hair, and for as many evaluations as patience allows."""
        patience, progress = self.settings.patience, self.progress
        if not patience or progress.evaluations_without_better < patience or progress.best_nats is None:
            return False
        return progress.validation_nats is None or progress.validation_nats > CLEARLY_TURNED * progress.best_nats

    def _save_is_due(self, now: float) -> bool:
        wait = max(SECONDS_BETWEEN_SAVES, self.save_seconds / SHARE_OF_TIME_FOR_SAVES)
        return now - self.saved_at_time >= wait

    def _save(self, finished: bool = False) -> CheckpointSaved | CheckpointFailed:
        trainer, start = self.trainer, time.perf_counter()
        evaluated_here = self.progress.evaluated_step == trainer.step
        self.progress = self.progress.changed(
            step=trainer.step,
            seconds=self._seconds(),
            loss_sum=self._loss_sum(),
            weight_sum=self._weight_sum(),
            validation_nats=self.progress.validation_nats if evaluated_here else None,
            rate_scale=trainer.rate_scale,
            loss_scale=FIRST_LOSS_SCALE if trainer.loss_scale is None else trainer.loss_scale.item(),
            skipped_steps=int(trainer.skipped.item()),
            skipped_in_a_row=int(trainer.skipped_in_a_row.item()),
            finished=finished or (trainer.step == self.settings.steps and evaluated_here),
        )
        problem = self.ranks.broadcast_object(self._commit())
        if problem is None:
            path = self.writer.run.path if self.writer is not None else None
            event = CheckpointSaved(trainer.step, path, time.perf_counter() - start)
            self.saved_at_step = trainer.step
        else:
            event = CheckpointFailed(trainer.step, problem)
        self.saved_at_time = time.perf_counter()
        self.save_seconds = self.saved_at_time - start
        self.reported.time_before = self.saved_at_time
        return event

    def _commit(self) -> str | None:
        """Writes a save. Returns why that failed, if it did."""
        model, training = self.trainer.model_tensors(), self.trainer.training_tensors()
        if self.writer is not None:
            try:
                self.writer.commit(self.progress, model, training)
            except OSError as error:
                return error.strerror or str(error)
            except CharrnnError as error:
                return error.message
        return None

    def _has_exploded(self) -> bool:
        return self.trainer.skipped_in_a_row.item() >= NOT_FINITE_IN_A_ROW

    def _recover(self) -> Exploded:
        """Back to the last save with half the rate."""
        scale = self.trainer.rate_scale / 2
        run = self.writer.run if self.writer is not None else None
        if scale < 0.5**EXPLOSIONS or (run is not None and not run.checkpoint_steps()):
            raise CharrnnError(
                f"training exploded at step {self.trainer.step}: losses or weights are no longer finite",
                "use a lower --learning-rate, or a lower --grad-clip",
            )
        self._go_back_to(run.resumable_checkpoint() if run is not None else None)
        self.trainer.rate_scale = scale
        self.trainer.skipped_in_a_row.zero_()
        self._begin_report()
        self._log("explosion", step=self.trainer.step, rate_scale=scale)
        return Exploded(self.trainer.step, scale)

    def _go_back_to(self, save: Checkpoint | None) -> None:
        """Of ranks, only the first has the save."""
        if self.writer is not None and save is not None:
            model, training = self.writer.run.read_model(save), self.writer.run.read_training(save)
        else:
            model = {name: torch.empty(p.shape) for name, p in self.trainer.parameters.items()}
            shapes = training_shapes(
                self.model_settings, self.trainer.network.vocabulary_size, self.settings.batch_size
            )
            training = {name: torch.empty(shape) for name, shape in shapes.items()}
        progress = self.ranks.broadcast_object(save.progress.to_json() if save is not None else None)
        for tensors in (model, training):
            self.ranks.broadcast([tensors[name] for name in sorted(tensors)])
        self.progress = Progress.from_json(progress, "the first rank")
        self.trainer.load(model, training, self.progress)
        if self.writer is not None and save is not None:
            self.writer.discard_after(save)

    def _finish(self, reason: str) -> Iterator[Event]:
        if self.trainer.step > self.progress.evaluated_step:
            self.train_nats = self._mean_since_evaluation()
        unsaved = None
        if self.saved_at_step != self.trainer.step:
            event = self._save(finished=reason == "early")
            unsaved = event.reason if isinstance(event, CheckpointFailed) else None
            yield event
        yield Finished(reason, self.progress, self.train_nats, unsaved)


def _spread(steps: int, evaluations: int) -> set[int]:
    """After which steps there are so many evaluations, the last one at the end."""
    count = min(evaluations, steps)
    return {round(steps * k / count) for k in range(1, count + 1)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
