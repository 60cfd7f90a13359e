"""Text that is colored by values while it is generated, broken between words like `WordWrap`."""

from __future__ import annotations

from collections import deque
from itertools import groupby

from charrnn.display.clusters import extends
from charrnn.display.terminal import Terminal, WordWrap, safe_text
from charrnn.display.view import View


class ColoredStream:
    """Styles text by the level of each grapheme cluster, which is that of its last character.

    A cluster is held back until the next one begins. A pipe gets no line breaks. Line ends and wrapped spaces have no
    color.
    """

    def __init__(self, view: View, terminal: Terminal):
        self._view, self._paint = view, terminal.paint
        self._wrap = WordWrap(terminal.width, terminal.program) if terminal.is_terminal else None
        self._queue: deque[tuple[str, int]] = deque()
        self._cluster, self._level = "", 0

    @property
    def legend(self) -> str:
        """The scale of the colors, styled, in one line."""
        low, high = self._view.scale.ends()
        bar = "".join(self._view.paint(self._paint, " ", level) for level in self._view.scale.levels)
        return f"{self._view.title} {low} {bar} {high}"

    def feed(self, text: str, value: float | None) -> str:
        """Return what can be written so far. value: of all of the text; None: no color."""
        level, written = 0 if value is None else self._view.scale.level(value), ""
        for character in text:
            if self._cluster and extends(self._cluster, character):
                self._cluster += character
            else:
                written += self._flush()
                self._cluster = character
            self._level = level
        return written + self._flush() if text.endswith("\n") else written

    def end(self) -> str:
        """Return the cluster and the word that were held back."""
        written = self._flush()
        return written if self._wrap is None else written + self._styled(self._leveled(self._wrap.end()))

    def _flush(self) -> str:
        """Complete the cluster that is held back. Return what can be written."""
        cluster, self._cluster = self._cluster, ""
        if self._wrap is None:
            return self._styled([(cluster, self._level)]) if cluster else ""
        shown = safe_text(cluster)
        self._queue += [(character, self._level) for character in shown]
        return self._styled(self._leveled(self._wrap.feed(shown)))

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
