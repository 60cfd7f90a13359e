"""`charrnn corpora`: list and fetch training texts."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.completion import complete_corpus
from charrnn.cli.help import Command, Group
from charrnn.cli.options import JsonListOption
from charrnn.cli.progress import transfer_bar
from charrnn.display.tables import table
from charrnn.display.terminal import Terminal, safe_line
from charrnn.errors import UsageError
from charrnn.units import file_size

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_TABLE_COLUMNS = 72

corpora_app = typer.Typer(
    cls=Group,
    help="List the available training texts, or fetch one.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Listed:
    """A text of the catalog or of the corpora folder. size: in bytes, None if unknown."""

    name: str
    description: str | None
    size: int | None
    path: str | None
    origin: str | None

    @property
    def present(self) -> bool:
        return self.path is not None


@corpora_app.callback()
def corpora(context: typer.Context, as_json: JsonListOption = False) -> None:
    """List the texts that `charrnn train` knows by name, and those in the corpora folder."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError("--json belongs to the list: charrnn corpora --json")
        return
    from charrnn.text.sources import corpora_folder

    entries = list_entries(corpora_folder())
    if as_json:
        print(json.dumps([asdict(entry) | {"present": entry.present} for entry in entries], indent=2))
        return
    terminal = Terminal.of(sys.stdout)
    rows = list(map(_row, entries))
    if terminal.is_terminal and terminal.width >= MIN_TABLE_COLUMNS:
        _print_two_lines_each(rows, terminal)
    else:
        table(("corpus", "size", "here", "about", "source"), rows, terminal, right=("size",))
    if terminal.is_terminal:
        sys.stdout.flush()
        Terminal.of(sys.stderr).paragraph(
            "Train on one: charrnn train NAME. Only download it: charrnn corpora get NAME."
        )


@corpora_app.command("get", cls=Command)
def get(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Names from the list of `charrnn corpora`.", autocompletion=complete_corpus
        ),
    ],
) -> None:
    """Download or build corpora from the catalog and print their paths. Existing files stay as they are."""
    from charrnn.text import catalog
    from charrnn.text.sources import corpora_folder, display_path

    entries = []
    for name in names:
        if (entry := catalog.find(name)) is None:
            problem = f"the catalog has no corpus {display_path(name)!r}"
            raise UsageError(problem, f"choose from {', '.join(catalog.CORPORA)}")
        entries.append(entry)
    terminal = Terminal.of(sys.stdout)
    for entry in entries:
        with transfer_bar(entry.name) as progress:
            path = catalog.ensure(entry, corpora_folder(), progress)
        terminal.write(f"{display_path(path)}\n")


def list_entries(folder: Path) -> list[Listed]:
    """Return the catalog's entries, then the other texts in the folder."""
    from charrnn.text import catalog
    from charrnn.text.sources import display_path, list_texts

    present = {path.name: path for path in list_texts(folder)}
    entries = []
    for name, entry in catalog.CORPORA.items():
        path = present.pop(entry.file_name, None)
        size = entry.source.size if path is None else _size(path)
        shown = None if path is None else display_path(path)
        entries.append(Listed(name, entry.description, size, shown, entry.source.origin))
    for path in present.values():
        name = display_path(path.name.removesuffix(".txt"))
        entries.append(Listed(name, None, _size(path), display_path(path), None))
    return entries


def _size(path: Path) -> int | None:
    """Return the bytes of a file; None for a folder, or if the file cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _row(entry: Listed) -> tuple[str, str, str, str, str]:
    return (
        entry.name,
        "?" if entry.size is None else file_size(entry.size),
        "here" if entry.present else "-",
        entry.description or "your own text",
        entry.origin or entry.path or "",
    )


def _print_two_lines_each(rows: Sequence[Sequence[str]], terminal: Terminal) -> None:
    """Print a table with the source below each description."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    drawn.add_column("corpus", style="bold", overflow="fold")
    drawn.add_column("size", justify="right", no_wrap=True)
    drawn.add_column("here", no_wrap=True)
    drawn.add_column("description and source", overflow="fold", ratio=1)
    for row in rows:
        name, size, here, what, origin = (safe_line(cell) for cell in row)
        drawn.add_row(Text(name), size, "yes" if here == "here" else "", Text.assemble(what, "\n", (origin, "dim")))
    terminal.write(terminal.render(drawn), styled=True)
