"""The settings of sampling: those below, and the fields of each registered filter."""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import charrnn.sampling.filters  # noqa: F401 - registers the filters
from charrnn.errors import UsageError
from charrnn.options import Option, Settings, option
from charrnn.sampling.registry import FILTERS, PANEL, Filter
from charrnn.settings import LONGEST_EXPRESSION
from charrnn.text.normalization import normalized

STOPS = "Stop conditions"
PATTERN = "Pattern"
LONGEST_SUFFIX = 1000  # characters
SUFFIX_PARTICLES = 64
REPEATED = ("stop", "stop_regex", "bias")


@dataclass(frozen=True)
class SampleSettings(Settings):
    """How text is sampled from a network.

    Each filter in `charrnn.sampling.filters` adds fields: `SampleSettings(length=200, top_k=5).top_k`.
    stop, stop_regex: one text or several. bias: also a mapping, as in {"e": -1.5}. temperature: also "0.5..1.2".
    """

    length: int = option(1000, "Characters to generate.", at_least=0, at_most=10**12)
    greedy: bool = option(False, "Always take the most likely character.", panel=PANEL)
    num: int = option(1, "Texts to generate, in parallel.", at_least=1, at_most=100_000, flags=("--num", "-n"))
    best_of: int = option(
        1,
        "For each text, generate this many and keep the one with the fewest bits per character under the model.",
        at_least=1,
        at_most=10_000,
    )
    stop: tuple[str, ...] = option(
        (),
        r"End a text after it contains this. Escapes: \n, \t, \r, \\, \xNN, \uNNNN. Repeatable.",
        metavar="TEXT",
        panel=STOPS,
    )
    stop_regex: tuple[str, ...] = option(
        (),
        "End a text after its last 1,000 characters contain a match. Repeatable. Checked after every character of "
        "every text, which can take longer than generating it.",
        metavar="REGEX",
        longest=LONGEST_EXPRESSION,
        panel=STOPS,
    )
    lines: int | None = option(
        None, "End a text after this many lines.", at_least=1, at_most=10**12, metavar="N", panel=STOPS
    )
    until_balanced: bool = option(
        False, "End a text when every bracket and double quote that it or the prime opened is closed.", panel=STOPS
    )
    max_copy: int | None = option(
        None,
        "Never copy more than this many characters in a row from the training text.",
        at_least=1,
        at_most=100_000,
        panel="Novelty",
    )
    matching: str | None = option(
        None,
        "Generate only texts that match this as a whole. A text ends where the model leaves the expression.",
        metavar="REGEX",
        longest=LONGEST_EXPRESSION,
        panel=PATTERN,
    )
    suffix: str | None = option(
        None,
        "Generate the text between the prime and this, of any number of characters up to --length.",
        metavar="TEXT",
        longest=LONGEST_SUFFIX,
        panel=PATTERN,
    )
    particles: int | None = option(
        None,
        "For each text, generate this many in parallel and keep one as the model would write it: sequential Monte "
        "Carlo. By default 1; with --suffix 64.",
        at_least=1,
        at_most=10_000,
        panel=PATTERN,
    )
    ess_threshold: float = option(
        0.5,
        "Resample the particles when their effective number falls below this fraction. 0: never.",
        at_least=0,
        at_most=1,
        panel=PATTERN,
    )
    seed: int | None = option(
        None, "Random seed. By default each call differs and shows its seed.", at_least=0, at_most=2**63 - 1
    )

    if TYPE_CHECKING:

        def __init__(
            self,
            length: int = ...,
            greedy: bool = ...,
            num: int = ...,
            best_of: int = ...,
            stop: str | Sequence[str] | None = ...,
            stop_regex: str | Sequence[str] | None = ...,
            lines: int | None = ...,
            until_balanced: bool = ...,
            max_copy: int | None = ...,
            matching: str | None = ...,
            suffix: str | None = ...,
            particles: int | None = ...,
            ess_threshold: float = ...,
            seed: int | None = ...,
            **filters: Any,
        ) -> None: ...

        def __getattr__(self, name: str) -> Any:
            """Return the value of a filter."""

    def __post_init__(self) -> None:
        for name in REPEATED:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                value = [f"{character}={number}" for character, number in value.items()]
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value or ()))
        super().__post_init__()
        options = self.options()
        for entry in FILTERS.values():
            self._check_filter(entry, options)
        if self.greedy and self.best_of > 1:
            raise UsageError("`greedy` and `best_of` exclude each other", "greedy always generates the same text")
        self._check_pattern(options)

    def _check_pattern(self, options: Mapping[str, Option]) -> None:
        """Raise UsageError where a setting needs a pattern or a suffix, or excludes one."""
        if self.matching is None and self.suffix is None:
            for name in ("particles", "ess_threshold"):
                if getattr(self, name) != options[name].default:
                    raise UsageError(f"`{name}` needs `matching` or `suffix`")
            return
        pattern = "`suffix`" if self.matching is None else "`matching`"
        for name in ("stop", "stop_regex", "lines", "until_balanced"):
            if getattr(self, name) != options[name].default:
                hint = f"let the expression end with what `{name}` asks for" if self.matching else None
                raise UsageError(f"{pattern} and `{name}` exclude each other", hint)
        if self.uses_particles:
            for name in ("greedy", "best_of", "max_copy"):
                if getattr(self, name) != options[name].default:
                    needing = "`particles`" if self.suffix is None else "`suffix`"
                    raise UsageError(f"{needing} and `{name}` exclude each other")

    @property
    def uses_particles(self) -> bool:
        """Whether a text is one of several particles, or ends at one of several places."""
        return self.suffix is not None or self.particle_count > 1

    @property
    def particle_count(self) -> int:
        """The number of particles for each text."""
        return self.particles or (1 if self.suffix is None else SUFFIX_PARTICLES)

    def seeded(self) -> Self:
        """Return the settings with a seed: their own, or a random one that is short enough to type."""
        return self if self.seed is not None else self.changed(seed=secrets.randbelow(10**9))

    def normalized(self, form: str) -> Self:
        """Return the settings for a model of normalized text. form: as for `charrnn.text.normalization.normalized`.

        Raises UsageError where `ban`, `bias` or `dry_sequence_breaker` name a character that becomes several.
        """
        if form == "none":
            return self
        changed: dict[str, Any] = {"stop": tuple(normalized(text, form) for text in self.stop)}
        if self.suffix is not None:
            changed["suffix"] = normalized(self.suffix, form)
        for name in ("ban", "dry_sequence_breaker"):
            changed[name] = _normalized_characters(getattr(self, name), form, name)
        parts = [one.rpartition("=") for one in self.bias]
        changed["bias"] = tuple(_normalized_characters(each, form, "bias") + "=" + number for each, _, number in parts)
        return self.changed(**changed)

    def _check_filter(self, entry: Filter, options: Mapping[str, Option]) -> None:
        """Raise UsageError where settings need this filter, or exclude it."""
        active = entry.active(self)
        for one in entry.settings:
            if one.off is None and not active and getattr(self, one.name) != one.default:
                needed = [f"`{other.name}`" for other in entry.settings if other.off is not None]
                raise UsageError(f"`{one.name}` needs {' or '.join(needed)}")
        for other in (FILTERS[name] for name in entry.excludes if name in FILTERS):
            if active and (others := other.active(self)):
                first, second = active[0].name, others[0].name
                raise UsageError(f"`{first}` and `{second}` exclude each other", f"give `{first}` or `{second}`")

    def __new__(cls, *args: Any, **values: Any) -> SampleSettings:
        return object.__new__(cls._with_filters())

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return the options by name, those of the filters included."""
        return _options(cls._with_filters())  # type: ignore[arg-type]  # a class is hashable

    @classmethod
    def _with_filters(cls) -> type[SampleSettings]:
        """Return the subclass with the fields of each filter registered by now."""
        return _subclass(*FILTERS.values()) if cls is SampleSettings else cls


def _normalized_characters(characters: str, form: str, name: str) -> str:
    for character in normalized(characters, "nfc"):
        if (number := len(normalized(character, form))) > 1:
            raise UsageError(
                f"`{name}`: {character!r} is {number} characters for this model, whose text is normalized to {form}",
                "choose one of them",
            )
    return normalized(characters, form)


@functools.cache
def _options(cls: type[SampleSettings]) -> dict[str, Option]:
    return super(SampleSettings, cls).options()


@functools.cache
def _subclass(*filters: Filter) -> type[SampleSettings]:
    fields = [
        (
            one.name,
            tuple[str, ...] if isinstance(one.default, tuple) else type(one.default),
            dataclasses.field(default=one.default, metadata={"option": one.option}),
        )
        for entry in filters
        for one in entry.settings
    ]
    return dataclasses.make_dataclass("SampleSettings", fields, bases=(SampleSettings,), frozen=True)
