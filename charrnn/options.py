"""Settings classes: every option with its type, default, bounds and help, and its form in JSON.

A settings class is a frozen dataclass whose fields are made by `option`. The command line takes its flags, help and
defaults from here. Runs store settings as JSON, which is checked against the same options when it is read. To add an
option, add a field.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from charrnn.errors import CharrnnError, UsageError
from charrnn.units import shortened

TYPE_DESCRIPTIONS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


@dataclass(frozen=True)
class Option:
    """One option of a settings class.

    help: one sentence, shown by `--help`. at_least, at_most: inclusive bounds; above, below: exclusive bounds.
    too_low_hint: advice in the error about a value that is too low.
    choices: the allowed values. pattern: a regular expression that the whole value must match; metavar describes it.
    longest: the largest number of characters.
    flags: names on the command line, by default the field's name with dashes. panel: heading in the help.
    ranged: a number, or a str of two, as in 0.5..1.2, each within the bounds.
    chosen: `charrnn train` chooses the value unless one is given.
    if_missing: the value in runs written before the option existed, by default the option's default.
    name, value_type, optional, repeatable, default: set by `Settings.options` from the field. optional: whether None is
    allowed. repeatable: the value is a tuple, and the flag may be given several times.
    """

    help: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    too_low_hint: str | None = None
    choices: Sequence[str] | None = None
    pattern: str | None = None
    longest: int | None = None
    flags: tuple[str, ...] = ()
    panel: str = "Options"
    metavar: str | None = None
    ranged: bool = False
    chosen: bool = False
    if_missing: Any = ...
    name: str = ""
    value_type: type = str
    optional: bool = False
    repeatable: bool = False
    default: Any = None

    @property
    def flag(self) -> str:
        """The flag on the command line, such as `--hidden-size`."""
        return self.flags[0] if self.flags else "--" + self.name.replace("_", "-")

    @property
    def missing_value(self) -> Any:
        """The value in a run that does not store this option."""
        return self.default if self.if_missing is ... else self.if_missing

    def check(self, value: Any) -> None:
        """Raise UsageError unless the value has the right type and is within bounds."""
        if value is None and self.optional:
            return
        if value is None:
            raise UsageError(f"`{self.name}` needs a value")
        if self.repeatable and type(value) is tuple:
            for each in value:
                dataclasses.replace(self, repeatable=False).check(each)
            return
        if self.ranged and type(value) is str:
            for end in range_ends(value, self.name):
                self.check(end)
            return
        right_type = type(value) is self.value_type
        wanted = self._requirement(value) if right_type else TYPE_DESCRIPTIONS[self.value_type]
        if wanted is not None:
            is_low = right_type and self.at_least is not None and value < self.at_least
            hint = self.too_low_hint if is_low else None
            raise UsageError(f"`{self.name}` must be {wanted}, not {shortened(value)}", hint)

    def _requirement(self, value: Any) -> str | None:
        """Return the requirement that a value of the right type violates, such as `at least 1`, or None."""
        if self.choices is not None:
            return None if value in self.choices else "one of " + ", ".join(self.choices)
        if self.pattern is not None:
            return None if re.fullmatch(self.pattern, value) else f"of the form {self.metavar}"
        if self.longest is not None:
            return None if len(value) <= self.longest else f"at most {self.longest:,} characters"
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        bounds: tuple[tuple[float | None, str, Callable[[float], bool]], ...] = (
            (self.at_least, "at least", lambda bound: value >= bound),
            (self.above, "above", lambda bound: value > bound),
            (self.at_most, "at most", lambda bound: value <= bound),
            (self.below, "below", lambda bound: value < bound),
        )
        checks = [
            (f"{words} {bound:,}" if isinstance(bound, int) else f"{words} {bound:g}", holds(bound))
            for bound, words, holds in bounds
            if bound is not None
        ]
        return None if all(holds for _, holds in checks) else " and ".join(words for words, _ in checks)


def range_ends(value: float | str, name: str = "") -> tuple[float, float]:
    """Return both ends of a value such as 0.5 or "0.5..1.2". name: for the UsageError for another str."""
    first, dots, last = str(value).partition("..")
    try:
        return float(first), float(last if dots else first)
    except ValueError:
        raise UsageError(f"`{name}` must be a number or two, as in 0.5..1.2, not {shortened(value)}") from None


def option(default: Any, help: str, **details: Any) -> Any:
    """Return a dataclass field for an option; details are fields of `Option`."""
    return field(default=default, metadata={"option": Option(help=help, **details)})


@dataclass(frozen=True)
class Settings:
    """Base of the settings classes. The values are checked when an object is created."""

    def __post_init__(self) -> None:
        for name, option in self.options().items():
            value = getattr(self, name)
            if option.value_type is float and type(value) is int and abs(value) < 2**1000:  # a larger one overflows
                value = float(value)
                object.__setattr__(self, name, value)
            if option.ranged and type(value) is str and ".." not in value:
                value = range_ends(value, name)[0]
                object.__setattr__(self, name, value)
            option.check(value)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return the options by name, in the order of the fields."""
        hints = typing.get_type_hints(cls)
        options = {}
        for f in dataclasses.fields(cls):
            hint = hints[f.name]
            is_tuple = typing.get_origin(hint) is tuple
            alternatives = typing.get_args(hint) if is_tuple or isinstance(hint, types.UnionType) else (hint,)
            value_type = next(each for each in alternatives if each is not types.NoneType)
            options[f.name] = dataclasses.replace(
                f.metadata["option"],
                name=f.name,
                value_type=value_type,
                optional=types.NoneType in alternatives,
                repeatable=is_tuple,
                default=f.default,
            )
        return options

    def changed(self, **values: Any) -> Self:
        """Return a copy with some values replaced."""
        return dataclasses.replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any, source: str, hint: str | None = None) -> Self:
        """Return the settings that `to_json` wrote. A missing option takes its `missing_value`.

        source: the file named in errors. hint: advice in the error about an unknown option.
        Raises CharrnnError for an unknown option, a wrong type or a value out of bounds.
        """
        if not isinstance(data, dict):
            raise CharrnnError(f"{source}: the settings are not a JSON object")
        options = cls.options()
        unknown = sorted(data.keys() - options.keys())
        if unknown:
            raise CharrnnError(f"{source}: unknown setting {shortened(unknown[0])}", hint)
        values = {name: data.get(name, option.missing_value) for name, option in options.items()}
        for name in (name for name, option in options.items() if option.repeatable):
            if not isinstance(values[name], list | tuple):
                raise CharrnnError(f"{source}: `{name}` must be a list, not {shortened(values[name])}")
            values[name] = tuple(values[name])
        try:
            return cls(**values)
        except UsageError as error:
            raise CharrnnError(f"{source}: {error.message}") from None


S = TypeVar("S", bound=Settings)


def settings_from(cls: type[S], given: Mapping[str, Any]) -> S:
    """Return settings with the given values and defaults for the rest. Names of other classes are ignored.

    Raises UsageError for a value out of bounds.
    """
    return cls(**{name: value for name, value in given.items() if name in cls.options()})


def check_names(given: Iterable[str], *classes: type[Settings]) -> None:
    """Raise UsageError where a name is not an option of these classes, with the nearest one as a hint."""
    known = [name for cls in classes for name in cls.options()]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise UsageError(f"unknown setting {name!r}", f"use {near[0]!r}" if near else f"use {', '.join(known)}")


def only_one_of(**values: Any) -> None:
    """Raise UsageError where more than one of these parameters is neither None nor False."""
    named = [f"`{name}`" for name, value in values.items() if value is not None and value is not False]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} exclude each other", f"give {named[0]} or {named[1]}")
