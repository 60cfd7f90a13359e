"""Filters that choose which characters may be sampled, such as top-k.

A filter is one entry here: a function decorated with `register`, or a factory decorated with `register_history`. Its
settings, flags, help and bounds follow. The order is that of the samplers of llama.cpp.

Not offered: XTC excludes the most likely characters, which in a word are most often the only ones that spell it. Beam
search finds the most probable text, which in character models is a loop (Holtzman et al. 2020, arXiv 1904.09751).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from charrnn.sampling.registry import EXCLUDED, HistoryFilter, SampleContext, register, register_history, setting

if TYPE_CHECKING:  # the command line builds its help from here, without loading PyTorch
    from torch import Tensor

REPETITION = "Repetition"


@register(
    0.8,
    off=1.0,
    last=True,  # the model's own probabilities decide which characters may be sampled
    help="Divide the logits by this: below 1 is more cautious, above 1 more random. 0.5..1.2 changes it linearly "
    "over --length characters.",
    at_least=0.01,
    at_most=100,
    too_low_hint="for the most likely character, use `greedy=True`",
    ranged=True,
    metavar="X|X..Y",
    flags=("--temperature", "--temp", "-t"),
)
def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide the logits (Ackley, Hinton & Sejnowski 1985)."""
    return logits / value


@register_history(
    greedy=True,
    ban=setting("", "Never generate any of these characters. Escapes as in --stop.", off="", metavar="CHARS"),
    bias=setting(
        (),
        "Add a number to the logit of a character, as in 'e=-1.5'. Repeatable.",
        off=(),
        pattern=r"(?s).=[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?",
        metavar="CHAR=X",
    ),
)
def bias(context: SampleContext) -> HistoryFilter:
    """Exclude the banned characters, and add the biases to the logits of others."""
    from charrnn.sampling.history import Bias

    return Bias(context)


@register_history(
    greedy=True,
    repeat_penalty=setting(
        1.0,
        "Divide positive logits of recent characters by this, multiply negative ones. 1: off.",
        off=1.0,
        at_least=0.01,
        at_most=100,
        panel=REPETITION,
    ),
    presence_penalty=setting(
        0.0,
        "Subtract this from the logit of each recent character. 0: off.",
        off=0.0,
        at_least=-100,
        at_most=100,
        panel=REPETITION,
    ),
    frequency_penalty=setting(
        0.0,
        "Subtract this from a character's logit for each recent occurrence. 0: off.",
        off=0.0,
        at_least=-100,
        at_most=100,
        panel=REPETITION,
    ),
    repeat_last_n=setting(
        64,
        "Number of recent characters that these three penalties count. -1: all. 0: none.",
        at_least=-1,
        at_most=1_000_000,
        panel=REPETITION,
    ),
)
def penalties(context: SampleContext) -> HistoryFilter:
    """Penalize recent characters, those of the prime included (Keskar et al. 2019, arXiv 1909.05858)."""
    from charrnn.sampling.history import Penalties

    return Penalties(context)


@register_history(
    greedy=True,
    dry_multiplier=setting(
        0.0,
        "Penalize characters that continue a repetition: this times BASE^(length - allowed length). 0: off.",
        off=0.0,
        at_least=0,
        at_most=1000,
        panel=REPETITION,
    ),
    dry_base=setting(1.75, "BASE of --dry-multiplier.", at_least=1, at_most=100, panel=REPETITION),
    dry_allowed_length=setting(
        20, "Characters that may be repeated without that penalty.", at_least=1, at_most=10_000, panel=REPETITION
    ),
    dry_penalty_last_n=setting(
        1000,
        "Number of recent characters in which repetitions are found; time per character grows with it.",
        at_least=1,
        at_most=1_000_000,
        panel=REPETITION,
    ),
    dry_sequence_breaker=setting(
        "", r"Characters that end a repetition, such as '\n:'.", metavar="CHARS", panel=REPETITION
    ),
)
def dry(context: SampleContext) -> HistoryFilter:
    """Penalize repeated sequences (DRY: https://github.com/oobabooga/text-generation-webui/pull/5677)."""
    from charrnn.sampling.history import Dry

    return Dry(context)


@register(
    0.0,
    off=0.0,
    help="Exclude characters whose logit is this many standard deviations below the highest. 0: none.",
    at_least=0,
    at_most=1000,
)
def top_n_sigma(logits: Tensor, n: float) -> Tensor:
    """Keep logits within n standard deviations of the highest (Tang et al. 2024, arXiv 2411.07641).

    The standard deviation is that of the characters which earlier filters have kept.
    """
    kept = logits > EXCLUDED
    number = kept.sum(dim=-1, keepdim=True)
    mean = logits.where(kept, 0).sum(dim=-1, keepdim=True) / number
    variance = (logits - mean).square().where(kept, 0).sum(dim=-1, keepdim=True) / number
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) - n * variance.sqrt(), EXCLUDED)


@register(0, off=0, help="Sample from the k most likely characters only. 0: from all.", at_least=0)
def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep exactly the k most likely characters (Fan et al. 2018, arXiv 1805.04833). Ties go to the lower id."""
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[..., k:], EXCLUDED)


@register(
    1.0,
    off=1.0,
    help="Sample from the characters nearest to the average surprise that together have this probability. 1: from all.",
    above=0,
    at_most=1,
)
def typical_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest characters that reach p, the most typical first (Meister et al. 2023, arXiv 2202.00666).

    A character is typical if its surprise is near the entropy. Ties go to the lower id.
    """
    log_p = logits.log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p).nan_to_num().sum(dim=-1, keepdim=True)
    order = (log_p + entropy).abs().sort(dim=-1, stable=True).indices
    ordered = log_p.exp().gather(-1, order)
    excluded = ordered.cumsum(dim=-1) - ordered >= p
    return logits.masked_fill(excluded.scatter(-1, order, excluded), EXCLUDED)


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


@register_history(
    excludes=("top_n_sigma", "top_k", "typical_p", "top_p", "min_p"),
    mirostat_ent=setting(
        0.0,
        "Keep the average surprise of the text near this many bits per character (Mirostat 2). 0: off.",
        off=0.0,
        at_least=0,
        at_most=32,
    ),
    mirostat_lr=setting(0.1, "Learning rate of --mirostat-ent.", above=0, at_most=1),
)
def mirostat(context: SampleContext) -> HistoryFilter:
    """Exclude surprising characters, adapted to the surprise so far (Basu et al. 2021, arXiv 2007.14966)."""
    from charrnn.sampling.history import Mirostat

    return Mirostat(context)
