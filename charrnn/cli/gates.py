"""`charrnn gates`: how often the gates of all cells are shut and wide open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.options import settings_from
from charrnn.settings import TerminalSettings
from charrnn.units import count

if TYPE_CHECKING:
    import numpy as np

    from charrnn.display.terminal import Terminal
    from charrnn.inspection.gates import GateSaturation

MAX_WIDTH = 72
MIN_ROWS, MAX_ROWS = 8, 20  # of the plot
OTHER_ROWS = 13  # of the screen: what is above and below the plot


@options.reads_text(TerminalSettings)
def gates(
    run: options.RunArgument = None,
    text: options.TextOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    as_json: options.JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Plot how often the gates of every cell are shut and open.

    Each dot is a cell: the fraction of characters at which a gate is shut (below .1) and wide open (above .9), as in
    Karpathy, Johnson & Fei-Fei (2015). A forget gate that is always wide open makes a cell with a long memory.

    [bold]charrnn gates[/bold]
    [bold]charrnn gates shakespeare --text sonnets.txt --json[/bold]
    """
    from charrnn.inspected_model import GATE_CHARACTERS

    settings = settings_from(TerminalSettings, given)
    model, title, encoded = options.open_text(run, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
    encoded = encoded[:GATE_CHARACTERS]
    found = model.gates(encoded)
    if as_json:
        print(json.dumps([{"gate": one.gate, "shut": one.left.tolist(), "open": one.right.tolist()} for one in found]))
        return
    terminal = output_terminal(settings)
    terminal.paragraph(f"{model.name} · {model.shape} · {title}, {count(len(encoded))} characters")
    terminal.paragraph(
        "each dot is a cell; across: share of characters with the gate shut (< .1), up: wide open (> .9)"
    )
    size = model.run.settings.model.hidden_size
    for layer in range(model.run.settings.model.layers):
        terminal.write(f"\nlayer {layer + 1}\n")
        _plot(terminal, found, slice(layer * size, (layer + 1) * size))


def _plot(terminal: Terminal, found: list[GateSaturation], cells: slice) -> None:
    from charrnn.display.plots import scatter

    lines = scatter(
        {one.gate: list(zip(one.left[cells].tolist(), one.right[cells].tolist(), strict=True)) for one in found},
        terminal,
        min(max(terminal.height - OTHER_ROWS, MIN_ROWS), MAX_ROWS) if terminal.is_terminal else MAX_ROWS,
        widest=MAX_WIDTH,
        x_label="shut",
        y_label="wide open",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )
    terminal.write_lines(lines)
    for one in found:
        wide, shut = _majority(one.right[cells]), _majority(one.left[cells])
        terminal.paragraph(f"{one.gate}: wide open most of the time in {wide} cells, shut in {shut}")


def _majority(fractions: np.ndarray) -> str:
    return f"{int((fractions > 0.5).sum()):,} of {len(fractions):,}"
