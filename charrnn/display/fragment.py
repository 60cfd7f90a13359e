"""Colored text as an HTML fragment, for a notebook: inline styles only, so that nothing leaks into the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charrnn.display.activations import Glyph, View, layout, legend_words
from charrnn.display.page import html_text
from charrnn.display.palettes import swatch

PRE = "white-space:pre-wrap;word-break:break-all;line-height:1.6;font-family:ui-monospace,Menlo,Consolas,monospace"


def html_fragment(views: Sequence[View], facts: Mapping[str, str]) -> str:
    """Return views of one text under each other, with the facts above them; hovering a character shows its value."""
    parts = [f"<p>{html_text(' · '.join(facts.values()))}</p>"] if facts else []
    for view in views:
        text = "".join("".join(_glyph(view, glyph) for glyph in line) + "\n" for line in layout(view, None))
        parts.append(
            f"<p>{html_text(view.title)} · {html_text(legend_words(view))}</p>\n<pre style='{PRE}'>{text}</pre>"
        )
    return f"<div>{''.join(parts)}</div>"


def _glyph(view: View, glyph: Glyph) -> str:
    title = html_text(f"{view.values[glyph.first]:+.3f}")
    style = ""
    if glyph.level:
        colors = swatch(view.hue(glyph.level), view.scale.strength(glyph.level))
        style = f" style='background:rgb{colors.background};color:rgb{colors.ink}'"
    return f"<span title='{title}'{style}>{html_text(glyph.text)}</span>"
