"""The recurrences by the equations of the papers, written without the package: what its layers are compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn, sigmoid, tanh

Hold = Callable[[str, Tensor], Tensor]


def step(
    recurrence: str, layer: nn.Module, x: Tensor, h: Tensor, c: Tensor, hold: Hold = lambda _, values: values
) -> dict[str, Tensor]:
    """Return every signal of a layer after one character: h, c of an LSTM, and the gates.

    x: (…, I). h, c: (…, H) before the character. hold: (part of the state, new values) → the values to continue with.

    LSTM: Gers, Schmidhuber & Cummins 2000. GRU: Cho et al. 2014, with the reset gate outside of the candidate's
    product, as cuDNN has it. RNN: Elman 1990. IRNN: Le, Jaitly & Hinton 2015.
    """
    blocks = layer.weight_hh_l0.shape[0] // h.shape[-1]
    from_x = (x @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(blocks, -1)
    from_h = (h @ layer.weight_hh_l0.T + layer.bias_hh_l0).chunk(blocks, -1)
    if recurrence == "lstm":
        i, f, g, o = (a + b for a, b in zip(from_x, from_h, strict=True))
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = hold("c", f * c + i * g)
        return {"h": hold("h", o * tanh(c)), "c": c, "input": i, "forget": f, "candidate": g, "output": o}
    if recurrence == "gru":
        r, z = sigmoid(from_x[0] + from_h[0]), sigmoid(from_x[1] + from_h[1])
        n = tanh(from_x[2] + r * from_h[2])
        return {"h": hold("h", (1 - z) * n + z * h), "reset": r, "update": z, "candidate": n}
    candidate = {"rnn": tanh, "irnn": torch.relu}[recurrence](from_x[0] + from_h[0])
    return {"h": hold("h", candidate), "candidate": candidate}
