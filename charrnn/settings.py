"""Every option in one place: its default, its bounds, its help, and its form in JSON.

A settings class is a frozen dataclass whose fields are made by `option`. The command line reads flags, help and
defaults from here; a run's settings are written from here and checked against here when they are read back; the library
takes the same objects. To add an option, add a field.
"""

from __future__ import annotations

import dataclasses
import math
import pkgutil
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from charrnn.errors import CharrnnError, UsageError


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name, type and default.

    at_least, at_most: inclusive bounds; above, below: exclusive ones. choices: the only values allowed.
    pattern: a regular expression that the whole value matches; metavar then says how such a value looks.
    flags: what to write on the command line; empty means the field's name with dashes. panel: its group in the help.
    chosen: `charrnn train` finds a value for the corpus, the device and the time there is, unless one is given.
    """

    help: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Sequence[str] | None = None
    pattern: str | None = None
    flags: tuple[str, ...] = ()
    panel: str = "Options"
    metavar: str | None = None
    chosen: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value of the right type, as `at least 1`; None if nothing is."""
        if self.choices is not None:
            return None if value in self.choices else "one of " + ", ".join(self.choices)
        if self.pattern is not None:
            return None if re.fullmatch(self.pattern, value) else f"of the form {self.metavar}"
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        bounds = (
            (self.at_least, "at least", lambda bound: value >= bound),
            (self.above, "above", lambda bound: value > bound),
            (self.at_most, "at most", lambda bound: value <= bound),
            (self.below, "below", lambda bound: value < bound),
        )
        held = [(f"{words} {bound:g}", holds(bound)) for bound, words, holds in bounds if bound is not None]
        return None if all(fine for _, fine in held) else " and ".join(words for words, _ in held)


def option(default: Any, help: str, **details: Any) -> Any:
    """A dataclass field with a default and what `Option` holds."""
    return field(default=default, metadata={"option": Option(help=help, **details)})


S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """Base of the settings classes. Values are checked when an object is made: one that exists is in bounds."""

    def __post_init__(self) -> None:
        for name, (value_type, _, details) in self.options().items():
            value = getattr(self, name)
            flag = flag_of(name, details)
            if value is None:
                if not value_type.optional:
                    raise UsageError(f"{flag} needs a value")
                continue
            if value_type.type is float and type(value) is int and abs(value) < 2**1000:  # else too large for one
                value = float(value)
                object.__setattr__(self, name, value)
            if type(value) is not value_type.type:
                raise UsageError(f"{flag} must be {value_type.words}, not {_in_short(value)}")
            wanted = details.problem(value)
            if wanted is not None:
                raise UsageError(f"{flag} must be {wanted}, not {_in_short(value)}")

    @classmethod
    def options(cls) -> dict[str, tuple[ValueType, Any, Option]]:
        """Name → (type, default, details) of every option, in order."""
        hints = typing.get_type_hints(cls)
        return {
            f.name: (ValueType.of(hints[f.name]), f.default, f.metadata["option"])
            for f in dataclasses.fields(cls)
            if "option" in f.metadata
        }

    def changed(self: S, **values: Any) -> S:
        """A copy with these values in place of its own, checked again."""
        return dataclasses.replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """Name → value, all JSON's own types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls: type[S], data: Any, source: str) -> S:
        """The settings that `to_json` gave. `source` names the file in the error.

        Raises CharrnnError where a name is missing or unknown, or a value is of the wrong type or out of bounds.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        if not isinstance(data, dict):
            raise CharrnnError(f"{source}: the settings are not a JSON object")
        strange = sorted(set(data) ^ set(names))
        if strange:
            state = "unknown" if strange[0] in data else "missing"
            raise CharrnnError(f"{source}: {state} setting {_in_short(strange[0])}")
        try:
            return cls(**data)
        except UsageError as error:
            raise CharrnnError(f"{source}: {error.message}") from None


@dataclass(frozen=True)
class ValueType:
    """The type of an option's value: int, float, str or bool, and whether None is allowed."""

    type: type
    optional: bool

    @classmethod
    def of(cls, hint: Any) -> ValueType:
        arguments = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        (value_type,) = (a for a in arguments if a is not types.NoneType)
        return cls(value_type, types.NoneType in arguments)

    @property
    def words(self) -> str:
        return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[self.type]


def _in_short(value: Any) -> str:
    """A value for an error message, which a file of a stranger's may have made very long."""
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def flag_of(name: str, details: Option) -> str:
    """The flag a person types for an option, `--hidden-size` for hidden_size."""
    return details.flags[0] if details.flags else "--" + name.replace("_", "-")


def settings_from(cls: type[S], given: dict[str, Any], defaults: S | None = None) -> S:
    """The settings of a class with what the user gave, the rest from `defaults` (the class's own if None).

    Raises UsageError where a value is out of bounds.
    """
    mine = {name: value for name, value in given.items() if name in cls.options()}
    return defaults.changed(**mine) if defaults is not None else cls(**mine)


SEARCHED_CHARACTERS, SEARCH_SEED = 200_000, 1  # of a search for cells, unless it is told otherwise
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
    """The shape of a network; with the vocabulary's size V, all that is needed to build one."""

    recurrence: str = option(
        "lstm",
        "Kind of recurrent layer.",
        choices=RECURRENCE_NAMES,
        flags=("--model",),
        panel=MODEL,
    )
    layers: int = option(1, "Recurrent layers, one on top of the other.", at_least=1, at_most=64, panel=MODEL)
    hidden_size: int = option(384, "Cells in each layer (H).", at_least=1, at_most=65536, panel=MODEL, chosen=True)
    embedding_size: int = option(64, "Numbers that stand for a character (E).", at_least=1, at_most=65536, panel=MODEL)
    dropout: float = option(
        0.0,
        "Share of values dropped between layers and before the output.",
        at_least=0,
        below=1,
        panel=MODEL,
        chosen=True,
    )


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """How a network is trained. With the corpus, the model settings and the device, it determines a run."""

    batch_size: int = option(
        16, "Parallel streams the text is cut into (B).", at_least=1, at_most=1_000_000, panel=TRAINING, chosen=True
    )
    seq_length: int = option(
        128,
        "Characters between two updates (T): the window of truncated backpropagation through time.",
        at_least=1,
        at_most=1_000_000,
        panel=TRAINING,
        chosen=True,
    )
    learning_rate: float = option(
        1.2e-2, "Peak learning rate of AdamW, after warm-up.", above=0, at_most=10, panel=TRAINING, chosen=True
    )
    warmup_steps: int = option(
        100,
        "Steps over which the rate rises to its peak; at most a tenth of the run.",
        at_least=0,
        at_most=1_000_000_000,
        panel=TRAINING,
    )
    grad_clip: float = option(
        1.0, "Largest norm of the gradient; a longer one is scaled back. 0: never.", at_least=0, panel=TRAINING
    )
    weight_decay: float = option(
        0.1, "Decoupled weight decay on weight matrices.", at_least=0, at_most=10, panel=TRAINING, chosen=True
    )
    steps: int = option(
        1000,
        "Length of the run in updates.",
        at_least=1,
        at_most=10_000_000_000,
        panel=LENGTH,
        chosen=True,
    )
    evaluations: int = option(
        10,
        "How often the validation loss is measured, and the run saved, over its length.",
        at_least=1,
        at_most=1_000_000,
        panel=TRAINING,
        chosen=True,
    )
    patience: int = option(
        5,
        "Stop early after this many evaluations without a better one, once validation has clearly turned. 0: never.",
        at_least=0,
        at_most=1_000_000,
        panel=TRAINING,
    )
    keep: str | None = option(
        None,
        "Also save at every N-th step, and keep those saves for good, to look into later.",
        pattern=r"every:[1-9][0-9]{0,9}",
        metavar="every:N",
        panel=TRAINING,
    )
    val_fraction: float = option(
        0.1, "Share of the text, at its end, held out for validation.", above=0, at_most=0.5, panel=DATA
    )
    documents: str | None = option(
        None,
        "The text is many documents, each read for itself: its lines, its files, or what a pattern separates.",
        metavar="lines|files|REGEX",
        panel=DATA,
    )
    seed: int = option(
        1, "Seed of initial weights, offsets and dropout.", at_least=0, at_most=2**63 - 1, panel=TRAINING
    )
    precision: str = option(
        "auto",
        "Numbers that the recurrences multiply; weights and losses are float32. auto: bf16 where it is fast.",
        choices=PRECISIONS,
        panel=TRAINING,
    )

    def keeps(self, step: int) -> bool:
        """Whether the save of this step stays, whatever comes after it."""
        return self.keep is not None and step % int(self.keep.removeprefix("every:")) == 0


PALETTES = ("blue-red", "purple-orange", "karpathy")
COLORS = ("auto", "truecolor", "256", "16", "none")


@dataclass(frozen=True)
class InspectSettings(Settings):
    """What of a cell is shown, and of which piece of text."""

    signal: str = option(
        "auto",
        "What to color by: cell state c, hidden state h or a gate by name. auto: c if there is one, else h.",
        metavar="auto|c|h|GATE",
    )
    start: int = option(0, "First character shown, counted from the text's beginning.", at_least=0, at_most=10**12)
    length: int = option(1500, "Characters shown.", at_least=1, at_most=1_000_000)
    top: bool = option(
        False, "Under each character the five likeliest next ones (the true one marked) and the surprise in bits."
    )
    palette: str = option("blue-red", "Colors, for negative–positive.", choices=PALETTES, panel="Appearance")
    color: str = option("auto", "How many colors; auto asks the terminal.", choices=COLORS, panel="Appearance")
