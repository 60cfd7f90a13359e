"""The settings of sampling: those below, and one field for each registered filter."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.sampling.filters import FILTERS, PANEL, Filter
from charrnn.settings import Option, Settings, option


@dataclass(frozen=True)
class SampleSettings(Settings):
    """How text is sampled from a network.

    Each filter in `charrnn.sampling.filters` adds a field: `SampleSettings(length=200, top_k=5).top_k`.
    stop: one text or several.
    """

    length: int = option(1000, "Characters to generate.", at_least=0, at_most=10**12)
    greedy: bool = option(False, "Always take the most likely character.", panel=PANEL)
    num: int = option(1, "Texts to generate, in parallel.", at_least=1, at_most=100_000, flags=("--num", "-n"))
    stop: tuple[str, ...] = option(
        (),
        r"End a text after it contains this. Escapes: \n, \t, \r, \\, \xNN, \uNNNN. Repeatable.",
        metavar="TEXT",
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
            stop: str | Sequence[str] | None = ...,
            seed: int | None = ...,
            **filters: float,
        ) -> None: ...

        def __getattr__(self, name: str) -> Any:
            """Return the value of a filter."""

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        object.__setattr__(self, "stop", stop)
        super().__post_init__()

    def __new__(cls, *args: Any, **values: Any) -> SampleSettings:
        return object.__new__(cls._with_filters())

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return the options by name, those of the filters included."""
        return super(SampleSettings, cls._with_filters()).options()

    @classmethod
    def _with_filters(cls) -> type[SampleSettings]:
        """Return the subclass with a field for each filter registered by now."""
        return _subclass(*FILTERS.values()) if cls is SampleSettings else cls


@functools.cache
def _subclass(*filters: Filter) -> type[SampleSettings]:
    fields = [
        (entry.name, type(entry.default), dataclasses.field(default=entry.default, metadata={"option": entry.option}))
        for entry in filters
    ]
    return dataclasses.make_dataclass("SampleSettings", fields, bases=(SampleSettings,), frozen=True)
