"""Source code: indentation, strings, comments, keywords, and clauses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from pygments.token import Comment, Keyword, Operator, String

from charrnn.properties.catalog import CODE, Booleans, Integers, Text, register
from charrnn.properties.source_code import Token

TAB_COLUMNS = 8
COMMENT_ENDS = ("*/", "-->", "*)", "-}", "]]", "|#")
CONDITIONS = frozenset({"if", "elif", "elsif", "elseif", "unless"})
DEFINITIONS = frozenset({"def", "class", "function", "func", "fn", "sub", "interface", "struct"})


@register(
    "indentation",
    "graded",
    "Columns of white space at the start of the line, as far as read; a tab counts as eight.",
    counter=True,
    phrase="the indentation",
)
def _indentation(text: Text) -> Integers:
    blank = text.is_any_of(" \t")
    leading = blank & (text.count_since(~blank & ~text.newline, text.newline) == 0)
    columns = np.where(leading, np.where(text.is_any_of("\t"), TAB_COLUMNS, 1), 0)
    return text.count_since(columns, text.newline)


@register(
    "in string", "binary", "Inside a string literal.", applies=CODE, family="literal", phrase="inside string literals"
)
def _in_string(text: Text) -> Booleans:
    """Quotes are inside; prefixes (`r`, `f`) and interpolations are not."""
    return _inside(text, text.in_tokens(lambda kind, _: kind in String and kind not in String.Affix))


@register(
    "docstring", "binary", "Inside a documentation string.", applies=CODE, family="literal", phrase="inside docstrings"
)
def _docstring(text: Text) -> Booleans:
    return _inside(text, text.in_tokens(lambda kind, _: kind in String.Doc))


@register(
    "in comment",
    "binary",
    "Inside a comment, up to the end of its line.",
    applies=CODE,
    family="literal",
    phrase="inside comments",
)
def _in_comment(text: Text) -> Booleans:
    comments = [token for token in text.tokens if token.kind in Comment and not _is_preprocessor(token.kind)]
    closed = [(token.start, token.end) for token in comments if token.text.endswith(COMMENT_ENDS)]
    to_line_end = [
        (token.start, token.start + len(token.text.removesuffix("\n")))
        for token in comments
        if not token.text.endswith(COMMENT_ENDS)
    ]
    return text.spans(to_line_end) | _inside(text, text.spans(closed))


@register(
    "string or comment",
    "binary",
    "Inside a string literal or a comment.",
    applies=CODE,
    family="literal",
    phrase="inside strings and comments",
)
def _string_or_comment(text: Text) -> Booleans:
    return _in_string(text) | _in_comment(text)


@register("keyword", "binary", "In a keyword of the language.", applies=CODE, looks_ahead=True, phrase="in keywords")
def _keyword(text: Text) -> Booleans:
    """Constants such as `None` and operators such as `not` are keywords."""
    return text.in_tokens(lambda kind, value: (kind in Keyword or kind in Operator.Word) and value.isalpha())


@register(
    "if condition",
    "binary",
    "Between `if` (or elif, unless) and the end of its condition.",
    applies=CODE,
    phrase="in conditions after an if",
)
def _if_condition(text: Text) -> Booleans:
    return text.spans(_clauses(text, CONDITIONS))


@register(
    "preprocessor line",
    "binary",
    "In a line such as `#include <a.h>`, from its `#` on.",
    applies=CODE,
    phrase="in preprocessor lines",
)
def _preprocessor_line(text: Text) -> Booleans:
    marked = text.in_tokens(lambda kind, _: _is_preprocessor(kind))
    return (text.count_since(marked, text.newline) > 0) & ~text.newline


@register(
    "def or class header",
    "binary",
    "Between `def`, `class` or the like and its `:` or `{`.",
    applies=CODE,
    phrase="in headers of functions and classes",
)
def _definition_header(text: Text) -> Booleans:
    return text.spans(_clauses(text, DEFINITIONS))


def _inside(text: Text, spans: Booleans) -> Booleans:
    """Drop the last character of each span (N,), after which the text is no longer inside."""
    return spans & text.next(spans)


def _is_preprocessor(kind: Any) -> bool:
    return kind in Comment.Preproc or kind in Comment.PreprocFile


def _clauses(text: Text, words: frozenset[str]) -> list[tuple[int, int]]:
    """Return the spans between one of these keywords and the end of its clause.

    A clause ends before a `:`, `{`, `;`, `then` or `else` at the bracket depth of the keyword, or at the line end.
    It also ends before a bracket that closes an earlier one. In languages with the condition in parentheses, it ends
    before the closing parenthesis.
    """
    found = []
    colons = _ends_clauses_by_colon(text.tokens)
    start = depth = -1
    for position, kind, value in text.tokens:
        if kind in Comment or kind in String:
            continue
        if kind in Keyword:
            if start >= 0 and depth == 0 and value in ("then", "else", "do"):
                found.append((start, position))
                start = -1
            if start < 0 and value in words:
                start, depth = position + len(value), 0
            continue
        if start < 0:
            continue
        for here, character in enumerate(value, start=position):
            ended = False
            if character in "([{":
                ended = character == "{" and depth == 0 and not colons
                depth += 1
            elif character in ")]}":
                depth -= 1
                ended = depth < 0 or (depth == 0 and not colons and character == ")" and words is CONDITIONS)
            elif depth == 0:
                ended = character in "\n;" or (character == ":" and value == ":")
            if ended:
                found.append((start, here))
                start = -1
                break
    return found if start < 0 else [*found, (start, len(text))]


def _ends_clauses_by_colon(tokens: list[Token]) -> bool:
    """Return whether more lines end in `:` than in `{`."""
    texts = [token.text for token in tokens]
    last = Counter(
        value.strip()[-1:]
        for value, after in zip(texts, [*texts[1:], ""], strict=True)
        if after.startswith("\n") or value.endswith("\n")
    )
    return last[":"] > last["{"]
