"""`charrnn runs`: what was trained, side by side."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import flowing
from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.units import bits, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charrnn.display.terminal import Terminal
    from charrnn.model.checkpoint import Progress
    from charrnn.model.run import Run

HEADERS = ("run", "corpus", "model", "parameters", "steps", "nats", "bpc", "minutes", "state")
NUMBERS = ("parameters", "nats", "bpc", "minutes")
IN_MODEL_COLUMN = ("recurrence", "layers", "hidden_size")
NOTHING = "–"


def register(app: typer.Typer) -> None:
    app.command("runs", help=flowing(runs))(runs)


@dataclass(frozen=True)
class Damaged:
    """A run that cannot be read, and what is wrong with it."""

    name: str
    problem: str

    @property
    def warnings(self) -> tuple[str, ...]:
        return (self.problem,)

    def cells(self) -> list[str]:
        return [self.name, *[NOTHING] * (len(HEADERS) - 2), "damaged"]

    def to_json(self) -> dict[str, Any]:
        return {"run": self.name, "state": "damaged", "problem": self.problem}


@dataclass(frozen=True)
class Listed:
    """A run and how far it came. warnings: what was passed over to learn that."""

    run: Run
    progress: Progress
    parameters: int
    state: str
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def options(self) -> dict[str, Any]:
        """Name → value of every setting of model and training."""
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
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "best_validation_nats": progress.best_nats,
            "best_step": progress.best_step,
            "model": settings.model.to_json(),
            "training": settings.training.to_json(),
            "warnings": list(self.warnings),
        }

    def cells(self) -> list[str]:
        """What the columns of `HEADERS` show."""
        settings, progress = self.run.settings, self.progress
        model, nats = settings.model, progress.best_nats
        return [
            self.name,
            settings.corpus.name,
            f"{model.recurrence} {model.layers}×{model.hidden_size}",
            count(self.parameters),
            f"{count(progress.step)} of {count(settings.training.steps)}",
            NOTHING if nats is None else f"{nats:.4f}",
            NOTHING if nats is None else f"{bits(nats):.4f}",
            f"{progress.seconds / 60:.1f}",
            self.state,
        ]


def runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names or folders of runs.", metavar="RUN...", show_default="all in checkpoints/"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for programs.")] = False,
) -> None:
    """Compare runs side by side: losses, minutes, and the settings that differ.

    The one trained last comes first, unless names give an order. nats and bpc (bits per character) are the best
    validation loss; minutes, the time trained.

    [bold]charrnn runs[/bold]  ·  [bold]charrnn runs wide narrow --json[/bold]
    """
    from charrnn.display.terminal import Terminal, safe_text
    from charrnn.model.lookup import run_names, runs_folder

    found = [_listed(name) for name in names or run_names(runs_folder())]
    if as_json:
        print(json.dumps([entry.to_json() for entry in found], indent=2))
        return
    if not found:
        raise CharrnnError(f"no run in {runs_folder()}", "train one first: charrnn train")
    terminal = Terminal.of(sys.stdout)
    _show(found, terminal)
    sys.stdout.flush()  # what is told of the runs comes after them, wherever both streams end
    for entry in found:
        for problem in entry.warnings:
            Terminal.of(sys.stderr).paragraph(f"{entry.name}: {safe_text(problem, keep_newlines=False)}")


def _listed(name: str) -> Listed | Damaged:
    """Raises UsageError where there is no run of that name."""
    from charrnn.model.lookup import open_run
    from charrnn.model.network import parameter_count

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CharrnnWarning)
        try:
            run = open_run(name)
            save = run.checkpoint("last")
        except UsageError:
            raise
        except CharrnnError as error:
            return Damaged(name, str(error))
    if run.is_being_trained():
        state = "training"
    elif save.progress.finished:
        state = "finished" if save.step == run.settings.training.steps else "finished early"
    else:
        state = "stopped" if save.step else "not begun"
    parameters = parameter_count(run.settings.model, len(run.vocabulary))
    return Listed(run, save.progress, parameters, state, tuple(str(w.message) for w in caught))


def differing(found: Sequence[Listed]) -> list[str]:
    """The settings of model and training that are not the same in all of these runs, in their order. What the model's
    column tells, and the length, which the steps' column tells, are left out."""
    names = [*ModelSettings.options(), *TrainingSettings.options()]
    told = {*IN_MODEL_COLUMN, "steps"}
    return [name for name in names if name not in told and len({entry.options[name] for entry in found}) > 1]


def _show(found: Sequence[Listed | Damaged], terminal: Terminal) -> None:
    from charrnn.display.tables import table

    table(HEADERS, (entry.cells() for entry in found), terminal, right=NUMBERS)
    sound = [entry for entry in found if isinstance(entry, Listed)]
    names = differing(sound)
    if names:
        options = {**ModelSettings.options(), **TrainingSettings.options()}
        headers = [options[name].flag.removeprefix("--") for name in names]
        terminal.write("\n")
        rows = ([entry.name, *(_shown(entry.options[name]) for name in names)] for entry in sound)
        table(["run", *headers], rows, terminal, right=headers)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else NOTHING if value is None else str(value)
