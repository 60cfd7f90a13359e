"""`charrnn inspect`: search for interpretable cells, or color a text by one cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.errors import UsageError
from charrnn.options import only_one_of, settings_from
from charrnn.progress import progress_bar, span
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS, InspectSettings

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.display.terminal import Terminal
    from charrnn.inspection.trace import Cell
    from charrnn.text.encoded_text import EncodedText

SEARCH = "Search (without --cell)"

CellsOption = Annotated[list[str] | None, options.cell_option("Cell to show", repeatable=True)]
LayerOption = Annotated[
    int | None, typer.Option(help="Layer that --cell counts in, or that --all lists, from 1.", metavar="LAYER")
]
OutputOption = Annotated[Path | None, options.output_option("Write to this file; the suffix sets the format.")]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html",
        help="Write an HTML page of the best cells, to share: it runs the network as you type.",
        metavar="FILE",
        rich_help_panel=SEARCH,
    ),
]
LikeOption = Annotated[
    str | None,
    typer.Option(help="Find cells that are on throughout this piece of the text, and off around it.", metavar="TEXT"),
]
PropertiesOption = Annotated[
    list[str] | None,
    options.property_option(
        "Search for this property only: a name, NAME=REGEX (true inside matches), or FILE.py:function (text → a value "
        "for each character). Repeatable.",
        "the whole catalog",
        SEARCH,
    ),
]
SearchLanguageOption = Annotated[str | None, options.language_option(SEARCH)]
CorpusOption = Annotated[
    str | None, options.corpus_option("The corpus that the run was trained on, to fit the 5-gram baseline.", SEARCH)
]
AllOption = Annotated[
    bool, typer.Option("--all", help="Also list the best property of every cell.", rich_help_panel=SEARCH)
]
EvidenceOption = Annotated[
    bool,
    typer.Option(
        "--evidence",
        help="Print all that was found, the scores behind the names, and what is not testable.",
        rich_help_panel=SEARCH,
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
    int | None, options.seed_option("Random seed of the search.", show_default=str(SEARCH_SEED), rich_help_panel=SEARCH)
]
ProveOption = Annotated[
    int | None,
    typer.Option(
        help="Also ablate the N best named cells: about a minute each.", min=1, metavar="N", rich_help_panel=SEARCH
    ),
]


@options.reads_text(InspectSettings)
def inspect(
    run: options.RunArgument = None,
    cell: CellsOption = None,
    layer: LayerOption = None,
    like: LikeOption = None,
    text: options.TextOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    output: OutputOption = None,
    as_json: options.JsonOption = False,
    properties: PropertiesOption = None,
    language: SearchLanguageOption = None,
    corpus: CorpusOption = None,
    evidence: EvidenceOption = False,
    every_cell: AllOption = False,
    as_csv: CsvOption = False,
    characters: CharactersOption = None,
    seed: SeedOption = None,
    prove: ProveOption = None,
    html: HtmlOption = None,
    again: options.AgainOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Find interpretable cells, or color a text by one cell.

    Without --cell, every cell is compared with every property of the text, such as quotes or the position in the line.
    A cell is named only if the result holds on text that did not select it, and beats untrained networks, meaningless
    labels and the last five characters.

    [bold]charrnn inspect[/bold]
    [bold]charrnn inspect --cell 42[/bold]
    [bold]charrnn inspect --html cells.html[/bold]
    [bold]charrnn inspect shakespeare --cell 2:17 --signal forget[/bold]
    """
    from charrnn.cli.pictures import find_span, show_cells
    from charrnn.display.export import find_format

    search = _Search(properties, language, corpus, evidence, every_cell, as_csv, characters, seed, prove, html, again)
    only_one_of(json=as_json, csv=as_csv, output=output, html=html)
    only_one_of(cell=cell or None, like=like)
    _check_mode(cell, like, {**_flags(given, explorer=html is not None), "--output": output}, search)
    if layer is not None and not cell and (not every_cell or as_json or as_csv):
        raise UsageError("--layer needs a --cell, or the table of --all", "as in --layer 2 --cell 17")
    if output is not None:
        find_format(output)
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{html} is not an HTML file", "as in --html cells.html")
    options.check_output(output or html)
    settings = settings_from(InspectSettings, given)
    model, title, encoded = options.open_text(run, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
    cells = _cells(cell, layer, model)
    terminal = output_terminal(settings)
    if cells:
        show_cells(model, cells, title, encoded, settings, terminal, as_json=as_json, output=output)
    elif like is not None:
        find_span(model, like, encoded, terminal, as_json=as_json)
    else:
        _search(model, title, encoded, search, settings, layer, terminal, as_json=as_json)


class _Search(NamedTuple):
    """The options of a search."""

    properties: list[str] | None
    language: str | None
    corpus: str | None
    evidence: bool
    every_cell: bool
    as_csv: bool
    characters: int | None
    seed: int | None
    prove: int | None
    html: Path | None
    again: bool

    def given(self) -> list[str]:
        """Return the flags of those that the user set."""
        flags = {"properties": "--property", "every_cell": "--all", "as_csv": "--csv"}
        values = self._asdict().items()
        return [flags.get(name, f"--{name}") for name, value in values if value is not None and value is not False]


def _search(
    model: Model,
    title: str,
    encoded: EncodedText,
    search: _Search,
    settings: InspectSettings,
    layer: int | None,
    terminal: Terminal,
    *,
    as_json: bool,
) -> None:
    """Search for cells, and print what is found."""
    from charrnn.cli.findings import print_csv, print_findings
    from charrnn.cli.pictures import write_explorer
    from charrnn.inspected_model import SEARCH_SHARE

    how: dict[str, Any] = {"language": search.language, "again": search.again}
    how["characters"] = search.characters or SEARCHED_CHARACTERS
    how["seed"] = SEARCH_SEED if search.seed is None else search.seed
    share = SEARCH_SHARE / (SEARCH_SHARE + (1 - SEARCH_SHARE) * (search.prove or 0))
    end = 1 if search.html is None else 0.9
    with progress_bar() as bar:
        report = span(bar, 0, end * share)
        found = model.discover(search.properties or (), encoded, corpus=search.corpus, progress=report, **how)
        if search.prove is not None:
            model.prove(found, search.prove, encoded, progress=span(bar, end * share, end), **how)
        if search.html is not None:
            report = span(bar, end, 1)
            page = model.explorer(found, encoded, title=title, palette=settings.palette, progress=report)
    if search.html is not None:
        write_explorer(page, search.html)
        return
    causes = {(one.cell, one.property_name): one for one in reversed(model.earlier_ablations(encoded))}
    if as_json:
        ablations = [causes[key].to_json() for one in found if (key := (one.cell, one.property_name)) in causes]
        print(json.dumps({**found.to_json(), "ablations": ablations}))
    elif search.as_csv:
        print_csv(found)
    else:
        asked = bool(search.properties)
        print_findings(found, model, title, terminal, causes, search.evidence, search.every_cell, layer, asked)


def _cells(names: list[str] | None, layer: int | None, model: Model) -> list[Cell]:
    """Return the cells of these names. Raise UsageError for a cell or layer that the model lacks."""
    from charrnn.inspection.trace import check_layer, find_cell

    shape = model.run.settings.model
    if layer is not None:
        check_layer(layer, shape.layers, shape.hidden_size)
    return [find_cell(name, shape.layers, shape.hidden_size, layer) for name in names or []]


def _flags(given: dict[str, Any], *, explorer: bool) -> dict[str, Any]:
    """Return flag → value of the options that need a --cell. explorer: it has a palette too."""
    elsewhere = {"color", "background", *(["palette"] if explorer else [])}
    known = {name: option for name, option in InspectSettings.options().items() if name not in elsewhere}
    return {known[name].flag: value for name, value in given.items() if name in known}


def _check_mode(cell: list[str] | None, like: str | None, picture: dict[str, Any], search: _Search) -> None:
    """Raise UsageError for an option that has no effect without, or with, --cell."""
    for flag, value in picture.items():
        if value is not None and not cell:
            raise UsageError(f"{flag} needs a --cell", "as in --cell 42")
    if search.given() and (cell or like is not None):
        raise UsageError(f"{search.given()[0]} is for the search", "leave out --cell and --like")
