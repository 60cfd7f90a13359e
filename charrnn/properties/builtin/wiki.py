"""Markdown and wiki markup: code fences, headings, and links."""

from __future__ import annotations

import re

from charrnn.properties.catalog import MARKDOWN, Booleans, Text, register


@register(
    "code fence",
    "binary",
    "Between a line that starts with ``` or ~~~ and the next one.",
    applies=MARKDOWN,
    phrase="inside code fences",
)
def _code_fence(text: Text) -> Booleans:
    fences = list(re.finditer(r"^ {0,3}(?:```|~~~)[^\n]*", text.characters, re.MULTILINE))
    ends = [match.end() - 1 for match in fences]
    return text.spans(zip(ends[::2], [*ends[1::2], len(text)], strict=False))


@register(
    "heading",
    "binary",
    "In a line that starts with # and a space, or with == as in a wiki.",
    applies=MARKDOWN,
    phrase="in headings",
)
def _heading(text: Text) -> Booleans:
    return text.matches(r"^(?:#{1,6} |={2,6}[^=\n])[^\n]*", re.MULTILINE)


@register("in link", "binary", "In [[…]] or [text](target).", applies=MARKDOWN, family="link", phrase="inside links")
def _in_link(text: Text) -> Booleans:
    links = re.finditer(r"\[\[[^\[\]\n]+\]\]|\[[^\[\]\n]*\]\([^()\s]*\)", text.characters)
    return text.spans((match.start(), match.end() - 1) for match in links)


@register("URL", "binary", "In an address that starts with http://, https:// or www.", family="link", phrase="in URLs")
def _url(text: Text) -> Booleans:
    return text.matches(r"(?:https?://|\bwww\.)[^\s<>\"'|\]})]+")
