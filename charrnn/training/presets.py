"""Settings for a corpus, a device and a budget, where the user gave none.

- Hidden size: one layer, as wide as can still be trained well. The budget has to allow MIN_CHARACTERS_PER_PARAMETER
  characters for each parameter, and the corpus has to hold MIN_CORPUS_PER_PARAMETER. The number of characters follows
  from the speed of the device, which is measured for a third of a second. Where the device computes wrong gradients of
  such a layer, it gets a little smaller.
- Windows (`seq_length`) are halved where a run would have fewer than MIN_STEPS steps: a short run gains more from steps
  than from long windows.
- Weight decay and dropout grow with the number of epochs. Decay does more against overfitting.
- The learning rate is lower where the run is shorter than an epoch.

tests/benchmarks/PRESETS.md has the measurements behind each constant.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from charrnn.model.device import has_right_gradients
from charrnn.model.network import parameter_count
from charrnn.options import settings_from
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training import planning
from charrnn.training.batches import windows_per_epoch
from charrnn.training.distributed import SINGLE_PROCESS, ProcessGroup
from charrnn.training.planning import Budget, Workload, fastest_step
from charrnn.units import duration

DEFAULT_MINUTES = {"cpu": 5.0, "mps": 5.0, "cuda": 3.0}
HIDDEN_SIZES = (64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
MIN_CORPUS_PER_PARAMETER = 0.35
MIN_STEPS = 4000
MIN_SEQ_LENGTH = 64  # that windows are halved to

# Values by the number of epochs: up to the first bound, up to the second, …
MIN_CHARACTERS_PER_PARAMETER = ((1, 8.0), (math.inf, 2.0))
DROPOUT = ((4, 0.0), (10, 0.1), (math.inf, 0.4))
WEIGHT_DECAY = ((4, 0.1), (10, 0.2), (math.inf, 0.3))
LEARNING_RATE = ((1, 8e-3), (math.inf, 1.2e-2))

Speed = Callable[[torch.device, TrainingSettings, ModelSettings], float]


@dataclass(frozen=True)
class ChosenSettings:
    """Settings for a run, and the reasons in words."""

    model: ModelSettings
    training: TrainingSettings
    because: str


def choose_settings(
    characters: int,
    vocabulary_size: int,
    device: torch.device,
    budget: Budget,
    explicit: Mapping[str, Any],
    *,
    group: ProcessGroup = SINGLE_PROCESS,
    speed: Speed | None = None,
) -> ChosenSettings:
    """Choose settings for a training text of this many characters.

    The number of steps keeps its default: `planning.make_plan` finds it, by timing the chosen model.

    explicit: settings by name that are not to be chosen. speed: returns multiply-adds per second of training; None
    measures them.
    """
    model = settings_from(ModelSettings, explicit)
    training = _defaults_for(device, characters).changed(
        **{name: value for name, value in explicit.items() if name in TrainingSettings.options()}
    )
    minutes = budget.minutes or DEFAULT_MINUTES[device.type]
    reasons = []
    multiply_adds = 0.0
    if "hidden_size" not in explicit or budget.minutes is not None:
        measure = speed or functools.partial(_multiply_adds_per_second, group=group)
        multiply_adds = 60 * minutes * measure(device, training, model)
    if "hidden_size" not in explicit:
        model = _largest(model, characters, vocabulary_size, multiply_adds)
        limit = f"in {'' if budget.minutes is not None else 'the usual '}{duration(60 * minutes)}"
        if _is_limited_by_text(model, characters, vocabulary_size):
            limit = "on this much text"
        model = _with_right_gradients(model, device, training.precision)
        reasons.append(f"{model.hidden_size} is the largest hidden size that trains well {limit}")
    if budget.steps is not None:
        read = float(budget.steps * training.batch_size * training.seq_length)
    elif budget.epochs is not None:
        read = budget.epochs * characters
    else:
        read = _characters_read(model, vocabulary_size, multiply_adds)
    if "seq_length" not in explicit and budget.steps is None:
        shorter = _with_enough_steps(training, read)
        if shorter != training:
            reasons.append(f"windows of {shorter.seq_length} characters for more steps")
        training = shorter
    epochs = read / characters
    if "learning_rate" not in explicit:
        training = training.changed(learning_rate=_at(epochs, LEARNING_RATE))
    regularizers = []
    if "dropout" not in explicit:
        model = model.changed(dropout=_at(epochs, DROPOUT))
        if model.dropout:
            regularizers.append(f"dropout {model.dropout:g}")
    if "weight_decay" not in explicit:
        training = training.changed(weight_decay=_at(epochs, WEIGHT_DECAY))
        if epochs > WEIGHT_DECAY[0][0]:
            regularizers.append(f"weight decay {training.weight_decay:g}")
    if regularizers:
        reasons.append(f"{' and '.join(regularizers)} against overfitting")
    return ChosenSettings(model, training, "; ".join(reasons))


def _at(epochs: float, table: tuple[tuple[float, float], ...]) -> float:
    return next(value for bound, value in table if epochs <= bound)


def _defaults_for(device: torch.device, characters: int) -> TrainingSettings:
    """Return the batch's shape: few streams on a CPU, which give more steps; more on a GPU, to keep it busy.

    A short text gets fewer streams and shorter windows, so that an epoch has about a hundred steps.
    """
    training = TrainingSettings() if device.type == "cpu" else TrainingSettings(batch_size=128)
    while training.batch_size > 4 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 100:
        training = training.changed(batch_size=training.batch_size // 2)
    while training.seq_length > 8 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 50:
        training = training.changed(seq_length=training.seq_length // 2)
    return training


def _with_enough_steps(training: TrainingSettings, read: float) -> TrainingSettings:
    """Halve the windows, down to MIN_SEQ_LENGTH, until `read` characters make MIN_STEPS steps."""
    while read < MIN_STEPS * training.batch_size * training.seq_length and training.seq_length >= 2 * MIN_SEQ_LENGTH:
        training = training.changed(seq_length=training.seq_length // 2)
    return training


def _largest(model: ModelSettings, characters: int, vocabulary_size: int, multiply_adds: float) -> ModelSettings:
    """Return the model of the largest hidden size that these multiply-adds and this much text allow."""
    largest = model.changed(hidden_size=HIDDEN_SIZES[0])
    for hidden_size in HIDDEN_SIZES:
        larger = model.changed(hidden_size=hidden_size)
        parameters = parameter_count(larger, vocabulary_size)
        read = _characters_read(larger, vocabulary_size, multiply_adds)
        enough = _at(read / characters, MIN_CHARACTERS_PER_PARAMETER) * parameters
        if read >= enough and characters >= MIN_CORPUS_PER_PARAMETER * parameters:
            largest = larger
    return largest


def _with_right_gradients(model: ModelSettings, device: torch.device, precision: str) -> ModelSettings:
    """Return the model, with fewer cells where the device computes wrong gradients of so many."""
    while not has_right_gradients(precision, device, model):
        model = model.changed(hidden_size=model.hidden_size - 16)
    return model


def _is_limited_by_text(model: ModelSettings, characters: int, vocabulary_size: int) -> bool:
    """Return whether the next larger hidden size would need more text."""
    larger = [model.changed(hidden_size=size) for size in HIDDEN_SIZES if size > model.hidden_size]
    return bool(larger) and characters < MIN_CORPUS_PER_PARAMETER * parameter_count(larger[0], vocabulary_size)


def _characters_read(model: ModelSettings, vocabulary_size: int, multiply_adds: float) -> float:
    """A character takes one multiply-add per parameter in the forward pass, and two in the backward pass."""
    return multiply_adds / (3 * parameter_count(model, vocabulary_size))


def _multiply_adds_per_second(
    device: torch.device, training: TrainingSettings, base: ModelSettings, group: ProcessGroup
) -> float:
    """Measure how fast the device trains a medium-sized model with this recurrence."""
    model = ModelSettings(recurrence=base.recurrence, hidden_size=256, embedding_size=64)
    ids = np.arange(2 * training.batch_size * training.seq_length + training.seq_length, dtype=np.uint8) % 64
    work = Workload(model, training, 64, EncodedText(ids), device, group)
    seconds, _ = fastest_step(work, planning.TIMING_SECONDS)
    return 3 * parameter_count(model, 64) * training.batch_size * training.seq_length / seconds
