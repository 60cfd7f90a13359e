"""Strings, comments, keywords and clauses of source code, found by Pygments' lexers.

`get_tokens_unprocessed` keeps every offset; `get_tokens` would strip and expand the text first.

Shapes: N characters (`length`), M tokens.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CharrnnError, UsageError

Booleans = NDArray[np.bool_]

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
MAX_SECONDS = 60.0
"""Lexers are quadratic or worse on some texts that they are not made for."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text in order. starts, ends: positions, (M,). types: as Pygments names them."""

    starts: np.ndarray
    ends: np.ndarray
    types: list[Any]
    texts: list[str]

    def mask(self, length: int, chosen: Iterable[bool]) -> Booleans:
        """Return the characters of the chosen tokens (M,), as booleans (N,)."""
        step = np.zeros(length + 1, np.int32)
        wanted = np.fromiter(chosen, bool, len(self.types))
        np.add.at(step, self.starts[wanted], 1)
        np.add.at(step, self.ends[wanted], -1)
        return np.cumsum(step[:-1]) > 0

    def typed_texts(self) -> Iterator[tuple[Any, str]]:
        """Yield the type and the text of each token."""
        return zip(self.types, self.texts, strict=True)


def find_language(name: str) -> str:
    """Find a language by name, alias or file suffix. Raises UsageError for a language unknown to Pygments."""
    from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return _alias(get_lexer_by_name(name.lower()))
    except ClassNotFound:
        pass
    try:
        return _alias(get_lexer_for_filename("x." + name.lstrip(".")))
    except ClassNotFound:
        raise UsageError(f"Pygments knows no language {name!r}", "`pygmentize -L lexers` lists them") from None


def guess_language(file_names: Iterable[str]) -> str | None:
    """Guess the language of most files from their suffixes. None for plain text and unknown suffixes."""
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    suffixes = Counter(PurePath(name).suffix.lower() for name in file_names)
    for suffix, _ in suffixes.most_common(1):
        try:
            language = _alias(get_lexer_for_filename("x" + suffix))
        except ClassNotFound:
            return None
        return None if language == "text" else language
    return None


def _alias(lexer: Any) -> str:
    """Return the name by which Pygments finds a lexer: its alias, or its name where a plugin defines no alias."""
    return str(lexer.aliases[0] if lexer.aliases else lexer.name)


def kind_of(language: str | None) -> str:
    """Return "code", "tex", "xml", "markdown" or "prose". None is prose."""
    return "prose" if language is None else MARKUP.get(language, "code")


def tokens_of(text: str, language: str) -> Tokens:
    """Return the tokens of a text, which may start in the middle of a string or a comment.

    Raises CharrnnError where the lexer takes longer than a minute.
    """
    from pygments.lexers import find_lexer_class, get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer_class = find_lexer_class(language)
        if lexer_class is None:
            raise UsageError(f"Pygments knows no language {language!r}") from None
        lexer = lexer_class()
    plain = text.replace("\r\n", " \n").replace("\r", "\n")  # lexers know one line ending only
    opening = _opening_delimiter(lexer, plain[:PROBE])
    starts, types, texts = [], [], []
    deadline = time.monotonic() + MAX_SECONDS
    for position, token_type, value in lexer.get_tokens_unprocessed(opening + plain):
        if time.monotonic() > deadline:
            raise CharrnnError(f"Pygments takes too long to read this text as {language}", "give another --language")
        position -= len(opening)
        if position < 0:
            value, position = value[-position:], 0
        if value:
            starts.append(position)
            types.append(token_type)
            texts.append(value)
    at = np.array(starts, np.int64)
    return Tokens(at, at + np.array([len(value) for value in texts], np.int64), types, texts)


def _opening_delimiter(lexer: Any, head: str) -> str:
    """Return the delimiter of the literal or comment that a text starts in, or nothing."""
    errors = {opening: _count_errors(lexer, opening + head) for opening, end in DELIMITERS.items() if end in head}
    best = min(errors, key=errors.__getitem__, default="")
    return best if best and errors[best] + MIN_ERRORS_AVOIDED <= _count_errors(lexer, head) else ""


def _count_errors(lexer: Any, text: str) -> int:
    """Count lexer errors, and names that follow two or more names without a sign between them."""
    from pygments.token import Comment, Error, Name, String

    errors, names = 0, 0
    for _, token_type, value in lexer.get_tokens_unprocessed(text):
        if token_type in Error:
            errors += 1
        elif token_type in Name:
            names += 1
            errors += names > 2
        elif token_type in Comment or token_type in String or value.strip():
            names = 0
    return errors


def inside(mask: Booleans) -> Booleans:
    """Drop the last character of each span (N,), after which the text is no longer inside."""
    after = mask.copy()
    after[:-1] &= mask[1:]
    after[-1:] = False
    return after


def strings(tokens: Tokens, length: int) -> Booleans:
    """Return the characters of string literals, (N,), with quotes, without prefixes (`r`, `f`) and interpolations."""
    from pygments.token import String

    return tokens.mask(length, (t in String and t not in String.Affix for t in tokens.types))


def docstrings(tokens: Tokens, length: int) -> Booleans:
    """Return the characters of documentation strings, (N,)."""
    from pygments.token import String

    return tokens.mask(length, (t in String.Doc for t in tokens.types))


def keywords(tokens: Tokens, length: int) -> Booleans:
    """Return the characters of keywords, (N,), including constants such as `None` and operators such as `not`."""
    from pygments.token import Keyword, Operator

    words = ((t in Keyword or t in Operator.Word) and value.isalpha() for t, value in tokens.typed_texts())
    return tokens.mask(length, words)


def preprocessor(tokens: Tokens, length: int) -> Booleans:
    """Return the characters of preprocessor tokens such as `#include <a.h>`, (N,)."""
    from pygments.token import Comment

    return tokens.mask(length, (_is_preprocessor(t, Comment) for t in tokens.types))


def in_comment(tokens: Tokens, length: int) -> Booleans:
    """Return the positions inside a comment, (N,): to the end of its line, or before its last character."""
    from pygments.token import Comment

    to_line_end, closed = [], []
    for token_type, value in tokens.typed_texts():
        comment = token_type in Comment and not _is_preprocessor(token_type, Comment)
        multiline = comment and value.endswith(("*/", "-->", "*)", "-}", "]]", "|#"))
        to_line_end.append(comment and not multiline)
        closed.append(multiline)
    return _without_newlines(tokens, length, to_line_end) | inside(tokens.mask(length, closed))


def _is_preprocessor(token_type: Any, comment: Any) -> bool:
    return token_type in comment.Preproc or token_type in comment.PreprocFile


def _without_newlines(tokens: Tokens, length: int, chosen: Iterable[bool]) -> Booleans:
    mask = tokens.mask(length, chosen)
    last = np.array([value.endswith("\n") for value in tokens.texts], bool)
    ends = tokens.ends[last] - 1
    mask[ends[ends < length]] = False
    return mask


def brackets(tokens: Tokens) -> Iterator[tuple[int, str]]:
    """Yield the position and the character of every bracket outside strings and comments."""
    from pygments.token import Comment, String

    for start, (token_type, value) in zip(tokens.starts.tolist(), tokens.typed_texts(), strict=True):
        if token_type not in Comment and token_type not in String:
            for offset, character in enumerate(value):
                if character in "([{}])":
                    yield start + offset, character


CONDITIONS = frozenset({"if", "elif", "elsif", "elseif", "unless"})
DEFINITIONS = frozenset({"def", "class", "function", "func", "fn", "sub", "interface", "struct"})


def after_keyword(tokens: Tokens, length: int, words: frozenset[str]) -> Booleans:
    """Return the positions between one of these keywords and the end of its clause, (N,).

    The clause starts after the character that ends the keyword. It ends before a `:`, `{`, `;`, `then` or `else` at the
    bracket depth of the keyword, before a bracket that closes an earlier one, at the end of the line, or, in languages
    with the condition in parentheses, before the closing parenthesis.
    """
    from pygments.token import Comment, Keyword, String

    values = np.zeros(length, bool)
    colons = _ends_clauses_by_colon(tokens)
    start = depth = -1
    for position, (token_type, value) in zip(tokens.starts.tolist(), tokens.typed_texts(), strict=True):
        if token_type in Comment or token_type in String:
            continue
        if token_type in Keyword:
            if start >= 0 and depth == 0 and value in ("then", "else", "do"):
                values[start:position] = True
                start = -1
            if start < 0 and value in words:
                start, depth = position + len(value), 0
            continue
        if start < 0:
            continue
        for offset, character in enumerate(value):
            here = position + offset
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
                values[start:here] = True
                start = -1
                break
    if start >= 0:
        values[start:] = True
    return values


def _ends_clauses_by_colon(tokens: Tokens) -> bool:
    """Return whether more lines end in `:` than in `{`."""
    counts = Counter(
        value.strip()[-1:]
        for value, after in zip(tokens.texts, [*tokens.texts[1:], ""], strict=True)
        if after.startswith("\n") or value.endswith("\n")
    )
    return counts[":"] > counts["{"]
