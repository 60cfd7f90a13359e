"""What to train where nothing was asked for: a rule from the corpus, the device and the time there is.

In words. Time is best spent on one layer as wide as can still be trained well: the width is the largest at which the
time allows CHARACTERS_PER_PARAMETER characters to be read for each parameter, and at which the corpus holds at least
CORPUS_PER_PARAMETER characters for each. How many are read follows from the device's speed, which is measured for a
third of a second. A text that will be read many times over is learnt by heart; against that stands dropout, the more
the more epochs.

The figures behind it stand in tests/benchmarks/README.md.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.model.device import synchronise
from charrnn.model.network import CharRNN, parameter_count
from charrnn.model.score import score
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.training.batches import windows_per_epoch
from charrnn.training.loop import Trainer
from charrnn.units import count, duration

DEFAULT_MINUTES = {"cpu": 5.0, "mps": 5.0, "cuda": 3.0}
WIDTHS = (64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
CHARACTERS_PER_PARAMETER = 5.0
CORPUS_PER_PARAMETER = 0.5
DROPOUT_BY_EPOCHS = ((6, 0.0), (12, 0.1), (25, 0.2), (math.inf, 0.4))
SHARE_OF_TIME_FOR_EVALUATIONS = 0.06
MOST_EVALUATIONS = 10
SCORED_FOR_TIMING = 20_000


@dataclass(frozen=True)
class Choice:
    """Settings for a run, and why in words."""

    model: ModelSettings
    training: TrainingSettings
    because: str


def choose(
    characters: int,
    vocabulary_size: int,
    device: torch.device,
    minutes: float,
    given: dict[str, object],
) -> Choice:
    """Settings for this many characters to train on and this much time. What was `given` (name → value) is kept.

    The length is left at its default: `steps_in` finds it once the model can be timed.
    """
    asked_model = {name: value for name, value in given.items() if name in ModelSettings.options()}
    asked_training = {name: value for name, value in given.items() if name in TrainingSettings.options()}
    training = _training_for(device, characters).changed(**asked_training)
    base = ModelSettings().changed(**asked_model)
    multiplications = _multiplications_per_second(device, training, base)
    model, read = _widest(base, "hidden_size" not in given, characters, vocabulary_size, multiplications, minutes)
    epochs = read / characters
    if "dropout" not in given:
        model = model.changed(dropout=next(drop for most, drop in DROPOUT_BY_EPOCHS if epochs <= most))
    because = (
        f"in {duration(60 * minutes)} this device reads about {count(_rounded(read))} characters with this model, "
        f"{epochs:.1f} times the {count(characters)} there are to train on"
    )
    return Choice(model, training, because)


def _training_for(device: torch.device, characters: int) -> TrainingSettings:
    """Few streams and short windows make the most updates of a CPU's time; a GPU is idle with so little to do at once.
    A short text gets fewer streams and shorter windows, so that an epoch still has some hundred updates."""
    training = TrainingSettings() if device.type == "cpu" else TrainingSettings(batch_size=128, seq_length=128)
    while training.batch_size > 4 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 100:
        training = training.changed(batch_size=training.batch_size // 2)
    while training.seq_length > 8 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 50:
        training = training.changed(seq_length=training.seq_length // 2)
    return training


def _widest(
    base: ModelSettings,
    may_choose: bool,
    characters: int,
    vocabulary_size: int,
    multiplications: float,
    minutes: float,
) -> tuple[ModelSettings, float]:
    """The widest model that the time and the text allow, and the characters that it reads in that time."""

    def measured(width: int) -> tuple[ModelSettings, int, float]:
        model = base.changed(hidden_size=width)
        parameters = parameter_count(model, vocabulary_size)
        # Forward one multiplication for each parameter and character, backward two.
        return model, parameters, 60 * minutes * multiplications / (3 * parameters)

    model, _, read = measured(WIDTHS[0] if may_choose else base.hidden_size)
    for width in WIDTHS if may_choose else ():
        wider, parameters, would_read = measured(width)
        if would_read >= CHARACTERS_PER_PARAMETER * parameters and characters >= CORPUS_PER_PARAMETER * parameters:
            model, read = wider, would_read
    return model, read


def _multiplications_per_second(device: torch.device, training: TrainingSettings, base: ModelSettings) -> float:
    """How fast the device trains a middling model of this kind, in multiply-add operations."""
    model = ModelSettings(recurrence=base.recurrence, hidden_size=256, embedding_size=64)
    ids = np.arange(2 * training.batch_size * training.seq_length + training.seq_length, dtype=np.uint8) % 64
    seconds = seconds_per_step(model, training, 64, ids, device, budget=0.3)
    return 3 * parameter_count(model, 64) * training.batch_size * training.seq_length / seconds


def seconds_per_step(
    model: ModelSettings,
    training: TrainingSettings,
    vocabulary_size: int,
    train_ids: np.ndarray,
    device: torch.device,
    budget: float,
) -> float:
    """Times updates of a throw-away network for about `budget` seconds: the median of one update's time."""
    network = CharRNN(model, vocabulary_size).to(device)
    trainer = Trainer(network, training, train_ids)
    trainer.make_step()  # what happens only once, such as choosing kernels, is not timed
    synchronise(device)
    times: list[float] = []
    deadline = time.perf_counter() + budget
    while time.perf_counter() < deadline or len(times) < 3:
        start = time.perf_counter()
        trainer.make_step()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@dataclass(frozen=True)
class Length:
    """How long a run will be. seconds: the forecast for all of it, evaluations and all."""

    steps: int
    evaluations: int
    seconds: float


def length_of(
    choice: Choice,
    vocabulary_size: int,
    train_ids: np.ndarray,
    validation_ids: np.ndarray,
    device: torch.device,
    *,
    steps: int | None,
    epochs: float | None,
    minutes: float | None,
    evaluations: int | None,
) -> Length:
    """Turns a length in steps, epochs or minutes (one of them given) into steps, by timing the first few."""
    training = choice.training
    budget = 60 * minutes if minutes is not None else math.inf
    per_step = seconds_per_step(
        choice.model, training, vocabulary_size, train_ids, device, budget=min(2.0, 0.02 * budget)
    )
    network = CharRNN(choice.model, vocabulary_size).to(device)
    network.initialise(torch.Generator().manual_seed(training.seed))
    per_evaluation = _seconds_per_evaluation(network, validation_ids)
    if steps is None and epochs is not None:
        per_epoch = windows_per_epoch(len(train_ids), training.batch_size, training.seq_length)
        steps = max(1, round(epochs * per_epoch))
    if evaluations is None:
        time_there_is = budget if steps is None else steps * per_step
        evaluations = round(SHARE_OF_TIME_FOR_EVALUATIONS * time_there_is / per_evaluation)
        evaluations = max(1, min(MOST_EVALUATIONS, evaluations))
    if steps is None:
        steps = max(1, round((budget - evaluations * per_evaluation) / per_step))
    return Length(steps, evaluations, steps * per_step + evaluations * per_evaluation)


def _seconds_per_evaluation(network: CharRNN, validation_ids: np.ndarray) -> float:
    """Scored as the whole will be: with as many segments side by side, but short ones."""
    share = max(1.0, len(validation_ids) / SCORED_FOR_TIMING)
    start = time.perf_counter()
    score(network, validation_ids[: max(2, int(len(validation_ids) / share))])
    return share * (time.perf_counter() - start)


def _rounded(number: float) -> float:
    """To two significant digits: more would claim too much."""
    digits = 1 - math.floor(math.log10(max(1.0, number)))
    return round(number, digits)
