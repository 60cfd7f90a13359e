"""The losses that a run logged, and the curves of several runs in one plot."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.display.export import save_figure
from charrnn.display.figures import Curve, line_figure
from charrnn.display.plots import HUES, Point, loss_curve
from charrnn.display.terminal import Terminal
from charrnn.errors import CharrnnError, UsageError
from charrnn.model.run import Run

MAX_LOSSES = 1000  # evaluations of a curve
LARGEST_NUMBER = 1e15  # of steps, seconds or nats
AXES = {"characters": "characters read, in millions", "minutes": "minutes", "steps": "step"}


class Losses(NamedTuple):
    """What training logged after an evaluation. train_nats: the mean since the one before; None if not finite."""

    step: int
    seconds: float
    train_nats: float | None
    validation_nats: float


def losses_of(run: Run) -> list[Losses]:
    """Return the loss curve of a run, oldest first, evenly subsampled to at most MAX_LOSSES evaluations."""
    evaluations = [entry for entry in run.metrics() if entry.get("event") == "evaluation"]
    logged: list[list[Any]] = [[entry.get(key) for key in Losses._fields] for entry in evaluations]
    losses = [Losses(*each) for each in logged if is_loss(each)]
    every = max(1, -(-len(losses) // MAX_LOSSES))
    return losses[::-1][::every][::-1]


def is_loss(entry: Any) -> bool:
    """Return whether a value from a file holds the fields of `Losses`."""
    if not isinstance(entry, list) or len(entry) != 4 or type(entry[0]) is not int:
        return False
    numbers = [number for place, number in enumerate(entry) if place != 2 or number is not None]
    return all(type(number) in (int, float) and 0 <= number < LARGEST_NUMBER for number in numbers)


def validation_curve(run: Run, x: str) -> list[Point]:
    """Return the validation losses of a run over `x`, a key of AXES. Raises UsageError for another."""
    if x not in AXES:
        raise UsageError(f"`x` must be one of {', '.join(AXES)}, not {x!r}")
    training = run.settings.training
    read = training.batch_size * training.seq_length / 1e6  # in a step
    scale = {"characters": read, "minutes": 1 / 60, "steps": 1.0}[x]
    return [((one.seconds if x == "minutes" else one.step) * scale, one.validation_nats) for one in losses_of(run)]


@dataclass(frozen=True, repr=False)
class LossPlot:
    """Validation losses of runs: prints with colors in a terminal, shows in a notebook, and saves as a figure.

    curves: name of the run → points (x, nats per character). notes: which runs are left out, and why. rows: on a
    terminal.
    """

    curves: Mapping[str, Sequence[Point]]
    x_label: str
    y_label: str = "validation loss, nats per character"
    notes: tuple[str, ...] = ()
    rows: int = 14

    @classmethod
    def of(cls, runs: Sequence[Run], x: str = "characters") -> LossPlot:
        """Return the plot of runs; of the first few where they are more than a plot can tell apart.

        x: "characters", "minutes" or "steps".
        """
        all_curves = {run.name: validation_curve(run, x) for run in runs}
        without = [name for name, points in all_curves.items() if not points]
        names = [name for name in all_curves if name not in without]
        notes = [
            f"not shown: {', '.join(left_out)} ({reason})"
            for left_out, reason in (
                (names[len(HUES) :], f"a plot shows {len(HUES)} runs; name those to see"),
                (without, "no evaluation"),
            )
            if left_out
        ]
        return cls({name: all_curves[name] for name in names[: len(HUES)]}, AXES[x], notes=tuple(notes))

    def lines(self, terminal: Terminal) -> list[str]:
        """Return the plot as lines for a terminal."""
        if not self.curves:
            return []
        return loss_curve(self.curves, terminal, self.rows, x_label=self.x_label, y_label=self.y_label)

    def svg(self) -> str:
        """Return the plot as an SVG. Raises CharrnnError if no run has a curve."""
        if not self.curves:
            raise CharrnnError("none of these runs has an evaluation to plot")
        curves = [Curve(name, [x for x, _ in points], [y for _, y in points]) for name, points in self.curves.items()]
        return line_figure(curves, title=self.y_label[:1].upper() + self.y_label[1:], x_label=self.x_label)

    def save(self, path: str | Path) -> None:
        """Write the figure to an .svg, .pdf or .png file. Raises CharrnnError as `svg`, and if it cannot be written."""
        save_figure(Path(path), self.svg())

    def __str__(self) -> str:
        return "\n".join([*self.lines(Terminal.of(sys.stdout)), *self.notes])

    __repr__ = __str__

    def _repr_svg_(self) -> str | None:
        return self.svg() if self.curves else None
