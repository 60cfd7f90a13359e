"""What commands say on standard error, beside their output."""

from __future__ import annotations

import sys

from charrnn.display.terminal import Terminal, safe_styled, safe_text, write


def say(line: str, *, styled: bool = False) -> None:
    """Print a line, made safe in a pipe or a file too. styled: keep color sequences."""
    write(sys.stderr, f"{safe_styled(line) if styled else safe_text(line)}\n", styled=styled)
    sys.stderr.flush()


def note(text: str, *, newline_first: bool = False) -> None:
    """Print text, wrapped to the terminal. newline_first: end the line that is being typed."""
    terminal = Terminal.of(sys.stderr)
    terminal.write("\n" * newline_first)
    terminal.paragraph(text)
    terminal.flush()
