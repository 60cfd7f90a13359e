"""Which characters may be drawn: small pure functions from logits to logits.

Each takes logits (N, V), one row per stream, and the value of the setting it is named after, and returns logits of the
same shape in which a character that may not be drawn has −inf. At its neutral value a filter returns what it was given.
None of them ever drops the likeliest character, so a draw is always possible.

A new filter is a function here, its line in `FILTERS`, and a field of `charrnn.settings.SampleSettings`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from charrnn.settings import SampleSettings

DROPPED = -math.inf


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keeps exactly the k likeliest characters (Fan et al. 2018, arXiv 1805.04833), of equals the lower id first.

    k: 0, or V and above, keeps all.
    """
    if k == 0 or k >= logits.shape[-1]:
        return logits
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[..., k:], DROPPED)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the smallest set of the likeliest characters whose probability reaches p, of equals the lower id first.

    This is the nucleus of Holtzman et al. 2020, arXiv 1904.09751; it has at least one character.

    p: in (0, 1]; 1 keeps all. Probabilities are those of the logits as they come, so after top-k of what top-k kept.
    """
    if p >= 1.0:
        return logits
    ordered = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = torch.softmax(ordered.values, dim=-1)
    likelier = probabilities.cumsum(dim=-1) - probabilities  # what the characters before it have together
    beyond = likelier >= p
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, ordered.indices, beyond), DROPPED)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Keeps the characters at least `share` times as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082).

    share: in [0, 1]; 0 keeps all, 1 the likeliest and its equals.
    """
    if share == 0.0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(share), DROPPED)


def temperature(logits: Tensor, degree: float) -> Tensor:
    """Divides the logits (Ackley, Hinton & Sejnowski 1985): below 1 the likely become likelier, above 1 less so."""
    return logits if degree == 1.0 else logits / degree


FILTERS = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
"""Name of the setting → filter, in the order in which they are applied.

Temperature comes last: what may be drawn is decided by the model's own probabilities, whatever the temperature.
"""


def filtered(logits: Tensor, settings: SampleSettings) -> Tensor:
    """The logits (N, V) to draw from, after every filter in order; softmax of a row gives its probabilities."""
    for name, keep in FILTERS.items():
        logits = keep(logits, getattr(settings, name))
    return logits
