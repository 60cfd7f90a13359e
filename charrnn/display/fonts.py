"""Which scripts of a text no installed font can draw, for pictures that a converter makes of an SVG."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

from charrnn.display.page import html_text
from charrnn.display.svg import FONT

UNASSIGNED = "\u0378"  # drawn as fonts draw what they lack
MOST_SCRIPTS = 20  # that are looked at


def missing_scripts(text: Iterable[str], draw: Callable[[str], bytes]) -> list[str]:
    """Return the scripts, as Unicode names them, of whose first letter in a text `draw` makes an empty box.

    draw: converts an SVG to pixels.
    """
    letters: dict[str, str] = {}
    for character in sorted({one for part in text for one in part if not one.isascii()}):
        if (script := _script(character)) is not None:
            letters.setdefault(script, character)
    if not letters:
        return []
    box = draw(_letter(UNASSIGNED))
    return [script for script, letter in list(letters.items())[:MOST_SCRIPTS] if draw(_letter(letter)) == box]


def _script(character: str) -> str | None:
    """Return the first word in the name of a letter, "emoji" for a wide symbol; None for other characters."""
    category = unicodedata.category(character)
    if category.startswith("L"):
        return unicodedata.name(character, "").split(" ")[0].title().replace("Cjk", "Chinese") or None
    return "emoji" if category == "So" and unicodedata.east_asian_width(character) == "W" else None


def _letter(character: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">'
        f'<text x="2" y="14" style="font:14px {FONT}">{html_text(character)}</text></svg>'
    )
