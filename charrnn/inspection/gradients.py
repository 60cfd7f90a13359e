"""Gradients of the loss with respect to earlier states, and which cells carry them over long distances.

L_t is the cross-entropy of the character after position t. s_{t−k} is the state after the character k positions before:
h and c of all layers, as the network passes them to the next character. The gradient ∂L_t/∂s_{t−k} says how much an
infinitesimal change of that state would change the loss, given the characters between (Bengio et al. 1994; Pascanu et
al. 2013, arXiv 1211.5063).

One backward pass gives the gradients of one position at all lags k. Each is scaled to norm 1 before it is passed on,
and the logarithm of its norm is kept, so that norms of 1e-100 are exact in float32.

Shapes: P positions, K lags, B streams, T characters, H hidden size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.inspection.gates import WARM_UP
from charrnn.inspection.trace import Cell, all_cells, restarted, trace_streams
from charrnn.model.network import CharRNN, State, map_state, overflow_error, plain_step
from charrnn.progress import FractionProgress, no_progress
from charrnn.text.encoded_text import EncodedText, Streams

MIN_CHARACTERS = 1000
POSITIONS = 256
LAGS = 200
SHARE_LAGS = (30, 100)
VALUES_IN_MEMORY = 1 << 25
LARGEST_BATCH = 128


@dataclass(frozen=True, eq=False)
class StateGradients:
    """Gradients ∂L_t/∂s_{t−k} at P positions t.

    log_norms: natural logarithm of the Euclidean norm at k = 0, 1, …, (P, K + 1): −inf where the gradient is zero, NaN
    where s_{t−k} is before the document of t. kept: lag → the part for c, or h of a recurrence without c, scaled to
    norm 1 of the whole gradient, (P, layers · H).
    """

    log_norms: np.ndarray
    kept: dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class GradientShare:
    """How the squared gradient ∂L_t/∂c_{t−k}, or ∂L_t/∂h_{t−k} of a recurrence without c, is divided among the cells.

    A cell with a large share at a long lag is where the network stores what it needs later. No labels are involved.

    lags: k. shares: of the mean squared gradient over all positions, (lags, cells). A mean of squares is dominated by
    its largest terms: a share can come from the few positions at which the state k characters ago mattered most.
    positions: how many were measured, (lags,). half_from: the fewest of them that sum to half of the squared gradient,
    (lags,). per_position: the mean of the share at each position, (lags, cells), in which all positions weigh the same.
    Values are NaN at lags longer than all documents.
    """

    cells: tuple[Cell, ...]
    signal: str
    lags: tuple[int, ...]
    shares: np.ndarray
    per_position: np.ndarray
    positions: np.ndarray
    half_from: np.ndarray

    def of(self, cell: Cell) -> dict[int, float]:
        """Return lag → share of a cell."""
        return dict(zip(self.lags, self.shares[:, self.cells.index(cell)].tolist(), strict=True))

    def largest(self, number: int, least: float = 0.0) -> list[Cell]:
        """Return the cells with the largest shares at any lag, the first at the longest lag first.

        least: only those with this share or more.
        """
        best = np.nan_to_num(self.shares).max(axis=0, initial=0.0)
        chosen = [int(one) for one in np.argsort(-best, kind="stable")[:number] if best[one] >= least]
        return [self.cells[one] for one in sorted(chosen, key=lambda one: tuple(-self.shares[::-1, one]))]

    def __repr__(self) -> str:
        top = "; ".join(
            f"k = {lag}: " + ", ".join(f"{cell} {100 * self.of(cell)[lag]:.1f} %" for cell in self.largest(3))
            for lag in self.lags
        )
        return f"<GradientShare {top}>"


def gradient_share(
    network: CharRNN,
    text: EncodedText,
    *,
    lags: Sequence[int] = SHARE_LAGS,
    positions: int = POSITIONS,
    progress: FractionProgress = no_progress,
) -> GradientShare:
    """Measure the share of the gradient that each cell carries back over these lags. Other arguments as for
    `state_gradients`.
    """
    found = state_gradients(network, text, positions=positions, lags=max(lags), kept=lags, progress=progress)
    return share_of(found, network)


def share_of(gradients: StateGradients, network: CharRNN) -> GradientShare:
    """Return the shares at the lags that were kept."""
    lags, cells = tuple(gradients.kept), tuple(all_cells(network))
    shares, per_position = (np.full((len(lags), len(cells)), np.nan) for _ in range(2))
    positions, half_from = (np.zeros(len(lags), np.int64) for _ in range(2))
    for row, (lag, scaled) in enumerate(gradients.kept.items()):
        logs = gradients.log_norms[:, lag]
        measured = np.isfinite(logs)
        positions[row] = int((~np.isnan(logs)).sum())
        if not measured.any():
            continue
        squares = scaled[measured].astype(np.float64) ** 2
        weights = np.exp(2 * (logs[measured] - logs[measured].max()))  # shares do not depend on the scale
        totals = np.sort(weights * squares.sum(axis=1))[::-1].cumsum()
        shares[row] = weights @ squares / totals[-1]
        per_position[row] = (squares / squares.sum(axis=1, keepdims=True)).mean(axis=0)
        half_from[row] = 1 + int(np.searchsorted(totals, totals[-1] / 2))
    signal = network.recurrence.state_signals[0]
    return GradientShare(cells, signal, lags, shares, per_position, positions, half_from)


def state_gradients(
    network: CharRNN,
    text: EncodedText,
    *,
    positions: int = POSITIONS,
    lags: int = LAGS,
    kept: Collection[int] = (),
    progress: FractionProgress = no_progress,
) -> StateGradients:
    """Backpropagate the loss at positions spread evenly over a text, 0 to `lags` characters back.

    Lags do not cross the start of a document. Before each, the network reads up to 500 characters. positions: at most.
    lags: at most a quarter of the text; longer ones are left out. kept: those at which the gradients themselves are
    kept. progress: called with the fraction done.

    Raises CharrnnError for a text of fewer than 1,000 characters, or where the network overflows.
    """
    check_length(text)
    lags = min(lags, len(text) // 4)
    ends = sampled_positions(text, positions, before=lags, after=1)
    cells = network.settings.layers * network.settings.hidden_size
    values = cells * len(network.recurrence.state_parts) * (lags + 1)
    batch = max(1, min(LARGEST_BATCH, VALUES_IN_MEMORY // values))
    log_norms = np.full((len(ends), lags + 1), np.nan)
    found = {lag: np.zeros((len(ends), cells), np.float32) for lag in kept if lag <= lags}
    for first in range(0, len(ends), batch):
        rows = slice(first, first + batch)
        for lag, (logs, gradient) in enumerate(_backward(network, text, ends[rows], lags)):
            log_norms[rows, lag] = logs
            if lag in found:
                found[lag][rows] = torch.cat([layer[-1] for layer in gradient], dim=1).float().cpu().numpy()
            progress((first + (lag + 1) / (lags + 1) * len(logs)) / len(ends))
    return StateGradients(log_norms, found)


def check_length(text: EncodedText) -> None:
    """Raise CharrnnError for a text that is too short to measure a memory in."""
    if len(text) < MIN_CHARACTERS:
        raise CharrnnError(
            f"this needs a text of {MIN_CHARACTERS:,} characters or more, and this one has {len(text):,}",
            "give a longer one with `text`",
        )


def sampled_positions(text: EncodedText, number: int, *, before: int, after: int) -> np.ndarray:
    """Return at most `number` positions, spread evenly, each with enough text around it.

    before, after: the least number of characters before and after a position.

    The characters before do not count those that the network reads first. No position is the last of a document: what
    follows is not predicted from it.
    """
    begins = text.begins()
    eligible = np.arange(before + min(WARM_UP, len(text) // 4), len(text) - after)
    eligible = eligible[~begins[eligible + 1]]
    if not len(eligible):
        raise CharrnnError("all documents of this text are empty or a single character", "give another text")
    chosen: np.ndarray = eligible[np.unique(np.linspace(0, len(eligible) - 1, number).astype(np.int64))]
    return chosen


def states_before(network: CharRNN, text: EncodedText, positions: np.ndarray) -> State:
    """Return the state before each of these positions (B,), after reading up to 500 characters."""
    length = min(WARM_UP, int(positions.min()))
    places = positions[:, None] + np.arange(-length, 0)
    streams = Streams(text.ids[places], text.begins()[places], text.opening)
    state = network.initial_state(len(positions))
    for chunk in trace_streams(network, streams, signals=(), cells=(), state=state):
        state = chunk.state
    return map_state(Tensor.clone, state)  # trace makes inference tensors


def _backward(network: CharRNN, text: EncodedText, ends: np.ndarray, lags: int) -> Iterator[tuple[np.ndarray, State]]:
    """Yield, for k = 0, 1, … `lags`, the log norm (B,) of ∂L_t/∂s_{t−k} and the gradient scaled to norm 1.

    ends: t, (B,).
    """
    device = network.device
    places = ends[:, None] + np.arange(1 - lags, 2)
    ids = torch.from_numpy(text.ids[places].astype(np.int64)).to(device)
    begins = torch.from_numpy(text.begins()[places]).to(device)
    opening = torch.full((1,), text.opening, device=device)
    with torch.no_grad():
        opened = plain_step(network, opening, network.initial_state(1))[1]
        states = [states_before(network, text, ends - lags + 1)]
        for column in range(lags):
            before = restarted(states[-1], begins[:, column], opened)
            states.append(plain_step(network, ids[:, column], before)[1])

    hidden = states[-1][-1][0].requires_grad_()
    loss = cross_entropy(network.output(hidden), ids[:, -1], reduction="sum")
    gradient = [torch.zeros_like(part) for layer in states[-1] for part in layer]
    parts = len(network.recurrence.state_parts)
    gradient[-parts] = torch.autograd.grad(loss, hidden)[0]
    logs = np.zeros(len(ends))
    for lag in range(lags + 1):
        norms = torch.stack([part.double().square().sum(dim=1) for part in gradient]).sum(dim=0).sqrt()
        if not torch.isfinite(norms).all():
            raise overflow_error()
        with np.errstate(divide="ignore"):
            logs = logs + np.log(norms.cpu().numpy())
        scale = torch.where(norms > 0, norms, 1.0)[:, None]
        gradient = [part / scale.to(part) for part in gradient]
        yield logs, _as_state(gradient, parts)
        if lag == lags:
            return
        column = lags - 1 - lag
        logs = np.where(begins[:, column].cpu().numpy(), np.nan, logs)
        before = restarted(states[column], begins[:, column], opened)
        leaves = [part.detach().requires_grad_() for layer in before for part in layer]
        held = network.hold(_as_state(leaves, parts))  # a cell that is held passes nothing on
        _, after = plain_step(network, ids[:, column], held)
        reached = [part for layer in after for part in layer]
        gradient = list(torch.autograd.grad(reached, leaves, gradient))


def _as_state(flat: Sequence[Tensor], parts: int) -> State:
    return tuple(tuple(flat[start : start + parts]) for start in range(0, len(flat), parts))
