"""A user's own properties: a regular expression, or a Python function."""

from __future__ import annotations

import contextlib
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
from charrnn.properties.catalog import CATALOG, Kind, Property, Text, property_titled
from charrnn.text.patterns import TIME_LIMIT, Pattern, PatternError

LARGEST_VALUE = 1e15
"""The squares of larger values overflow in sums over a text."""


def find_property(argument: str) -> Property:
    """Return the property of this name: a name, a title or a part of one, NAME=REGEX, or FILE.py:function.

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
    similar = [known for known in CATALOG if argument.lower() in known.lower()]
    if len(similar) == 1:
        return CATALOG[similar[0]]
    raise UsageError(
        f"there is no property {argument!r}",
        ("did you mean " + ", ".join(similar) if similar else "the catalog has " + ", ".join(CATALOG))
        + "; your own is NAME=REGEX or FILE.py:function",
    )


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
