"""Languages and tokens of source code, by Pygments' lexers."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from pygments.lexers import find_lexer_class, get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Name, String
from pygments.util import ClassNotFound

from charrnn.errors import CharrnnError, UsageError

MARKUP = {
    "tex": "tex",
    "latex": "tex",
    "xml": "xml",
    "html": "xml",
    "markdown": "markdown",
    "wikitext": "markdown",
    "rst": "markdown",
    "text": "prose",
}
"""Languages of Pygments that are markup rather than programs → kind of text."""

DELIMITERS = {'"""': '"""', "'''": "'''", "/*": "*/", "`": "`"}
"""Literals and comments that a text cut out of a file may start in: opening → closing delimiter."""

PROBE = 20_000
"""Characters lexed to find out whether a text starts inside a literal or a comment."""
MIN_ERRORS_AVOIDED = 10
MAX_SECONDS = 30.0
"""CPU time for the tokens of a text: lexers are quadratic on some texts, as that of C on blank lines."""


class LexerTimeoutError(CharrnnError):
    """A lexer takes too long."""


Lex = Callable[[str], Iterator[tuple[int, Any, str]]]


class Token(NamedTuple):
    """A token of a text. start: its first character. kind: as Pygments names it."""

    start: int
    kind: Any
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def find_language(name: str) -> str:
    """Find a language by name, alias or file suffix. Raises UsageError for a language unknown to Pygments."""
    with contextlib.suppress(ClassNotFound):
        return _alias(get_lexer_by_name(name.lower()))
    try:
        return _alias(get_lexer_for_filename("x." + name.lstrip(".")))
    except ClassNotFound:
        raise UsageError(f"Pygments knows no language {name!r}", "`pygmentize -L lexers` lists them") from None


def guess_language(file_names: Iterable[str]) -> str | None:
    """Guess the language of most files from their suffixes. None for plain text and unknown suffixes."""
    suffixes = Counter(PurePath(name).suffix.lower() for name in file_names)
    try:
        language = _alias(get_lexer_for_filename("x" + max(suffixes, key=suffixes.__getitem__, default="")))
    except ClassNotFound:
        return None
    return None if language == "text" else language


def _alias(lexer: Any) -> str:
    """Return the name by which Pygments finds a lexer: its alias, or its name where a plugin defines no alias."""
    return str(lexer.aliases[0] if lexer.aliases else lexer.name)


def kind_of(language: str | None) -> str:
    """Return "code", "tex", "xml", "markdown" or "prose". None is prose."""
    return "prose" if language is None else MARKUP.get(language, "code")


def tokens_of(text: str, language: str) -> list[Token]:
    """Return the tokens of a text, which may start in the middle of a string or a comment.

    Raises LexerTimeoutError where the lexer takes too long.
    """
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer_class = find_lexer_class(language)
        if lexer_class is None:
            raise UsageError(f"Pygments knows no language {language!r}") from None
        lexer = lexer_class()
    plain = text.replace("\r\n", " \n").replace("\r", "\n")  # lexers know one line ending only
    lex = _bounded(lexer)
    opening = _opening_delimiter(lex, plain[:PROBE])
    tokens = []
    for position, kind, value in lex(opening + plain):
        position -= len(opening)
        if position < 0:
            value, position = value[-position:], 0
        if value:
            tokens.append(Token(position, kind, value))
    return tokens


def _bounded(lexer: Any) -> Lex:
    """Return the lexer as a function that raises LexerTimeoutError once all its calls took `MAX_SECONDS`."""
    deadline = time.thread_time() + MAX_SECONDS

    def lex(text: str) -> Iterator[tuple[int, Any, str]]:
        for token in lexer.get_tokens_unprocessed(text):  # get_tokens would change the text
            if time.thread_time() > deadline:
                raise LexerTimeoutError(f"Pygments takes too long to read it as {lexer.name}", "try `language='none'`")
            yield token

    return lex


def _opening_delimiter(lex: Lex, head: str) -> str:
    """Return the delimiter of the literal or comment that a text starts in, or nothing."""
    errors = {opening: _count_errors(lex(opening + head)) for opening, end in DELIMITERS.items() if end in head}
    best = min(errors, key=errors.__getitem__, default="")
    return best if best and errors[best] + MIN_ERRORS_AVOIDED <= _count_errors(lex(head)) else ""


def _count_errors(tokens: Iterable[tuple[int, Any, str]]) -> int:
    """Count lexer errors, and names that follow two or more names without a sign between them."""
    errors, names = 0, 0
    for _, kind, value in tokens:
        if kind in Error:
            errors += 1
        elif kind in Name:
            names += 1
            errors += names > 2
        elif kind in Comment or kind in String or value.strip():
            names = 0
    return errors
