"""Tables for a terminal of any width and for a pipe: wrapped in the one, whole in the other, cut in neither."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from charrnn.display.terminal import Terminal, safe_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

NO_END = 100_000  # columns; what is wider is wrapped even in a pipe


def key_values(rows: Iterable[tuple[str, str]], terminal: Terminal) -> None:
    """Writes names and values in two columns; a long value is wrapped inside its own."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(style="dim" if terminal.colors != "none" else "", overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_cell(name), _cell(value))
    _write(grid, terminal)


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], terminal: Terminal, *, right: Collection[str] = ()
) -> None:
    """Writes a table. right: the headers of columns that are set to the right, such as numbers.

    Where even the longest words of the columns do not fit side by side, each row is written as names and values
    instead. Cells are text, never markup.
    """
    from rich import box
    from rich.table import Table

    rows = [list(row) for row in rows]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for header in headers:
        drawn.add_column(_cell(header), justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(_cell, row))
    least = replace(terminal, width=NO_END).console().measure(drawn).minimum
    if terminal.is_terminal and least > terminal.width:
        for number, row in enumerate(rows):
            if number:
                terminal.write("\n")
            key_values(zip(headers, row, strict=True), terminal)
        return
    _write(drawn, terminal)


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(safe_text(text, keep_newlines=False, keep_tabs=False))


def _roomy(terminal: Terminal) -> Terminal:
    return terminal if terminal.is_terminal else replace(terminal, width=NO_END)


def _write(renderable: RenderableType, terminal: Terminal) -> None:
    console = _roomy(terminal).console()
    with console.capture() as captured:
        console.print(renderable)
    terminal.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), styled=True)
