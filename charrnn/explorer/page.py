"""The explorer as a page that can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charrnn.causal.cache import earlier_ablations
from charrnn.discovery.findings import Findings
from charrnn.discovery.subject import Subject
from charrnn.display.explorer.page import explorer_page
from charrnn.explorer.data import explorer_data
from charrnn.files import save
from charrnn.inspection.recorded_trace import Trace
from charrnn.progress import StageProgress, no_progress
from charrnn.units import amount, file_size

CELLS_DESCRIBED = 50
STAGE = "explorer"


@dataclass(frozen=True, repr=False)
class Explorer:
    """A page about the cells of a network, for a browser.

    html: the whole file. cells: how many it describes. runs_network: whether the network runs on the page. note: how,
    or why not.
    """

    html: str
    cells: int
    runs_network: bool
    note: str

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises CharrnnError if it cannot be written."""
        save(Path(path), self.html)

    def __repr__(self) -> str:
        return f"<Explorer: {amount(self.cells, 'cell')}, {file_size(len(self.html.encode()))}; {self.note}>"


def make_explorer(
    subject: Subject,
    findings: Findings,
    trace: Trace,
    cells: int,
    passages: int,
    palette: str,
    progress: StageProgress = no_progress,
) -> Explorer:
    """Return a page about the most interesting cells.

    subject: the network and the text that was searched. trace: of the part of the text that is shown. cells: how many,
    at most. passages: of each kind.
    """
    data = explorer_data(
        trace,
        subject.characters(len(trace)),
        subject.run.settings,
        findings,
        earlier_ablations(subject.run, subject.network, subject.text),
        cells=cells,
        passages=passages,
        progress=lambda share: progress(STAGE, share),
    )
    runs_network, note = data["network"] is not None, data["networkNote"]
    javascript = subject.network.recurrence.own_javascript if runs_network else None
    html = explorer_page(data, javascript, title=f"{subject.run.name}: cells", palette=palette)
    return Explorer(html, len(data["cells"]), runs_network, note)
