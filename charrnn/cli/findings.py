"""The output of a search for interpretable cells."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.discovery.findings import Findings
    from charrnn.display.terminal import Terminal


def print_findings(
    findings: Findings, model: Model, title: str, terminal: Terminal, *, every_cell: bool, layer: int | None
) -> None:
    """Print findings. every_cell: also the property that each cell, or each of one layer, fits best."""
    from charrnn.discovery import report
    from charrnn.display.tables import table

    terminal.paragraph(f"{model.name} · {model.shape} · {findings.heading(title)}")
    terminal.write("\n")
    named = findings.table()
    if named:
        table(report.CLAIM_HEADERS, named, terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.correlates_lines():
        terminal.paragraph(line)
    if every_cell:
        table(report.CELL_HEADERS, findings.cell_table(layer), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.closing_lines():
        terminal.paragraph(line)
    for named_cell in list(findings)[:1]:
        terminal.paragraph(f"show one: charrnn inspect {model.name} --cell {named_cell.cell}")


def print_csv(findings: Findings) -> None:
    """Print the evidence for every candidate as CSV."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
