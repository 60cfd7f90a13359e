"""`charrnn history`: when during training a cell began to track a property."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from charrnn.cli.options import (
    DeviceOption,
    JsonOption,
    LanguageOption,
    RunArgument,
    SkipUnknownOption,
    TextOption,
    help_of,
    read_text,
    with_settings,
)
from charrnn.settings import InspectSettings, settings_from


def register(app: typer.Typer) -> None:
    app.command("history", help=help_of(history))(history)


@with_settings(InspectSettings, only=("signal", "color"))
def history(
    run: RunArgument = None,
    cell: Annotated[str, typer.Option("--cell", "-c", help="Cell: 42, or LAYER:INDEX as 2:17.", metavar="CELL")] = ...,  # type: ignore[assignment]  # typer's mark of a required option
    property_name: Annotated[
        str | None,
        typer.Option(
            "--property",
            "-p",
            help="Property to compare with: a name, NAME=REGEX or FILE.py:function.",
            metavar="PROPERTY",
            show_default="what the last search found",
        ),
    ] = None,
    language: LanguageOption = None,
    text: TextOption = None,
    skip_unknown: SkipUnknownOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Show at which checkpoint a cell began to track a property.

    Without --property, and without a search that found one, each checkpoint is compared with the last. Train with
    --keep every:N to keep more checkpoints.

    [bold]charrnn history --cell 42[/bold]  ·  [bold]charrnn history shakespeare --cell 1:17 --property "line
    position"[/bold]
    """
    from charrnn.api import load
    from charrnn.cli import surveys
    from charrnn.cli.look import Look
    from charrnn.display.terminal import Terminal
    from charrnn.inspection.trace import find_cell
    from charrnn.properties.catalog import find_property

    settings = settings_from(InspectSettings, given)
    model = load(run, device=device)
    shape = model.run.settings.model
    chosen_cell = find_cell(cell, shape.layers, shape.hidden_size)
    chosen = find_property(property_name) if property_name is not None else None
    title, encoded = read_text(model, text, skip_unknown=skip_unknown)
    terminal = Terminal.of(sys.stdout, settings.color)
    look = Look(model.run, model.checkpoint, model.network, title, encoded, terminal, as_json)
    surveys.history(look, chosen_cell, model.network.recurrence.find_signal(settings.signal), chosen, language)
