"""`charrnn inspect`: what cells do, character by character, and which of them follow what."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import picture as pictures
from charrnn.cli.options import settings_from, with_settings
from charrnn.display.terminal import Terminal
from charrnn.errors import UsageError
from charrnn.settings import DEVICES, InspectSettings

if TYPE_CHECKING:
    import numpy as np

    from charrnn.model.run import Run

SEARCH = "Search (without --cell)"


def register(app: typer.Typer) -> None:
    app.command("inspect")(inspect)


@with_settings(InspectSettings)
def inspect(
    run: Annotated[
        str | None, typer.Argument(help="A run's name or folder.", metavar="RUN", show_default="the newest")
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option("--cell", "-c", help="A cell to show: 42, or LAYER:INDEX as 2:17. Repeatable.", metavar="CELL"),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="The layer that --cell counts in, from 1.", metavar="LAYER")] = None,
    text: Annotated[
        str | None,
        typer.Option(help="A file to read, or - for standard input.", show_default="the held-out text", metavar="FILE"),
    ] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out characters that the model does not know.")
    ] = False,
    checkpoint: Annotated[
        str, typer.Option(help="Which weights: best, last, or the step of a save.", metavar="best|last|STEP")
    ] = "best",
    device: Annotated[str, typer.Option(help="Where to compute.", metavar="|".join(DEVICES))] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file; its suffix decides.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            "-p",
            help="Search for this only: a name, your own NAME=REGEX (inside its matches), or FILE.py:function "
            "(text → a value for each character). Repeatable.",
            metavar="PROPERTY",
            show_default="the whole catalogue",
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
    seed: Annotated[
        int, typer.Option(help="Seed of everything random in the search.", min=0, rich_help_panel=SEARCH)
    ] = 1,
    *,
    given: dict[str, Any],
) -> None:
    """Find the cells that follow something, or look at one: the text coloured by what it does.

    Without --cell, every cell is compared with all that a text can be seen to do (inside quotes, position in the line,
    …). Only what holds on text that did not choose the cell, and beats what untrained networks, meaningless labels and
    the last five characters reach, earns a name.

    [bold]charrnn inspect[/bold]  ·  [bold]charrnn inspect --cell 42[/bold]  ·
    [bold]charrnn inspect shakespeare --cell 2:17 --signal forget[/bold]
    """
    from charrnn.inspection.trace import find_cell
    from charrnn.model.device import choose_device
    from charrnn.model.run import open_run

    settings = settings_from(InspectSettings, given)
    _check(cell, layer, output, given, [properties, language, corpus, every_cell, as_csv])
    if output is not None:
        from charrnn.display.export import export, format_of

        format_of(output)
    opened = open_run(run)
    model = opened.settings.model
    cells = [find_cell(name, model.layers, model.hidden_size, layer) for name in cell or []]
    network, save = opened.load_network(checkpoint, choose_device(device))
    source, ids = _text(opened, text, skip_unknown)
    if not cells:
        from charrnn.cli import findings

        found = findings.search(
            opened,
            save,
            network,
            ids,
            properties=properties or [],
            language=language,
            corpus=corpus,
            seed=seed,
        )
        if as_json:
            print(json.dumps(found.to_json(), ensure_ascii=False))
        elif as_csv:
            findings.write_csv(found)
        else:
            findings.show(found, opened, source, Terminal.of(sys.stdout, settings.color), every_cell=every_cell)
        return
    picture = pictures.look(opened, save, network, source, ids, cells, settings)
    if as_json:
        print(json.dumps(picture.to_json(), ensure_ascii=False))
    elif output is not None:
        export(output, picture.views(settings.palette), picture.facts())
        print(f"written to {output}", file=sys.stderr)
    else:
        pictures.show(picture, settings)


def _check(
    cell: list[str] | None, layer: int | None, output: Path | None, given: dict[str, Any], of_the_search: list[Any]
) -> None:
    """Raises UsageError where options of the search and of a picture stand together."""
    if cell:
        if any(of_the_search):
            raise UsageError("--property, --language, --corpus, --all and --csv are for a search, without --cell")
        return
    if layer is not None:
        raise UsageError("--layer needs a --cell to count in it", "as in --layer 2 --cell 17")
    if output is not None:
        raise UsageError("--output needs a --cell", "for the findings of a search write --json > FILE")
    pictured = [name for name in given if name != "color"]
    if pictured:
        raise UsageError(f"--{pictured[0].replace('_', '-')} needs a --cell", "as in --cell 42")


def _text(run: Run, spec: str | None, skip_unknown: bool) -> tuple[str, np.ndarray]:
    """What the text is called, and its ids (N,)."""
    from charrnn.text.corpus import read_text

    if spec is None:
        return "held-out text", run.held_out()
    source = "standard input" if spec == "-" else spec
    raw = read_text(spec, as_bytes=run.vocabulary.kind == "bytes")
    return source, run.vocabulary.encode(
        raw, source=source, skip_unknown=skip_unknown, hint="use --skip-unknown to leave them out"
    )
