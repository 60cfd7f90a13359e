"""When and how a training saves its state: into a run, or nowhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.model.checkpoint import Checkpoint, Progress, training_shapes
from charrnn.model.run_settings import Correction
from charrnn.model.writer import RunWriter
from charrnn.training.distributed import ProcessGroup
from charrnn.training.events import CheckpointFailed, CheckpointSaved
from charrnn.training.schedule import Clock
from charrnn.training.trainer import Trainer

MIN_INTERVAL = 300  # seconds between checkpoints that neither an evaluation nor a person asks for
MAX_TIME_SHARE = 0.03  # of the training time, for those checkpoints


class Checkpointer:
    """Saves the state of a group's trainers, and restores it.

    Every process of the group has one and calls the same methods. writer: the run that the first process writes to;
    None on the others. Where the first has none either, nothing is saved, and nothing can be restored.
    """

    def __init__(
        self, trainer: Trainer, group: ProcessGroup, writer: RunWriter | None, clock: Clock = time.perf_counter
    ):
        self._trainer, self._group, self._writer, self._clock = trainer, group, writer, clock
        self.is_enabled: bool = group.broadcast_object(writer is not None)
        self._saved_step = self._tried_step = trainer.step
        self._saved_at, self._save_seconds = clock(), 0.0

    @property
    def is_current(self) -> bool:
        """Whether the trainer's state is saved."""
        return self._saved_step == self._trainer.step

    def can_save(self) -> bool:
        """Return whether this step was not yet saved. A failed attempt is not repeated until the next step."""
        return self.is_enabled and self._tried_step != self._trainer.step

    def is_due(self) -> bool:
        """Return whether this process's clock asks for a checkpoint."""
        interval = max(MIN_INTERVAL, self._save_seconds / MAX_TIME_SHARE)
        return self._clock() - self._saved_at >= interval

    def save(self, progress: Progress) -> CheckpointSaved | CheckpointFailed:
        """Save the trainer's state with this progress."""
        start, step = self._clock(), self._trainer.step
        problem = self._group.broadcast_object(self._write(progress))
        self._tried_step, self._saved_at = step, self._clock()
        self._save_seconds = self._saved_at - start
        if problem is not None:
            return CheckpointFailed(step, problem)
        self._saved_step = step
        return CheckpointSaved(step, None if self._writer is None else self._writer.run.path, self._save_seconds)

    def _write(self, progress: Progress) -> str | None:
        """Return what went wrong, if anything."""
        model, training = self._trainer.model_tensors(), self._trainer.training_tensors()  # gathered from all processes
        if self._writer is not None:
            try:
                self._writer.save(progress, model, training)
            except OSError as error:
                return error.strerror or str(error)
            except CharrnnError as error:
                return error.message
        return None

    def restore_latest(self) -> Progress | None:
        """Restore the newest intact checkpoint. Return its progress, or None where the run has none."""
        run = None if self._writer is None else self._writer.run
        exists = run is not None and bool(run.checkpoint_steps())
        if not self._group.broadcast_object(exists):
            return None
        return self.restore(None if run is None else run.resumable_checkpoint())

    def restore(self, checkpoint: Checkpoint | None) -> Progress:
        """Restore a checkpoint of the first process's run; the others pass None. Return its progress."""
        trainer, network = self._trainer, self._trainer.network
        fields = self._group.broadcast_object(None if checkpoint is None else checkpoint.progress.to_json())
        if self._writer is not None and checkpoint is not None:
            model, training = self._writer.run.read_model(checkpoint), self._writer.run.read_training(checkpoint)
        else:
            shapes = training_shapes(network.settings, network.vocabulary_size, trainer.settings.batch_size)
            model = {name: torch.empty(p.shape) for name, p in trainer.parameters.items()}
            training = {name: torch.empty(shape) for name, shape in shapes.items()}
        self._group.broadcast(_by_name(model) + _by_name(training))
        progress = Progress.from_json(fields, "the first process")
        trainer.load(model, training, progress)
        if self._writer is not None and checkpoint is not None:
            self._writer.discard_after(checkpoint)
        self._saved_step = self._tried_step = progress.step
        return progress

    def log(self, event: str, **values: float | None) -> None:
        """Add a line to the run's metrics."""
        if self._writer is not None:
            self._writer.log(event, **values)

    def record(self, corrections: Sequence[Correction]) -> bool:
        """Record the corrections of the run's number of steps. Return whether that succeeded."""
        with contextlib.suppress(OSError):
            if self._writer is not None:
                self._writer.correct_steps(corrections)
            return True
        return False


def _by_name(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [tensors[name] for name in sorted(tensors)]
