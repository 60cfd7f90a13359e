"""The same numbers on every device that is here. On a machine with a GPU these are its tests; elsewhere the CPU is
compared with itself, which keeps the tests themselves working."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.errors import UsageError
from charrnn.model.device import choose_device, device_name
from charrnn.model.network import CharRNN
from charrnn.model.score import score
from charrnn.sampling.generate import generate
from charrnn.settings import DEVICES, RECURRENCES, ModelSettings, SampleSettings, TrainingSettings
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.loop import Trainer

HERE = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no {name} device here"))
    for name, there in (
        ("cpu", True),
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    )
]
every_device = pytest.mark.parametrize("device", HERE)
TRAINING = TrainingSettings(batch_size=4, seq_length=16, steps=100, learning_rate=0.005)


def a_network(recurrence: str, vocabulary: Vocabulary) -> CharRNN:
    settings = ModelSettings(recurrence=recurrence, layers=2, hidden_size=32, embedding_size=8)
    network = CharRNN(settings, len(vocabulary))
    network.initialise(torch.Generator().manual_seed(1))
    return network


def losses(network: CharRNN, ids: np.ndarray) -> list[float]:
    trainer = Trainer(network, TRAINING, ids)
    found, before = [], 0.0
    for _ in range(100):
        trainer.make_step()
        total = trainer.loss_sum.item()
        found.append(total - before)
        before = total
    return found


@every_device
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_a_hundred_steps_in_float32_have_the_losses_of_the_cpu(device: str, recurrence: str, short_text: str) -> None:
    vocabulary = Vocabulary.of(short_text)
    ids = vocabulary.encode(short_text)
    on_cpu = losses(a_network(recurrence, vocabulary), ids)
    on_device = losses(a_network(recurrence, vocabulary).to(choose_device(device)), ids)
    assert on_device == pytest.approx(on_cpu, abs=1e-4)
    assert on_device[-1] < 0.8 * on_device[0]


@every_device
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_a_text_costs_as_many_nats_and_is_continued_by_the_same_characters(
    device: str, recurrence: str, short_text: str
) -> None:
    vocabulary = Vocabulary.of(short_text)
    ids = vocabulary.encode(short_text)[:5000]
    cpu, other = a_network(recurrence, vocabulary).eval(), a_network(recurrence, vocabulary).eval()
    other.to(choose_device(device))
    torch.testing.assert_close(score(other, ids).nats, score(cpu, ids).nats, rtol=0, atol=1e-4)
    settings = SampleSettings(length=50, seed=4, num=2)
    written = [np.stack(list(generate(n, settings, vocabulary=vocabulary))) for n in (cpu, other)]
    assert np.array_equal(*written)


@every_device
def test_a_device_has_a_name(device: str) -> None:
    assert device_name(choose_device(device))


def test_a_device_that_is_not_here_is_a_mistake_with_a_way_out() -> None:
    assert choose_device("auto").type in DEVICES
    for name in ("cuda", "mps"):
        if name not in [p.values[0] for p in HERE if not p.marks[0].args[0]]:
            with pytest.raises(UsageError, match=f"no {name} device here.*choose from: cpu"):
                choose_device(name)
    with pytest.raises(UsageError, match="--device must be one of auto, cpu, cuda, mps, not 'tpu'"):
        choose_device("tpu")
