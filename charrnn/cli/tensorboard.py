"""`charrnn train --tensorboard`: log losses, learning rate and speed to the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.extras import import_extra

if TYPE_CHECKING:
    from charrnn.training.events import Event

FOLDER = "tensorboard"


def summary_writer() -> Any:
    """Return TensorBoard's SummaryWriter. Raises CharrnnError if the package is missing."""
    return import_extra("torch.utils.tensorboard", "--tensorboard", "tensorboard").SummaryWriter


class Board:
    """Logs the scalars of training events. first_step: entries of an earlier run from this step on are replaced."""

    def __init__(self, run: Path, first_step: int):
        self._writer = summary_writer()(str(run / FOLDER), purge_step=first_step)

    def log(self, event: Event) -> None:
        from charrnn.training.events import Evaluated, StepsTaken

        match event:
            case StepsTaken():
                self._writer.add_scalar("nats/training", event.nats, event.step)
                self._writer.add_scalar("learning rate", event.learning_rate, event.step)
                self._writer.add_scalar("characters per second", event.characters_per_second, event.step)
            case Evaluated():
                self._writer.add_scalar("nats/validation", event.validation_nats, event.step)

    def close(self) -> None:
        self._writer.close()
