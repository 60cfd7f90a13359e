"""One character through the network, as fast as PyTorch's operators allow.

`model.network.plain_step` is the one to read. `FastStep` computes the same, for one stream on a CPU at six times the
speed of an LSTM called with one character, or more (tests/benchmarks/sampling.py). It looks up the product of embedding
and first layer, keeps weights transposed, and reuses its scratch memory.

Shapes: N streams, V vocabulary.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from charrnn.model.fast_layer import FastLayer, product
from charrnn.model.network import CharRNN, State


class FastStep:
    """The same step for a fixed number of streams N, without gradients.

    Weights are copied (the first layer's as a table of V rows), so later training does not change the step. A step
    neither writes to the state it is given nor reuses one it has returned. Because it holds scratch memory, an object
    serves one thread at a time. Layers of a recurrence without a fast layer are stepped through the network.

    multiplications: about how many a step takes.
    """

    @torch.inference_mode()
    def __init__(self, network: CharRNN, streams: int):
        self._streams = streams
        self.multiplications = streams * sum(parameter.numel() for parameter in network.parameters())
        found = [network.recurrence.fast_layer(layer, streams) for layer in network.recurrences]
        layers = [layer for layer in found if layer is not None]
        if len(layers) == len(found):
            self._read = _FastLayers(network, layers, streams).read
        else:
            self._network = copy.deepcopy(network).eval()
            self._read = self._read_through_network

    def __call__(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one character in each stream.

        ids: (N,) int64, on the device of the weights. Returns logits (N, V) of the next character and the state after
        this one, as inference tensors: clone them to use them where gradients are taken.
        Raises ValueError for another number of streams.
        """
        if ids.shape != (self._streams,):
            raise ValueError(f"made for {self._streams} streams, got ids of shape {tuple(ids.shape)}")
        if torch.is_inference_mode_enabled():  # to enter it takes as long as an operator
            return self._read(ids, state)
        with torch.inference_mode():
            return self._read(ids, state)

    def _read_through_network(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        logits, after = self._network(ids.unsqueeze(1), state)
        return logits.squeeze(1), after


class _FastLayers:
    """Fast layers between a table of the first layer's input products and the output."""

    def __init__(self, network: CharRNN, layers: list[FastLayer], streams: int):
        self._first, *deeper = layers
        self._table = torch.addmm(self._first.input_bias, network.embedding.weight, self._first.input_weight.T)
        self._deeper = [(product(layer.input_weight, streams), layer) for layer in deeper]
        self._output = product(network.output.weight, streams)
        self._output_bias = network.output.bias.clone()

    def read(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        torch.index_select(self._table, 0, ids, out=self._first.incoming)
        after = [self._first.step(*state[0])]
        for (from_input, layer), before in zip(self._deeper, state[1:], strict=True):
            from_input.plus_into(layer.incoming, layer.input_bias, after[-1][0])
            after.append(layer.step(*before))
        return self._output.plus(self._output_bias, after[-1][0]), tuple(after)
