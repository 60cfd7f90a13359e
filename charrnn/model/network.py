"""The character model: embedding → recurrent layers with dropout between → one logit for each character.

Shapes: B streams, T characters, H hidden size, E embedding size, V vocabulary. The state is an argument and a result;
the network keeps nothing between calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from charrnn.errors import CharrnnError
from charrnn.model.recurrences import Recurrence, find_recurrence
from charrnn.settings import ModelSettings

State = tuple[tuple[Tensor, ...], ...]
"""For each layer the parts of its state, such as (h, c) of an LSTM or (h,) of a GRU; each (B, H)."""


@dataclass(frozen=True)
class Shard:
    """The rows of a batch that this process reads, while others read the rest.

    Dropout draws masks for the whole batch and takes these rows, so that they do not depend on the number of processes.
    """

    batch_size: int
    rows: slice


class CharRNN(nn.Module):
    """A character-level recurrent language model.

    One-layer modules are stacked by hand with our own dropout between them: cuDNN's multi-layer dropout keeps a hidden
    state that a resumed run cannot restore.
    """

    def __init__(self, settings: ModelSettings, vocabulary_size: int):
        super().__init__()
        self.settings = settings
        self.vocabulary_size = vocabulary_size
        # By default the weights would be drawn by `normal_`, which on the meta device imports 800 modules in a second.
        weights = torch.empty(vocabulary_size, settings.embedding_size).uniform_(-1, 1)
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(weights, freeze=False)  # type: ignore[no-untyped-call]
        self.recurrences = nn.ModuleList(
            self.recurrence.build(settings.embedding_size if layer == 0 else settings.hidden_size, settings.hidden_size)
            for layer in range(settings.layers)
        )
        self.output = nn.Linear(settings.hidden_size, vocabulary_size)
        self.held: dict[tuple[int, int, int], float] = {}
        """Cells that are held: (layer, part of its state, cell), each counted from 0 → value."""

    @property
    def recurrence(self) -> Recurrence:
        """The kind of the recurrent layers."""
        return find_recurrence(self.settings.recurrence)

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draw new weights: the embedding normal, the output uniform (Glorot & Bengio 2010) with zero biases.

        `Recurrence.initialize` draws those of the layers. No weights are tied.
        """
        nn.init.normal_(self.embedding.weight, std=1.0, generator=generator)
        for layer in self.recurrences:
            self.recurrence.initialize(layer, generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    @torch.no_grad()
    def load_matching_weights(self, weights: dict[str, Tensor]) -> None:
        """Copy the weights of a network of the same shape, whose vocabulary may be a prefix of this one's.

        The weights of characters beyond it are kept.
        """
        for name, parameter in self.named_parameters():
            parameter[: len(weights[name])] = weights[name]

    def initial_state(self, batch_size: int) -> State:
        """Return the state before a text or a document, (B, H) each: zeros, except in cells that are held."""
        zeros = self.output.weight.new_zeros(batch_size, self.settings.hidden_size)
        return self.hold(tuple((zeros,) * len(self.recurrence.state_parts) for _ in self.recurrences))

    def hold(self, state: State) -> State:
        """Return a copy of a state (B, H) in which the cells that are held have their values."""
        state = map_state(Tensor.clone, state)
        for (layer, part, cell), value in self.held.items():
            state[layer][part][:, cell] = value
        return state

    def advance(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, shard: Shard | None = None
    ) -> tuple[list[Tensor], State]:
        """Read characters and return every layer's hidden states.

        ids: (B, T) integers. generator: of the dropout masks in training mode; None: PyTorch's. shard: which rows of a
        larger batch these are. Returns h of each layer after each character, before dropout, (B, T, H) each, and the
        state after the last character.
        """
        signal = self.embedding(ids.t().long())  # (T, B, E): the fused layers read and write time first
        hidden, after = [], []
        for depth, (layer, before) in enumerate(zip(self.recurrences, state, strict=True)):
            if depth:
                signal = self._drop(signal, generator, shard)
            signal, layer_state = self.recurrence.unroll(layer, signal, before)
            after.append(layer_state)
            hidden.append(signal.transpose(0, 1))
        return hidden, tuple(after)

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, shard: Shard | None = None
    ) -> tuple[Tensor, State]:
        """Read characters and predict the next.

        Arguments as for `advance`. Returns logits (B, T, V), where [b, t] predicts the character after ids[b, t], and
        the state after the last character.
        """
        hidden, after = self.advance(ids, state, generator, shard)
        signal = self._drop(hidden[-1].transpose(0, 1), generator, shard)
        with torch.autocast(signal.device.type, enabled=False):  # a small product, and the loss depends on its rounding
            return self.output(signal.transpose(0, 1).to(self.output.weight.dtype)), after

    def _drop(self, signal: Tensor, generator: torch.Generator | None, shard: Shard | None = None) -> Tensor:
        """Apply dropout to (…, B, H)."""
        keep = 1.0 - self.settings.dropout
        if not self.training or keep == 1.0:
            return signal
        # Comparing uniform numbers is three times as fast on a CPU as bernoulli_, which draws in one thread.
        shape = signal.shape if shard is None else (*signal.shape[:-2], shard.batch_size, signal.shape[-1])
        kept = torch.rand(shape, generator=generator, device=signal.device) < keep
        if shard is not None:
            kept = kept[..., shard.rows, :]
        return signal * kept.to(signal.dtype).div_(keep)


def plain_step(network: CharRNN, ids: Tensor, state: State) -> tuple[Tensor, State]:
    """Read one character in each stream by the equations of the papers, without dropout.

    ids: (B,) integers. Returns logits (B, V) of the next character and the state after this one.
    """
    signal, after = network.embedding.weight[ids], []
    for layer, before in zip(network.recurrences, state, strict=True):
        after.append(network.recurrence.step(layer, signal, *before))
        signal = after[-1][0]
    return signal @ network.output.weight.T + network.output.bias, tuple(after)


def overflow_error() -> CharrnnError:
    """Return the error for states or logits that are not finite."""
    return CharrnnError("the network overflows: its weights are too large", "use another checkpoint")


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Apply a function to each part of a state, or to the corresponding parts of several."""
    return tuple(tuple(map(function, *layers)) for layers in zip(*states, strict=True))


def detach_state(state: State) -> State:
    """Return a state without its history: where truncated backpropagation through time stops."""
    return map_state(Tensor.detach, state)


def parameter_shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Return name → shape of every parameter of a network, without allocating it."""
    with torch.device("meta"):
        network = CharRNN(settings, vocabulary_size)
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def parameter_count(settings: ModelSettings, vocabulary_size: int) -> int:
    """Return the number of parameters of a network, without allocating it."""
    return sum(math.prod(shape) for shape in parameter_shapes(settings, vocabulary_size).values())
