"""Lines, words, sentences, quotes, and brackets."""

from __future__ import annotations

import re

import numpy as np

from charrnn.properties.catalog import NOT_CODE, Booleans, Integers, Text, register


@register(
    "line position",
    "graded",
    "Characters read since the last newline.",
    counter=True,
    phrase="the position in the line",
)
def _line_position(text: Text) -> Integers:
    return text.since(text.newline)


@register(
    "characters to the newline",
    "graded",
    "Characters before the next newline.",
    looks_ahead=True,
    counter=True,
    family="line end",
    phrase="the characters left in the line",
)
def _characters_to_newline(text: Text) -> Integers:
    return text.until(text.newline)


@register(
    "newline follows",
    "binary",
    "The next character is a newline.",
    looks_ahead=True,
    family="line end",
    phrase="before a newline",
)
def _newline_follows(text: Text) -> Booleans:
    return text.next(text.newline)


@register(
    "position in word",
    "graded",
    "Letters read of the current word; 0 outside words.",
    counter=True,
    phrase="the position in the word",
)
def _position_in_word(text: Text) -> Integers:
    return text.since(~text.letter)


@register("word ends", "binary", "The last letter of a word.", looks_ahead=True, phrase="at the last letter of a word")
def _word_ends(text: Text) -> Booleans:
    return text.letter & text.next(~text.letter)


@register(
    "upper case", "binary", "The last character is a capital letter.", family="capitals", phrase="at capital letters"
)
def _upper_case(text: Text) -> Booleans:
    return text.upper


@register(
    "capitals run",
    "binary",
    "The last two characters are capital letters.",
    family="capitals",
    phrase="in words in capitals",
)
def _capitals_run(text: Text) -> Booleans:
    return text.upper & (text.since(~text.upper) > 1)


@register("in number", "binary", "In a number: digits, with points and commas between them.", phrase="inside numbers")
def _in_number(text: Text) -> Booleans:
    return text.matches(r"\d+(?:[.,]\d+)*")


@register(
    "sentence position",
    "graded",
    "Characters since the sentence started: at white space after . ! ? (and a closing quote), or at a blank line.",
    applies=NOT_CODE,
    counter=True,
    phrase="the position in the sentence",
)
def _sentence_position(text: Text) -> Integers:
    ends = text.at(match.end() - 1 for match in re.finditer(r"""[.!?]["'”’)\]]*\s""", text.characters))
    return text.since(ends | text.paragraph_starts)


@register(
    "paragraph position",
    "graded",
    "Characters read since the last blank line.",
    counter=True,
    phrase="the position in the paragraph",
)
def _paragraph_position(text: Text) -> Integers:
    return text.since(text.paragraph_starts)


@register(
    "inside “…”",
    "binary",
    "Inside double quotes, straight or curly; a blank line closes them.",
    applies=NOT_CODE,
    family="literal",
    phrase="inside quotes",
)
def _inside_quotes(text: Text) -> Booleans:
    straight: Booleans = text.count_since(text.is_any_of('"'), text.paragraph_starts) % 2 == 1
    opens = text.is_any_of("“")
    closes = text.is_any_of("”") | text.paragraph_starts
    return straight | (text.since(opens) < text.since(closes)) & (np.cumsum(opens) > 0)


@register("inside parentheses", "binary", "Inside ( ); a blank line closes them.", family="brackets")
def _inside_parentheses(text: Text) -> Booleans:
    return text.depth(text.is_any_of("("), text.is_any_of(")"), text.paragraph_starts) > 0


@register(
    "bracket depth",
    "graded",
    "Number of open ( [ {; in source code, without those in strings and comments.",
    family="brackets",
    phrase="the number of open brackets",
)
def _bracket_depth(text: Text) -> Integers:
    return text.depth(*text.brackets, text.bracket_resets)


@register("in brackets", "binary", "Bracket depth above 0.", family="brackets", phrase="inside brackets")
def _in_brackets(text: Text) -> Booleans:
    return _bracket_depth(text) > 0


@register(
    "brace depth",
    "graded",
    "Number of open {; in source code, without those in strings and comments.",
    family="brackets",
    phrase="the number of open braces",
)
def _brace_depth(text: Text) -> Integers:
    opens, closes = text.brackets
    return text.depth(opens & text.is_any_of("{"), closes & text.is_any_of("}"), text.bracket_resets)
