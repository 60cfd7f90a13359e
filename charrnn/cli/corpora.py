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
from charrnn.errors import UsageError
from charrnn.units import file_size

if TYPE_CHECKING:
    from charrnn.display.terminal import Terminal

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
    from charrnn.display.terminal import Terminal
    from charrnn.text.sources import corpora_folder

    entries = list_entries(corpora_folder())
    if as_json:
        json.dump([asdict(entry) | {"present": entry.present} for entry in entries], sys.stdout, indent=2)
        print()
        return
    terminal = Terminal.of(sys.stdout)
    if not terminal.is_terminal:
        terminal.write(_aligned(entries))
    elif terminal.width < MIN_TABLE_COLUMNS:
        _print_stacked(entries, terminal)
    else:
        _print_table(entries, terminal)
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
    from charrnn.display.terminal import Terminal
    from charrnn.text import catalog
    from charrnn.text.sources import corpora_folder, display_path

    entries = []
    for name in names:
        if (entry := catalog.find(name)) is None:
            raise UsageError(
                f"the catalog has no corpus {display_path(name)!r}", f"choose from {', '.join(catalog.CORPORA)}"
            )
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
        entries.append(
            Listed(name, entry.description, size, None if path is None else display_path(path), entry.source.origin)
        )
    for path in present.values():
        entries.append(
            Listed(display_path(path.name.removesuffix(".txt")), None, _size(path), display_path(path), None)
        )
    return entries


def _size(path: Path) -> int | None:
    """Return the bytes of a file; None for a folder, or if the file cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _row(entry: Listed) -> tuple[str, str, str, str, str]:
    """Return the row of the table: name, size, here or -, description, origin; safe to print."""
    from charrnn.display.terminal import safe_text

    return (
        safe_text(entry.name, keep_newlines=False, keep_tabs=False),
        "?" if entry.size is None else file_size(entry.size),
        "here" if entry.present else "-",
        entry.description or "your own text",
        safe_text(entry.origin or entry.path or "", keep_newlines=False, keep_tabs=False),
    )


def _aligned(entries: list[Listed]) -> str:
    """Return the table for a pipe: aligned columns, nothing cut."""
    rows = [("NAME", "SIZE", "HERE", "DESCRIPTION", "SOURCE"), *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _print_stacked(entries: list[Listed], terminal: Terminal) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for name, size, here, what, origin in map(_row, entries):
        heading = Text.assemble((name, "bold"), f"  {size}", f"  {here}" if here == "here" else "")
        for part in (
            heading,
            Padding(Text(what), (0, 0, 0, 2)),
            Padding(Text(origin, "dim", overflow="fold"), (0, 0, 0, 2)),
        ):
            terminal.write(terminal.render(part), styled=True)


def _print_table(entries: list[Listed], terminal: Terminal) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("corpus", style="bold", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("description and source", overflow="fold", ratio=1)
    for name, size, here, what, origin in map(_row, entries):
        table.add_row(Text(name), size, "yes" if here == "here" else "", Text.assemble(what, "\n", (origin, "dim")))
    terminal.write(terminal.render(table), styled=True)
