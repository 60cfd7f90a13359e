"""Text that is colored by values while it is generated, broken between words like `WordWrap`."""

from __future__ import annotations

from collections import deque
from itertools import groupby

from rich.cells import cell_len

from charrnn.display.activations import legend_ends
from charrnn.display.palettes import Paint
from charrnn.display.terminal import Terminal, WordWrap, safe_text
from charrnn.display.view import View


class ColoredStream:
    """Styles text by the level of each character; a pipe gets no line breaks.

    Combining marks take the color of their base. Line ends and wrapped spaces have none.
    """

    def __init__(self, view: View, terminal: Terminal):
        self._view, self._paint = view, Paint(terminal.colors, terminal.background)
        self._wrap = WordWrap(terminal.width) if terminal.is_terminal else None
        self._queue: deque[tuple[str, int]] = deque()
        self._level = 0

    @property
    def legend(self) -> str:
        """The scale of the colors, styled, in one line."""
        low, high = legend_ends(self._view)
        bar = "".join(self._view.paint(self._paint, " ", level) for level in self._view.scale.levels)
        return f"{self._view.title} {low} {bar} {high}"

    def feed(self, text: str, value: float | None) -> str:
        """Return what can be written so far. value: of all of the text; None: no color."""
        if cell_len(text) > 0 or text.isspace():
            self._level = 0 if value is None else self._view.scale.level(value)
        if self._wrap is None:
            return self._styled([(text, self._level)])
        shown = safe_text(text)
        self._queue += [(character, self._level) for character in shown]
        return self._styled(self._leveled(self._wrap.feed(shown)))

    def end(self) -> str:
        """Return the word that was held back."""
        return "" if self._wrap is None else self._styled(self._leveled(self._wrap.end()))

    def _leveled(self, wrapped: str) -> list[tuple[str, int]]:
        """Return characters with the levels of those that were fed. A line break may be added, or replace a space."""
        found = []
        for character in wrapped:
            if character == "\n" and not (self._queue and self._queue[0][0].isspace()):
                found.append((character, 0))
                continue
            _, level = self._queue.popleft()
            found.append((character, level))
        return found

    def _styled(self, leveled: list[tuple[str, int]]) -> str:
        parts = []
        for level, group in groupby(leveled, lambda one: 0 if one[0] == "\n" else one[1]):
            parts.append(self._view.paint(self._paint, "".join(text for text, _ in group), level))
        return "".join(parts)
