r"""Parse a regular expression into a nondeterministic finite automaton over the characters of a model.

The syntax tree is that of Python's `re`, and `re` itself says which characters a class such as `[^\W\d]` contains. So
an expression means what it means to `re.fullmatch` with `re.MULTILINE`, and no package is needed.

Libraries were no replacement. outlines-core compiles for tokens: it refuses a vocabulary that lacks a character of the
expression, has no distance to acceptance, and the `\w` and `\s` of its Rust engine differ from Python's. interegular
and greenery have parsers of a smaller language, without Unicode classes, and interegular is no longer maintained.

Shapes: V symbols: the characters of the model, or the 256 bytes.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text.normalization import normalized
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary

LARGEST_NFA = 50_000  # states; they take a quarter of a second
NEWLINE, WORD, ASCII_WORD, EDGE = 1, 2, 4, 8
"""Bits of what is before or after a position: a kind of character, or an end of the text."""
UNSUPPORTED = {
    "ASSERT": "lookahead and lookbehind",
    "ASSERT_NOT": "lookahead and lookbehind",
    "FAILURE": "lookahead and lookbehind",
    "GROUPREF": "backreferences",
    "GROUPREF_EXISTS": "conditional groups",
    "ATOMIC_GROUP": "atomic groups",
    "POSSESSIVE_REPEAT": "possessive quantifiers",
}
CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
CLASS_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL  # those that change which characters a class contains
Condition = Callable[[int, int], bool]
"""Of a position: takes the bits before and after it."""


class ExpressionError(ValueError):
    """An expression is invalid, unsupported or too large. hint: what to do about it."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.hint = hint


@dataclass
class State:
    """A state, which text leaves by one symbol of a set, or without one, if a condition holds at its position."""

    symbols: int = -1  # index of the set; -1: no symbol
    targets: tuple[int, ...] = ()
    condition: Condition | None = None


@dataclass
class Nfa:
    """An automaton. A text matches if it leads from `start` to state 0.

    sets: (V,) bool each. kinds: the bits of each symbol, (V,). missing: classes of which the model has no character.
    """

    states: list[State]
    sets: list[np.ndarray]
    kinds: np.ndarray
    start: int
    missing: list[str]

    @property
    def has_conditions(self) -> bool:
        return any(state.condition is not None for state in self.states)


def parse(expression: str, vocabulary: Vocabulary, banned: str = "", form: str = "none") -> Nfa:
    """Return the automaton of an expression over a vocabulary without the banned characters.

    A vocabulary of bytes generates UTF-8, so a character is one to four symbols. form: of the text that the model was
    trained on, as for `charrnn.text.normalization.normalized`. Where it decomposes characters, those of the expression
    are the composed ones (NFC), and a mark or letter that they consist of is no character for itself.
    Raises ExpressionError where the expression is invalid, unsupported or too large.
    """
    parser: Any = importlib.import_module("re._parser")  # what `re.compile` calls; no public module has the tree
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of sets that may change their meaning
            composed = expression if form == "none" else normalized(expression, "nfc")
            tree = parser.parse(composed, re.MULTILINE)
        builder = _Builder(vocabulary, banned, _spellings(vocabulary, form))
        start = builder.sequence(tree, 0, tree.state.flags)
    except (re.error, OverflowError) as error:
        raise ExpressionError(str(error)) from None
    except RecursionError:
        raise ExpressionError("its groups are nested too deeply") from None
    return Nfa(builder.states, builder.sets, _kinds(vocabulary, builder.spellings), start, builder.missing)


class _Builder:
    """Adds states from the end of the text to its start: each method takes the state that follows a part.

    spellings: character → its symbols, where some have several; else empty.
    """

    def __init__(self, vocabulary: Vocabulary, banned: str, spellings: dict[str, tuple[int, ...]]):
        self._vocabulary, self._banned = vocabulary, banned
        self.spellings = spellings
        self._trees: dict[frozenset[tuple[int, ...]], Any] = {}
        self.states = [State()]
        self.sets: list[np.ndarray] = []
        self.missing: list[str] = []
        self._classes: dict[tuple[str, int], Any] = {}

    def sequence(self, parts: Any, target: int, flags: int) -> int:
        """Add the parts of a sequence and return its first state."""
        for operator, argument in reversed(parts):
            target = self._part(str(operator), argument, target, flags)
        return target

    def _part(self, operator: str, argument: Any, target: int, flags: int) -> int:
        if operator == "SUBPATTERN":
            _, added, removed, parts = argument
            if added & (re.ASCII | re.UNICODE):
                flags &= ~(re.ASCII | re.UNICODE)
            return self.sequence(parts, target, (flags | added) & ~removed)
        if operator == "BRANCH":
            return self._add(State(targets=tuple(self.sequence(parts, target, flags) for parts in argument[1])))
        if operator in ("MAX_REPEAT", "MIN_REPEAT"):  # greedy or not, the same texts match as a whole
            least, most, parts = argument
            return self._repeat(least, most, parts, target, flags)
        if operator == "AT":
            return self._add(State(targets=(target,), condition=self._condition(str(argument), flags)))
        if operator in UNSUPPORTED:
            raise ExpressionError(f"{UNSUPPORTED[operator]} are not supported")
        return self._character(_class(operator, argument), flags & CLASS_FLAGS, target)

    def _repeat(self, least: int, most: Any, parts: Any, target: int, flags: int) -> int:
        if str(most) == "MAXREPEAT":
            loop = self._add(State())
            self.states[loop].targets = (self.sequence(parts, loop, flags), target)
            first = loop
        else:
            first = target
            for _ in range(most - least):
                first = self._add(State(targets=(self.sequence(parts, first, flags), target)))
        for _ in range(least):
            # A separate state lets every repetition count towards the limit.
            first = self._add(State(targets=(self.sequence(parts, first, flags),)))
        return first

    def _condition(self, name: str, flags: int) -> Condition:
        word = ASCII_WORD if flags & re.ASCII else WORD
        if name in ("AT_BEGINNING", "AT_END") and not flags & re.MULTILINE:
            raise ExpressionError("(?-m) is not supported", r"use \A and \Z")
        if word == WORD and "BOUNDARY" in name and self._vocabulary.kind == "bytes":
            raise ExpressionError(f"{_boundary(name)} is not supported for bytes", f"use (?a:{_boundary(name)})")
        conditions: dict[str, Condition] = {
            "AT_BEGINNING": lambda before, after: bool(before & (EDGE | NEWLINE)),
            "AT_BEGINNING_STRING": lambda before, after: bool(before & EDGE),
            "AT_BOUNDARY": lambda before, after: before & word != after & word,
            "AT_NON_BOUNDARY": lambda before, after: before & word == after & word,
            "AT_END": lambda before, after: bool(after & (EDGE | NEWLINE)),
            "AT_END_STRING": lambda before, after: bool(after & EDGE),
        }
        return conditions[name]

    def _character(self, expression: str, flags: int, target: int) -> int:
        """Add a class of characters."""
        key = expression, flags
        if key not in self._classes:
            self._classes[key] = self._read_class(expression, flags)
        found = self._classes[key]
        return self._add(State(found, (target,))) if isinstance(found, int) else self._tree(found, target, {})

    def _read_class(self, expression: str, flags: int) -> Any:
        """Return the index of the set of a class, or the tree of the sets of its characters' symbols."""
        is_bytes = self._vocabulary.kind == "bytes"
        characters = _every_character() if is_bytes else "".join(self.spellings) or self._vocabulary.characters
        contained = np.zeros(len(characters), bool)
        for match in re.finditer(f"(?:{expression})+", characters, flags):
            contained[match.start() : match.end()] = True
        for one in self._banned:
            place = characters.find(one)
            if place >= 0:
                contained[place] = False
        if not contained.any():
            self.missing.append(expression)
            return self._set(np.zeros(len(self._vocabulary), bool))
        if self.spellings:
            excluded = set(self._vocabulary.encode(self._banned, skip_unknown=True).tolist())
            spelled = (self.spellings[one] for one in itertools.compress(characters, contained))
            return self._sequences(frozenset(one for one in spelled if excluded.isdisjoint(one)))
        if not is_bytes:
            return self._set(contained)
        points = np.zeros(CODE_POINTS, bool)
        points[:0xD800], points[0xE000:] = contained[:0xD800], contained[0xD800:]
        return self._utf8(points)

    def _set(self, contained: np.ndarray) -> int:
        self.sets.append(contained)
        return len(self.sets) - 1

    def _utf8(self, points: np.ndarray) -> Any:
        """Return pairs of a set of first bytes and the tree of the bytes that follow them, as tuples.

        points: code points that are encoded, bool. Equal trees are one object.
        """
        known: dict[bytes, Any] = {b"": ()}

        def tree(blocks: np.ndarray, first_byte: int) -> Any:
            """blocks: what follows each byte from `first_byte` on, (bytes, …)."""
            name = blocks.tobytes() + first_byte.to_bytes()
            if name not in known:
                rows: dict[bytes, list[int]] = {}
                for number, block in enumerate(blocks):
                    if block.any():
                        rows.setdefault(block.tobytes(), []).append(number)
                pairs = []
                for numbers in rows.values():
                    symbols = np.zeros(256, bool)
                    symbols[np.array(numbers) + first_byte] = True
                    block = blocks[numbers[0]]
                    pairs.append((self._set(symbols), () if block.ndim == 0 else tree(block, 0x80)))
                known[name] = tuple(pairs)
            return known[name]

        parts = []
        for first_byte, begin, end, length in ((0, 0, 0x80, 0), (0xC0, 0x80, 0x800, 1), (0xE0, 0x800, 0x10000, 2)):
            within = np.where(np.arange(end) >= begin, points[:end], False)
            parts += tree(within.reshape(-1, *[64] * length), first_byte)
        beyond = np.zeros(5 * 64**3, bool)
        beyond[0x10000:CODE_POINTS] = points[0x10000:]
        return (*parts, *tree(beyond.reshape(-1, 64, 64, 64), 0xF0))

    def _sequences(self, sequences: frozenset[tuple[int, ...]]) -> Any:
        """Return the tree of these sequences of symbols, as `_utf8` does; one of single symbols is the index of a set.

        Equal trees are one object.
        """
        if all(len(one) == 1 for one in sequences):
            return self._set_of(one for (one,) in sequences)
        return self._branches(sequences)

    def _branches(self, sequences: frozenset[tuple[int, ...]]) -> Any:
        if sequences not in self._trees:
            tails: dict[int, set[tuple[int, ...]]] = {}
            for first, *rest in sequences:
                tails.setdefault(first, set()).add(tuple(rest))
            groups: dict[frozenset[tuple[int, ...]], list[int]] = {}
            for first, following in tails.items():
                for group in ({()} & following, following - {()}):
                    if group:
                        groups.setdefault(frozenset(group), []).append(first)
            self._trees[sequences] = tuple(
                (self._set_of(firsts), self._branches(group - {()})) for group, firsts in groups.items()
            )
        return self._trees[sequences]

    def _set_of(self, symbols: Iterable[int]) -> int:
        contained = np.zeros(len(self._vocabulary), bool)
        contained[list(symbols)] = True
        return self._set(contained)

    def _tree(self, tree: Any, target: int, added: dict[int, int]) -> int:
        """Add the states of a tree. added: first states by the identity of what is in the tree already."""
        if not tree:
            return target
        if id(tree) not in added:
            states = [self._add(State(symbols, (self._tree(rest, target, added),))) for symbols, rest in tree]
            added[id(tree)] = states[0] if len(states) == 1 else self._add(State(targets=tuple(states)))
        return added[id(tree)]

    def _add(self, state: State) -> int:
        if len(self.states) >= LARGEST_NFA:
            raise too_large()
        self.states.append(state)
        return len(self.states) - 1


def too_large() -> ExpressionError:
    """Return the error for an expression that takes too much memory or time."""
    return ExpressionError("its automaton is too large", "use smaller numbers of repetitions, or fewer alternatives")


def _boundary(name: str) -> str:
    return r"\b" if name == "AT_BOUNDARY" else r"\B"


def _class(operator: str, argument: Any) -> str:
    """Return an expression that matches the same characters as an item of the syntax tree."""
    if operator == "ANY":
        return "."
    if operator == "LITERAL":
        return re.escape(chr(argument))
    if operator == "NOT_LITERAL":
        return f"[^{re.escape(chr(argument))}]"
    if operator == "RANGE":
        return "-".join(re.escape(chr(end)) for end in argument)
    if operator == "CATEGORY":
        return CATEGORIES[str(argument)]
    items = [(str(one), value) for one, value in argument]  # IN
    negated = "^" if items[0][0] == "NEGATE" else ""
    return f"[{negated}{''.join(_class(*one) for one in items if one[0] != 'NEGATE')}]"


def _kinds(vocabulary: Vocabulary, spellings: dict[str, tuple[int, ...]]) -> np.ndarray:
    """Return the bits of each symbol, (V,). One that ends a composed character has the bits of that character."""
    symbols = [chr(one) for one in range(256)] if vocabulary.kind == "bytes" else list(vocabulary.characters)
    for character, ids in spellings.items():
        for one in ids[1:]:
            symbols[one] = character
    bits = ((NEWLINE, r"\n"), (WORD, r"\w"), (ASCII_WORD, r"(?a:\w)"))
    return np.array([sum(bit for bit, kind in bits if re.match(kind, one)) for one in symbols])


def _spellings(vocabulary: Vocabulary, form: str) -> dict[str, tuple[int, ...]]:
    """Return character → its ids, of all characters (NFC) that the vocabulary spells; empty if each is one symbol."""
    if form == "none" or vocabulary.kind == "bytes":
        return {}
    number = {one: place for place, one in enumerate(vocabulary.characters)}
    several = {}
    for character in _composed_characters():
        spelled = normalized(character, form)
        if len(spelled) > 1 and all(one in number for one in spelled):
            several[character] = tuple(number[one] for one in spelled)
    parts = {one for ids in several.values() for one in ids[1:]}
    return several and {one: (place,) for one, place in number.items() if place not in parts} | several


@functools.cache
def _composed_characters() -> list[str]:
    """Return every character of NFC that has another canonical decomposition than itself."""
    listed = (chr(one) for one in range(0xA0, 0x30000) if not unicodedata.decomposition(chr(one)).startswith("<"))
    decomposed = (one for one in listed if unicodedata.decomposition(one) or "가" <= one <= "힣")
    return [one for one in decomposed if unicodedata.is_normalized("NFC", one)]


@functools.cache
def _every_character() -> str:
    """Return every code point that is not half of a surrogate pair, in order."""
    points = np.concatenate([np.arange(0xD800), np.arange(0xE000, CODE_POINTS)])
    return points.astype("<u4").tobytes().decode("utf-32-le")
