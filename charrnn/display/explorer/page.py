"""The explorer: a page about the cells of a network, which a browser opens from disk and which fetches nothing.

Its script and style are in this folder, as they are on the page; all else is data. The content policy allows exactly
this script and this style, by their hashes, and nothing that turns text into markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charrnn.display.page import document
from charrnn.display.palettes import PALETTES, Hue, hex_color, swatch
from charrnn.display.terminal import UNSAFE_RANGES

FOLDER = Path(__file__).parent
SCRIPTS = ("base", "network", "text", "colored", "list", "detail", "live", "main")
"""In the order in which they run, as one script."""
LEVELS = 10
STRONGEST = 0.75
"""Intensity of the last level: up to it the ink does not change, which is calmer in long texts."""
NO_NETWORK = "() => ({})"


def explorer_page(data: Mapping[str, Any], javascript: str | None, *, title: str, palette: str = "blue-red") -> str:
    """Return the page.

    data: see `charrnn.explorer.data`. javascript: the update of one cell (`Recurrence.javascript`); None: the data hold
    no network. palette: of the colors.
    """
    style = "\n".join([*_color_rules(palette), _source("page.css")])
    parts = "\n".join(_source(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\nconst updateCell = {javascript or NO_NETWORK};\n{parts}\n}})();\n'
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    encoded = _json({**data, "unsafe": UNSAFE_RANGES})
    scripts = f'<script type="application/json" id="data">{encoded}</script>\n<script>{script}</script>'
    return document(title, f"{_source('page.html')}\n{scripts}", style, policy)


def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _json(data: Any) -> str:
    """Return data as JSON in ASCII that cannot end its element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _color_rules(palette: str) -> Iterator[str]:
    """Yield CSS: variables and classes n1 to n10 for negative values, p1 to p10 for positive ones."""
    sides = (("n", PALETTES[palette].negative), ("p", PALETTES[palette].positive))
    levels = [
        (f"{side}{level}", hue, STRONGEST * level / LEVELS) for side, hue in sides for level in range(1, LEVELS + 1)
    ]
    yield ":root {"
    for name, hue, intensity in levels:
        yield f"  --{name}: {_both(hue, intensity, 'background')}; --on-{name}: {_both(hue, intensity, 'ink')};"
    yield "}"
    for name, _, _ in levels:
        yield f".{name}, #grid i.{name} {{ background: var(--{name}); color: var(--on-{name}); }}"
        yield f".fill-{name} {{ fill: var(--{name}); }}"


def _both(hue: Hue, intensity: float, which: str) -> str:
    light, dark = (hex_color(getattr(swatch(hue, intensity, paper), which)) for paper in ("light", "dark"))
    return f"light-dark({light}, {dark})"
