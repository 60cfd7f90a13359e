"""XML and HTML: tags, elements, and attributes."""

from __future__ import annotations

import re

from charrnn.properties.catalog import XML, Booleans, Integers, Text, register

TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][\w:.-]*+)[^<>]*+>")
VOID_ELEMENTS = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)


@register(
    "inside a tag",
    "binary",
    "Between < and > of a tag, a declaration or a comment.",
    applies=XML,
    family="tag",
    phrase="inside tags",
)
def _inside_tag(text: Text) -> Booleans:
    tags = re.finditer(r"<[/!?]?[A-Za-z\-\[][^<>]*>", text.characters)
    return text.spans((match.start(), match.end() - 1) for match in tags)


@register(
    "tag depth",
    "graded",
    "Number of open elements, counted at the > of their tags.",
    applies=XML,
    counter=True,
    phrase="the number of open elements",
)
def _tag_depth(text: Text) -> Integers:
    opens, closes = [], []
    for match in TAG.finditer(text.characters):
        if match["slash"]:
            closes.append(match.end() - 1)
        elif not match.group().endswith("/>") and match["name"].lower() not in VOID_ELEMENTS:
            opens.append(match.end() - 1)
    return text.depth(text.at(opens), text.at(closes))


@register(
    "attribute value",
    "binary",
    "Inside the quotes of an attribute.",
    applies=XML,
    family="tag",
    phrase="inside attribute values",
)
def _attribute_value(text: Text) -> Booleans:
    return text.spans(
        (match.start() + value.start(1), match.start() + value.end(1) - 1)
        for match in TAG.finditer(text.characters)
        for value in re.finditer(r"""=\s*("[^"]*"|'[^']*')""", match.group())
    )
