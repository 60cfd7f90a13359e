"""`charrnn steer`: what changes in generated text while a cell is held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.background import output_terminal
from charrnn.cli.options import (
    READING,
    CellOption,
    CheckpointOption,
    DeviceOption,
    HeldSignalOption,
    JsonOption,
    LanguageOption,
    PropertyOption,
    RunArgument,
    SkipUnknownOption,
    TextOption,
    open_text,
    seed_option,
    with_settings,
)
from charrnn.cli.progress import stage_bar
from charrnn.errors import ExitCode
from charrnn.settings import ReadSettings, TerminalSettings, settings_from

if TYPE_CHECKING:
    from charrnn.causal.steered import Steering
    from charrnn.display.terminal import Terminal

TEXTS, LENGTH = 64, 2_000

TextsOption = Annotated[int, typer.Option("--texts", "-n", help="Texts for each value.", min=2, max=10_000)]
LengthOption = Annotated[int, typer.Option(help="Characters of each text.", min=100, max=1_000_000)]
SeedOption = Annotated[int, seed_option()]


@with_settings(TerminalSettings, ReadSettings, only=(*TerminalSettings.options(), *READING))
def steer(
    run: RunArgument = None,
    *,
    cell: CellOption,
    property_name: PropertyOption = None,
    signal: HeldSignalOption = "auto",
    text: TextOption = None,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    language: LanguageOption = None,
    texts: TextsOption = TEXTS,
    length: LengthOption = LENGTH,
    seed: SeedOption = 1,
    given: dict[str, Any],
) -> None:
    """Count what changes in generated text while a cell is held.

    All values share the same random numbers. Beside them: text that continues a place where the property holds, and the
    difference between both classes added to the whole layer. nats shows what the hold costs in fluency.

    [bold]charrnn steer --cell 1:42[/bold]
    [bold]charrnn steer shakespeare --cell 2:17 --property parentheses[/bold]
    """
    settings = settings_from(TerminalSettings, given)
    model, title, encoded = open_text(run, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
    try:
        with stage_bar() as bar:
            found = model.steer(
                cell,
                property_name,
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
    terminal = output_terminal(settings.color, settings.background)
    _print(found, model.name, terminal)
    terminal.paragraph(f"{model.name} · {model.shape} · {title}")


def _print(found: Steering, run: str, terminal: Terminal) -> None:
    from charrnn.causal import steered

    terminal.paragraph(steered.claim(found))
    terminal.write("\n")
    terminal.write(steered.table_of(found, terminal), styled=True)
    terminal.write("\n" + "".join(f"{line}\n" for line in steered.samples(found, terminal)) + "\n")
    for line in steered.notes(found):
        terminal.paragraph(line)
    if found.property_name is None:
        terminal.paragraph(
            f"no search has found what cell {found.cell} tracks: run `charrnn inspect {run}`, or give --property, to "
            "measure a property and baselines"
        )
