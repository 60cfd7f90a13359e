"""One character through the network: written out as the papers have it, and again as fast as PyTorch's operators allow.

`plain_step` is the one to read. `FastStep` computes the same, for one stream on a CPU six times and more as fast as an
LSTM called with one character (tests/benchmarks/sampling.py): nothing is set up anew, the product of embedding and
first layer is looked up instead of computed, weights lie transposed, gates in the order in which they are used.

Shapes: N streams, H hidden size, G gates, V vocabulary.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from charrnn.model.network import RECURRENCES, CharRNN, State, gate_rows


def plain_step(network: CharRNN, ids: Tensor, state: State) -> tuple[Tensor, State]:
    """Reads one character in each stream, by the equations.

    ids: (N,) integers. Returns logits (N, V) of the next character and the state after this one. No dropout.
    """
    equations = EQUATIONS[network.settings.recurrence]
    signal, after = network.embedding.weight[ids], []
    for layer, before in zip(network.recurrences, state, strict=True):
        after.append(equations(layer, signal, *before))
        signal = after[-1][0]
    return signal @ network.output.weight.T + network.output.bias, tuple(after)


def _lstm(layer: nn.LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers, Schmidhuber & Cummins 2000)."""
    gates = x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
    i = torch.sigmoid(gates[:, gate_rows("lstm", "input", layer.hidden_size)])
    f = torch.sigmoid(gates[:, gate_rows("lstm", "forget", layer.hidden_size)])
    g = torch.tanh(gates[:, gate_rows("lstm", "candidate", layer.hidden_size)])
    o = torch.sigmoid(gates[:, gate_rows("lstm", "output", layer.hidden_size)])
    c = f * c + i * g
    return o * torch.tanh(c), c


def _gru(layer: nn.GRU, x: Tensor, h: Tensor) -> tuple[Tensor]:
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) in the form of cuDNN and `torch.nn.GRU`: the reset gate
    multiplies the recurrent product, bias included, instead of h before it."""
    from_x = x @ layer.weight_ih_l0.T + layer.bias_ih_l0
    from_h = h @ layer.weight_hh_l0.T + layer.bias_hh_l0
    reset, update, candidate = (gate_rows("gru", gate, layer.hidden_size) for gate in RECURRENCES["gru"].gates)
    r = torch.sigmoid(from_x[:, reset] + from_h[:, reset])
    z = torch.sigmoid(from_x[:, update] + from_h[:, update])
    n = torch.tanh(from_x[:, candidate] + r * from_h[:, candidate])
    return ((1 - z) * n + z * h,)


def _rnn(layer: nn.RNN, x: Tensor, h: Tensor) -> tuple[Tensor]:
    """The simple recurrent network (Elman 1990)."""
    return (torch.tanh(x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0),)


EQUATIONS = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


PACKED_FROM = 4  # streams; below it, oneDNN's fixed cost of about 10 µs a product outweighs what it saves


class _Product:
    """x ↦ x·Wᵀ for x (N, in) and W (out, in), with W kept transposed: read straight ahead where N is 1."""

    def __init__(self, weight: Tensor):
        self._transposed = weight.T.contiguous()

    def plus(self, bias: Tensor, x: Tensor) -> Tensor:
        """bias + x·Wᵀ, with bias (out,)."""
        return torch.addmm(bias, x, self._transposed)

    def plus_into(self, target: Tensor, bias: Tensor, x: Tensor) -> None:
        """target = bias + x·Wᵀ, with target (N, out)."""
        torch.addmm(bias, x, self._transposed, out=target)

    def add_to(self, target: Tensor, x: Tensor) -> None:
        """target += x·Wᵀ, with target (N, out)."""
        target.addmm_(x, self._transposed)


class _PackedProduct(_Product):
    """The same through oneDNN, with W in oneDNN's own blocked layout.

    PyTorch's float32 products on a CPU go through MKL, which leaves AVX-512 unused on processors that are not Intel's;
    with 64 streams this is about twice as fast there. These are the operators that `torch.compile` emits.
    """

    def __init__(self, weight: Tensor, streams: int):
        self._packed = torch.ops.mkldnn._reorder_linear_weight.default(weight.contiguous(), streams)
        self._linear = torch.ops.mkldnn._linear_pointwise.default

    def plus(self, bias: Tensor, x: Tensor) -> Tensor:
        return self._linear(x, self._packed, bias, "none", [], "")

    def plus_into(self, target: Tensor, bias: Tensor, x: Tensor) -> None:
        target.copy_(self.plus(bias, x))

    def add_to(self, target: Tensor, x: Tensor) -> None:
        target.add_(self._linear(x, self._packed, None, "none", [], ""))


def _product(weight: Tensor, streams: int) -> _Product:
    packable = (
        streams >= PACKED_FROM
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
    return _PackedProduct(weight, streams) if packable else _Product(weight)


class _FastLayer:
    """What the fast layers share: gates in `order`, so that one call serves all gates of the same kind, and scratch.

    incoming: (N, G·H), filled with what the layer's input contributes to its gates before `step` is called.
    """

    recurrence: str
    order: tuple[str, ...]

    def __init__(self, layer: nn.RNNBase, streams: int):
        every_row = torch.arange(layer.weight_hh_l0.shape[0], device=layer.weight_hh_l0.device)
        rows = torch.cat([every_row[gate_rows(self.recurrence, gate, layer.hidden_size)] for gate in self.order])
        self.input_weight = layer.weight_ih_l0[rows]
        self.input_bias = layer.bias_ih_l0[rows]
        self.hidden_bias = layer.bias_hh_l0[rows]
        self.from_hidden = _product(layer.weight_hh_l0[rows], streams)
        self.incoming = self.input_bias.new_empty(streams, len(rows))

    def step(self, *before: Tensor) -> tuple[Tensor, ...]:
        """The layer's state after the character whose contribution is in `incoming`, which is overwritten."""
        raise NotImplementedError


class _FastLSTM(_FastLayer):
    recurrence = "lstm"
    order = ("input", "forget", "output", "candidate")

    def __init__(self, layer: nn.LSTM, streams: int):
        super().__init__(layer, streams)
        self.input_bias += self.hidden_bias
        self.sigmoids = self.incoming[:, : 3 * layer.hidden_size]
        self.i, self.f, self.o, self.g = self.incoming.chunk(4, dim=1)

    def step(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        self.from_hidden.add_to(self.incoming, h)
        self.sigmoids.sigmoid_()
        self.g.tanh_()
        c = torch.mul(self.f, c).addcmul_(self.i, self.g)
        return torch.tanh(c).mul_(self.o), c


class _FastGRU(_FastLayer):
    recurrence = "gru"
    order = ("reset", "update", "candidate")

    def __init__(self, layer: nn.GRU, streams: int):
        super().__init__(layer, streams)
        both = 2 * layer.hidden_size
        self.input_bias[:both] += self.hidden_bias[:both]
        self.hidden_bias[:both] = 0  # the candidate's stays apart: the reset gate multiplies it
        self.product = torch.empty_like(self.incoming)
        self.sigmoids, self.n = self.incoming[:, :both], self.incoming[:, both:]
        self.product_sigmoids, self.product_n = self.product[:, :both], self.product[:, both:]
        self.r, self.z = self.sigmoids.chunk(2, dim=1)

    def step(self, h: Tensor) -> tuple[Tensor]:
        self.from_hidden.plus_into(self.product, self.hidden_bias, h)
        self.sigmoids.add_(self.product_sigmoids).sigmoid_()
        self.n.addcmul_(self.r, self.product_n).tanh_()
        return (torch.lerp(self.n, h, self.z),)


class _FastRNN(_FastLayer):
    recurrence = "rnn"
    order = ("candidate",)

    def __init__(self, layer: nn.RNN, streams: int):
        super().__init__(layer, streams)
        self.input_bias += self.hidden_bias

    def step(self, h: Tensor) -> tuple[Tensor]:
        self.from_hidden.add_to(self.incoming, h)
        return (torch.tanh(self.incoming),)


FAST_LAYERS: dict[str, type[_FastLayer]] = {layer.recurrence: layer for layer in (_FastLSTM, _FastGRU, _FastRNN)}
"""A recurrence that has no entry here is stepped through the network itself: correct, but slow."""


class FastStep:
    """The same step for a fixed number of streams N, for writing text: no gradients, no dropout.

    The weights are copied when it is made (the first layer's as a table of V × G·H numbers), so training the network
    further does not change it. The state goes in and comes out, and is the caller's: a step neither writes to the
    tensors it is given nor reuses those it has returned. It holds scratch memory: one object serves one thread at a
    time.

    multiplications: how many a step takes, about.
    """

    @torch.inference_mode()
    def __init__(self, network: CharRNN, streams: int):
        self._streams = streams
        self.multiplications = streams * sum(parameter.numel() for parameter in network.parameters())
        fast_layer = FAST_LAYERS.get(network.settings.recurrence)
        if fast_layer is None:
            self._network = copy.deepcopy(network).eval()
            self._read = self._through_the_network
            return
        self._first, *deeper = (fast_layer(layer, streams) for layer in network.recurrences)
        self._table = torch.addmm(self._first.input_bias, network.embedding.weight, self._first.input_weight.T)
        self._deeper = [(_product(layer.input_weight, streams), layer) for layer in deeper]
        self._output = _product(network.output.weight, streams)
        self._output_bias = network.output.bias.clone()
        self._read = self._through_fast_layers

    @torch.inference_mode()
    def __call__(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one character in each stream.

        ids: (N,) int64, on the device of the weights. Returns logits (N, V) of the next character and the state after
        this one. They are inference tensors: clone them before using them where gradients are taken.
        Raises ValueError where N is not the number it was made for.
        """
        if ids.shape != (self._streams,):
            raise ValueError(f"made for {self._streams} streams, got ids of shape {tuple(ids.shape)}")
        return self._read(ids, state)

    def _through_fast_layers(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        torch.index_select(self._table, 0, ids, out=self._first.incoming)
        after = [self._first.step(*state[0])]
        for (from_input, layer), before in zip(self._deeper, state[1:], strict=True):
            from_input.plus_into(layer.incoming, layer.input_bias, after[-1][0])
            after.append(layer.step(*before))
        return self._output.plus(self._output_bias, after[-1][0]), tuple(after)

    def _through_the_network(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        logits, after = self._network(ids.unsqueeze(1), state)
        return logits.squeeze(1), after
