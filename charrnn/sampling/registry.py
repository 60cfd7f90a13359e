"""The registry of sampling filters, and the chain of those that are on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from charrnn.options import Option, range_ends

if TYPE_CHECKING:  # the command line builds its help from here, without loading PyTorch
    import numpy as np
    import torch
    from torch import Tensor

    from charrnn.text.vocabulary import Vocabulary

PANEL = "Filters"
EXCLUDED = -math.inf


@dataclass(frozen=True)
class SampleContext:
    """What filters are made from. settings: a `SampleSettings`. prime: ids (N, P) of N streams."""

    settings: Any
    vocabulary: Vocabulary
    prime: np.ndarray
    device: torch.device


class HistoryFilter(Protocol):
    """A filter that sees the characters drawn. Streams must not influence one another."""

    def apply(self, logits: Tensor) -> Tensor:
        """Return the filtered logits (N, V)."""

    def update(self, ids: np.ndarray) -> None:
        """Take in the characters (N,) that were drawn after the latest `apply`."""

    def select(self, rows: np.ndarray) -> None:
        """Continue with the history of these streams (N,) in place of the present ones."""


Stateless = Callable[["Tensor", Any], "Tensor"]
Factory = Callable[[SampleContext], HistoryFilter]


@dataclass(frozen=True)
class FilterSetting:
    """A setting of a filter. off: the value that does not turn the filter on; None: no value does."""

    name: str
    default: Any
    off: Any
    option: Option

    def turns_on(self, settings: object) -> bool:
        """Return whether its value among these settings turns its filter on."""
        return self.off is not None and bool(getattr(settings, self.name) != self.off)


@dataclass(frozen=True)
class Filter:
    """A function from logits (N, V) and a value to logits (N, V), or a factory of objects that see the history.

    last: apply it after all others. greedy: it may change which character is the most likely. excludes: names of
    filters that cannot be combined with it.
    """

    name: str
    settings: tuple[FilterSetting, ...]
    function: Stateless | None = None
    factory: Factory | None = None
    last: bool = False
    greedy: bool = False
    excludes: tuple[str, ...] = ()

    def active(self, settings: object) -> list[FilterSetting]:
        """Return its settings that turn it on."""
        return [one for one in self.settings if one.turns_on(settings)]


FILTERS: dict[str, Filter] = {}


def register(
    default: Any, *, off: Any, help: str, last: bool = False, panel: str = PANEL, **bounds: Any
) -> Callable[[Stateless], Stateless]:
    """Register the decorated function as a filter and add a field of its name to `SampleSettings`.

    The function sets the logits of excluded characters to `EXCLUDED`. It must keep at least one character.
    Filters apply in the order of registration. bounds: as for `charrnn.options.Option`.
    """

    def add(function: Stateless) -> Stateless:
        name = function.__name__
        one = FilterSetting(name, default, off, Option(help, panel=panel, **bounds))
        FILTERS[name] = Filter(name, (one,), function, last=last)
        return function

    return add


def setting(default: Any, help: str, *, off: Any = None, panel: str = PANEL, **bounds: Any) -> FilterSetting:
    """Return a setting for `register_history`, which names it."""
    return FilterSetting("", default, off, Option(help, panel=panel, **bounds))


def register_history(
    *, greedy: bool = False, excludes: Collection[str] = (), **settings: FilterSetting
) -> Callable[[Factory], Factory]:
    """Register the decorated factory of `HistoryFilter`s, which see each character that is drawn, and its settings."""

    def add(factory: Factory) -> Factory:
        named = tuple(FilterSetting(name, one.default, one.off, one.option) for name, one in settings.items())
        FILTERS[factory.__name__] = Filter(
            factory.__name__, named, factory=factory, greedy=greedy, excludes=tuple(excludes)
        )
        return factory

    return add


def filter_settings() -> Iterator[FilterSetting]:
    """Yield the settings of all filters."""
    for entry in FILTERS.values():
        yield from entry.settings


def value_at(value: float | str, drawn: int, length: int) -> float:
    """Return a setting, such as "0.5..1.2", after `drawn` characters; it changes linearly over a text of `length`."""
    first, last = range_ends(value)
    return first + (last - first) * min(1.0, drawn / max(1, length - 1))


class FilterChain:
    """Every filter that is on, in order, for texts generated in parallel. It reads the prime when it is made."""

    def __init__(self, context: SampleContext):
        self._filters: list[Callable[[Tensor], Tensor]] = []
        self._histories: list[HistoryFilter] = []
        self._drawn, self._length = 0, context.settings.length
        for entry in sorted(FILTERS.values(), key=lambda entry: entry.last):
            if entry.active(context.settings) and (entry.greedy or not context.settings.greedy):
                self._filters.append(self._filter(entry, context))

    def _filter(self, entry: Filter, context: SampleContext) -> Callable[[Tensor], Tensor]:
        if entry.factory is not None:
            made = entry.factory(context)
            self._histories.append(made)
            return made.apply
        function, value = entry.function, getattr(context.settings, entry.name)
        assert function is not None
        if not entry.settings[0].option.ranged:
            return lambda logits: function(logits, value)
        first, last = range_ends(value)
        if first == last:
            return lambda logits: function(logits, first)
        return lambda logits: function(logits, value_at(value, self._drawn, self._length))

    def __call__(self, logits: Tensor) -> Tensor:
        """Apply the filters to logits (N, V)."""
        for apply in self._filters:
            logits = apply(logits)
        return logits

    def update(self, ids: np.ndarray) -> None:
        """Take in the characters (N,) that were drawn from the latest logits."""
        self._drawn += 1
        for history in self._histories:
            history.update(ids)

    def select(self, rows: np.ndarray) -> None:
        """Continue with these streams (N,) in place of the present ones."""
        for history in self._histories:
            history.select(rows)
