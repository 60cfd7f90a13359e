"""`charrnn export` and `charrnn import`: share a run as one file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.options import CheckpointOption, JsonOption, NamedRunArgument
from charrnn.units import amount, count, file_size, loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charrnn.model.exported import Exported


def export(
    run: NamedRunArgument,
    file: Annotated[
        Path, typer.Argument(help="File to write, such as NAME.safetensors.", metavar="FILE", show_default=False)
    ],
    half: Annotated[bool, typer.Option("--half", help="Store weights in half precision: half the size.")] = False,
    with_text: Annotated[bool, typer.Option("--with-text", help="Include the held-out text.")] = False,
    checkpoint: CheckpointOption = "best",
    as_json: JsonOption = False,
) -> None:
    """Write a run to one file, to share it.

    The file holds weights, vocabulary, settings, the loss curve and the name of the corpus. It has no optimizer state,
    no folder names, and no text unless you ask for it. `charrnn import` makes a run of it; other tools can read it as a
    safetensors file.

    [bold]charrnn export shakespeare shakespeare.safetensors[/bold]
    [bold]charrnn export shakespeare small.safetensors --half[/bold]
    """
    from charrnn.model.exported import export_run
    from charrnn.model.lookup import open_run

    opened = open_run(run)
    exported = export_run(opened, file, checkpoint=checkpoint, half=half, with_text=with_text)
    _show(exported, file, f"{opened.name} written to {file}", as_json=as_json)


def import_(
    file: Annotated[Path, typer.Argument(help="File that `charrnn export` wrote.", metavar="FILE", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the new run.", metavar="NAME", show_default="that of the exported run")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run of a file from `charrnn export`.

    The file may come from a stranger: nothing in it is executed, and it is checked before the run appears. Train it
    further with --init-from.

    [bold]charrnn import shakespeare.safetensors[/bold]
    [bold]charrnn import shakespeare.safetensors --name theirs[/bold]
    """
    from charrnn.model.exported import import_run, read_exported
    from charrnn.model.lookup import check_new_name, runs_folder

    exported = read_exported(file)
    wanted = check_new_name(name or exported.name, runs_folder(), "choose another name with --name")
    imported = import_run(exported, wanted)
    _show(exported, imported.path, f"{file} imported as {imported.name}", as_json=as_json)


def _show(exported: Exported, path: Path, title: str, *, as_json: bool) -> None:
    """Say what the file holds and how large each part is."""
    from charrnn.display.tables import key_values
    from charrnn.display.terminal import Terminal

    if as_json:
        facts = {"run": exported.name, "step": exported.progress.step, "half": exported.half}
        print(json.dumps({"path": str(path), **facts, "bytes": dict(exported.sizes)}))
        return
    terminal = Terminal.of(sys.stdout)
    terminal.paragraph(f"{title}, {file_size(sum(exported.sizes.values()))}")
    key_values(_rows(exported), terminal)


def _rows(exported: Exported) -> Iterator[tuple[str, str]]:
    model, corpus, sizes = exported.settings.model, exported.settings.corpus, exported.sizes
    nats = exported.progress.validation_nats
    validation = "" if nats is None else f", validation loss {loss(nats)}"
    kind = "half" if exported.half else "single"
    yield "model", f"{model.shape}, step {count(exported.progress.step)}{validation}"
    yield "weights", f"{file_size(sizes['weights'])}, {kind} precision; no optimizer state"
    yield "vocabulary", f"{file_size(sizes['vocabulary'])}, {len(exported.vocabulary)} {exported.vocabulary.kind}"
    settings = f"{file_size(sizes['settings and loss curve'])}, corpus {corpus.name}"
    yield "settings", f"{settings}, {amount(len(exported.losses), 'evaluation')}"
    yield "reason", exported.settings.origin.chosen_because
    text = sizes["held-out text"]
    yield "held-out text", f"{file_size(text)}: readable by everyone who gets the file" if text else "none"
