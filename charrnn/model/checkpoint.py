"""Checkpoints: the saved state of a training at one step."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.files import is_real_folder
from charrnn.model.manifest import Manifest
from charrnn.model.network import parameter_shapes
from charrnn.model.recurrences import find_recurrence
from charrnn.model.run_format import PROGRESS_FILE, migrate
from charrnn.model.run_settings import LARGEST_COUNT
from charrnn.options import Settings, option
from charrnn.settings import ModelSettings

MODEL_FILE = "model.safetensors"
TRAINING_FILE = "training.safetensors"
MAX_LOSS_SCALE = 2.0**16
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Progress(Settings):
    """What training needs to resume exactly, besides tensors."""

    step: int = option(0, "Training steps taken.", at_least=0, at_most=LARGEST_COUNT)
    seconds: float = option(0.0, "Training time, over all sessions.", at_least=0)
    evaluated_step: int = option(0, "Step of the last evaluation, 0 if none.", at_least=0, at_most=LARGEST_COUNT)
    loss_sum: float = option(0.0, "Sum of the mean training losses of the steps since then, in nats.")
    weight_sum: float = option(0.0, "Sum of the weights of these losses; a full window weighs 1.", at_least=0)
    validation_nats: float | None = option(None, "Validation loss at this step, if it was evaluated.")
    best_nats: float | None = option(None, "Lowest validation loss so far.")
    best_step: int | None = option(None, "Step of the lowest loss.", at_least=0, at_most=LARGEST_COUNT)
    evaluations_without_better: int = option(0, "Evaluations since then.", at_least=0, at_most=LARGEST_COUNT)
    rate_scale: float = option(1.0, "Factor of the learning rate, halved after each divergence.", above=0)
    loss_scale: float = option(MAX_LOSS_SCALE, "Loss scale for fp16.", above=0)
    skipped_steps: int = option(0, "Steps skipped for non-finite gradients.", at_least=0, at_most=LARGEST_COUNT)
    skipped_in_a_row: int = option(0, "Steps skipped since the last update.", at_least=0, at_most=LARGEST_COUNT)
    finished: bool = option(False, "Whether training is finished.")

    @classmethod
    def of_copy(cls, step: int, validation_nats: float | None, seconds: float = 0.0) -> Progress:
        """Return the progress of weights that are copied from the checkpoint of a step, and are not trained further."""
        return cls(
            step=step,
            seconds=seconds,
            evaluated_step=step,
            validation_nats=validation_nats,
            best_nats=validation_nats,
            best_step=step,
            finished=True,
        )


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint: its folder, its progress, and the manifest of its files."""

    path: Path
    progress: Progress
    manifest: Manifest

    @property
    def step(self) -> int:
        return self.progress.step

    @property
    def has_training_state(self) -> bool:
        """Whether training can resume from it. It cannot in an imported run."""
        return TRAINING_FILE in self.manifest.entries

    @classmethod
    def read(cls, folder: Path, step: int) -> Checkpoint:
        """Return the checkpoint of a step. Raises CharrnnError where it is damaged; tensors are not read yet."""
        path = folder / folder_name(step)
        manifest = Manifest.read(path, {MODEL_FILE, PROGRESS_FILE}, {TRAINING_FILE})
        source = str(path / PROGRESS_FILE)
        read = migrate(PROGRESS_FILE, manifest.read_json(PROGRESS_FILE), source)
        progress = Progress.from_json(read.content, source, read.hint)
        if progress.step != step:
            raise CharrnnError(f"{source} is of step {progress.step}, and its folder of step {step}")
        manifest.check_sizes()
        return cls(path, progress, manifest)


def folder_name(step: int) -> str:
    """Return the name of a checkpoint's folder."""
    return f"{step:08d}"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in ascending order."""
    if not is_real_folder(folder):
        return []
    try:
        names = [p.name for p in folder.iterdir() if re.fullmatch(r"[0-9]{8,12}", p.name) and is_real_folder(p)]
    except OSError as error:
        raise CharrnnError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(int(name) for name in names if name == folder_name(int(name)))


def skip_damaged(items: Iterable[S], read: Callable[[S], T]) -> Iterator[T]:
    """Yield what `read` returns for each item. Skip items for which it raises CharrnnError, with a CharrnnWarning.

    Raises the first error where every item is damaged.
    """
    errors: list[CharrnnError] = []
    is_any_intact = False
    for item in items:
        try:
            content = read(item)
        except CharrnnError as error:
            errors.append(error)
            continue
        _warn(errors)
        errors, is_any_intact = [], True
        yield content
    if errors and not is_any_intact:
        raise errors[0]
    _warn(errors)


def _warn(errors: list[CharrnnError]) -> None:
    for error in errors:
        warnings.warn(f"{error.message}; another checkpoint is used instead", CharrnnWarning, stacklevel=3)


def training_shapes(settings: ModelSettings, vocabulary_size: int, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Return name → shape of every tensor in training.safetensors: optimizer moments and recurrent state."""
    moments = {
        f"adam.{moment}.{name}": shape
        for moment in ("m", "v")
        for name, shape in parameter_shapes(settings, vocabulary_size).items()
    }
    states = {
        f"state.{layer}.{part}": (batch_size, settings.hidden_size)
        for layer in range(1, settings.layers + 1)
        for part in find_recurrence(settings.recurrence).state_parts
    }
    return moments | states
