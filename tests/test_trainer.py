"""charrnn.training.trainer"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from charrnn.model.network import CharRNN, detach_state
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.trainer import Trainer

MODEL = ModelSettings(layers=2, hidden_size=12, embedding_size=6)
TRAINING = TrainingSettings(batch_size=3, seq_length=9, steps=40, warmup_steps=4, seed=5)
TEXT = EncodedText(np.random.default_rng(1).integers(0, 11, 1500).astype(np.uint8))


def new_network() -> CharRNN:
    network = CharRNN(MODEL, 11)
    network.initialize(torch.Generator().manual_seed(1))
    return network


def test_step_equals_plain_adamw() -> None:
    """With weight decay, and a norm that clipping always shortens."""
    settings = TRAINING.changed(weight_decay=0.1, grad_clip=0.05)
    network, plain = new_network().double(), new_network().double()
    trainer = Trainer(network, settings, TEXT)
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in plain.named_parameters()}
    state = plain.initial_state(3)
    for step in range(6):
        window = trainer.batches.window(step)
        rate = trainer.learning_rate()
        trainer.make_step()
        logits, state = plain(window.inputs, state)
        state = detach_state(state)
        plain.zero_grad()
        cross_entropy(logits.flatten(0, 1), window.targets.flatten()).backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in plain.parameters()))
        assert norm > settings.grad_clip
        with torch.no_grad():
            for name, p in plain.named_parameters():  # Loshchilov & Hutter 2019, algorithm 2
                gradient = p.grad / float(np.float32(norm / settings.grad_clip))  # the kernel takes a float32
                m, v = moments[name]
                m.mul_(0.9).add_(gradient, alpha=0.1)
                v.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                p.mul_(1 - rate * (settings.weight_decay if p.ndim > 1 else 0))
                m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.99 ** (step + 1))
                p.sub_(rate * m_hat / (v_hat.sqrt() + 1e-8))
        for (name, p), q in zip(network.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-10, msg=name)


def test_infinite_gradient_skips_the_step() -> None:
    """Weights stay, the streams' state becomes zero, the step is counted, and the next one counts again."""
    network = new_network()
    trainer = Trainer(network, TRAINING, TEXT)
    for _ in range(2):
        trainer.make_step()
    before = {name: p.clone() for name, p in trainer.parameters.items()}
    with network.output.weight.register_hook(lambda gradient: gradient * math.inf):
        trainer.make_step()
    assert all(torch.equal(before[name], p) for name, p in trainer.parameters.items())
    assert all(not part.any() for layer in trainer.state for part in layer)
    assert trainer.skipped == trainer.skipped_in_a_row == 1
    trainer.make_step()
    assert not any(torch.equal(before[name], p) for name, p in trainer.parameters.items())
    assert (trainer.skipped, trainer.skipped_in_a_row) == (1, 0)


@pytest.mark.parametrize("broken", ["weight", "moment"])
def test_non_finite_state_is_noticed(broken: str) -> None:
    trainer = Trainer(new_network(), TRAINING, TEXT)
    trainer.make_step()
    assert trainer.is_finite()
    bias = trainer.network.output.bias
    values = bias.data if broken == "weight" else trainer.optimizer.state[bias]["exp_avg_sq"]
    values[0] = math.nan
    assert not trainer.is_finite()
