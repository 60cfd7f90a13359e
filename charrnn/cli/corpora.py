"""`charrnn corpora`: what there is to train on, and how to get it."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.progress import transfer_bar
from charrnn.errors import UsageError
from charrnn.units import file_size

if TYPE_CHECKING:
    from charrnn.display.terminal import Terminal

FEWEST_COLUMNS_FOR_A_TABLE = 72

corpora_app = typer.Typer(
    help="List the texts there are to train on, or get one.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    app.add_typer(corpora_app, name="corpora")


@dataclass(frozen=True)
class Listed:
    """A text of the catalog, or one that lies in the corpora folder. Its size is None where no one knows it yet."""

    name: str
    description: str | None
    size: int | None
    path: str | None
    origin: str | None

    @property
    def present(self) -> bool:
        return self.path is not None


@corpora_app.callback()
def corpora(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for programs.")] = False,
) -> None:
    """List the texts there are to train on: those known by name, and those that lie in the corpora folder."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError("--json belongs to the list: charrnn corpora --json")
        return
    from charrnn.display.terminal import Terminal
    from charrnn.text.sources import corpora_folder

    entries = listed(corpora_folder())
    if as_json:
        json.dump([asdict(entry) | {"present": entry.present} for entry in entries], sys.stdout, indent=2)
        print()
        return
    terminal = Terminal.of(sys.stdout)
    if not terminal.is_terminal:
        terminal.write(_aligned(entries))
    elif terminal.width < FEWEST_COLUMNS_FOR_A_TABLE:
        _print_stacked(entries, terminal)
    else:
        _print_table(entries, terminal)
    if terminal.is_terminal:
        sys.stdout.flush()
        Terminal.of(sys.stderr).paragraph(
            "Train on one: charrnn train NAME. Get one without training: charrnn corpora get NAME."
        )


@corpora_app.command("get")
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `charrnn corpora` lists.")],
) -> None:
    """Fetch or build corpora of the catalog, and print where they lie. One that is there already stays as it is."""
    from charrnn.display.terminal import Terminal
    from charrnn.text import catalog
    from charrnn.text.sources import corpora_folder, display_path

    entries = [(name, catalog.find(name)) for name in names]
    for name, entry in entries:
        if entry is None:
            raise UsageError(
                f"the catalog has no corpus {display_path(name)!r}", f"choose from {', '.join(catalog.names())}"
            )
    terminal = Terminal.of(sys.stdout)
    for _, entry in entries:
        with transfer_bar(entry.name) as progress:
            path = catalog.ensure(entry, corpora_folder(), progress)
        terminal.write(f"{display_path(path)}\n")


def listed(folder: Path) -> list[Listed]:
    """The catalog's entries in its order, then what else lies in the folder by name."""
    from charrnn.text import catalog
    from charrnn.text.sources import display_path, list_texts

    lying = {path.name: path for path in list_texts(folder)}
    entries = []
    for name in catalog.names():
        entry = catalog.ENTRIES[name]
        path = lying.pop(entry.file_name, None)
        size = entry.source.size if path is None else _size(path)
        entries.append(Listed(name, entry.description, size, path and display_path(path), entry.source.origin))
    for path in lying.values():
        entries.append(
            Listed(display_path(path.name.removesuffix(".txt")), None, _size(path), display_path(path), None)
        )
    return entries


def _size(path: Path) -> int | None:
    """Bytes of a file; None for a folder, or where it cannot be told."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _columns(entry: Listed) -> tuple[str, str, str, str, str]:
    """Name, size, whether it is here, what it is, where it comes from: one line each, safe to print."""
    from charrnn.display.terminal import safe_text

    cells = (
        entry.name,
        "?" if entry.size is None else file_size(entry.size),
        "here" if entry.present else "-",
        entry.description or "a text of your own",
        entry.origin or entry.path or "",
    )
    return tuple(safe_text(cell, keep_newlines=False, keep_tabs=False) for cell in cells)


def _aligned(entries: list[Listed]) -> str:
    """Lines for a pipe: columns two blanks apart, nothing cut."""
    rows = [("NAME", "SIZE", "HERE", "WHAT", "FROM"), *map(_columns, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _print_stacked(entries: list[Listed], terminal: Terminal) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for name, size, here, what, origin in map(_columns, entries):
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
    table.add_column("what it is, and where it comes from", overflow="fold", ratio=1)
    for name, size, here, what, origin in map(_columns, entries):
        table.add_row(Text(name), size, "yes" if here == "here" else "", Text.assemble(what, "\n", (origin, "dim")))
    terminal.write(terminal.render(table), styled=True)
