"""What to train where nothing was asked for: a rule from the corpus, the device and the time there is.

In words. Time is best spent on one layer as wide as can still be trained well: the width is the largest at which the
time allows as many characters to be read for each parameter as CHARACTERS_PER_PARAMETER_BY_EPOCHS says, more where a
text is not read to its end, and at which the corpus holds at least CORPUS_PER_PARAMETER characters for each. How many
are read follows from the device's speed, which is measured for a third of a second. Where that makes fewer than
FEWEST_UPDATES updates, windows are halved: a training so short wants for updates more than for long memory. A text that
will be read many times over is learned by heart; against that stand weight decay, which does more, and dropout, the more
the more epochs. Where not all of a text will be read, a lower rate serves what was not read better.

The figures behind it stand in tests/benchmarks/README.md.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from charrnn.model.device import synchronize
from charrnn.model.network import CharRNN, parameter_count
from charrnn.scoring.score import score, segments_of
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.batches import windows_per_epoch
from charrnn.training.distributed import current_group
from charrnn.training.schedule import Deadline, steps_within
from charrnn.training.trainer import Trainer, steps_per_epoch
from charrnn.units import count, duration

DEFAULT_MINUTES = {"cpu": 5.0, "mps": 5.0, "cuda": 3.0}
WIDTHS = (64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
CHARACTERS_PER_PARAMETER_BY_EPOCHS = ((1, 8.0), (math.inf, 2.0))
CORPUS_PER_PARAMETER = 0.35
DROPOUT_BY_EPOCHS = ((4, 0.0), (10, 0.1), (math.inf, 0.4))
WEIGHT_DECAY_BY_EPOCHS = ((4, 0.1), (10, 0.2), (math.inf, 0.3))
LEARNING_RATE_BY_EPOCHS = ((1, 8e-3), (math.inf, 1.2e-2))
FEWEST_UPDATES = 4000
SHORTEST_WINDOW = 64
SHARE_OF_TIME_FOR_EVALUATIONS = 0.12
MOST_EVALUATIONS = 10
SCORED_FOR_TIMING = 65_000
READINGS = 2.0  # a trained network remembers longer than the fresh one that is timed, and is read again for longer
SECONDS_OF_TIMING = 0.3


@dataclass(frozen=True)
class RequestedLength:
    """How long a run is to be: steps, epochs or minutes, one of them.

    since: when the minutes began, by `time.perf_counter`. What has passed of them when the length is found, loading and
    timing, is not there for training.
    """

    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Choice:
    """Settings for a run, and why in words."""

    model: ModelSettings
    training: TrainingSettings
    because: str


def choose(
    characters: int, vocabulary_size: int, device: torch.device, asked: RequestedLength, given: dict[str, object]
) -> Choice:
    """Settings for this many characters to train on. What was `given` (name → value) is kept.

    The number of steps is left at its default: `length_of` finds it once the model can be timed.
    """
    model = ModelSettings().changed(**{k: v for k, v in given.items() if k in ModelSettings.options()})
    training = _training_for(device, characters).changed(
        **{k: v for k, v in given.items() if k in TrainingSettings.options()}
    )
    minutes = asked.minutes or DEFAULT_MINUTES[device.type]
    reasons = []
    multiplications = 0.0
    if "hidden_size" not in given or asked.minutes is not None:
        multiplications = _multiplications_per_second(device, training, model)
    if "hidden_size" not in given:
        model = _widest(model, characters, vocabulary_size, 60 * minutes * multiplications)
        reasons.append(
            f"{model.hidden_size} is the largest width that this device trains well in {duration(60 * minutes)}"
        )
    if asked.steps is not None:
        read = asked.steps * training.batch_size * training.seq_length
    elif asked.epochs is not None:
        read = asked.epochs * characters
    else:
        read = _characters_read(model, vocabulary_size, 60 * minutes * multiplications)
    if "seq_length" not in given and asked.steps is None:
        shorter = _with_enough_updates(training, read)
        if shorter != training:
            reasons.append(f"windows of {shorter.seq_length} make more updates of so few")
        training = shorter
    epochs = read / characters
    reasons.insert(0, f"about {count(_rounded(read))} characters will be read, {_times(epochs)} the text")
    if "learning_rate" not in given:
        training = training.changed(learning_rate=_up_to(epochs, LEARNING_RATE_BY_EPOCHS))
    against = []
    if "dropout" not in given:
        model = model.changed(dropout=_up_to(epochs, DROPOUT_BY_EPOCHS))
        against += [f"dropout {model.dropout:g}"] * (model.dropout > 0)
    if "weight_decay" not in given:
        training = training.changed(weight_decay=_up_to(epochs, WEIGHT_DECAY_BY_EPOCHS))
        against += [f"weight decay {training.weight_decay:g}"] * (epochs > WEIGHT_DECAY_BY_EPOCHS[0][0])
    if against:
        keep = "keeps" if len(against) == 1 else "keep"
        reasons.append(f"{' and '.join(against)} {keep} it from learning the text by heart")
    return Choice(model, training, "; ".join(reasons))


def _up_to(epochs: float, table: tuple[tuple[float, float], ...]) -> float:
    """The value that goes with so many epochs."""
    return next(value for most, value in table if epochs <= most)


def _training_for(device: torch.device, characters: int) -> TrainingSettings:
    """Few streams make the most updates of a CPU's time; a GPU is idle with so little to do at once.
    A short text gets fewer streams and shorter windows, so that an epoch still has some hundred updates."""
    training = TrainingSettings() if device.type == "cpu" else TrainingSettings(batch_size=128)
    while training.batch_size > 4 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 100:
        training = training.changed(batch_size=training.batch_size // 2)
    while training.seq_length > 8 and windows_per_epoch(characters, training.batch_size, training.seq_length) < 50:
        training = training.changed(seq_length=training.seq_length // 2)
    return training


def _with_enough_updates(training: TrainingSettings, read: float) -> TrainingSettings:
    """Shorter windows, down to SHORTEST_WINDOW, where so many characters would otherwise make few updates."""
    while (
        read < FEWEST_UPDATES * training.batch_size * training.seq_length and training.seq_length >= 2 * SHORTEST_WINDOW
    ):
        training = training.changed(seq_length=training.seq_length // 2)
    return training


def _widest(model: ModelSettings, characters: int, vocabulary_size: int, multiplications: float) -> ModelSettings:
    """The widest model that this many multiplications and this much text allow."""
    widest = model.changed(hidden_size=WIDTHS[0])
    for width in WIDTHS:
        wider = model.changed(hidden_size=width)
        parameters = parameter_count(wider, vocabulary_size)
        read = _characters_read(wider, vocabulary_size, multiplications)
        wanted = _up_to(read / characters, CHARACTERS_PER_PARAMETER_BY_EPOCHS)
        if read >= wanted * parameters and characters >= CORPUS_PER_PARAMETER * parameters:
            widest = wider
    return widest


def _characters_read(model: ModelSettings, vocabulary_size: int, multiplications: float) -> float:
    """Forward takes one multiplication for each parameter and character, backward two."""
    return multiplications / (3 * parameter_count(model, vocabulary_size))


def _multiplications_per_second(device: torch.device, training: TrainingSettings, base: ModelSettings) -> float:
    """How fast the device trains a middling model of this kind, in multiply-add operations."""
    model = ModelSettings(recurrence=base.recurrence, hidden_size=256, embedding_size=64)
    ids = np.arange(2 * training.batch_size * training.seq_length + training.seq_length, dtype=np.uint8) % 64
    seconds = seconds_per_step(model, training, 64, EncodedText(ids), device, budget=SECONDS_OF_TIMING)
    return 3 * parameter_count(model, 64) * training.batch_size * training.seq_length / seconds


def seconds_per_step(
    model: ModelSettings,
    training: TrainingSettings,
    vocabulary_size: int,
    train_text: EncodedText,
    device: torch.device,
    budget: float,
) -> float:
    """Times updates of a throw-away network for about `budget` seconds: the mean time of one.

    Where ranks train together, that of one with its share of the streams, and of adding up the gradients.
    """
    ranks = current_group()
    training = training.changed(batch_size=-(-training.batch_size // ranks.size))
    network = CharRNN(model, vocabulary_size).to(device)
    trainer = Trainer(network, training, train_text)
    trainer.make_step()  # what happens only once, such as choosing kernels, is not timed
    synchronize(device)
    times: list[float] = []
    deadline = time.perf_counter() + budget
    while time.perf_counter() < deadline or not times:
        start = time.perf_counter()
        trainer.make_step()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.fmean(times) + ranks.seconds_to_all_reduce(parameter_count(model, vocabulary_size), device)


@dataclass(frozen=True)
class Length:
    """How long a run will be. seconds: the forecast for all of it, evaluations and all. deadline: where minutes were
    asked for."""

    steps: int
    evaluations: int
    seconds: float
    deadline: Deadline | None = None


def length_of(
    choice: Choice,
    vocabulary_size: int,
    train_text: EncodedText,
    validation_text: EncodedText,
    device: torch.device,
    asked: RequestedLength,
    evaluations: int | None,
) -> Length:
    """Turns what was asked into steps, by timing the first few. evaluations: how many, or None to choose."""
    training = choice.training
    timing = max(SECONDS_OF_TIMING, min(2.0, 0.02 * 60 * (asked.minutes or 0)))
    per_step = seconds_per_step(choice.model, training, vocabulary_size, train_text, device, timing)
    network = CharRNN(choice.model, vocabulary_size).to(device)
    network.initialize(torch.Generator().manual_seed(training.seed))
    per_evaluation = _seconds_per_evaluation(network, validation_text)
    budget = 60 * (asked.minutes or 0) - (time.perf_counter() - asked.since)
    steps = asked.steps
    if asked.epochs is not None:
        per_epoch = steps_per_epoch(train_text, training)
        steps = max(1, round(asked.epochs * per_epoch))
    if evaluations is None:
        there_is = budget if steps is None else steps * per_step
        evaluations = max(1, min(MOST_EVALUATIONS, round(SHARE_OF_TIME_FOR_EVALUATIONS * there_is / per_evaluation)))
    if steps is None:
        steps = steps_within(budget, per_step, evaluations * per_evaluation)
    for_evaluations = evaluations * per_evaluation
    deadline = None
    if asked.minutes is not None:
        deadline = Deadline(asked.since + 60 * asked.minutes, per_step, for_evaluations)
    spent = time.perf_counter() - asked.since
    return Length(steps, evaluations, spent + steps * per_step + for_evaluations, deadline)


def _seconds_per_evaluation(network: CharRNN, validation_text: EncodedText) -> float:
    """Times the beginning of the text, read as the whole will be: as many segments side by side, but short ones."""
    share = max(1.0, len(validation_text) / SCORED_FOR_TIMING)
    scored = max(2, int(len(validation_text) / share))
    start = time.perf_counter()
    segments = None if validation_text.has_documents else segments_of(len(validation_text))
    score(network, validation_text[:scored], segments=segments)
    return READINGS * share * (time.perf_counter() - start)


def _rounded(number: float) -> float:
    """To two significant digits: more would claim too much."""
    digits = 1 - math.floor(math.log10(max(1.0, number)))
    return round(number, digits)


def _times(number: float) -> str:
    return f"{number:.1f} times" if number < 10 else f"{number:,.0f} times"
