"""`charrnn runs`: compare runs, and the group that the commands of `manage` belong to."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.completion import complete_run
from charrnn.cli.help import Group, add_command
from charrnn.cli.options import JsonListOption, check_figure, output_option
from charrnn.cli.stderr import note, say
from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.options import only_one_of
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.units import bits, count, file_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charrnn.display.terminal import Terminal
    from charrnn.model.checkpoint import Progress
    from charrnn.model.losses import LossPlot
    from charrnn.model.run import Run
    from charrnn.options import Option

HEADERS = ("run", "corpus", "model", "parameters", "steps", "nats", "bpc", "minutes", "size", "state")
NUMBERS = ("parameters", "nats", "bpc", "minutes", "size")
LEFT_OUT_FIRST = ("size", "parameters", "steps", "minutes", "bpc", "corpus", "state", "model")
"""Columns that a narrow terminal leaves out, in this order."""
IN_COLUMNS = ("recurrence", "layers", "hidden_size", "steps")
HIDDEN_FIRST = (
    "val_characters",
    "evaluations",
    "threads",
    "precision",
    "val_fraction",
    "patience",
    "warmup_steps",
)
"""Settings that a narrow terminal leaves out, in this order; after them the others, from the last to the first."""
LOSSES = "losses: the lowest validation loss of each run, on its own held-out text"
NONE = "–"
MAX_CHARACTERS = 40  # of a corpus name, a path or a setting
NARROW, NARROW_CHARACTERS = 100, 16  # the same on terminals of fewer columns, but for paths
LIST = "list"


class RunsGroup(Group):
    """A group in which `charrnn runs NAME…` means `charrnn runs list NAME…`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)


runs_app = typer.Typer(
    cls=RunsGroup,
    help="Compare, show, rename and remove runs. Without a command: list.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Damaged:
    """A run that cannot be read."""

    name: str
    problem: str
    size: int

    @property
    def warnings(self) -> tuple[str, ...]:
        return (self.problem,)

    def cells(self, characters: int) -> list[str]:
        return [self.name, *[NONE] * (len(HEADERS) - 3), file_size(self.size), "damaged"]

    def to_json(self) -> dict[str, Any]:
        return {"run": self.name, "state": "damaged", "bytes": self.size, "problem": self.problem}


@dataclass(frozen=True)
class Summary:
    """A run and its progress.

    size: of all its files, in bytes. warnings: raised while reading it, such as for a damaged checkpoint.
    """

    run: Run
    progress: Progress
    parameters: int
    state: str
    size: int
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def options(self) -> dict[str, Any]:
        """Return name → value of the settings of model and training."""
        return self.run.settings.model.to_json() | self.run.settings.training.to_json()

    def to_json(self) -> dict[str, Any]:
        settings, progress = self.run.settings, self.progress
        return {
            "run": self.name,
            "path": str(self.run.path),
            "state": self.state,
            "created": settings.origin.created,
            "device": settings.origin.device,
            "corpus": settings.corpus.name,
            "corpus_sha256": settings.corpus.sha256,
            "characters": settings.corpus.characters,
            "parameters": self.parameters,
            "bytes": self.size,
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "best_validation_nats": progress.best_nats,
            "best_step": progress.best_step,
            "model": settings.model.to_json(),
            "training": settings.training.to_json(),
            "warnings": list(self.warnings),
        }

    def cells(self, characters: int) -> list[str]:
        """Return the row of the table below `HEADERS`. characters: those shown of the corpus's name."""
        settings, progress = self.run.settings, self.progress
        nats = progress.best_nats
        return [
            _title(self.run.path),
            _shortened(settings.corpus.name, characters),
            settings.model.shape,
            count(self.parameters),
            f"{count(progress.step)} of {count(settings.training.steps)}",
            NONE if nats is None else _number(nats, 4),
            NONE if nats is None else _number(bits(nats), 4),
            _number(progress.seconds / 60, 1),
            file_size(self.size),
            self.state,
        ]


def _complete(incomplete: str) -> list[str]:
    """Return the names of runs and of the group's commands, of which one may be meant."""
    commands = [command.name or "" for command in runs_app.registered_commands]
    return [*complete_run(incomplete), *(name for name in commands if name.startswith(incomplete))]


def runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or folders of runs.",
            metavar="RUN...",
            show_default="all in checkpoints/",
            autocompletion=_complete,
        ),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw their validation losses in one plot.")] = False,
    x: Annotated[
        str | None,
        typer.Option(
            "--x", help="The x-axis of the plot.", metavar="characters|minutes|steps", show_default="characters"
        ),
    ] = None,
    output: Annotated[Path | None, output_option("Write the plot to this .svg, .pdf or .png file.")] = None,
    as_json: JsonListOption = False,
) -> None:
    """Compare runs: losses, minutes, sizes, and the settings that differ.

    The run trained last comes first and the built-in one last, unless you give names. nats and bpc (bits per
    character) are the best validation loss; minutes is the training time; size is that of all files of the run.

    [bold]charrnn runs[/bold]
    [bold]charrnn runs wide narrow --plot[/bold]
    [bold]charrnn runs wide narrow --plot --output curves.svg[/bold]
    [bold]charrnn runs --json[/bold]
    """
    from charrnn.display.terminal import Terminal, safe_text
    from charrnn.model.lookup import all_run_names, runs_folder

    only_one_of(json=as_json, output=output)
    only_one_of(json=as_json, plot=plot)
    if x is not None and not plot and output is None:
        raise UsageError("--x is for --plot and --output", "add one of them")
    check_figure(output)
    listed = [summarize(name) for name in names or all_run_names()]
    if as_json:
        print(json.dumps([entry.to_json() for entry in listed], indent=2))
        return
    if not listed:
        raise CharrnnError(f"no run in {runs_folder()}", "train one first: charrnn train")
    if output is not None:
        figure = _plot(listed, x or "characters")
        figure.save(output)
        for left_out in figure.notes:
            note(left_out)
        say(f"written to {output}")
        return
    terminal = Terminal.of(sys.stdout)
    if plot:
        write_plot(_plot(listed, x or "characters"), terminal)
        terminal.write("\n")
    print_runs(listed, terminal)
    sys.stdout.flush()  # the warnings on stderr come after the table
    for entry in listed:
        for problem in entry.warnings:
            Terminal.of(sys.stderr).paragraph(f"{entry.name}: {safe_text(problem, keep_newlines=False)}")


add_command(runs_app, runs, name=LIST)


def summarize(name: str | None) -> Summary | Damaged:
    """Return the summary of a run; None: of the newest. Raises UsageError if there is no run of that name."""
    from charrnn.model.built_in import is_built_in
    from charrnn.model.lookup import find_run
    from charrnn.model.manage import run_size
    from charrnn.model.network import parameter_count
    from charrnn.model.run import Run

    path = find_run(name)
    size = run_size(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CharrnnWarning)
        try:
            run = Run(path)
            last = run.checkpoint("last")
        except CharrnnError as error:
            return Damaged(name or path.name, str(error), size)
    if is_built_in(path):
        state = "built in"
    elif run.is_being_trained():
        state = "training"
    elif not last.has_training_state:
        state = "weights only"
    elif run.is_finished(last):
        state = "finished" if last.step == run.settings.training.steps else "finished early"
    else:
        state = "stopped" if last.step else "not started"
    parameters = parameter_count(run.settings.model, len(run.vocabulary))
    return Summary(run, last.progress, parameters, state, size, tuple(str(w.message) for w in caught))


def _plot(listed: Sequence[Summary | Damaged], x: str) -> LossPlot:
    from charrnn.model.losses import LossPlot

    return LossPlot.of([entry.run for entry in listed if isinstance(entry, Summary)], x)


def write_plot(plot: LossPlot, terminal: Terminal) -> None:
    """Draw loss curves, and say which runs are left out."""
    terminal.write_lines(plot.lines(terminal))
    for left_out in plot.notes:
        terminal.paragraph(left_out)


def _options() -> dict[str, Option]:
    """Return name → option of the settings of model and training."""
    return {**ModelSettings.options(), **TrainingSettings.options()}


def differing_settings(runs: Sequence[Summary]) -> list[str]:
    """Return the settings that differ between runs and have no column."""
    return [name for name in _options() if name not in IN_COLUMNS and len({entry.options[name] for entry in runs}) > 1]


def print_runs(listed: Sequence[Summary | Damaged], terminal: Terminal) -> None:
    """Print a table of runs, and one of the settings that differ, each with as many columns as fit on a terminal."""
    from charrnn.display.tables import fit, table

    characters = NARROW_CHARACTERS if terminal.is_terminal and terminal.width < NARROW else MAX_CHARACTERS
    headers, rows = fit(HEADERS, [entry.cells(characters) for entry in listed], terminal, LEFT_OUT_FIRST)
    table(headers, rows, terminal, right=[header for header in NUMBERS if header in headers])
    intact = [entry for entry in listed if isinstance(entry, Summary)]
    names = differing_settings(intact)
    settings, rows = fit(["run", *map(_flag, names)], _setting_rows(intact, names), terminal, _hidden_first(names))
    if len(settings) > 1:
        terminal.write("\n")
        table(settings, rows, terminal, right=settings[1:])
    if terminal.is_terminal:
        terminal.write("\n")
        terminal.paragraph(LOSSES)
    left_out = [header for header in (*HEADERS, *map(_flag, names)) if header not in headers + settings]
    if left_out:
        terminal.paragraph(f"left out at this width: {', '.join(left_out)}; charrnn runs show RUN has them")


def _setting_rows(runs: Sequence[Summary], names: Sequence[str]) -> list[list[str]]:
    return [[_title(one.run.path), *(_shortened(format_setting(one.options[name])) for name in names)] for one in runs]


def _hidden_first(names: Sequence[str]) -> list[str]:
    """Return the flags of settings in the order in which a narrow table leaves them out."""
    others = [name for name in reversed(names) if name not in HIDDEN_FIRST]
    return [_flag(name) for name in (*(name for name in HIDDEN_FIRST if name in names), *others)]


def _flag(name: str) -> str:
    return _options()[name].flag.removeprefix("--")


def _title(path: Path) -> str:
    """Return the name of a run, or its path if the folder was renamed to something that no run is called."""
    from charrnn.model.lookup import SAFE_NAME

    return path.name if SAFE_NAME.fullmatch(path.name) else _shortened(str(path))


def _shortened(text: str, characters: int = MAX_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _number(value: float, decimals: int) -> str:
    """Format a number; an absurd one of a damaged run stays short."""
    return f"{value:.{decimals}f}" if abs(value) < 1e7 else f"{value:.3g}"


def format_setting(value: Any) -> str:
    """Return the value of a setting; None as a dash."""
    return f"{value:g}" if isinstance(value, float) else NONE if value is None else str(value)
