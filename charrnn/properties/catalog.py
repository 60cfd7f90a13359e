"""Properties of a text at each of its characters, and their registry.

A property is computed from the text alone, exactly by its definition, in linear time. Its value at character t holds
after character t has been read: the opening quote is inside, the closing quote outside. A property with `looks_ahead`
also depends on the characters that follow.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pygments.token import Comment, String

from charrnn.errors import CharrnnError
from charrnn.properties import source_code
from charrnn.text.vocabulary import code_points

ANY = frozenset({"code", "tex", "xml", "markdown", "prose"})
CODE = frozenset({"code"})
NOT_CODE = ANY - CODE
TEX = frozenset({"tex", "prose"})
XML = frozenset({"xml", "markdown", "prose"})
MARKDOWN = frozenset({"markdown", "prose"})
PROSE = frozenset({"prose", "markdown"})

BLANK_LINE = re.compile(r"(?<=\n)[ \t\r]*\n")

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]


class Text:
    """A text of N characters, with arrays that several properties use, computed once.

    language: name of a programming or markup language, as Pygments calls it, or None.
    """

    def __init__(self, characters: str, language: str | None = None):
        self.characters = characters
        self.language = language
        self.kind = source_code.kind_of(language)

    def __len__(self) -> int:
        return len(self.characters)

    def __repr__(self) -> str:
        return f"<Text: {len(self):,} characters, {self.language or self.kind}>"

    @cached_property
    def _unique(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.unique(code_points(self.characters), return_inverse=True)

    def where(self, holds: Callable[[str], bool]) -> Booleans:
        """Return which characters satisfy `holds`, (N,). It is called once for each distinct character."""
        points, indices = self._unique
        found: Booleans = np.array([holds(chr(point)) for point in points], np.bool_)[indices]
        return found

    def is_any_of(self, characters: str) -> Booleans:
        """Return which characters are one of these, (N,)."""
        return self.where(lambda character: character in characters)

    @cached_property
    def newline(self) -> Booleans:
        return self.is_any_of("\n")

    @cached_property
    def letter(self) -> Booleans:
        return self.where(str.isalpha)

    @cached_property
    def upper(self) -> Booleans:
        return self.where(str.isupper)

    @cached_property
    def paragraph_starts(self) -> Booleans:
        """The newlines that end a blank line, (N,)."""
        return self.at(match.end() - 1 for match in BLANK_LINE.finditer(self.characters))

    @property
    def tokens(self) -> list[source_code.Token]:
        """The tokens of source code. Raises LexerTimeoutError, each time, where they take too long to find."""
        if isinstance(self._tokens, source_code.LexerTimeoutError):
            raise self._tokens
        return self._tokens

    @property
    def has_tokens(self) -> bool:
        """Whether this is source code that can be split into tokens in time."""
        return self.kind == "code" and not isinstance(self._tokens, source_code.LexerTimeoutError)

    @cached_property
    def _tokens(self) -> list[source_code.Token] | source_code.LexerTimeoutError:
        if self.language is None:
            raise ValueError("a text without a language has no tokens")
        try:
            return source_code.tokens_of(self.characters, self.language)
        except source_code.LexerTimeoutError as error:
            return error

    def in_tokens(self, holds: Callable[[Any, str], bool]) -> Booleans:
        """Return the characters of the tokens whose kind and text satisfy `holds`, (N,)."""
        return self.spans((token.start, token.end) for token in self.tokens if holds(token.kind, token.text))

    @cached_property
    def brackets(self) -> tuple[Booleans, Booleans]:
        """Opening and closing brackets of all kinds, (N,) each; in source code, not those of strings and comments."""
        opens, closes = self.is_any_of("([{"), self.is_any_of(")]}")
        if self.kind != "code":
            return opens, closes
        is_code = ~self.in_tokens(lambda kind, _: kind in Comment or kind in String)
        return opens & is_code, closes & is_code

    @cached_property
    def bracket_resets(self) -> Booleans:
        """Where unclosed brackets are dropped, (N,): at blank lines; in code, only before an unindented line."""
        if self.kind != "code":
            return self.paragraph_starts
        return self.at(match.end() - 1 for match in re.finditer(r"(?<=\n)[ \t\r]*\n(?=[^\s)\]}])", self.characters))

    def at(self, positions: Iterable[int]) -> Booleans:
        """Return an array (N,) that is true at these positions."""
        values = np.zeros(len(self), np.bool_)
        values[np.fromiter(positions, np.int64)] = True
        return values

    def spans(self, spans: Iterable[tuple[int, int]] | NDArray[np.int64]) -> Booleans:
        """Return an array (N,) that is true in these spans (start, stop). A negative start counts as 0."""
        bounds = np.array(spans if isinstance(spans, np.ndarray) else [*spans], np.int64).reshape(-1, 2).clip(min=0)
        starts, stops = bounds[bounds[:, 0] < bounds[:, 1]].T
        length = len(self) + 1
        return np.cumsum(np.bincount(starts, minlength=length) - np.bincount(stops, minlength=length))[:-1] > 0

    def matches(self, pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Booleans:
        """Return an array (N,) that is true in the matches of a regular expression."""
        return self.spans(match.span() for match in re.finditer(pattern, self.characters, flags))

    def next(self, values: Booleans) -> Booleans:
        """Return the values of the next character, (N,); False at the end."""
        return np.concatenate([values[1:], np.zeros(1, np.bool_)])

    def since(self, event: Booleans) -> Integers:
        """Return the characters read since the last event, (N,): 0 at an event; before the first, since the start."""
        positions = np.arange(len(self))
        return positions - np.maximum.accumulate(np.where(event, positions, -1))

    def until(self, event: Booleans) -> Integers:
        """Return the characters before the next event, (N,): 0 right before one; after the last, to the end."""
        positions = np.arange(len(self))
        following = np.minimum.accumulate(np.where(event, positions, len(self))[::-1])[::-1]
        return np.append(following[1:], len(self)) - positions - 1

    def count_since(self, counted: NDArray[Any], event: Booleans) -> Integers:
        """Return the sum of `counted` after the last event, (N,)."""
        total = np.cumsum(counted)
        return total - np.maximum.accumulate(np.where(event, total, 0))

    def depth(self, opens: Booleans, closes: Booleans, resets: Booleans | None = None) -> Integers:
        """Return how many are open after each character, (N,): never below 0, and 0 after a reset."""
        level = np.cumsum(opens.astype(np.int64) - closes)
        if resets is not None:
            level -= np.cumsum(resets) * (2 * len(self) + 1)  # below all earlier levels, so the minimum starts over
        return level - np.minimum.accumulate(np.minimum(level, 0))


Kind = Literal["binary", "graded"]
Values = Callable[[Text], NDArray[Any]]


@dataclass(frozen=True)
class Property:
    """A property of a text at each character.

    kind: "binary" (booleans) or "graded" (numbers). definition: one sentence. applies: kinds of text. family: shared by
    properties that contain one another. looks_ahead: see the module. counter: a graded property that changes in steps;
    a linear fit to it makes sense. control: a label without meaning, which no cell should be named after. phrase:
    what a sentence says after "is high" (binary) or "rises with" (graded). code: identifies code outside this package
    that the values depend on; None: unknown.
    """

    name: str
    kind: Kind
    definition: str
    values: Values
    applies: frozenset[str] = ANY
    family: str | None = None
    looks_ahead: bool = False
    counter: bool = False
    control: bool = False
    phrase: str = ""
    code: str | None = field(default="", repr=False)

    @property
    def title(self) -> str:
        return f"{self.name} [next]" if self.looks_ahead else self.name

    def of(self, text: Text) -> NDArray[Any]:
        """Return the value after each character, (N,): bool where binary, float64 where graded.

        Raises CharrnnError where a user's property fails or does not return one value for each character.
        """
        values = np.asarray(self.values(text)) if len(text) else np.zeros(0)
        if values.shape != (len(text),):
            raise CharrnnError(f"property {self.name!r} gives {values.size} values for {len(text)} characters")
        return values.astype(np.bool_ if self.kind == "binary" else np.float64)


CATALOG: dict[str, Property] = {}
"""Name → property."""


def register(name: str, kind: Kind, definition: str, **details: Any) -> Callable[[Values], Values]:
    """Add a function from Text to values (N,) to the catalog. Defining the function again replaces it.

    details: fields of `Property`; the phrase is the name by default. Raises ValueError if another function has the
    name.
    """

    def add(values: Values) -> Values:
        known = CATALOG.get(name)
        if known is not None and known.values.__qualname__ != values.__qualname__:
            raise ValueError(f"there is already a property {name!r}: {known.values.__qualname__}")
        CATALOG[name] = Property(name, kind, definition, values, code=_code_of(values), **{"phrase": name, **details})
        return values

    return add


def _code_of(function: Values) -> str | None:
    """Return a hash of the file or the source of a function. Inside this package: nothing. None if it has no source."""
    try:
        file = Path(inspect.getsourcefile(function) or "")
        if file.is_relative_to(Path(__file__).parent):
            return ""
        source = file.read_bytes() if file.is_file() else inspect.getsource(function).encode()
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source).hexdigest()


def searchable() -> list[Property]:
    """Return all properties but the control labels."""
    return [one for one in CATALOG.values() if not one.control]


def property_titled(title: str) -> Property | None:
    """Return the property of the catalog with a title, if there is one."""
    return next((one for one in CATALOG.values() if one.title == title), None)
