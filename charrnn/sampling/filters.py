"""Filters that choose which characters may be sampled, such as top-k.

A filter is one entry here: a function decorated with `register`. Its setting, flag, help and bounds follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.settings import Option

if TYPE_CHECKING:  # the command line builds its help from here, without loading PyTorch
    from torch import Tensor

PANEL = "Filters"
EXCLUDED = -math.inf


@dataclass(frozen=True)
class Filter:
    """A function from logits (N, V) and the value of its setting to logits (N, V), with that setting.

    off: the value at which the filter is not applied. last: apply it after all others.
    """

    name: str
    function: Callable[[Tensor, Any], Tensor]
    default: int | float
    off: int | float
    option: Option
    last: bool = False


FILTERS: dict[str, Filter] = {}


def register(
    default: int | float, *, off: int | float, help: str, last: bool = False, **bounds: Any
) -> Callable[[Callable[[Tensor, Any], Tensor]], Callable[[Tensor, Any], Tensor]]:
    """Register the decorated function as a filter and add a field of its name to `SampleSettings`.

    The function sets the logits of excluded characters to `EXCLUDED`. It must keep the most likely character.
    Filters apply in the order of registration. bounds: as for `charrnn.settings.Option`.
    """

    def add(function: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
        name = function.__name__
        FILTERS[name] = Filter(name, function, default, off, Option(help, panel=PANEL, **bounds), last)
        return function

    return add


def apply_filters(logits: Tensor, settings: object) -> Tensor:
    """Apply every filter that is on to logits (N, V). settings: has the value of each filter as an attribute."""
    for entry in sorted(FILTERS.values(), key=lambda entry: entry.last):
        value = getattr(settings, entry.name)
        if value != entry.off:
            logits = entry.function(logits, value)
    return logits


# Last, because the model's own probabilities decide which characters may be sampled.
@register(
    0.8,
    off=1.0,
    last=True,
    help="Divide the logits by this: below 1 is more cautious, above 1 more random.",
    at_least=0.01,
    at_most=100,
    flags=("--temperature", "--temp", "-t"),
)
def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide the logits (Ackley, Hinton & Sejnowski 1985)."""
    return logits / value


@register(0, off=0, help="Sample from the k most likely characters only. 0: from all.", at_least=0)
def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep exactly the k most likely characters (Fan et al. 2018, arXiv 1805.04833). Ties go to the lower id."""
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[..., k:], EXCLUDED)


@register(
    1.0,
    off=1.0,
    help="Sample from the fewest characters that together have this probability (nucleus). 1: from all.",
    above=0,
    at_most=1,
)
def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest characters whose probability reaches p (Holtzman et al. 2020, arXiv 1904.09751).

    Ties go to the lower id. Probabilities are those after the earlier filters.
    """
    ordered = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.values.softmax(dim=-1)
    excluded = probabilities.cumsum(dim=-1) - probabilities >= p
    return logits.masked_fill(excluded.scatter(-1, ordered.indices, excluded), EXCLUDED)


@register(
    0.0,
    off=0.0,
    help="Exclude characters less likely than this fraction of the most likely one's probability. 0: none.",
    at_least=0,
    at_most=1,
)
def min_p(logits: Tensor, fraction: float) -> Tensor:
    """Keep characters at least `fraction` times as likely as the most likely (Nguyen et al. 2024, arXiv 2407.01082)."""
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(fraction), EXCLUDED)
