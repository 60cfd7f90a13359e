"""Tables, wrapped to the width of a terminal and written whole to a pipe. No cell is ever cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from charrnn.display.terminal import Terminal, safe_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

PIPE_COLUMNS = 100_000  # even a pipe gets wider tables wrapped


def key_values(rows: Iterable[tuple[str, str]], terminal: Terminal) -> None:
    """Write names and values in two columns, wrapping long values within their column."""
    terminal.write(format_key_values(rows, terminal), styled=True)


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], terminal: Terminal, *, right: Collection[str] = ()
) -> None:
    """Write a table. right: headers of right-aligned columns."""
    terminal.write(format_table(headers, rows, terminal, right=right), styled=True)


def fit(
    headers: Sequence[str], rows: Iterable[Sequence[str]], terminal: Terminal, optional: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows without some optional columns, so that a terminal shows each row in one line.

    optional: headers of the columns that may be left out, the first of them first. A pipe gets all.
    """
    left, kept = list(headers), [list(row) for row in rows]
    for header in optional:
        if not terminal.is_terminal or _fits(_drawn(left, kept, tight=True), terminal):
            break
        place = left.index(header)
        for row in (left, *kept):
            del row[place]
    return left, kept


def _fits(drawn: Table, terminal: Terminal) -> bool:
    """Return whether a table fits without wrapping a cell."""
    return terminal.console(PIPE_COLUMNS).measure(drawn).maximum <= terminal.width


def _drawn(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = (), *, tight: bool = False
) -> Table:
    """tight: with two blanks between columns instead of three."""
    from rich import box
    from rich.table import Table

    padding = (0, 1, 0, 0) if tight else (0, 1)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=padding)
    for header in headers:
        drawn.add_column(_cell(header), justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(_cell, row))
    return drawn


def format_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], terminal: Terminal, *, right: Collection[str] = ()
) -> str:
    """Return a table as styled text, or each row as names and values where the columns do not fit side by side.

    Cells are text, never markup.
    """
    rows = [list(row) for row in rows]
    drawn = _drawn(headers, rows, right)
    if terminal.is_terminal and not _fits(drawn, terminal):
        drawn = _drawn(headers, rows, right, tight=True)
    if terminal.is_terminal and terminal.console(PIPE_COLUMNS).measure(drawn).minimum > terminal.width:
        return "\n".join(format_key_values(zip(headers, row, strict=True), terminal) for row in rows)
    return terminal.render(drawn, width=_width(terminal))


def format_key_values(rows: Iterable[tuple[str, str]], terminal: Terminal) -> str:
    """Return what `key_values` writes, as styled text."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(style="dim" if terminal.colors != "none" else "", overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_cell(name), _cell(value))
    return terminal.render(grid, width=_width(terminal))


def _width(terminal: Terminal) -> int:
    return terminal.width if terminal.is_terminal else PIPE_COLUMNS


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(safe_line(text))
