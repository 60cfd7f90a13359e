"""Settings classes: every option with its type, default, bounds and help, and its form in JSON.

A settings class is a frozen dataclass whose fields are made by `option`. The command line takes its flags, help and
defaults from here. Runs store settings as JSON, which is checked against the same options when it is read. To add an
option, add a field.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import difflib
import math
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from charrnn.errors import CharrnnError, UsageError
from charrnn.units import shortened

TYPE_DESCRIPTIONS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


@dataclass(frozen=True)
class Option:
    """One option of a settings class.

    help: one sentence, shown by `--help`. at_least, at_most: inclusive bounds; above, below: exclusive bounds.
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
            raise UsageError(f"{self.flag} needs a value")
        if self.repeatable and type(value) is tuple:
            for each in value:
                dataclasses.replace(self, repeatable=False).check(each)
            return
        if self.ranged and type(value) is str:
            for end in range_ends(value, self.flag):
                self.check(end)
            return
        right_type = type(value) is self.value_type
        wanted = self._requirement(value) if right_type else TYPE_DESCRIPTIONS[self.value_type]
        if wanted is not None:
            raise UsageError(f"{self.flag} must be {wanted}, not {shortened(value)}")

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


def range_ends(value: float | str, flag: str = "") -> tuple[float, float]:
    """Return both ends of a value such as 0.5 or "0.5..1.2". flag: names it in the UsageError for any other str."""
    first, dots, last = str(value).partition("..")
    try:
        return float(first), float(last if dots else first)
    except ValueError:
        raise UsageError(f"{flag} must be a number or two, as in 0.5..1.2, not {shortened(value)}") from None


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
                value = range_ends(value, option.flag)[0]
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
                raise CharrnnError(f"{source}: {options[name].flag} must be a list, not {shortened(values[name])}")
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


def only_one_of(**flags: Any) -> None:
    """Raise UsageError where more than one of these flags (name → value, or None or False) was given."""
    named = ["--" + name.replace("_", "-") for name, value in flags.items() if value is not None and value is not False]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} exclude each other", f"give {named[0]} or {named[1]}")


# Defaults of the search for cells, of ablation and of steering.
SEARCHED_CHARACTERS, SEARCH_SEED = 200_000, 1
CONTROLS = 200
STEERED_TEXTS, STEERED_CHARACTERS = 64, 2_000
LONGEST_EXPRESSION = 1000  # characters of a regular expression
RECURRENCE_NAMES = [
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "model" / "recurrences")])
    if module.name != "base"
]
"""The values of `--model`: the modules of `charrnn.model.recurrences`, which are not imported for this because they
import torch. `charrnn.model.recurrences.base.register` adds names to this list."""
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
MODEL = "Model"
TRAINING = "Training"
DATA = "Data"
LENGTH = "Length (one of these)"


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The architecture of a network, apart from the vocabulary size."""

    recurrence: str = option(
        "lstm", "Kind of recurrent layer.", choices=RECURRENCE_NAMES, flags=("--model",), panel=MODEL
    )
    layers: int = option(1, "Number of recurrent layers.", at_least=1, at_most=64, panel=MODEL)
    hidden_size: int = option(384, "Hidden size of each layer.", at_least=1, at_most=65536, panel=MODEL, chosen=True)
    embedding_size: int = option(64, "Embedding size.", at_least=1, at_most=65536, panel=MODEL)
    dropout: float = option(
        0.0, "Dropout probability, between layers and before the output.", at_least=0, below=1, panel=MODEL, chosen=True
    )


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """How a network is trained. Corpus, model settings, training settings and device determine the result."""

    batch_size: int = option(
        16, "Batch size: parallel streams of text.", at_least=1, at_most=1_000_000, panel=TRAINING, chosen=True
    )
    seq_length: int = option(
        128,
        "Characters of each stream in a training step: the window of truncated BPTT.",
        at_least=1,
        at_most=1_000_000,
        panel=TRAINING,
        chosen=True,
    )
    learning_rate: float = option(
        1.2e-2, "Peak learning rate of AdamW, after the warm-up.", above=0, at_most=10, panel=TRAINING, chosen=True
    )
    warmup_steps: int = option(
        100, "Steps of linear warm-up, at most a tenth of the run.", at_least=0, at_most=1_000_000_000, panel=TRAINING
    )
    grad_clip: float = option(1.0, "Maximum gradient norm. 0: no clipping.", at_least=0, panel=TRAINING)
    weight_decay: float = option(
        0.1, "Decoupled weight decay of the weight matrices.", at_least=0, at_most=10, panel=TRAINING, chosen=True
    )
    steps: int = option(
        1000, "Train for this many steps.", at_least=1, at_most=10_000_000_000, panel=LENGTH, chosen=True
    )
    evaluations: int = option(
        10,
        "Evaluate on the held-out text and save a checkpoint this many times.",
        at_least=1,
        at_most=1_000_000,
        panel=TRAINING,
        chosen=True,
    )
    patience: int = option(
        5,
        "Stop early after this many evaluations without improvement, if the loss has clearly risen. 0: never.",
        at_least=0,
        at_most=1_000_000,
        panel=TRAINING,
    )
    keep: str | None = option(
        None,
        "Save a checkpoint every N steps as well, and keep all of these.",
        pattern=r"every:[1-9][0-9]{0,9}",
        metavar="every:N",
        panel=TRAINING,
    )
    val_fraction: float = option(
        0.1, "Fraction of the text, at its end, held out for validation.", above=0, at_most=0.5, panel=DATA
    )
    val_characters: int = option(
        0,
        "Validate on this many held-out characters during training, and on all of them at the end. 0: always on all.",
        at_least=0,
        at_most=10**12,
        panel=DATA,
        chosen=True,
    )
    documents: str | None = option(
        None,
        "Treat the text as independent documents: its lines, its files, or what a regular expression separates.",
        metavar="lines|files|REGEX",
        longest=LONGEST_EXPRESSION,
        panel=DATA,
    )
    seed: int = option(
        1, "Random seed of initial weights, stream offsets and dropout.", at_least=0, at_most=2**63 - 1, panel=TRAINING
    )
    precision: str = option(
        "auto",
        "Precision of the recurrent layers; weights and losses are float32. auto: bf16 where it is fast.",
        choices=PRECISIONS,
        panel=TRAINING,
    )

    threads: int | None = option(
        None,
        "CPU threads. By default one or all, whichever is faster.",
        at_least=1,
        at_most=1024,
        panel=TRAINING,
        chosen=True,
    )

    def keeps(self, step: int) -> bool:
        """Return whether `keep` saves a checkpoint at this step and keeps it."""
        return self.keep is not None and step % int(self.keep.removeprefix("every:")) == 0


NOT_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Codecs of Python for text that no file is stored in."""


@dataclass(frozen=True)
class ReadSettings(Settings):
    """Which files of a folder are read, and how the bytes of a file become characters.

    encoding: becomes Python's name for it, such as iso8859-1 for latin-1. include, exclude: a list, or one str.
    """

    encoding: str = option(
        "utf-8", "Encoding of the files, such as latin-1, cp1252 or utf-16.", longest=40, metavar="NAME", panel=DATA
    )
    newlines: str = option(
        "lf",
        "Line ends. lf: convert CRLF and CR to LF. keep: change nothing.",
        choices=("keep", "lf"),
        panel=DATA,
        if_missing="keep",
    )
    include: tuple[str, ...] = option(
        (),
        "In folders and patterns, read only these files: a name, or a path below the folder; * and ** match parts. "
        "Repeatable.",
        longest=LONGEST_EXPRESSION,
        metavar="GLOB",
        panel=DATA,
    )
    exclude: tuple[str, ...] = option(
        (),
        "In folders and patterns, leave out these files and folders. Repeatable.",
        longest=LONGEST_EXPRESSION,
        metavar="GLOB",
        panel=DATA,
    )
    normalize: str = option(
        "none",
        "Unicode normalization of the text. jamo: NFC with Hangul syllables as their letters. none: change nothing.",
        choices=("nfc", "nfd", "jamo", "none"),
        panel=DATA,
    )

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            value = getattr(self, name)
            if isinstance(value, str | list):
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        super().__post_init__()
        object.__setattr__(self, "encoding", _encoding_name(self.encoding))

    @property
    def decoding(self) -> tuple[str, ...]:
        """Encoding, newlines and the normalization if there is one: what determines the characters of a file."""
        normalization = () if self.normalize == "none" else (self.normalize,)
        return self.encoding, self.newlines, *normalization


def _encoding_name(name: str) -> str:
    """Return Python's name of an encoding. Raises UsageError where there is none that a file can be read in."""
    try:
        codec = codecs.lookup(name)
        with contextlib.suppress(UnicodeError):
            b"a".decode(name)  # raises LookupError for codecs such as base64
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.incrementaldecoder is None or codec.name in NOT_ENCODINGS:
        raise UsageError(f"unknown encoding {shortened(name)}", "use one such as utf-8, latin-1, cp1252 or utf-16")
    return codec.name


PALETTES = ("blue-red", "purple-orange", "karpathy")
COLORS = ("auto", "truecolor", "256", "16", "none")


@dataclass(frozen=True)
class TerminalSettings(Settings):
    """How a terminal shows colors."""

    color: str = option("auto", "Number of colors. auto: detect it.", choices=COLORS, panel="Appearance")
    background: str = option(
        "auto",
        "Background that the colors start from. auto: as CHARRNN_BACKGROUND or COLORFGBG says, else ask the terminal.",
        choices=("auto", "dark", "light"),
        panel="Appearance",
    )


@dataclass(frozen=True)
class InspectSettings(TerminalSettings):
    """Which part of the text is shown, and how a cell is colored."""

    signal: str = option(
        "auto",
        "Signal of the cell: cell state c, hidden state h, or a gate. auto: c if the model has one, else h.",
        metavar="auto|c|h|GATE",
    )
    start: int | None = option(
        None,
        "First character to show, counted from the start of the text; by default where the cell changes most.",
        at_least=0,
        at_most=10**12,
    )
    length: int | None = option(
        None,
        "Characters to show; by default what fits on the first screen, and 1,500 in a file.",
        at_least=1,
        at_most=1_000_000,
    )
    passages: int = option(
        2, "Passages to show of each kind: highest, lowest, typical and random.", at_least=0, at_most=50
    )
    top: bool = option(
        False,
        "Below each character, show the five most likely next ones, the actual one marked, and the surprise in bits.",
    )
    palette: str = option(
        "blue-red",
        f"Colors of negative and positive values: {', '.join(PALETTES)}.",
        choices=PALETTES,
        metavar="NAME",
        panel="Appearance",
    )
