"""A picture in which a script is drawn as boxes says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from charrnn.display.export import PNG, export
from charrnn.display.fonts import UNASSIGNED, missing_scripts
from charrnn.display.view import View
from charrnn.errors import CharrnnWarning

BOX = b"box"


def draw(svg: str, **how: Any) -> bytes:
    """Draw with a font that has Latin and Hangul letters only."""
    (character,) = re.findall(r">(.)</text>", svg)[-1]
    return character.encode() if character.isascii() or "가" <= character <= "힣" else BOX


def test_scripts_without_a_font() -> None:
    assert draw(f"<text>{UNASSIGNED}</text>") == BOX
    assert missing_scripts(["a", "한", "글", " ", "日", "本", "नि", "🐈", "→"], draw) == [
        "Devanagari",
        "Chinese",
        "emoji",
    ]
    assert missing_scripts("한글 only", draw) == []


def test_plain_text_is_not_drawn() -> None:
    assert missing_scripts("Hello, (world)", lambda svg: pytest.fail("drawn")) == []


def test_export_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PNG, "converter", lambda self: type("Converter", (), {"svg_to_png": staticmethod(draw)}))
    with pytest.warns(
        CharrnnWarning, match="no installed font has Chinese: the picture shows boxes.*write an .svg file"
    ):
        export(tmp_path / "a.png", [View("日", [0.5], "h")], {})
    assert (tmp_path / "a.png").exists()
