"""Validation losses of several runs in one plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from charrnn.display.terminal import Terminal
    from charrnn.model.run import Run

MAX_WIDTH = 100
ROWS = 14
AXES = {"characters": "characters read, in millions", "minutes": "minutes", "steps": "step"}
Point = tuple[float, float]


def validation_curve(run: Run, x: str) -> list[Point]:
    """Return the validation losses of a run over `x`, a key of AXES. Raises UsageError for another."""
    from charrnn.model.exported import losses_of

    if x not in AXES:
        raise UsageError(f"--x must be one of {', '.join(AXES)}, not {x!r}")
    training = run.settings.training
    read = training.batch_size * training.seq_length / 1e6  # in a step
    scale = {"characters": read, "minutes": 1 / 60, "steps": 1.0}[x]
    return [((one.seconds if x == "minutes" else one.step) * scale, one.validation_nats) for one in losses_of(run)]


def draw_curves(
    curves: Mapping[str, Sequence[Point]], terminal: Terminal, x_label: str, y_label: str, rows: int = ROWS
) -> None:
    """Draw curves by name, each in its color or letter, with a legend."""
    from charrnn.display.plots import loss_curve

    width = min(MAX_WIDTH, terminal.width)
    drawn = loss_curve(
        curves,
        width,
        rows,
        unicode=terminal.unicode,
        colors=terminal.colors,
        background=terminal.background,
        x_label=x_label,
        y_label=y_label,
    )
    for row in drawn:
        terminal.write(f"{row}\n", styled=True)


def plot_runs(runs: Sequence[Run], terminal: Terminal, x: str) -> None:
    """Draw the validation losses of runs over `x`; of the first few where they are more than a plot can tell apart."""
    from charrnn.display.plots import HUES

    curves = {run.name: validation_curve(run, x) for run in runs}
    without = [name for name, points in curves.items() if not points]
    shown = {name: points for name, points in curves.items() if points}
    left_out = list(shown)[len(HUES) :]
    for name in left_out:
        del shown[name]
    if shown:
        draw_curves(shown, terminal, AXES[x], "validation loss, nats per character")
    for names, reason in ((left_out, f"a plot shows {len(HUES)} runs; name those to see"), (without, "no evaluation")):
        if names:
            terminal.paragraph(f"not shown: {', '.join(names)} ({reason})")
