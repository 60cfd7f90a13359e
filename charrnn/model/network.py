"""The character model: embedding → recurrent layers with dropout between → one logit for each character.

Shapes: B streams, T characters, H hidden size, E embedding size, V vocabulary. The state is always passed in and
returned; the network remembers nothing from call to call.

A new recurrence is one entry of `RECURRENCES` (and its name in `charrnn.settings.RECURRENCES`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from charrnn.settings import ModelSettings

State = tuple[tuple[Tensor, ...], ...]
"""For each layer (h, c) for an LSTM, (h,) for a GRU or a plain RNN; each (B, H)."""


@dataclass(frozen=True)
class Recurrence:
    """What tells one recurrence from another.

    module: PyTorch's fused implementation, of which one layer at a time is used.
    gates: what the blocks of H rows of its weight matrices compute, in their order there. The candidate is the new
    content (g of an LSTM, n of a GRU, the whole of a plain RNN).
    has_cell_state: whether it carries a cell state c beside the hidden state h.
    """

    module: type[nn.RNNBase]
    gates: tuple[str, ...]
    has_cell_state: bool = False


@dataclass(frozen=True)
class Share:
    """Of a batch of `streams`, the rows that this process reads while others read the rest. Dropout draws its masks for
    the whole batch and takes these rows, so that they are the same among however many processes it is shared."""

    streams: int
    rows: slice


RECURRENCES = {
    "lstm": Recurrence(nn.LSTM, ("input", "forget", "candidate", "output"), has_cell_state=True),
    "gru": Recurrence(nn.GRU, ("reset", "update", "candidate")),
    "rnn": Recurrence(nn.RNN, ("candidate",)),
}


def gate_rows(recurrence: str, gate: str, hidden_size: int) -> slice:
    """The rows of weight_ih_l0, weight_hh_l0 and their biases that belong to a gate."""
    block = RECURRENCES[recurrence].gates.index(gate)
    return slice(block * hidden_size, (block + 1) * hidden_size)


class CharRNN(nn.Module):
    """A character-level recurrent language model.

    The layers are one-layer modules stacked by hand with our own dropout between them, rather than one module of
    several layers: cuDNN's multi-layer dropout keeps a hidden state of its own that a resumed run cannot restore.
    """

    def __init__(self, settings: ModelSettings, vocabulary_size: int):
        super().__init__()
        self.settings = settings
        self.vocabulary_size = vocabulary_size
        module = RECURRENCES[settings.recurrence].module
        self.embedding = nn.Embedding(vocabulary_size, settings.embedding_size)
        self.recurrences = nn.ModuleList(
            module(settings.embedding_size if layer == 0 else settings.hidden_size, settings.hidden_size)
            for layer in range(settings.layers)
        )
        self.output = nn.Linear(settings.hidden_size, vocabulary_size)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draws fresh weights.

        Recurrent matrices are orthogonal, gate by gate (Saxe et al. 2014, arXiv 1312.6120), so that a gradient neither
        vanishes nor explodes at the first steps back; other matrices are uniform with the variance of Glorot & Bengio
        2010. Biases are zero, the forget gate's too: from 1, as Jozefowicz et al. 2015 advise, a training of minutes
        ends worse (the figures are in tests/benchmarks/README.md).
        """
        recurrence, hidden_size = self.settings.recurrence, self.settings.hidden_size
        nn.init.normal_(self.embedding.weight, std=1.0, generator=generator)
        for layer in self.recurrences:
            for parameter in (layer.bias_ih_l0, layer.bias_hh_l0):
                nn.init.zeros_(parameter)
            for gate in RECURRENCES[recurrence].gates:
                rows = gate_rows(recurrence, gate, hidden_size)
                nn.init.xavier_uniform_(layer.weight_ih_l0[rows], generator=generator)
                nn.init.orthogonal_(layer.weight_hh_l0[rows], generator=generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    @torch.no_grad()
    def load_matching_weights(self, weights: dict[str, Tensor]) -> None:
        """Takes over the weights of a network of the same shape, whose vocabulary may be the beginning of this one's.

        The characters beyond it keep the weights they have.
        """
        for name, parameter in self.named_parameters():
            parameter[: len(weights[name])] = weights[name]

    def initial_state(self, batch_size: int) -> State:
        """The state before any character: zeros, (B, H) each, where the weights are."""
        weight = self.output.weight
        parts = 2 if RECURRENCES[self.settings.recurrence].has_cell_state else 1
        zeros = weight.new_zeros(batch_size, self.settings.hidden_size)
        return tuple(tuple(zeros.clone() for _ in range(parts)) for _ in self.recurrences)

    def advance(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, share: Share | None = None
    ) -> tuple[list[Tensor], State]:
        """Reads characters and gives every layer's hidden states.

        ids: (B, T) integers. generator: source of the dropout masks in training mode; None is PyTorch's own. share:
        what the B streams are of a larger batch; None: all of it.
        Returns the hidden states h of each layer after each character, before dropout, (B, T, H) each; and the state
        after the last character.
        """
        signal = self.embedding(ids.t().long())  # (T, B, E): time first is how the fused layers read and write
        hidden, after = [], []
        for depth, (layer, before) in enumerate(zip(self.recurrences, state, strict=True)):
            if depth:
                signal = self._drop(signal, generator, share)
            carried = tuple(part.unsqueeze(0) for part in before)
            signal, carried = layer(signal, carried if len(carried) > 1 else carried[0])
            after.append(tuple(part.squeeze(0) for part in (carried if isinstance(carried, tuple) else (carried,))))
            hidden.append(signal.transpose(0, 1))
        return hidden, tuple(after)

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, share: Share | None = None
    ) -> tuple[Tensor, State]:
        """Reads characters and predicts the one after each.

        ids: (B, T) integers. Returns logits (B, T, V), of which [b, t] predicts the character after ids[b, t], and the
        state after the last character.
        """
        hidden, after = self.advance(ids, state, generator, share)
        signal = self._drop(hidden[-1].transpose(0, 1), generator, share)
        with torch.autocast(signal.device.type, enabled=False):  # a small product, on which the loss hangs
            return self.output(signal.transpose(0, 1).to(self.output.weight.dtype)), after

    def _drop(self, signal: Tensor, generator: torch.Generator | None, share: Share | None = None) -> Tensor:
        """signal: (…, B, H)."""
        keep = 1.0 - self.settings.dropout
        if not self.training or keep == 1.0:
            return signal
        # Uniform numbers compared are three times as fast on a CPU as bernoulli_, which draws in one thread.
        shape = signal.shape if share is None else (*signal.shape[:-2], share.streams, signal.shape[-1])
        kept = torch.rand(shape, generator=generator, device=signal.device) < keep
        if share is not None:
            kept = kept[..., share.rows, :]
        return signal * kept.to(signal.dtype).div_(keep)


def detach_state(state: State) -> State:
    """The same values with no history: where truncated backpropagation through time stops."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)


def parameter_shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every parameter of such a network, without building it, however large it would be."""
    hidden_size, rows = settings.hidden_size, len(RECURRENCES[settings.recurrence].gates) * settings.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary_size, settings.embedding_size)}
    for layer in range(settings.layers):
        width = settings.embedding_size if layer == 0 else hidden_size
        shapes |= {
            f"recurrences.{layer}.weight_ih_l0": (rows, width),
            f"recurrences.{layer}.weight_hh_l0": (rows, hidden_size),
            f"recurrences.{layer}.bias_ih_l0": (rows,),
            f"recurrences.{layer}.bias_hh_l0": (rows,),
        }
    return shapes | {"output.weight": (vocabulary_size, hidden_size), "output.bias": (vocabulary_size,)}


def parameter_count(settings: ModelSettings, vocabulary_size: int) -> int:
    """How many numbers a network of this shape learns, without building it."""
    return sum(math.prod(shape) for shape in parameter_shapes(settings, vocabulary_size).values())
