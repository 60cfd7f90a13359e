"""`charrnn ablate`: what a cell causes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.options import settings_from
from charrnn.progress import progress_bar
from charrnn.settings import CONTROLS, SEARCH_SEED, SEARCHED_CHARACTERS, TerminalSettings
from charrnn.units import count

if TYPE_CHECKING:
    from charrnn.causal.effects import Ablation
    from charrnn.display.terminal import Terminal

CharactersOption = Annotated[int, typer.Option(help="Characters to read, at most.", min=1, metavar="N")]
ControlsOption = Annotated[int, typer.Option(help="Cells of the layer to compare with, at most.", min=20, metavar="N")]
SeedOption = Annotated[int, options.seed_option("Random seed of control cells and intervals.")]
DetailsOption = Annotated[
    bool, typer.Option("--details", help="Also show doses, other interventions, groups of cells and storage.")
]


@options.reads_text(TerminalSettings)
def ablate(
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
    characters: CharactersOption = SEARCHED_CHARACTERS,
    controls: ControlsOption = CONTROLS,
    seed: SeedOption = SEARCH_SEED,
    details: DetailsOption = False,
    again: options.AgainOption = False,
    given: dict[str, Any],
) -> None:
    """Test whether the model needs a cell for a property.

    The cell is held at its median outside while the property holds, and inside while it does not. What that costs in
    bits is measured where the property ends and begins, and compared with similar characters and other cells.

    ★ one hold has a specific effect, at its own end alone. ★★ both have, and it grows with the dose.

    [bold]charrnn ablate --cell 1:42[/bold]
    [bold]charrnn ablate shakespeare --cell 2:17 --property parentheses[/bold]
    """
    settings = settings_from(TerminalSettings, given)
    model, title, encoded = options.open_text(run, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
    with progress_bar() as bar:
        found = model.ablate(
            cell,
            property_name,
            text=encoded,
            signal=signal,
            language=language,
            characters=characters,
            controls=controls,
            seed=seed,
            again=again,
            progress=bar,
        )
    if as_json:
        print(json.dumps(found.to_json()))
        return
    terminal = output_terminal(settings)
    print_ablation(found, terminal, details=details)
    terminal.paragraph(f"{model.name} · {model.shape} · {title}, {count(found.characters)} characters")
    about = []
    if found.packaged_with:
        about.append(
            f"The effects were measured when the model was packaged, with Python {found.packaged_with}. "
            "--again measures them here."
        )
    elif found.kept:
        about.append("The effects were measured earlier. --again measures them again.")
    searched = {one.characters for one in model.earlier_findings(encoded) if one.claim_about(found.cell) is not None}
    if searched and found.characters not in searched:
        about.append(
            f"The search that chose the cell read {count(max(searched))} characters, some of which are tested here."
        )
    if not details:
        about.append("--details shows doses, other interventions and groups of cells.")
    if about:
        terminal.paragraph(" ".join(about))


def print_ablation(found: Ablation, terminal: Terminal, *, details: bool) -> None:
    """Print what an ablation shows, its effects, and one caveat. details: also how it depends on the intervention."""
    from charrnn.causal import effects

    terminal.paragraph(effects.claim(found))
    terminal.write("\n")
    shown, *more = effects.tables(found, terminal)
    terminal.write(shown, styled=True)
    terminal.paragraph(effects.caveat(found))
    if details:
        for part in more:
            terminal.write(f"\n{part}", styled=True)
        terminal.write("\n")
        for detail in effects.details(found):
            terminal.write("".join(f"{line}\n" for line in terminal.wrap(detail)))
