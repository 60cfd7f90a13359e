"""Ask a terminal for the color of its background.

The query is OSC 11 (xterm's "Operating System Commands"), followed by a request for the device attributes (DA1), which
nearly every terminal answers. A terminal that ignores the first is thus known to have done so without waiting.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from charrnn.display.palettes import RGB, Background, contrast
from charrnn.display.terminal import Terminal, background_from, is_terminal
from charrnn.settings import TerminalSettings

TIMEOUT = 0.5  # seconds, for terminals that answer nothing
QUERY = b"\x1b]11;?\x1b\\\x1b[c"
COLOR = re.compile(rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})")
ATTRIBUTES = re.compile(rb"\x1b\[\?[0-9;]*c")


def output_terminal(settings: TerminalSettings) -> Terminal:
    """Return the terminal of standard output. It is asked for its background where nothing else tells it."""
    if settings.background != "auto":
        return Terminal.of(sys.stdout, settings.color, "light" if settings.background == "light" else "dark")
    terminal = Terminal.of(sys.stdout, settings.color)
    if terminal.colors == "none" or background_from(os.environ) is not None:
        return terminal
    return replace(terminal, background=asked_background() or terminal.background)


def asked_background(timeout: float = TIMEOUT) -> Background | None:
    """Return the background that the terminal reports, or None where it cannot be asked or does not answer.

    Only a terminal in the foreground that is both standard input and output is asked, and only while no typed input is
    waiting, which would be mixed up with the answer.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)) or os.environ.get("TERM", "dumb") in ("dumb", "linux"):
        return None
    try:
        source, target = sys.stdin.fileno(), sys.stdout.fileno()
        if os.ttyname(source) != os.ttyname(target) or os.tcgetpgrp(source) != os.getpgrp():
            return None
        sys.stdout.flush()
        with _unbuffered(source):
            answer = _ask(source, target, timeout)
    except (OSError, ValueError, ImportError, AttributeError):  # closed, not a terminal, Windows
        return None
    match = COLOR.search(answer)
    return None if match is None else _nearer([int(part, 16) / (16 ** len(part) - 1) for part in match.groups()])


def _ask(source: int, target: int, timeout: float) -> bytes:
    """Send the query and return the answer, as far as it arrives in time; nothing where input is waiting."""
    if select.select([source], [], [], 0)[0]:
        return b""
    os.write(target, QUERY)
    answer, deadline = b"", time.monotonic() + timeout
    while ATTRIBUTES.search(answer) is None:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([source], [], [], left)[0]:
            break
        part = os.read(source, 1)  # one at a time: what is typed after the answer stays in the queue
        if not part:
            break
        answer += part
    return answer


@contextlib.contextmanager
def _unbuffered(source: int) -> Iterator[None]:
    """Make a terminal deliver single characters without an echo; waiting input and Ctrl-C are kept."""
    import termios

    before: list[Any] = termios.tcgetattr(source)
    changed = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:]]
    termios.tcsetattr(source, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


def _nearer(color: list[float]) -> Background:
    """Return whether a color, with channels of 0–1, leaves more contrast to white or to black text."""
    red, green, blue = (round(255 * channel) for channel in color)
    page: RGB = (red, green, blue)
    return "dark" if contrast(page, (255, 255, 255)) >= contrast(page, (0, 0, 0)) else "light"
