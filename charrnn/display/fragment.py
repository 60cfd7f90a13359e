"""Colored text as an HTML fragment for a notebook. Inline styles do not affect the rest of the page.

They cannot know the notebook's theme either, so the text brings a light background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charrnn.display.activations import legend_notes
from charrnn.display.export import line_break, tooltip
from charrnn.display.layout import Glyph, layout
from charrnn.display.page import html_text
from charrnn.display.palettes import swatch
from charrnn.display.view import View

PRE = (
    "padding:.5em;background:#fff;color:#1c1e21;"
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;line-height:1.6;font-family:ui-monospace,Menlo,Consolas,monospace"
)


def html_fragment(views: Sequence[View], facts: Mapping[str, str]) -> str:
    """Return views of one text with tooltips, one below the other, after the facts (name → value)."""
    parts = [f"<p>{' · '.join(f'<bdi>{html_text(fact)}</bdi>' for fact in facts.values())}</p>"] if facts else []
    for view in views:
        text = "".join("".join(_glyph(view, glyph) for glyph in line) + "\n" for line in layout(view, None))
        legend = html_text(" · ".join([view.title, *legend_notes(view)]))
        if view.name:
            parts.append(f"<p><b>{html_text(view.name)}</b></p>")
        parts.append(f"<p>{legend}</p>\n<pre style='{PRE}'>{text}</pre>")
    return f"<div>{''.join(parts)}</div>"


def _glyph(view: View, glyph: Glyph) -> str:
    style = ""
    if glyph.level:
        colors = swatch(view.hue(glyph.level), view.scale.intensity(glyph.level), "light")
        style = f" style='background:rgb{colors.background};color:rgb{colors.ink}'"
    return f"<span title='{tooltip(view, glyph)}'{style}>{html_text(glyph.text)}</span>{line_break(view, glyph)}"
