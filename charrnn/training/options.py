"""The options of a training. This module does not import torch, so that a wrong option is reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charrnn.errors import UsageError
from charrnn.options import check_names, only_one_of, settings_from
from charrnn.settings import ModelSettings, ReadSettings, TrainingSettings

MAX_LENGTH = 1e9  # epochs or minutes
MAX_MORE_STEPS = 10**10


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training, checked when the object is created.

    settings: fields of `ModelSettings`, `TrainingSettings` and `ReadSettings` by name. For a new run the others are
    chosen, or have their defaults; a run to resume must have these values. epochs, minutes, or `steps` among the
    settings: length of a new run. more_minutes, more_steps: by which a finished run is extended. name: of the run; by
    default after the corpus, or the newest to resume. init_from: the run to initialize weights from.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: float | None = None
    minutes: float | None = None
    name: str | None = None
    resume: bool = False
    init_from: str | None = None
    as_bytes: bool = False
    device: str = "auto"
    more_minutes: float | None = None
    more_steps: int | None = None

    def __post_init__(self) -> None:
        more = {"more_minutes": self.more_minutes, "more_steps": self.more_steps}
        only_one_of(steps=self.settings.get("steps"), epochs=self.epochs, minutes=self.minutes, **more)
        only_one_of(resume=self.resume, init_from=self.init_from)
        only_one_of(**more, init_from=self.init_from)
        lengths = {"epochs": self.epochs, "minutes": self.minutes, "more_minutes": self.more_minutes}
        if self.more_steps is not None and not 0 < self.more_steps < MAX_MORE_STEPS:
            raise UsageError(f"`more_steps` must be at least 1 and below {MAX_MORE_STEPS:,}, not {self.more_steps:,}")
        for name, length in lengths.items():
            if length is not None and not 0 < length < MAX_LENGTH:
                raise UsageError(f"`{name}` must be above 0 and below {MAX_LENGTH:g}, not {length:g}")
        check_names(self.settings, ModelSettings, TrainingSettings, ReadSettings)
        settings_from(ModelSettings, self.settings)
        for name in ("encoding", "newlines", "normalize") if self.as_bytes else ():
            only_one_of(as_bytes=True, **{name: self.settings.get(name)})
        _ = self.reading  # checks it
        training = settings_from(TrainingSettings, self.settings)
        if training.documents is not None:
            from charrnn.text.documents import DocumentSeparator

            DocumentSeparator(training.documents)

    @property
    def extension(self) -> str | None:
        """The argument, for an error, by which a finished run is extended; None if it is not."""
        if self.more_minutes is not None:
            return f"`more_minutes={self.more_minutes:g}`"
        return None if self.more_steps is None else f"`more_steps={self.more_steps}`"

    @property
    def reading(self) -> ReadSettings:
        """How the files of a new run's corpus are read."""
        return settings_from(ReadSettings, self.settings)
