"""The events that a training yields, and the requests that it takes while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from charrnn.model.checkpoint import Progress
from charrnn.model.network import CharRNN


class _PrintedEvent:
    """Base of the events. The str of an event is one line: numbers are rounded, and default values are left out."""

    def __str__(self) -> str:
        return _shown(self)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if not is_dataclass(value):
        return repr(value)
    named = [(each, getattr(value, each.name)) for each in fields(value) if each.repr]
    shown = ", ".join(f"{each.name}={_shown(one)}" for each, one in named if one != each.default)
    return f"{type(value).__name__}({shown})"


@dataclass(frozen=True)
class StepsTaken(_PrintedEvent):
    """Report on the steps since the last report. nats: their mean training loss; characters_per_second: their speed."""

    step: int
    nats: float
    characters_per_second: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Evaluated(_PrintedEvent):
    """The validation text was scored. train_nats: mean training loss since the last evaluation.

    network: in evaluation mode; do not modify it.
    """

    step: int
    train_nats: float
    validation_nats: float
    is_best: bool
    seconds: float
    network: CharRNN = field(repr=False)


@dataclass(frozen=True)
class CheckpointSaved(_PrintedEvent):
    """path: the run; None on every process but the first. seconds: the time it took."""

    step: int
    path: Path | None
    seconds: float


@dataclass(frozen=True)
class CheckpointFailed(_PrintedEvent):
    """The checkpoint could not be written. Training continues, and earlier checkpoints stay."""

    step: int
    reason: str


@dataclass(frozen=True)
class Exploded(_PrintedEvent):
    """Weights or too many gradients were not finite. Training continues from the checkpoint of `step`.

    rate_scale: the factor that learning rates are multiplied by from now on.
    """

    step: int
    rate_scale: float


@dataclass(frozen=True)
class GradientTrouble(_PrintedEvent):
    """Gradients have been `exploding` or `vanishing` for a while. Reported once of each.

    value: the median norm before clipping; if vanishing, the share of the recurrent layers in it.
    """

    step: int
    problem: str
    value: float


@dataclass(frozen=True)
class StepsCorrected(_PrintedEvent):
    """The number of steps changed so that the run still ends on time."""

    step: int
    steps: int


@dataclass(frozen=True)
class Finished(_PrintedEvent):
    """Training ended. reason: `done`, `early` (validation got worse) or `stopped` (on request).

    train_nats: mean training loss since the evaluation before the last step. unsaved: why the last state could not be
    saved, if it could not. held_out_nats: validation loss of the last weights on all of the validation text, where
    evaluations measure it on a part, and time was left.
    """

    reason: str
    progress: Progress
    train_nats: float | None
    unsaved: str | None = None
    held_out_nats: float | None = None


Event = (
    StepsTaken | Evaluated | CheckpointSaved | CheckpointFailed | Exploded | GradientTrouble | StepsCorrected | Finished
)


@dataclass
class Requests:
    """What to do after the current step. Set by a signal handler, another thread or a consumer of the events."""

    stop: bool = False
    checkpoint: bool = False
