"""`charrnn history`: when during training a cell began to track a property."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.options import settings_from
from charrnn.settings import InspectSettings
from charrnn.units import amount, count, decimal, percent

if TYPE_CHECKING:
    from charrnn.discovery.history import History
    from charrnn.display.terminal import Terminal

LAST = "at the last checkpoint"


@options.reads_text(InspectSettings, without=("start", "length", "passages", "top", "palette"))
def history(
    run: options.RunArgument = None,
    *,
    cell: options.CellOption,
    property_name: options.PropertyOption = None,
    language: options.LanguageOption = None,
    text: options.TextOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    device: options.DeviceOption = "auto",
    as_json: options.JsonOption = False,
    given: dict[str, Any],
) -> None:
    """Show at which checkpoint a cell began to track a property.

    Without --property, and without a search that found one, each checkpoint is compared with the last. Train with
    --keep every:N to keep more checkpoints.

    [bold]charrnn history --cell 42[/bold]
    [bold]charrnn history shakespeare --cell 1:17 --property "line position"[/bold]
    """
    settings = settings_from(InspectSettings, given)
    model, _, encoded = options.open_text(run, text, "best", device, skip_unknown=skip_unknown, given=given)
    found = model.history(cell, property_name, text=encoded, signal=settings.signal, language=language)
    if as_json:
        scores = zip(found.steps, found.rank_correlations, strict=True)
        result = {
            "cell": str(found.cell),
            "signal": found.signal,
            "compared_with": found.property_name or LAST,
            "scores": [{"step": step, "rank_correlation": value} for step, value in scores],
            "since": found.settled_at,
        }
        print(json.dumps(result))
        return
    _print(found, model.name, output_terminal(settings))


def _settled(found: History) -> str | None:
    """Say from which step on the cell is as at the last checkpoint; None where a single checkpoint cannot tell."""
    from charrnn.discovery.history import SETTLED

    if found.settled_at is None:
        itself = found.property_name is None
        return f"{LAST} the cell depends on the character alone" if itself else "no checkpoint tracks this property"
    if len(found.steps) == 1:
        return None
    step = count(found.settled_at)
    if found.property_name is not None:
        return f"tracked from step {step} on (at least {percent(SETTLED)} of the last score)"
    if found.settled_at == found.steps[-1]:
        return f"no earlier checkpoint matches the last (ρ of at least {decimal(SETTLED, 1)})"
    return f"matches the last checkpoint from step {step} on (ρ of at least {decimal(SETTLED, 1)})"


def _print(found: History, run: str, terminal: Terminal) -> None:
    from charrnn.display.plots import sparkline
    from charrnn.display.tables import table

    checkpoints = amount(len(found.steps), "checkpoint")
    compared = found.property_name or f"the cell {LAST}"
    terminal.paragraph(
        f"{run} · cell {found.cell} {found.signal} in {checkpoints} · compared with {compared}, within the same "
        "character"
    )
    terminal.write("\n")
    headers = ("step", "AUC" if found.kind == "binary" else "ρ")
    rows = [[count(step), decimal(score, 3)] for step, score in zip(found.steps, found.scores, strict=True)]
    table(headers, rows, terminal, right=headers)
    if len(rows) > 2:
        width = min(len(rows), terminal.width)
        terminal.write(f"\n{sparkline(found.scores, width, unicode=terminal.unicode)}\n")
    terminal.write("\n")
    if (settled := _settled(found)) is not None:
        terminal.paragraph(settled)
    if len(rows) < 3:
        terminal.paragraph(f"the run has only {checkpoints}; train with --keep every:N to keep more")
