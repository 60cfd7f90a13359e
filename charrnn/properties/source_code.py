"""A programming language's own reading of a text, by Pygments' lexers: what is a string, a comment, a keyword.

`get_tokens_unprocessed` is used, which keeps every offset; `get_tokens` would strip and expand the text first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

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
"""Languages of Pygments that are texts with marks rather than programs, and the kind of text each is."""

BEGINNINGS = {'"""': '"""', "'''": "'''", "/*": "*/", "`": "`"}
"""What a text cut out of the middle of a file may begin inside of, and how that ends."""

PROBE = 20_000  # characters read to find out how a text begins
CLEARLY = 10  # a beginning is believed where it takes away this many signs of disorder
SECONDS = 60.0  # a lexer that takes longer has met a text it is not made for


@dataclass(frozen=True)
class Tokens:
    """A text's tokens in order: where each starts and ends (integers (M,)), its Pygments type, its text."""

    starts: np.ndarray
    ends: np.ndarray
    types: list[Any]
    texts: list[str]

    def mask(self, length: int, chosen: Iterable[bool]) -> np.ndarray:
        """Booleans (length,): the characters of the chosen tokens (M,)."""
        step = np.zeros(length + 1, np.int32)
        wanted = np.fromiter(chosen, bool, len(self.types))
        np.add.at(step, self.starts[wanted], 1)
        np.add.at(step, self.ends[wanted], -1)
        return np.cumsum(step[:-1]) > 0


def find_language(name: str) -> str:
    """A language called by name, alias or file name ending, as `tokens_of` takes it.

    Raises UsageError where Pygments knows none such.
    """
    from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return _called(get_lexer_by_name(name.lower()))
    except ClassNotFound:
        pass
    try:
        return _called(get_lexer_for_filename("x." + name.lstrip(".")))
    except ClassNotFound:
        raise UsageError(f"Pygments knows no language {name!r}", "`pygmentize -L lexers` lists them") from None


def guess_language(file_names: Iterable[str]) -> str | None:
    """The language of most of these files by their endings; None if that is none, or plain text."""
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    endings = Counter(PurePath(name).suffix.lower() for name in file_names)
    for ending, _ in endings.most_common(1):
        try:
            language = _called(get_lexer_for_filename("x" + ending))
        except ClassNotFound:
            return None
        return None if language == "text" else language
    return None


def _called(lexer: Any) -> str:
    """The alias by which Pygments finds a lexer again; of one that has none, such as a plugin's, its name."""
    return lexer.aliases[0] if lexer.aliases else lexer.name


def kind_of(language: str | None) -> str:
    """ "code", "tex", "xml", "markdown" or, where no language is known, "prose"."""
    return "prose" if language is None else MARKUP.get(language, "code")


def tokens_of(text: str, language: str) -> Tokens:
    """A text's tokens. A text that begins in the middle of a string or a comment is recognized as such.

    Raises CharrnnError where the lexer takes longer than a minute.
    """
    from pygments.lexers import find_lexer_class, get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = find_lexer_class(language)()
    plain = text.replace("\r\n", " \n").replace("\r", "\n")  # lexers know one line ending only
    beginning = _beginning(lexer, plain[:PROBE])
    starts, types, texts = [], [], []
    deadline = time.monotonic() + SECONDS
    for place, token_type, value in lexer.get_tokens_unprocessed(beginning + plain):
        if time.monotonic() > deadline:
            raise CharrnnError(f"Pygments takes too long to read this text as {language}", "give another --language")
        place -= len(beginning)
        if place < 0:
            value, place = value[-place:], 0
        if value:
            starts.append(place)
            types.append(token_type)
            texts.append(value)
    at = np.array(starts, np.int64)
    return Tokens(at, at + np.array([len(value) for value in texts], np.int64), types, texts)


def _beginning(lexer: Any, head: str) -> str:
    """What to put before a text so that its lexer starts in the right state: one of `BEGINNINGS`, or nothing."""
    disorder = {opening: _disorder(lexer, opening + head) for opening, end in BEGINNINGS.items() if end in head}
    best = min(disorder, key=disorder.__getitem__, default="")
    return best if best and disorder[best] + CLEARLY <= _disorder(lexer, head) else ""


def _disorder(lexer: Any, text: str) -> int:
    """How unlike a program a text looks: errors, and words that follow one another without a sign between them."""
    from pygments.token import Comment, Error, Name, String

    disorder, names = 0, 0
    for _, token_type, value in lexer.get_tokens_unprocessed(text):
        if token_type in Error:
            disorder += 1
        elif token_type in Name:
            names += 1
            disorder += names > 2
        elif token_type in Comment or token_type in String or value.strip():
            names = 0
    return disorder


def inside(mask: np.ndarray) -> np.ndarray:
    """Characters (N,) of spans → positions after which one is still inside: all but the last of each span."""
    after = mask.copy()
    after[:-1] &= mask[1:]
    after[-1:] = False
    return after


def strings(tokens: Tokens, length: int) -> np.ndarray:
    """Characters (length,) of string literals, quotes among them; not a prefix (`r`, `f`), nor what is interpolated."""
    from pygments.token import String

    return tokens.mask(length, (t in String and t not in String.Affix for t in tokens.types))


def docstrings(tokens: Tokens, length: int) -> np.ndarray:
    """Characters (length,) of documentation strings."""
    from pygments.token import String

    return tokens.mask(length, (t in String.Doc for t in tokens.types))


def keywords(tokens: Tokens, length: int) -> np.ndarray:
    """Characters (length,) of keywords, words for values such as `None` and operators such as `not` among them."""
    from pygments.token import Keyword, Operator

    words = ((t in Keyword or t in Operator.Word) and value.isalpha() for t, value in _both(tokens))
    return tokens.mask(length, words)


def preprocessor(tokens: Tokens, length: int) -> np.ndarray:
    """Characters (length,) that belong to a line such as `#include <a.h>`."""
    from pygments.token import Comment

    return tokens.mask(length, (_is_preprocessor(t, Comment) for t in tokens.types))


def in_comment(tokens: Tokens, length: int) -> np.ndarray:
    """Positions (length,) inside a comment: to the end of its line, or before the last character of what closes it."""
    from pygments.token import Comment

    to_line_end, closed = [], []
    for token_type, value in _both(tokens):
        comment = token_type in Comment and not _is_preprocessor(token_type, Comment)
        multiline = comment and value.endswith(("*/", "-->", "*)", "-}", "]]", "|#"))
        to_line_end.append(comment and not multiline)
        closed.append(multiline)
    return _without_newlines(tokens, length, to_line_end) | inside(tokens.mask(length, closed))


def _is_preprocessor(token_type: Any, comment: Any) -> bool:
    return token_type in comment.Preproc or token_type in comment.PreprocFile


def _without_newlines(tokens: Tokens, length: int, chosen: Iterable[bool]) -> np.ndarray:
    mask = tokens.mask(length, chosen)
    last = np.array([value.endswith("\n") for value in tokens.texts], bool)
    ends = tokens.ends[last] - 1
    mask[ends[ends < length]] = False
    return mask


def brackets(tokens: Tokens) -> Iterator[tuple[int, str]]:
    """Place and character of every bracket that is the program's, not a string's or a comment's."""
    from pygments.token import Comment, String

    for start, (token_type, value) in zip(tokens.starts.tolist(), _both(tokens), strict=True):
        if token_type not in Comment and token_type not in String:
            for offset, character in enumerate(value):
                if character in "([{}])":
                    yield start + offset, character


CONDITIONS = frozenset({"if", "elif", "elsif", "elseif", "unless"})
DEFINITIONS = frozenset({"def", "class", "function", "func", "fn", "sub", "interface", "struct"})


def after_keyword(tokens: Tokens, length: int, words: frozenset[str]) -> np.ndarray:
    """Positions (length,) between one of these keywords and what ends its clause.

    From the character after the keyword (which shows that the word has ended) to before a `:`, `{`, `;`, `then` or
    `else` at the keyword's own bracket depth, a bracket that closes what was open before it, or the end of the line;
    in languages that put the clause in parentheses and nothing behind them, to before the closing parenthesis.
    """
    from pygments.token import Comment, Keyword, String

    values = np.zeros(length, bool)
    colons = _ends_clauses_by_colon(tokens)
    start = depth = -1
    for place, (token_type, value) in zip(tokens.starts.tolist(), _both(tokens), strict=True):
        if token_type in Comment or token_type in String:
            continue
        if token_type in Keyword:
            if start >= 0 and depth == 0 and value in ("then", "else", "do"):
                values[start:place] = True
                start = -1
            if start < 0 and value in words:
                start, depth = place + len(value), 0
            continue
        if start < 0:
            continue
        for offset, character in enumerate(value):
            here = place + offset
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
    """Whether a line of this language ends in `:` more often than in `{`."""
    counts = Counter(
        value.strip()[-1:]
        for value, after in zip(tokens.texts, [*tokens.texts[1:], ""], strict=True)
        if after.startswith("\n") or value.endswith("\n")
    )
    return counts[":"] > counts["{"]


def _both(tokens: Tokens) -> Iterator[tuple[Any, str]]:
    return zip(tokens.types, tokens.texts, strict=True)
