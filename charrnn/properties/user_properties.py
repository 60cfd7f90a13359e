"""A user's own properties: a regular expression, or a Python function."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CharrnnError, UsageError
from charrnn.properties.catalog import CATALOG, Kind, Property, Text, property_titled, searchable
from charrnn.text.patterns import TIME_LIMIT, Pattern, PatternError

LARGEST_VALUE = 1e15
"""The squares of larger values overflow in sums over a text."""
MOST_NEAREST = 5
"""Names that an error suggests, at most."""
LONGEST_GUESSED = 100
"""Characters of a wrong name that are compared with the right ones."""
ASCII_FORMS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "..."})


def find_property(argument: str) -> Property:
    """Return the property of this name: a name, a title, a phrase or a part of one, NAME=REGEX, or FILE.py:function.

    Typographic quotes and ellipses may be written in ASCII.
    Raises UsageError for an unknown property, or a mistake in the expression or the file.
    """
    if argument in CATALOG:
        return CATALOG[argument]
    if (titled := property_titled(argument)) is not None:
        return titled
    file, colon, function = argument.rpartition(":")
    if colon and file.endswith(".py") and function.isidentifier():
        return from_function(Path(file), function)
    name, equals, expression = argument.partition("=")
    if equals and name.strip():
        return from_expression(name.strip(), expression)
    matching = _matching(_plain(argument))
    if len(matching) == 1:
        return matching[0]
    nearest = [one.name for one in matching[:MOST_NEAREST]] or _nearest(_plain(argument))
    guess = f"did you mean {', '.join(nearest)}? The" if nearest else "the"
    names = ", ".join(sorted((one.name for one in searchable()), key=str.lower))
    raise UsageError(
        f"there is no property {argument!r}",
        f"{guess} catalog: {names}. Your own: NAME=REGEX or FILE.py:function",
    )


def _plain(name: str) -> str:
    """Return a name in lower case, with quotes and ellipses in ASCII."""
    return name.translate(ASCII_FORMS).lower().strip()


def _matching(wanted: str) -> list[Property]:
    """Return the properties with this name or title, else with this phrase, else with a part of these."""
    known = [(one, [_plain(one.name), _plain(one.title)], _plain(one.phrase)) for one in searchable()]
    ways = (
        [one for one, names, _ in known if wanted in names],
        [one for one, _, phrase in known if wanted == phrase],
        [one for one, names, _ in known if wanted and any(wanted in name for name in names)],
        [one for one, _, phrase in known if wanted and wanted in phrase],
    )
    return next(filter(None, ways), [])


def _nearest(wanted: str) -> list[str]:
    """Return the names of the properties whose name or phrase, or a word of these, is spelled like a string."""
    forms: dict[str, list[str]] = {}
    for one in searchable():
        whole = [_plain(one.name), _plain(one.phrase)]
        for form in dict.fromkeys([*whole, *(word for each in whole for word in each.split())]):
            forms.setdefault(form, []).append(one.name)
    close = difflib.get_close_matches(wanted[:LONGEST_GUESSED], forms, n=MOST_NEAREST, cutoff=0.7)
    return list(dict.fromkeys(name for form in close for name in forms[form]))[:MOST_NEAREST]


def from_expression(name: str, expression: str, time_limit: float = TIME_LIMIT) -> Property:
    """Return a binary property that holds in the matches of an expression. See `Pattern`.

    Raises UsageError for an invalid expression. Computing the property raises CharrnnError beyond the time limit.
    """
    try:
        pattern = Pattern(expression, time_limit=time_limit)
    except PatternError as error:
        raise UsageError(f"property {name}: not a regular expression: {error}") from None
    return Property(
        name,
        "binary",
        f"Inside a match of {expression}",
        lambda text: text.spans(pattern.spans(text.characters)),
        looks_ahead=True,
    )


def from_function(file: Path, function: str) -> Property:
    """Return a property computed by a function from str to one value for each character.

    It is binary if the values are booleans, else graded. The file is executed. Raises UsageError where the file or the
    function does not exist, CharrnnError where either fails.
    """
    spec = importlib.util.spec_from_file_location(f"charrnn_property_{file.stem}", file)
    # Path.is_file raises for a path that is too long; os.path.isfile returns False.
    if spec is None or spec.loader is None or not os.path.isfile(file):  # noqa: PTH113
        raise UsageError(f"property: there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    with _errors_named(str(file)):
        spec.loader.exec_module(module)
    user_function = getattr(module, function, None)
    if not callable(user_function):
        raise UsageError(f"property: {file} has no function {function!r}")

    def call(characters: str) -> NDArray[Any]:
        with _errors_named(f"{function} of {file}"):
            return np.asarray(user_function(characters))

    def values(text: Text) -> NDArray[Any]:
        result = call(text.characters)
        if result.dtype.kind not in "biuf" or not (np.abs(result.astype(np.float64)) <= LARGEST_VALUE).all():
            raise CharrnnError(f"property {function!r} returns values that are not numbers from −10¹⁵ to 10¹⁵")
        return result

    kind: Kind = "binary" if call("one sentence.\n").dtype == bool else "graded"
    code = hashlib.sha256(file.read_bytes()).hexdigest()
    return Property(function, kind, f"{function} of {file}", values, code=code)


@contextlib.contextmanager
def _errors_named(what: str) -> Iterator[None]:
    """Turn an exception of a user's code into a CharrnnError with its line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = f", line {frame.lineno} of {Path(frame.filename).name}" if not isinstance(error, SyntaxError) else ""
        raise CharrnnError(f"property: {what} fails: {type(error).__name__}: {error}{line}") from error
