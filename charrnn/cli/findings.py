"""The search for interpretable cells: its progress bar and its output."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.cli.look import Look
    from charrnn.discovery.findings import Findings
    from charrnn.discovery.study import Effort


def search(look: Look, effort: Effort, *, properties: list[str], language: str | None, corpus: str | None) -> Findings:
    """Search for cells, or read the findings of the same search made before.

    properties: arguments of --property. language: of the text; None: guessed. corpus: None: looked for.
    """
    from charrnn.discovery.cache import search_run
    from charrnn.properties.catalog import find_property

    with _bar() as progress:
        return search_run(
            look.run,
            look.network,
            look.passage,
            [find_property(argument) for argument in properties],
            language=language,
            corpus=corpus,
            effort=effort,
            progress=progress,
        )


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """Yield a function of stage and share done that draws a bar on stderr if that is a terminal."""
    from tqdm import tqdm

    with contextlib.ExitStack() as stack:
        bars: list[tqdm] = []

        def show(stage: str, share: float) -> None:
            if not bars:
                style = "{desc:<18}{bar}{n:4.0f} %  {elapsed}"
                bar = tqdm(total=100, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True, bar_format=style)
                bars.append(stack.enter_context(bar))
            bars[0].set_description_str(stage, refresh=False)
            bars[0].n = 100 * share
            bars[0].refresh()

        yield show


def show(findings: Findings, look: Look, *, every_cell: bool = False, layer: int | None = None) -> None:
    """Print findings. every_cell: also the property that each cell, or each of one layer, fits best."""
    from charrnn.discovery import report
    from charrnn.display.tables import table

    terminal = look.terminal
    terminal.paragraph(f"{look.title} · {findings.heading(look.text)}")
    terminal.write("\n")
    tracks = findings.of_kind("tracks")
    if tracks:
        table(report.CLAIM_HEADERS, findings.table(), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.related_lines():
        terminal.paragraph(line)
    if every_cell:
        table(report.CELL_HEADERS, findings.cell_table(layer), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.closing_lines():
        terminal.paragraph(line)
    if tracks:
        terminal.paragraph(f"look at one: charrnn inspect {look.run.name} --cell {tracks[0].evidence.cell}")


def write_csv(findings: Findings) -> None:
    """Write the evidence for every candidate to stdout as CSV."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
