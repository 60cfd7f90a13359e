"""`charrnn inspect`: search for interpretable cells, or color a text by one cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.background import output_terminal
from charrnn.cli.completion import complete_cell, complete_corpus, complete_property
from charrnn.cli.options import (
    LANGUAGE_DEFAULT,
    LANGUAGE_HELP,
    AgainOption,
    CheckpointOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    SkipUnknownOption,
    TextOption,
    read_text,
    with_settings,
)
from charrnn.cli.progress import stage_bar
from charrnn.errors import UsageError
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS, InspectSettings, ReadSettings, only_one_of, settings_from

SEARCH = "Search (without --cell)"

CellsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        "-c",
        help="Cell to show: 42, or LAYER:INDEX as 2:17. Repeatable.",
        metavar="CELL",
        autocompletion=complete_cell,
    ),
]
LayerOption = Annotated[
    int | None, typer.Option(help="Layer that --cell counts in, or that --all lists, from 1.", metavar="LAYER")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file; the suffix sets the format.", metavar="FILE")
]
LikeOption = Annotated[
    str | None,
    typer.Option(help="Find cells that are on throughout this piece of the text, and off around it.", metavar="TEXT"),
]
PropertiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        "-p",
        help="Search for this property only: a name, NAME=REGEX (true inside matches), or FILE.py:function (text → a "
        "value for each character). Repeatable.",
        metavar="PROPERTY",
        show_default="the whole catalog",
        autocompletion=complete_property,
        rich_help_panel=SEARCH,
    ),
]
LanguageOption = Annotated[
    str | None, typer.Option(help=LANGUAGE_HELP, show_default=LANGUAGE_DEFAULT, rich_help_panel=SEARCH)
]
CorpusOption = Annotated[
    str | None,
    typer.Option(
        help="The corpus that the run was trained on, to fit the 5-gram baseline.",
        metavar="CORPUS",
        show_default="looked up in corpora/",
        autocompletion=complete_corpus,
        rich_help_panel=SEARCH,
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="Also list the best property of every cell.", rich_help_panel=SEARCH)
]
EvidenceOption = Annotated[
    bool,
    typer.Option(
        "--evidence", help="Also print the scores behind the names, and what is not testable.", rich_help_panel=SEARCH
    ),
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print the evidence for every candidate as CSV.", rich_help_panel=SEARCH)
]
CharactersOption = Annotated[
    int | None,
    typer.Option(
        help="Characters to search: more takes longer and finds rarer properties.",
        min=1,
        metavar="N",
        show_default=f"{SEARCHED_CHARACTERS:,}",
        rich_help_panel=SEARCH,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        help="Random seed of the search.", min=0, max=2**32, show_default=str(SEARCH_SEED), rich_help_panel=SEARCH
    ),
]


ProveOption = Annotated[
    int | None,
    typer.Option(
        help="Also ablate the N best named cells: about a minute each.", min=1, metavar="N", rich_help_panel=SEARCH
    ),
]


@with_settings(InspectSettings, ReadSettings)
def inspect(
    run: RunArgument = None,
    cell: CellsOption = None,
    layer: LayerOption = None,
    like: LikeOption = None,
    text: TextOption = None,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    output: OutputOption = None,
    as_json: JsonOption = False,
    properties: PropertiesOption = None,
    language: LanguageOption = None,
    corpus: CorpusOption = None,
    evidence: EvidenceOption = False,
    every_cell: AllOption = False,
    as_csv: CsvOption = False,
    characters: CharactersOption = None,
    seed: SeedOption = None,
    prove: ProveOption = None,
    again: AgainOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Find interpretable cells, or color a text by one cell's activation.

    Without --cell, every cell is compared with every property of the text, such as quotes or the position in the line.
    A cell is named only if the result holds on text that did not select it, and beats untrained networks, meaningless
    labels and the last five characters.

    [bold]charrnn inspect[/bold]
    [bold]charrnn inspect --cell 42[/bold]
    [bold]charrnn inspect shakespeare --cell 2:17 --signal forget[/bold]
    """
    from charrnn.api import load
    from charrnn.cli.findings import print_csv, print_findings
    from charrnn.cli.pictures import find_span, show_cells
    from charrnn.display.export import find_format
    from charrnn.inspection.trace import check_layer, find_cell

    settings = settings_from(InspectSettings, given)
    only_one_of(json=as_json or None, csv=as_csv or None, output=output)
    only_one_of(cell=cell or None, like=like)
    search: dict[str, Any] = {"--property": properties, "--language": language, "--corpus": corpus}
    search |= {
        "--evidence": evidence,
        "--prove": prove,
        "--all": every_cell,
        "--csv": as_csv,
        "--characters": characters,
        "--seed": seed,
        "--again": again,
    }
    _check_mode(cell, like, {**_flags(given), "--output": output}, search)
    if layer is not None and not cell and (not every_cell or as_json or as_csv):
        raise UsageError("--layer needs a --cell, or the table of --all", "as in --layer 2 --cell 17")
    if output is not None:
        find_format(output)
    model = load(run, checkpoint=checkpoint, device=device)
    shape = model.run.settings.model
    if layer is not None:
        check_layer(layer, shape.layers, shape.hidden_size)
    cells = [find_cell(name, shape.layers, shape.hidden_size, layer) for name in cell or []]
    title, encoded = read_text(model, text, skip_unknown=skip_unknown, given=given)
    terminal = output_terminal(settings.color, settings.background)
    if cells:
        show_cells(model, cells, title, encoded, settings, terminal, as_json=as_json, output=output)
    elif like is not None:
        find_span(model, like, encoded, terminal, as_json=as_json)
    else:
        with stage_bar() as bar:
            how: dict[str, Any] = {"language": language, "again": again, "progress": bar}
            how |= {"characters": characters or SEARCHED_CHARACTERS, "seed": SEARCH_SEED if seed is None else seed}
            found = model.discover(properties or (), encoded, corpus=corpus, **how)
            if prove is not None:
                model.prove(found, prove, encoded, **how)
        causes = {(one.cell, one.property_name): one for one in reversed(model.earlier_ablations(encoded))}
        if as_json:
            ablations = [causes[key].to_json() for one in found if (key := (one.cell, one.property_name)) in causes]
            print(json.dumps({**found.to_json(), "ablations": ablations}))
        elif as_csv:
            print_csv(found)
        else:
            shown = causes, evidence, every_cell, layer
            print_findings(found, model, title, terminal, *shown)


def _flags(given: dict[str, Any]) -> dict[str, Any]:
    """Return flag → value of the options of a picture."""
    options = InspectSettings.options()
    return {
        options[name].flag: value for name, value in given.items() if name in options.keys() - {"color", "background"}
    }


def _check_mode(cell: list[str] | None, like: str | None, picture: dict[str, Any], search: dict[str, Any]) -> None:
    """Raise UsageError for an option that has no effect without, or with, --cell."""
    for flag, value in picture.items():
        if value is not None and not cell:
            raise UsageError(f"{flag} needs a --cell", "as in --cell 42")
    for flag, value in search.items():
        if value is not None and value is not False and (cell or like is not None):
            raise UsageError(f"{flag} is for the search", "leave out --cell and --like")
