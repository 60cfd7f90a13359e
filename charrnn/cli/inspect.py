"""`charrnn inspect`: what cells do, character by character, and which of them follow what."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli import picture as pictures
from charrnn.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    SkipUnknownOption,
    flowing,
    only_one_of,
    with_settings,
)
from charrnn.display.terminal import Terminal
from charrnn.errors import UsageError
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS, InspectSettings, settings_from

SEARCH = "Search (without --cell)"
LOOKS = "Other looks"


def register(app: typer.Typer) -> None:
    app.command("inspect", help=flowing(inspect))(inspect)


@with_settings(InspectSettings)
def inspect(
    run: RunArgument = None,
    cell: Annotated[
        list[str] | None,
        typer.Option("--cell", "-c", help="A cell to show: 42, or LAYER:INDEX as 2:17. Repeatable.", metavar="CELL"),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="The layer that --cell counts in, or that --all lists, from 1.", metavar="LAYER"),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="A file to read, or - for standard input.", show_default="the held-out text", metavar="FILE"),
    ] = None,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file; its suffix decides.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    like: Annotated[
        str | None,
        typer.Option(
            help="The cells that are on throughout this piece of the text and off around it, and where else they are.",
            metavar="TEXT",
            rich_help_panel=LOOKS,
        ),
    ] = None,
    gates: Annotated[
        bool,
        typer.Option("--gates", help="How often every cell's gates are shut and wide open.", rich_help_panel=LOOKS),
    ] = False,
    history: Annotated[
        bool,
        typer.Option("--history", help="With --cell: at which checkpoint it became what it is.", rich_help_panel=LOOKS),
    ] = False,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            "-p",
            help="Search for this only: a name, your own NAME=REGEX (inside its matches), or FILE.py:function "
            "(text → a value for each character). Repeatable.",
            metavar="PROPERTY",
            show_default="the whole catalog",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Programming language of the text, as Pygments calls it; none: it is none.",
            show_default="by the corpus' file names",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            help="The corpus the run was trained on, from which the 5-gram to beat is learned.",
            metavar="CORPUS",
            show_default="looked for in corpora/",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    every_cell: Annotated[
        bool, typer.Option("--all", help="Also list what every cell goes best with.", rich_help_panel=SEARCH)
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="The evidence for every candidate as CSV instead.", rich_help_panel=SEARCH)
    ] = False,
    characters: Annotated[
        int | None,
        typer.Option(
            help="How much of the text is searched: more takes longer and finds what is rarer.",
            min=1,
            metavar="N",
            show_default=f"{SEARCHED_CHARACTERS:,}",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of everything random in the search.",
            min=0,
            show_default=str(SEARCH_SEED),
            rich_help_panel=SEARCH,
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Find the cells that follow something, or look at one: the text colored by what it does.

    Without --cell, every cell is compared with all that a text can be seen to do (inside quotes, position in the line,
    …). Only what holds on text that did not choose the cell, and beats what untrained networks, meaningless labels and
    the last five characters reach, earns a name.

    [bold]charrnn inspect[/bold]  ·  [bold]charrnn inspect --cell 42[/bold]  ·
    [bold]charrnn inspect shakespeare --cell 2:17 --signal forget[/bold]
    """
    from charrnn.cli import findings, surveys
    from charrnn.cli.look import Look
    from charrnn.cli.reading import text_of
    from charrnn.discovery.study import Effort
    from charrnn.inspection.trace import check_layer, find_cell
    from charrnn.model.device import choose_device
    from charrnn.model.lookup import open_run
    from charrnn.properties.catalog import find_property

    settings = settings_from(InspectSettings, given)
    only_one_of(json=as_json or None, csv=as_csv or None, output=output)
    kind = _kind_of_look(cell, like, gates, history)
    of_the_search = {"--all": every_cell, "--csv": as_csv, "--corpus": corpus}
    of_the_search |= {"--characters": characters, "--seed": seed}
    of_the_property = {"--property": properties, "--language": language}
    _refuse_idle(kind, given, of_the_search, of_the_property)
    if layer is not None and not cell and (not every_cell or as_json or as_csv):
        raise UsageError("--layer needs a --cell to count in it, or the table of --all", "as in --layer 2 --cell 17")
    if history and len(properties or []) > 1:
        raise UsageError("--history compares with one --property", "give one of them at a time")
    if output is not None:
        from charrnn.display.export import find_format

        if kind != "picture":
            raise UsageError("--output needs a --cell", "for everything else write --json > FILE")
        find_format(output)
    opened = open_run(run)
    model = opened.settings.model
    if layer is not None:
        check_layer(layer, model.layers, model.hidden_size)
    cells = [find_cell(name, model.layers, model.hidden_size, layer) for name in cell or []]
    source, read = text_of(opened, text, skip_unknown=skip_unknown)
    network, save = opened.load_network(checkpoint, choose_device(device))
    look = Look(opened, save, network, source, read, Terminal.of(sys.stdout, settings.color), as_json)
    if kind == "like":
        surveys.like(look, like)
    elif kind == "gates":
        surveys.gates(look)
    elif kind == "history":
        chosen = find_property(properties[0]) if properties else None
        surveys.history(look, cells[0], look.network.recurrence.find_signal(settings.signal), chosen, language)
    elif kind == "picture":
        picture = pictures.picture_of(look, cells, settings)
        if as_json:
            print(json.dumps(picture.to_json()))
        elif output is not None:
            pictures.write_file(picture, settings, output)
        else:
            pictures.show(picture, settings, lambda one: surveys.opening(look, one))
    else:
        effort = Effort(
            characters=SEARCHED_CHARACTERS if characters is None else characters,
            seed=SEARCH_SEED if seed is None else seed,
        )
        found = findings.search(look, effort, properties=properties or [], language=language, corpus=corpus)
        if as_json:
            print(json.dumps(found.to_json()))
        elif as_csv:
            findings.write_csv(found)
        else:
            findings.show(found, look, every_cell=every_cell, layer=layer)


def _kind_of_look(cell: list[str] | None, like: str | None, gates: bool, history: bool) -> str:
    """ "like", "gates", "history", "picture" or "search". Raises UsageError where two are asked for."""
    only_one_of(like=like, gates=gates or None, history=history or None)
    if history:
        if not cell or len(cell) != 1:
            raise UsageError("--history needs one --cell", "as in --cell 42 --history")
        return "history"
    if cell and (like is not None or gates):
        raise UsageError(f"{'--gates' if gates else '--like'} looks at all cells", "leave --cell out")
    return "like" if like is not None else "gates" if gates else "picture" if cell else "search"


def _refuse_idle(
    kind: str, given: dict[str, Any], of_the_search: dict[str, Any], of_the_property: dict[str, Any]
) -> None:
    """Raises UsageError where an option is given that a kind of look makes nothing of.

    given: those of a cell's picture. of_the_property: those of the search that --history knows too.
    """
    understood = {"picture": set(given), "history": {"signal", "color"}}.get(kind, {"color"})
    for name in given:
        if name not in understood and kind == "history":
            raise UsageError(f"--{name} is for a cell's picture", "leave --history out")
        if name not in understood:
            raise UsageError(f"--{name} needs a --cell", "as in --cell 42")
    idle = {"search": {}, "history": of_the_search}.get(kind, {**of_the_search, **of_the_property})
    for flag, value in idle.items():
        if not (value is None or value is False or value == []):
            raise UsageError(f"{flag} is for the search", "leave --cell, --like, --gates and --history out")
