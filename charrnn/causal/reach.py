"""How far back a network remembers: gradients of its loss, and the loss without the text further back.

Shapes: P positions, K lags, S splices, N characters, B streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from charrnn.inspection.gradients import (
    POSITIONS,
    SHARE_LAGS,
    GradientShare,
    check_length,
    sampled_positions,
    share_of,
    state_gradients,
    states_before,
)
from charrnn.model.network import CharRNN, State, map_state
from charrnn.progress import FractionProgress, StageProgress, no_progress, overall
from charrnn.text.encoded_text import EncodedText
from charrnn.units import bits

SPLICES = 384
LONGEST_CONTEXT = 500
EXCESS_BITS = 0.01
SMOOTHING = 0.1
"""Half-width of the window over which the excess loss is averaged, as a share of the number of characters."""
BATCH = 128  # splices
LOGITS = 4_000_000  # in memory at once

SECONDS = {"gradients": 6.0, "effective context": 3.0}
"""About how long each stage takes for an LSTM of 1×256."""


@dataclass(frozen=True, eq=False)
class Reach:
    """The relative gradient norm ‖∂L_t/∂s_{t−k}‖ / ‖∂L_t/∂s_t‖ at lags k = 0, 1, …, K.

    L_t is the cross-entropy of the character after position t, s_{t−k} the state after position t − k: h and c of all
    layers, in one vector. Of s_t only h of the last layer has a gradient, because c_t affects L_t only through h_t.
    A norm of 1e-10 after 50 characters means that training gets no signal over that distance (Bengio et al. 1994).

    log_norms: natural logarithm, (P, K + 1): −inf for 0, NaN where position t − k is not in the document of t.
    """

    log_norms: np.ndarray

    def __len__(self) -> int:
        return int(self.log_norms.shape[1])

    @property
    def positions(self) -> int:
        return len(self.log_norms)

    @property
    def mean(self) -> np.ndarray:
        """The geometric mean over positions, (K + 1,)."""
        means: np.ndarray = np.exp(self._over_positions(np.mean))
        return means

    def quantile(self, share: float) -> np.ndarray:
        """Return a quantile over positions, (K + 1,)."""
        quantiles: np.ndarray = np.exp(self._over_positions(lambda logs: np.quantile(logs, share, method="lower")))
        return quantiles

    @property
    def tail(self) -> int:
        """The lag from which on the half-life is measured, K/4."""
        return len(self) // 4

    @property
    def half_life(self) -> float:
        """The number of characters over which the mean halves in the tail, by least squares on its logarithm.

        Infinite where the mean does not fall, and 0 where it is 0. The first few characters, over which all networks
        lose most of the norm, say little about their memory.
        """
        lags = np.arange(self.tail, len(self))
        logs = self._over_positions(np.mean)[lags]
        if np.isneginf(logs).any():
            return 0.0
        known = ~np.isnan(logs)
        if known.sum() < 2:
            return math.nan
        slope = float(np.polyfit(lags[known], logs[known], 1)[0])
        return -math.log(2) / slope if slope < 0 else math.inf

    def _over_positions(self, statistic: Callable[[np.ndarray], Any]) -> np.ndarray:
        columns = (column[~np.isnan(column)] for column in self.log_norms.T)
        return np.array([statistic(column) if len(column) else np.nan for column in columns])


@dataclass(frozen=True, eq=False)
class EffectiveContext:
    """The loss that is added where only the last n characters are the true ones, and other text precedes them.

    Method of Khandelwal et al. 2018 (arXiv 1805.04623), with the state after another part of the same text in place of
    the true one.

    excess: bits per character for n = 0, 1, … N, each averaged over the splices and over n ± 10 %, (N + 1,); NaN where
    all documents are shorter.
    """

    excess: np.ndarray
    splices: int

    @property
    def characters(self) -> int | None:
        """The least n from which on less than .01 bit is added; None if more than N are needed."""
        above = np.flatnonzero(self.excess >= EXCESS_BITS)
        found = int(above[-1]) + 1 if len(above) else 0
        return found if found < len(self.excess) and not np.isnan(self.excess[found]) else None


@dataclass(frozen=True, eq=False)
class Memory:
    """How far back a network remembers: see the class of each field."""

    reach: Reach
    context: EffectiveContext
    share: GradientShare

    def __repr__(self) -> str:
        mean, context = self.reach.mean, self.context.characters
        norms = ", ".join(f"{mean[lag]:.2g} at k = {lag}" for lag in (1, 10, 100) if lag < len(mean))
        needed = f"more than {len(self.context.excess) - 1}" if context is None else context
        return f"<Memory: relative gradient norm {norms}; effective context {needed} characters>"

    def to_json(self) -> dict[str, Any]:
        """Return all figures; NaN and infinity become None."""
        reach, share = self.reach, self.share
        return {
            "positions": reach.positions,
            "gradient_norm": {
                "geometric_mean": _finite(reach.mean),
                "quantile_10": _finite(reach.quantile(0.1)),
                "quantile_90": _finite(reach.quantile(0.9)),
            },
            "half_life": _finite([reach.half_life])[0],
            "splices": self.context.splices,
            "excess_bits": _finite(self.context.excess),
            "effective_context": self.context.characters,
            "gradient_share": [
                {
                    "signal": share.signal,
                    "lag": lag,
                    "positions": int(share.positions[row]),
                    "half_from": int(share.half_from[row]),
                    "shares": dict(zip(map(str, share.cells), _finite(share.shares[row]), strict=True)),
                }
                for row, lag in enumerate(share.lags)
            ],
        }


def measure_memory(
    network: CharRNN, text: EncodedText, *, positions: int = POSITIONS, progress: StageProgress = no_progress
) -> Memory:
    """Measure how far back a network remembers in a text.

    positions: of the gradients, at most. progress: called with the name of a stage and the fraction of it done.
    Raises CharrnnError for a text of fewer than 1,000 characters, or where the network overflows.
    """
    show = overall(progress, SECONDS)
    gradients = state_gradients(
        network, text, positions=positions, kept=SHARE_LAGS, progress=lambda share: show("gradients", share)
    )
    context = effective_context(network, text, progress=lambda share: show("effective context", share))
    relative = gradients.log_norms - gradients.log_norms[:, :1]
    return Memory(Reach(relative), context, share_of(gradients, network))


@torch.inference_mode()
def effective_context(
    network: CharRNN, text: EncodedText, *, splices: int = SPLICES, progress: FractionProgress = no_progress
) -> EffectiveContext:
    """Measure the loss added by other text before the last n characters.

    At each splice the network continues from the state after another part of the text. Its loss n characters later is
    compared with the loss from the true state, until the document ends.
    """
    check_length(text)
    longest = min(LONGEST_CONTEXT, len(text) // 4)
    starts = sampled_positions(text, splices, before=1, after=longest + 1)
    total, number = np.zeros(longest + 1), np.zeros(longest + 1)
    batches = -(-len(starts) // BATCH)
    for batch in range(batches):
        places = starts[batch::batches, None] + np.arange(longest + 1)  # rows of a batch lie far apart
        added = _added_nats(network, text, places)
        inside = np.logical_and.accumulate(~text.begins()[places + 1], axis=1)
        total += np.where(inside, added, 0.0).sum(axis=0)
        number += inside.sum(axis=0)
        progress((batch + 1) / batches)
    return EffectiveContext(bits(1.0) * _smoothed(total, number), len(starts))


def _added_nats(network: CharRNN, text: EncodedText, places: np.ndarray) -> np.ndarray:
    """Return the nats (B, N + 1) that another row's state adds n = 0, 1, … N characters after it replaces the true one.

    places: (B, N + 1). The state after the first place is replaced. The characters after each place are predicted.
    """
    true = states_before(network, text, places[:, 0] + 1)
    other = map_state(lambda part: part.roll(len(places) // 2, dims=0), true)
    targets = torch.from_numpy(text.ids[places + 1].astype(np.int64)).to(network.device)
    added: np.ndarray = _nats(network, targets, other) - _nats(network, targets, true)
    return added


def _nats(network: CharRNN, targets: torch.Tensor, state: State) -> np.ndarray:
    """Return the loss (B, T) of each of these characters, the first predicted from the state."""
    hidden, _ = network.advance(targets[:, :-1], state)
    before = torch.cat([state[-1][0][:, None], hidden[-1]], dim=1)
    size = max(1, LOGITS // (len(targets) * network.vocabulary_size))
    parts = zip(torch.split(before, size, dim=1), torch.split(targets, size, dim=1), strict=True)
    losses = [
        cross_entropy(network.output(part).float().transpose(1, 2), target, reduction="none") for part, target in parts
    ]
    nats: np.ndarray = torch.cat(losses, dim=1).double().cpu().numpy()
    return nats


def _smoothed(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the mean of each n over n ± 10 %, from sums and counts (N + 1,); NaN without any."""
    lags = np.arange(len(total))
    low, high = np.ceil(lags * (1 - SMOOTHING)).astype(int), np.floor(lags * (1 + SMOOTHING)).astype(int) + 1

    def window_sums(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], values.cumsum()])
        windows: np.ndarray = sums[np.minimum(high, len(values))] - sums[low]
        return windows

    means, counts = np.full(len(total), np.nan), window_sums(number)
    np.divide(window_sums(total), counts, out=means, where=counts > 0)
    return means


def _finite(values: Any) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
