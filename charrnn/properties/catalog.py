"""What a text is doing at each of its characters: position in the line, inside quotes, in a comment, …

Each property is computed from the text alone, exactly by its definition, in time linear in the text.

Post-read convention: the value at character t is the property after reading that character, which is what one must know
to predict the next. The opening quote is already inside, the closing quote already outside. A property marked
`looks_ahead` is what reading the text so far does not yet tell: it is known only from the characters that follow.

A new property is one function with `@register`; a user's own comes from a regular expression or a Python function.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import os
import re
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from charrnn.errors import CharrnnError, UsageError
from charrnn.properties import source_code
from charrnn.text.vocabulary import code_points

ANY = frozenset({"code", "tex", "xml", "markdown", "prose"})
CODE = frozenset({"code"})
TEXT = ANY - CODE
TEX = frozenset({"tex", "prose"})
XML = frozenset({"xml", "markdown", "prose"})
MARKDOWN = frozenset({"markdown", "prose"})
PROSE = frozenset({"prose", "markdown"})

BLANK_LINE = re.compile(r"(?<=\n)[ \t\r]*\n")
TAB_COLUMNS = 8


class Text:
    """A text of N characters, and what several properties need of it, computed once.

    language: Pygments' name of the language it is written in, None where it is none.
    """

    def __init__(self, characters: str, language: str | None = None):
        self.characters = characters
        self.language = language
        self.kind = source_code.kind_of(language)

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def codes(self) -> np.ndarray:
        """Code points (N,), uint32."""
        return code_points(self.characters)

    @cached_property
    def _unique(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self.codes, return_inverse=True)

    def where(self, holds: Callable[[str], bool]) -> np.ndarray:
        """Booleans (N,): the characters of which `holds` is true; asked once for each different character."""
        points, places = self._unique
        return np.array([holds(chr(point)) for point in points], bool)[places]

    def is_any_of(self, characters: str) -> np.ndarray:
        """Booleans (N,): the characters that are one of these."""
        return self.where(lambda character: character in characters)

    @cached_property
    def newline(self) -> np.ndarray:
        return self.is_any_of("\n")

    @cached_property
    def letter(self) -> np.ndarray:
        return self.where(str.isalpha)

    @cached_property
    def upper(self) -> np.ndarray:
        return self.where(str.isupper)

    @cached_property
    def paragraph_begins(self) -> np.ndarray:
        """Booleans (N,): the newlines that end a blank line."""
        return self.at(match.end() - 1 for match in BLANK_LINE.finditer(self.characters))

    @cached_property
    def tokens(self) -> source_code.Tokens:
        if self.language is None:
            raise ValueError("a text without a language has no tokens")
        return source_code.tokens_of(self.characters, self.language)

    @cached_property
    def strings(self) -> np.ndarray:
        return source_code.strings(self.tokens, len(self))

    @cached_property
    def comments(self) -> np.ndarray:
        return source_code.in_comment(self.tokens, len(self))

    @cached_property
    def brackets(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) each: brackets that open and that close, of all kinds; in source code, the program's own only."""
        if self.kind != "code":
            return self.is_any_of("([{"), self.is_any_of(")]}")
        found = list(source_code.brackets(self.tokens))
        return (
            self.at(place for place, bracket in found if bracket in "([{"),
            self.at(place for place, bracket in found if bracket in ")]}"),
        )

    @cached_property
    def starts_afresh(self) -> np.ndarray:
        """Where an unclosed bracket is forgotten: at a blank line; in code, one before an unindented line."""
        if self.kind != "code":
            return self.paragraph_begins
        return self.at(match.end() - 1 for match in re.finditer(r"(?<=\n)[ \t\r]*\n(?=[^\s)\]}])", self.characters))

    def at(self, places: Iterable[int]) -> np.ndarray:
        """Booleans (N,): true at these places."""
        values = np.zeros(len(self), bool)
        values[np.fromiter(places, np.int64)] = True
        return values

    def spans(self, places: Iterable[tuple[int, int]]) -> np.ndarray:
        """Booleans (N,): true from each start to before its end; a start before the text counts from its beginning."""
        steps = np.zeros(len(self) + 1, np.int64)
        for start, end in places:
            if end > max(start, 0):
                steps[max(start, 0)] += 1
                steps[end] -= 1
        return np.cumsum(steps[:-1]) > 0

    def since(self, event: np.ndarray) -> np.ndarray:
        """Characters (N,) read since the last event (N,) of them: 0 at one; before the first, those read so far."""
        places = np.arange(len(self))
        return places - np.maximum.accumulate(np.where(event, places, -1))

    def until(self, event: np.ndarray) -> np.ndarray:
        """Characters (N,) between here and the next event: 0 right before one; at the end, those that are left."""
        places = np.arange(len(self))
        following = np.minimum.accumulate(np.where(event, places, len(self))[::-1])[::-1]
        return np.append(following[1:], len(self)) - places - 1

    def count_since(self, counted: np.ndarray, event: np.ndarray) -> np.ndarray:
        """How many (N,) are `counted` after the last event, up to here."""
        total = np.cumsum(counted)
        return total - np.maximum.accumulate(np.where(event, total, 0))

    def depth(self, opens: np.ndarray, closes: np.ndarray, resets: np.ndarray | None = None) -> np.ndarray:
        """How many (N,) are open after each character; never below 0, and 0 again at a reset."""
        level = np.cumsum(opens.astype(np.int64) - closes)
        if resets is not None:
            # Below all that was before, so that the minimum starts anew.
            level -= np.cumsum(resets) * (2 * len(self) + 1)
        return level - np.minimum.accumulate(np.minimum(level, 0))


@dataclass(frozen=True)
class Property:
    """Something that is true or false, or more or less, at each character of a text.

    kind: "binary" (values are booleans) or "graded" (numbers). definition: one sentence. applies: kinds of text.
    family: properties that contain one another share it. looks_ahead: see this module's convention.
    counter: a graded one that rises or falls by steps, for which a straight line to the cell is worth asking.
    control: a label without meaning, for which no cell may earn a name. code: identifies code outside this package that
    the values depend on; None where that is unknown.
    """

    name: str
    kind: str
    definition: str
    values: Callable[[Text], np.ndarray]
    applies: frozenset[str] = ANY
    family: str | None = None
    looks_ahead: bool = False
    counter: bool = False
    control: bool = False
    code: str | None = ""

    @property
    def title(self) -> str:
        return f"{self.name} [next]" if self.looks_ahead else self.name

    def of(self, text: Text) -> np.ndarray:
        """Values (N,) after each character: bool where binary, float64 where graded.

        Raises CharrnnError where a user's own property fails or does not give a value for each character.
        """
        values = np.asarray(self.values(text)) if len(text) else np.zeros(0)
        if values.shape != (len(text),):
            raise CharrnnError(f"property {self.name!r} gives {values.size} values for {len(text)} characters")
        return values.astype(bool if self.kind == "binary" else np.float64)


CATALOG: dict[str, Property] = {}


def register(name: str, kind: str, definition: str, **details: object) -> Callable:
    """Puts a function Text → values (N,) into the catalog."""

    def add(values: Callable[[Text], np.ndarray]) -> Callable[[Text], np.ndarray]:
        CATALOG[name] = Property(name, kind, definition, values, code=_code_of(values), **details)
        return values

    return add


def _code_of(function: Callable[[Text], np.ndarray]) -> str | None:
    """Return what identifies the code of a function: nothing inside this package, else its file or its source."""
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


# Lines, words, sentences


@register("line position", "graded", "Characters read since the last newline.", counter=True)
def _line_position(text: Text) -> np.ndarray:
    return text.since(text.newline)


@register(
    "characters to the newline",
    "graded",
    "Characters between here and the next newline.",
    looks_ahead=True,
    counter=True,
    family="line end",
)
def _characters_to_newline(text: Text) -> np.ndarray:
    return text.until(text.newline)


@register("newline follows", "binary", "The next character is a newline.", looks_ahead=True, family="line end")
def _newline_follows(text: Text) -> np.ndarray:
    return np.append(text.newline[1:], False)


@register("position in word", "graded", "Letters of the current word read so far; 0 outside words.", counter=True)
def _position_in_word(text: Text) -> np.ndarray:
    return text.since(~text.letter)


@register("word ends", "binary", "A letter has been read and the next character is none.", looks_ahead=True)
def _word_ends(text: Text) -> np.ndarray:
    return text.letter & np.append(~text.letter[1:], False)


@register("upper case", "binary", "The character just read is a capital.", family="capitals")
def _upper_case(text: Text) -> np.ndarray:
    return text.upper


@register("capitals run", "binary", "The last two characters read are capitals.", family="capitals")
def _capitals_run(text: Text) -> np.ndarray:
    return text.upper & np.append(False, text.upper[:-1])


@register("in number", "binary", "In a run of digits, points and commas between digits among them.")
def _in_number(text: Text) -> np.ndarray:
    return text.spans(match.span() for match in re.finditer(r"\d+(?:[.,]\d+)*", text.characters))


@register(
    "sentence position",
    "graded",
    "Characters since a sentence began: at the space after . ! ? (and closing quotes or brackets), or at a blank line.",
    applies=TEXT,
    counter=True,
)
def _sentence_position(text: Text) -> np.ndarray:
    ends = text.at(match.end() - 1 for match in re.finditer(r"""[.!?]["'”’)\]]*\s""", text.characters))
    return text.since(ends | text.paragraph_begins)


@register("paragraph position", "graded", "Characters read since the last blank line.", counter=True)
def _paragraph_position(text: Text) -> np.ndarray:
    return text.since(text.paragraph_begins)


# Quotes and brackets of any text


@register(
    "inside “…”",
    "binary",
    "Between double quotes, straight (a second one closes) or curly; a blank line closes what is open.",
    applies=TEXT,
    family="literal",
)
def _inside_quotes(text: Text) -> np.ndarray:
    straight = text.count_since(text.is_any_of('"'), text.paragraph_begins) % 2 == 1
    opens = text.is_any_of("“")
    closes = text.is_any_of("”") | text.paragraph_begins
    return straight | (text.since(opens) < text.since(closes)) & np.logical_or.accumulate(opens)


@register(
    "inside parentheses",
    "binary",
    "At least one ( is open; a blank line closes what is open.",
    family="brackets",
)
def _inside_parentheses(text: Text) -> np.ndarray:
    return text.depth(text.is_any_of("("), text.is_any_of(")"), text.paragraph_begins) > 0


@register(
    "bracket depth",
    "graded",
    "How many ( [ { are open; in source code, those of strings and comments do not count.",
    family="brackets",
)
def _bracket_depth(text: Text) -> np.ndarray:
    return text.depth(*text.brackets, text.starts_afresh)


@register("in brackets", "binary", "Bracket depth above 0.", family="brackets")
def _in_brackets(text: Text) -> np.ndarray:
    return _bracket_depth(text) > 0


@register(
    "brace depth", "graded", "How many { are open; in source code, those of strings do not count.", family="brackets"
)
def _brace_depth(text: Text) -> np.ndarray:
    opens, closes = text.brackets
    return text.depth(opens & text.is_any_of("{"), closes & text.is_any_of("}"), text.starts_afresh)


# Plays

SPEAKER = re.compile(r"(?:\A|(?<=\n)[ \t\r]*\n)([^\W\d_][^\n:]{0,39}):")


@register(
    "speaker name",
    "binary",
    "At the start of a line after a blank line, before a `:` no more than forty characters on.",
    applies=PROSE,
)
def _speaker_name(text: Text) -> np.ndarray:
    return text.spans((match.start(1) - 1, match.end() - 1) for match in SPEAKER.finditer(text.characters))


@register(
    "lines into the speech",
    "graded",
    "Lines begun since a speaker's `:`; 0 from the next blank line to the next speaker's `:`.",
    applies=PROSE,
    counter=True,
)
def _lines_into_speech(text: Text) -> np.ndarray:
    begins = text.at(match.end() - 1 for match in SPEAKER.finditer(text.characters))
    speaking = np.logical_or.accumulate(begins) & (text.since(begins) < text.since(text.paragraph_begins))
    return np.where(speaking, text.count_since(text.newline, begins), 0)


@register(
    "stage direction",
    "binary",
    "Inside [ ], or in a line that begins with Enter, Re-enter, Exit or Exeunt, after that word.",
    applies=PROSE,
    family="brackets",
)
def _stage_direction(text: Text) -> np.ndarray:
    lines = re.finditer(r"^[ \t]*(?:Enter|Re-enter|Exit|Exeunt)\b([^\n]*)", text.characters, re.MULTILINE)
    bracketed = text.depth(text.is_any_of("["), text.is_any_of("]"), text.paragraph_begins) > 0
    return bracketed | text.spans(match.span(1) for match in lines)


# Source code


@register(
    "indentation",
    "graded",
    "Columns of white space at the beginning of this line, as far as read; a tab is eight.",
    counter=True,
)
def _indentation(text: Text) -> np.ndarray:
    blank = text.is_any_of(" \t")
    leading = blank & (text.count_since(~blank & ~text.newline, text.newline) == 0)
    columns = np.where(leading, np.where(text.is_any_of("\t"), TAB_COLUMNS, 1), 0)
    return text.count_since(columns, text.newline)


@register("in string", "binary", "Inside a string literal.", applies=CODE, family="literal")
def _in_string(text: Text) -> np.ndarray:
    return source_code.inside(text.strings)


@register("docstring", "binary", "Inside a documentation string.", applies=CODE, family="literal")
def _docstring(text: Text) -> np.ndarray:
    return source_code.inside(source_code.docstrings(text.tokens, len(text)))


@register("in comment", "binary", "Inside a comment, up to the end of its line.", applies=CODE, family="literal")
def _in_comment(text: Text) -> np.ndarray:
    return text.comments


@register("string or comment", "binary", "Inside a string literal or a comment.", applies=CODE, family="literal")
def _string_or_comment(text: Text) -> np.ndarray:
    return source_code.inside(text.strings) | text.comments


@register("keyword", "binary", "In one of the language's keywords.", applies=CODE, looks_ahead=True)
def _keyword(text: Text) -> np.ndarray:
    return source_code.keywords(text.tokens, len(text))


@register("if condition", "binary", "Between `if` (or elif, unless) and the end of its condition.", applies=CODE)
def _if_condition(text: Text) -> np.ndarray:
    return source_code.after_keyword(text.tokens, len(text), source_code.CONDITIONS)


@register("preprocessor line", "binary", "In a line such as `#include <a.h>`, from its `#`.", applies=CODE)
def _preprocessor_line(text: Text) -> np.ndarray:
    marked = source_code.preprocessor(text.tokens, len(text))
    return (text.count_since(marked, text.newline) > 0) & ~text.newline


@register("def or class header", "binary", "Between `def`, `class` or the like and its `:` or `{`.", applies=CODE)
def _definition_header(text: Text) -> np.ndarray:
    return source_code.after_keyword(text.tokens, len(text), source_code.DEFINITIONS)


# TeX

MATH_ENVIRONMENTS = "equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat"
MATH = re.compile(
    rf"\\\\|\\\$|(?P<dollars>\$\$?)|\\(?P<open>[(\[])|\\(?P<close>[)\]])"
    rf"|\\begin\{{(?P<begin>{MATH_ENVIRONMENTS})\*?\}}|\\end\{{(?P<end>{MATH_ENVIRONMENTS})\*?\}}"
    r"|(?P<blank>(?<=\n)[ \t\r]*\n)"
)


@register(
    "in math",
    "binary",
    r"Between $ $, $$ $$, \( \), \[ \] or in a mathematical environment; a blank line ends what a $ began.",
    applies=TEX,
)
def _in_math(text: Text) -> np.ndarray:
    found, opened, start = [], "", -1
    for match in MATH.finditer(text.characters):
        kind = match.lastgroup
        if not opened and kind in ("dollars", "open", "begin"):
            opened, start = match.group() if kind == "dollars" else kind, match.end() - 1
        elif (
            (opened and kind == "dollars" and match.group() == opened)
            or (opened, kind) in (("open", "close"), ("begin", "end"))
            or (opened.startswith("$") and kind == "blank")
        ):
            found.append((start, match.end() - 1))
            opened = ""
    return text.spans([*found, (start, len(text))] if opened else found)


@register("in command", "binary", r"In a command's name: a backslash and letters.", applies=TEX)
def _in_command(text: Text) -> np.ndarray:
    return text.spans(match.span() for match in re.finditer(r"\\[A-Za-z]+", text.characters))


@register(
    "environment depth", "graded", r"How many \begin{…} are open, counted at their `}`.", applies=TEX, counter=True
)
def _environment_depth(text: Text) -> np.ndarray:
    found = list(re.finditer(r"\\(begin|end)\{[^{}\n]{1,60}\}", text.characters))
    opens = text.at(match.end() - 1 for match in found if match[1] == "begin")
    return text.depth(opens, text.at(match.end() - 1 for match in found if match[1] == "end"))


# Markdown and wiki


@register(
    "code fence", "binary", "Between a line that begins with ``` or ~~~ and the next such line.", applies=MARKDOWN
)
def _code_fence(text: Text) -> np.ndarray:
    fences = list(re.finditer(r"^ {0,3}(?:```|~~~)[^\n]*", text.characters, re.MULTILINE))
    ends = [match.end() - 1 for match in fences]
    return text.spans(zip(ends[::2], [*ends[1::2], len(text)], strict=False))


@register("heading", "binary", "In a line that begins with # and a space, or == as in a wiki.", applies=MARKDOWN)
def _heading(text: Text) -> np.ndarray:
    lines = re.finditer(r"^(?:#{1,6} |={2,6}[^=\n])[^\n]*", text.characters, re.MULTILINE)
    return text.spans(match.span() for match in lines)


@register("in link", "binary", "In [[…]], or in [text](target).", applies=MARKDOWN, family="link")
def _in_link(text: Text) -> np.ndarray:
    links = re.finditer(r"\[\[[^\[\]\n]+\]\]|\[[^\[\]\n]*\]\([^()\s]*\)", text.characters)
    return text.spans((match.start(), match.end() - 1) for match in links)


@register("URL", "binary", "In an address that begins with http://, https:// or www.", family="link")
def _url(text: Text) -> np.ndarray:
    addresses = re.finditer(r"(?:https?://|\bwww\.)[^\s<>\"'|\]})]+", text.characters)
    return text.spans(match.span() for match in addresses)


# XML and HTML

TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][\w:.-]*)[^<>]*>")
EMPTY_TAGS = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)


@register("inside a tag", "binary", "Between < and > of a tag, a declaration or a comment.", applies=XML, family="tag")
def _inside_tag(text: Text) -> np.ndarray:
    tags = re.finditer(r"<[/!?]?[A-Za-z\-\[][^<>]*>", text.characters)
    return text.spans((match.start(), match.end() - 1) for match in tags)


@register(
    "tag depth", "graded", "How many elements are open, counted at the > of their tags.", applies=XML, counter=True
)
def _tag_depth(text: Text) -> np.ndarray:
    opens, closes = [], []
    for match in TAG.finditer(text.characters):
        if match["slash"]:
            closes.append(match.end() - 1)
        elif not match.group().endswith("/>") and match["name"].lower() not in EMPTY_TAGS:
            opens.append(match.end() - 1)
    return text.depth(text.at(opens), text.at(closes))


@register("attribute value", "binary", "Between the quotes of an attribute in a tag.", applies=XML, family="tag")
def _attribute_value(text: Text) -> np.ndarray:
    return text.spans(
        (match.start() + value.start(1), match.start() + value.end(1) - 1)
        for match in TAG.finditer(text.characters)
        for value in re.finditer(r"""=\s*("[^"]*"|'[^']*')""", match.group())
    )


# Labels without meaning


@register("hash of the word", "binary", "The CRC-32 of the current word is odd.", looks_ahead=True, control=True)
def _hash_of_word(text: Text) -> np.ndarray:
    words = re.finditer(r"[^\W\d_]+", text.characters)
    return text.spans(match.span() for match in words if zlib.crc32(match.group().encode()) & 1)


@register("t mod 7", "binary", "The character's number in the text leaves less than 3 when divided by 7.", control=True)
def _t_mod_7(text: Text) -> np.ndarray:
    return np.arange(len(text)) % 7 < 3


# A user's own


def find_property(argument: str) -> Property:
    """The property that `--property` names: one of the catalog, NAME=REGEX, or FILE.py:function.

    Raises UsageError where there is none such, or the expression or the file is at fault.
    """
    if argument in CATALOG:
        return CATALOG[argument]
    file, colon, function = argument.rpartition(":")
    if colon and file.endswith(".py") and function.isidentifier():
        return from_function(Path(file), function)
    name, equals, expression = argument.partition("=")
    if equals and name:
        return from_expression(name.strip(), expression)
    alike = [known for known in CATALOG if argument.lower() in known.lower()]
    if len(alike) == 1:
        return CATALOG[alike[0]]
    raise UsageError(
        f"there is no property {argument!r}",
        ("did you mean " + ", ".join(alike) if alike else "the catalog has " + ", ".join(CATALOG))
        + "; your own is NAME=REGEX or FILE.py:function",
    )


def from_expression(name: str, expression: str) -> Property:
    """A binary property: true from the first to the last character of each match. `^` and `$` match at lines' ends."""
    try:
        compiled = re.compile(expression, re.MULTILINE)
    except re.error as error:
        raise UsageError(f"--property {name}: {error} in the regular expression {expression!r}") from None
    return Property(
        name,
        "binary",
        f"Inside a match of {expression}",
        lambda text: text.spans(match.span() for match in compiled.finditer(text.characters)),
        looks_ahead=True,
    )


def from_function(file: Path, function: str) -> Property:
    """A property by a Python function str → one value for each character; binary if they are booleans, else graded.

    The file is run: it is the user's own. Raises UsageError where there is no such file or function, CharrnnError where
    either fails.
    """
    spec = importlib.util.spec_from_file_location(f"charrnn_property_{file.stem}", file)
    # os.path says no, rather than fail, where that is no path.
    if spec is None or spec.loader is None or not os.path.isfile(file):  # noqa: PTH113
        raise UsageError(f"--property: there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    with _told_if_it_fails(str(file)):
        spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        raise UsageError(f"--property: {file} has no function {function!r}")
    user_function = getattr(module, function)

    def given_for(characters: str) -> np.ndarray:
        with _told_if_it_fails(f"{function} of {file}"):
            return np.asarray(user_function(characters))

    kind = "binary" if given_for("one sentence.\n").dtype == bool else "graded"

    def values(text: Text) -> np.ndarray:
        given = given_for(text.characters)
        if given.dtype.kind not in "biuf" or (given.dtype.kind == "f" and not np.isfinite(given).all()):
            raise CharrnnError(f"property {function!r} gives something else than finite numbers")
        return given

    code = hashlib.sha256(file.read_bytes()).hexdigest()
    return Property(function, kind, f"{function} of {file}", values, code=code)


@contextlib.contextmanager
def _told_if_it_fails(what: str) -> Iterator[None]:
    """What a user's own code raises becomes a CharrnnError that names it and its line."""
    try:
        yield
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        line = f", line {place.lineno} of {Path(place.filename).name}" if not isinstance(error, SyntaxError) else ""
        raise CharrnnError(f"--property: {what} fails: {type(error).__name__}: {error}{line}") from error
