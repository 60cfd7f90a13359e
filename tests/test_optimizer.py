"""charrnn.training.optimizer"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from charrnn.model import private_torch
from charrnn.training.optimizer import AdamW


@pytest.mark.parametrize("ignores_found_inf", [("mps",), ("cpu",)])
def test_updates_equal_those_of_torch_optim(
    monkeypatch: pytest.MonkeyPatch, ignores_found_inf: tuple[str, ...]
) -> None:
    """Bit for bit, with skipped steps."""
    monkeypatch.setattr(private_torch, "IGNORES_FOUND_INF", ignores_found_inf)
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator) for shape in ((3, 5), (5, 2), (7,))]
    ours, theirs = ([torch.nn.Parameter(values.clone()) for values in start] for _ in range(2))
    optimizer = AdamW([(ours[:2], 0.1), (ours[2:], 0.0)], betas=(0.9, 0.99))
    reference = torch.optim.AdamW(
        [{"params": theirs[:2], "weight_decay": 0.1}, {"params": theirs[2:], "weight_decay": 0.0}],
        betas=(0.9, 0.99),
        fused=True,
    )
    for step in range(20):
        for parameter, other in zip(ours, theirs, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            other.grad = parameter.grad / 2.5
        skipped_step = torch.tensor(float(step % 5 == 3))
        before = [parameter.detach().clone() for parameter in ours]
        optimizer.step(0.01 * (step + 1), skipped_step, torch.tensor(2.5))
        reference.found_inf = skipped_step
        for group in reference.param_groups:
            group["lr"] = 0.01 * (step + 1)
        reference.step()
        for parameter, other, old in zip(ours, theirs, before, strict=True):
            assert torch.equal(parameter, other)
            assert torch.equal(parameter, old) == bool(skipped_step)
            for name, values in reference.state[other].items():
                assert torch.equal(optimizer.state[parameter][name], values)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


def test_training_does_not_load_the_compiler() -> None:
    program = """
import sys, numpy, torch
from charrnn.model.network import CharRNN
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.trainer import Trainer
network = CharRNN(ModelSettings(hidden_size=4), 3)
text = EncodedText(numpy.zeros(100, numpy.uint8))
Trainer(network, TrainingSettings(batch_size=2, seq_length=4), text).make_step()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
