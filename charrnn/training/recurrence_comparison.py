"""Compare kinds of recurrent layers: models of nearly equal size, with the same text, settings and budget.

Each kind of layer has its own number of parameters for a hidden size. The settings are chosen once, for the kind that
has the most of them. The other kinds get the hidden size with the nearest number of parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from charrnn.errors import UsageError
from charrnn.model.device import choose_device
from charrnn.model.lookup import check_new_name, runs_folder
from charrnn.model.network import parameter_count
from charrnn.options import settings_from
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.corpus import Corpus
from charrnn.training.distributed import is_launched
from charrnn.training.options import TrainOptions
from charrnn.training.planning import Budget
from charrnn.training.presets import DEFAULT_MINUTES, choose_settings
from charrnn.training.setup import split_corpus

LARGEST_HIDDEN_SIZE = 65536
SHARED = ("batch_size", "seq_length", "learning_rate", "weight_decay")
MAX_MODELS = 4  # that a plot can tell apart


@dataclass(frozen=True)
class ComparisonPlan:
    """The trainings to compare. minutes: for each; None where the length is in steps or epochs."""

    options: tuple[TrainOptions, ...]
    models: tuple[ModelSettings, ...]
    parameters: tuple[int, ...]
    minutes: float | None


def plan_comparison(corpus: Corpus, options: TrainOptions, recurrences: Sequence[str]) -> ComparisonPlan:
    """Return the options of a training for each recurrence.

    options: of the largest kind, which the others are matched to. A name is followed by that of the recurrence.
    Raises UsageError where a recurrence is unknown or named twice, the options resume a run, or a name is taken.
    """
    _check(options, recurrences)
    device, size = choose_device(options.device), len(corpus.vocabulary)
    kinds = [settings_from(ModelSettings, {**options.settings, "recurrence": each}) for each in recurrences]
    largest = max(kinds, key=lambda model: parameter_count(model, size))
    explicit = {**options.settings, "recurrence": largest.recurrence}
    texts = split_corpus(corpus, settings_from(TrainingSettings, explicit))
    steps, minutes = options.settings.get("steps"), options.minutes
    if steps is None and options.epochs is None and minutes is None:
        minutes = DEFAULT_MINUTES[device.type]
    chosen = choose_settings(len(texts[0]), size, device, Budget(steps, options.epochs, minutes), explicit)
    shared = {name: getattr(chosen.training, name) for name in SHARED} | {"dropout": chosen.model.dropout}
    target = parameter_count(chosen.model, size)
    models = tuple(matching_size(chosen.model.changed(recurrence=each), size, target) for each in recurrences)
    return ComparisonPlan(
        tuple(
            dataclasses.replace(
                options,
                settings={**options.settings, **shared, **_shape(model)},
                minutes=minutes,
                name=None if options.name is None else f"{options.name}-{model.recurrence}",
            )
            for model in models
        ),
        models,
        tuple(parameter_count(model, size) for model in models),
        minutes,
    )


def matching_size(model: ModelSettings, vocabulary_size: int, parameters: int) -> ModelSettings:
    """Return a model with the hidden size whose number of parameters is nearest to this one."""
    low, high = 1, LARGEST_HIDDEN_SIZE
    while low < high:
        middle = (low + high) // 2
        if parameter_count(model.changed(hidden_size=middle), vocabulary_size) < parameters:
            low = middle + 1
        else:
            high = middle
    near = [model.changed(hidden_size=size) for size in (low - 1, low) if size > 0]
    return min(near, key=lambda each: abs(parameter_count(each, vocabulary_size) - parameters))


def _shape(model: ModelSettings) -> dict[str, str | int]:
    return {"recurrence": model.recurrence, "hidden_size": model.hidden_size}


def _check(options: TrainOptions, recurrences: Sequence[str]) -> None:
    if is_launched():
        raise UsageError("several kinds of `recurrence` need a single process", "compare them without torchrun")
    if options.resume or options.init_from is not None or options.extension is not None:
        raise UsageError("several kinds of `recurrence` start new runs", "name one kind, or none, to resume a run")
    if len(set(recurrences)) < len(recurrences) or not 1 < len(recurrences) <= MAX_MODELS:
        raise UsageError(
            f"a comparison has 2 to {MAX_MODELS} different kinds of `recurrence`, not {','.join(recurrences)}"
        )
    for each in recurrences:
        settings_from(ModelSettings, {"recurrence": each})  # raises where it is unknown
        if options.name is not None:
            check_new_name(f"{options.name}-{each}", runs_folder(), "choose another `name`")
