"""`charrnn steer`: what changes in generated text while a cell is held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.options import settings_from
from charrnn.progress import progress_bar
from charrnn.settings import SEARCH_SEED, STEERED_CHARACTERS, STEERED_TEXTS, TerminalSettings

if TYPE_CHECKING:
    from charrnn.causal.steered import Steering
    from charrnn.display.terminal import Terminal

OTHER_ROWS = 7  # of the screen: blank lines, headings of the samples, what was read, and the prompt
MAX_SAMPLE_LINES = 12

TextsOption = Annotated[int, typer.Option("--texts", "-n", help="Texts for each value.", min=2, max=10_000)]
LengthOption = Annotated[int, typer.Option(help="Characters of each text.", min=100, max=1_000_000)]
SeedOption = Annotated[int, options.seed_option()]
DetailsOption = Annotated[
    bool, typer.Option("--details", help="Also show longer samples, and the characters that change most.")
]


@options.reads_text(TerminalSettings)
def steer(
    run: options.RunArgument = None,
    *,
    cell: options.CellOption,
    property_name: options.PropertyOption = None,
    signal: options.HeldSignalOption = "auto",
    text: options.TextOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    as_json: options.JsonOption = False,
    language: options.LanguageOption = None,
    texts: TextsOption = STEERED_TEXTS,
    length: LengthOption = STEERED_CHARACTERS,
    seed: SeedOption = SEARCH_SEED,
    details: DetailsOption = False,
    given: dict[str, Any],
) -> None:
    """Count what changes in generated text while a cell is held.

    The values are the cell's medians outside and inside the property, one between them and one beyond each. All share
    the same random numbers. Beside them: text that continues a place where the property holds (primed), and the
    difference of class means added to the whole layer (moved). nats shows what the hold costs in fluency.

    [bold]charrnn steer --cell 1:42[/bold]
    [bold]charrnn steer shakespeare --cell 2:17 --property parentheses[/bold]
    """
    settings = settings_from(TerminalSettings, given)
    model, title, encoded = options.open_text(run, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
    with progress_bar() as bar:
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
    if as_json:
        print(json.dumps(found.to_json()))
        return
    terminal = output_terminal(settings)
    print_steering(found, terminal, details=details)
    more = "" if details else " · more: --details"
    terminal.paragraph(f"{model.name} · {model.shape} · {title}{more}")
    if found.property_name is None:
        from charrnn.discovery.findings import search_command, why_unknown

        searches = model.known_findings(encoded)
        run_first = "" if searches else f"run `{search_command(model.run)}` first, or "
        reason = why_unknown(found.cell, searches)
        terminal.paragraph(f"{reason}; {run_first}name one with --property, to measure it and baselines")


def print_steering(found: Steering, terminal: Terminal, *, details: bool) -> None:
    """Print what changes, for each way to generate. details: also longer samples, and the characters that change."""
    from charrnn.causal import steered

    claim = steered.claim_lines(found, terminal)
    terminal.write("".join(f"{line}\n" for line in [*claim, ""]))
    tables = f"{steered.table_of(found, terminal)}\n{steered.legend(found, terminal)}"
    spare = terminal.height - OTHER_ROWS - tables.count("\n") - len(claim)
    terminal.write(tables, styled=True)
    rows = steered.DETAILED_SAMPLE_LINES if details else min(max(spare, steered.SAMPLE_LINES), MAX_SAMPLE_LINES)
    terminal.write("\n" + "".join(f"{line}\n" for line in steered.samples(found, terminal, rows)))
    if details:
        terminal.write("\n")
        terminal.paragraph(steered.changed_characters(found))
    terminal.paragraph(steered.texts_read(found))
