"""`charrnn steer`: what changes in generated text while a cell is held."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from charrnn.cli.ablate import CellOption, LanguageOption, SignalOption
from charrnn.cli.completion import complete_property
from charrnn.cli.options import (
    READING,
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
from charrnn.errors import ExitCode
from charrnn.settings import InspectSettings, ReadSettings, settings_from

TEXTS, LENGTH = 64, 2_000

PropertyOption = Annotated[
    str | None,
    typer.Option(
        "--property",
        "-p",
        help="Property to measure: a name, NAME=REGEX, or FILE.py:function.",
        metavar="PROPERTY",
        show_default="what the search gave the cell",
        autocompletion=complete_property,
    ),
]
TextsOption = Annotated[int, typer.Option("--texts", "-n", help="Texts for each value.", min=2, max=10_000)]
LengthOption = Annotated[int, typer.Option(help="Characters of each text.", min=100, max=1_000_000)]
SeedOption = Annotated[int, typer.Option(help="Random seed.", min=0, max=2**32)]


@with_settings(InspectSettings, ReadSettings, only=("color", *READING))
def steer(
    run: RunArgument = None,
    cell: CellOption = ...,  # type: ignore[assignment]  # typer's mark of a required option
    property: PropertyOption = None,
    signal: SignalOption = "auto",
    text: TextOption = None,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    language: LanguageOption = None,
    texts: TextsOption = TEXTS,
    length: LengthOption = LENGTH,
    seed: SeedOption = 1,
    *,
    given: dict[str, Any],
) -> None:
    """Generate text with a cell held at five values, and count what changes.

    All values share the same random numbers. Beside them: text that continues a place where the property holds, and the
    difference between both classes added to the whole layer. nats shows what the hold costs in fluency.

    [bold]charrnn steer --cell 1:42[/bold]
    [bold]charrnn steer shakespeare --cell 2:17 --property parentheses[/bold]
    """
    from charrnn.api import load
    from charrnn.causal import steered
    from charrnn.display.terminal import Terminal

    settings = settings_from(InspectSettings, given)
    model = load(run, checkpoint=checkpoint, device=device)
    title, encoded = read_text(model, text, skip_unknown=skip_unknown, given=given)
    try:
        with stage_bar() as bar:
            found = model.steer(
                cell,
                property,
                text=encoded,
                signal=signal,
                language=language,
                texts=texts,
                length=length,
                seed=seed,
                progress=bar,
            )
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        print(json.dumps(found.to_json()))
        return
    terminal = Terminal.of(sys.stdout, settings.color)
    terminal.paragraph(steered.claim(found))
    terminal.write("\n")
    terminal.write(steered.table_of(found, terminal), styled=True)
    terminal.write("\n" + "".join(f"{line}\n" for line in steered.samples(found, terminal)) + "\n")
    for line in steered.notes(found):
        terminal.paragraph(line)
    if found.property_name is None:
        terminal.paragraph(
            f"no search has found what cell {found.cell} tracks: run `charrnn inspect {model.name}`, or give "
            "--property, to measure a property and baselines"
        )
    terminal.paragraph(f"{model.name} · {model.shape} · {title}")
