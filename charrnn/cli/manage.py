"""`charrnn runs show`, `rename` and `rm`: show or rename a run, remove runs."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.completion import complete_run
from charrnn.cli.options import JsonOption, NamedRunArgument, RunArgument
from charrnn.cli.runs import Summary, format_setting, summarize, write_plot
from charrnn.cli.stderr import say
from charrnn.errors import CharrnnError, UsageError
from charrnn.settings import TrainingSettings
from charrnn.units import amount, count, duration, file_size, loss, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charrnn.display.terminal import Terminal
    from charrnn.model.run import Run

CURVE_ROWS = 8
SHOWN = ("batch_size", "seq_length", "learning_rate", "precision", "steps")
"""Settings of training that have their own rows or are named in one."""
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def show(run: RunArgument = None, as_json: JsonOption = False) -> None:
    """Show one run: its corpus, model, training, checkpoints, sizes, and loss curve.

    [bold]charrnn runs show shakespeare[/bold]
    """
    from charrnn.display.tables import key_values
    from charrnn.display.terminal import Terminal, safe_text

    summary = summarize(run)
    if not isinstance(summary, Summary):
        raise CharrnnError(summary.problem)
    if as_json:
        print(json.dumps({**summary.to_json(), **_details(summary.run)}))
        return
    terminal = Terminal.of(sys.stdout)
    key_values(_rows(summary), terminal)
    _draw_curve(summary.run, terminal)
    sys.stdout.flush()  # warnings come last
    for problem in summary.warnings:
        Terminal.of(sys.stderr).paragraph(safe_text(problem, keep_newlines=False))


def rename(
    old: NamedRunArgument, new: Annotated[str, typer.Argument(help="Its new name.", metavar="NEW", show_default=False)]
) -> None:
    """Rename a run.

    [bold]charrnn runs rename shakespeare plays[/bold]
    """
    from charrnn.model.manage import rename_run

    say(f"renamed to {rename_run(old, new)}")


def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names or folders of runs.", metavar="RUN...", show_default=False, autocompletion=complete_run
        ),
    ],
    yes: YesOption = False,
) -> None:
    """Remove runs, with all files in their folders. Asks before it removes anything.

    [bold]charrnn runs rm old wide[/bold]
    """
    from charrnn.display.terminal import is_terminal
    from charrnn.model.lookup import find_run
    from charrnn.model.manage import remove_run, run_size

    paths = list(dict.fromkeys(map(find_run, names)))  # an unknown name is found before a run is removed
    sizes = {path: run_size(path) for path in paths}
    if not yes:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise UsageError("there is no terminal to ask for confirmation", "add --yes")
        for path, size in sizes.items():
            say(f"{path}  {file_size(size)}")
        what = "this run" if len(paths) == 1 else f"these {len(paths)} runs"
        typer.confirm(f"Remove {what} permanently?", abort=True, err=True)
    for path in paths:
        remove_run(str(path.absolute()))
        say(f"removed {path}, {file_size(sizes[path])}")


def _details(run: Run) -> dict[str, Any]:
    return {
        "origin": run.settings.origin.to_json(),
        "held_out_bytes": run.held_out_size,
        "checkpoints": [
            {"step": one.step, "validation_nats": one.progress.validation_nats} for one in run.checkpoints()
        ],
    }


def _rows(summary: Summary) -> Iterator[tuple[str, str]]:
    from charrnn.cli.screen import model_line

    run, progress = summary.run, summary.progress
    training, corpus, origin = run.settings.training, run.settings.corpus, run.settings.origin
    yield "run", str(run.path)
    yield "state", f"{summary.state}, {file_size(summary.size)} on disk"
    yield "created", " · ".join(filter(None, (moment(origin.created), origin.device)))
    yield "corpus", f"{corpus.name}: {amount(corpus.characters, 'character')}, {len(run.vocabulary)} different"
    yield "held-out text", _held_out(run)
    yield "model", model_line(run)
    yield (
        "training",
        f"step {count(progress.step)} of {count(training.steps)}, {amount(training.batch_size, 'stream')} × "
        f"{amount(training.seq_length, 'character')}, learning rate {training.learning_rate:g}, {training.precision}",
    )
    others = _other_settings(training)
    if others:
        yield "other settings", ", ".join(others)
    if progress.seconds:
        yield "time", duration(progress.seconds)
    if progress.best_nats is not None:
        at = "" if progress.best_step is None else f", at step {count(progress.best_step)}"
        yield "validation loss", f"{loss(progress.best_nats)}{at}"
    yield "reason", origin.chosen_because
    yield "checkpoints", ", ".join(f"step {count(step)}" for step in run.checkpoint_steps())


def _other_settings(training: TrainingSettings) -> list[str]:
    """Return the settings that no other row shows and that are not the defaults, such as `--seed 3`."""
    return [
        f"{option.flag} {shlex.quote(format_setting(value))}"
        for name, option in TrainingSettings.options().items()
        if name not in SHOWN and (value := getattr(training, name)) != option.default
    ]


def _held_out(run: Run) -> str:
    if not run.has_held_out_text:
        return "none: commands that read it need a text of yours"
    text = f"the last {amount(run.settings.corpus.held_out, 'character')} of the corpus"
    return f"{text}; {file_size(run.held_out_size)} are in this folder, and `charrnn export` leaves them out"


def _draw_curve(run: Run, terminal: Terminal) -> None:
    """Draw the losses at the evaluations, if there are several."""
    from charrnn.model.losses import LossPlot, losses_of

    losses = losses_of(run)
    if len(losses) < 2:
        return
    curves = {
        "training": [(float(one.step), one.train_nats) for one in losses if one.train_nats is not None],
        "validation": [(float(one.step), one.validation_nats) for one in losses],
    }
    terminal.write("\n")
    write_plot(LossPlot(curves, "step", "nats per character", rows=CURVE_ROWS), terminal)
