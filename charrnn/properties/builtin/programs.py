"""Source code: indentation, strings, comments, keywords, and clauses."""

from __future__ import annotations

import numpy as np

from charrnn.properties import source_code
from charrnn.properties.catalog import CODE, Booleans, Integers, Text, register

TAB_COLUMNS = 8


@register(
    "indentation",
    "graded",
    "Columns of white space at the start of the line, as far as read; a tab counts as eight.",
    counter=True,
)
def _indentation(text: Text) -> Integers:
    blank = text.is_any_of(" \t")
    leading = blank & (text.count_since(~blank & ~text.newline, text.newline) == 0)
    columns = np.where(leading, np.where(text.is_any_of("\t"), TAB_COLUMNS, 1), 0)
    return text.count_since(columns, text.newline)


@register("in string", "binary", "Inside a string literal.", applies=CODE, family="literal")
def _in_string(text: Text) -> Booleans:
    return source_code.inside(text.strings)


@register("docstring", "binary", "Inside a documentation string.", applies=CODE, family="literal")
def _docstring(text: Text) -> Booleans:
    return source_code.inside(source_code.docstrings(text.tokens, len(text)))


@register("in comment", "binary", "Inside a comment, up to the end of its line.", applies=CODE, family="literal")
def _in_comment(text: Text) -> Booleans:
    return text.comments


@register("string or comment", "binary", "Inside a string literal or a comment.", applies=CODE, family="literal")
def _string_or_comment(text: Text) -> Booleans:
    return source_code.inside(text.strings) | text.comments


@register("keyword", "binary", "In a keyword of the language.", applies=CODE, looks_ahead=True)
def _keyword(text: Text) -> Booleans:
    return source_code.keywords(text.tokens, len(text))


@register("if condition", "binary", "Between `if` (or elif, unless) and the end of its condition.", applies=CODE)
def _if_condition(text: Text) -> Booleans:
    return source_code.after_keyword(text.tokens, len(text), source_code.CONDITIONS)


@register("preprocessor line", "binary", "In a line such as `#include <a.h>`, from its `#` on.", applies=CODE)
def _preprocessor_line(text: Text) -> Booleans:
    marked = source_code.preprocessor(text.tokens, len(text))
    return (text.count_since(marked, text.newline) > 0) & ~text.newline


@register("def or class header", "binary", "Between `def`, `class` or the like and its `:` or `{`.", applies=CODE)
def _definition_header(text: Text) -> Booleans:
    return source_code.after_keyword(text.tokens, len(text), source_code.DEFINITIONS)
