"""The same numbers on every device of this machine. Without a GPU the CPU is compared with itself."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from charrnn.errors import UsageError
from charrnn.model import device as devices
from charrnn.model.checkpoint import MAX_LOSS_SCALE
from charrnn.model.device import (
    autocast,
    choose_device,
    choose_precision,
    device_name,
    supported_precisions,
    tf32_allowed,
)
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.scoring.score import score
from charrnn.settings import DEVICES, RECURRENCE_NAMES, ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.planning import Budget
from charrnn.training.presets import choose_settings
from charrnn.training.trainer import STEPS_BETWEEN_SCALES, Trainer
from tests.conftest import contracted

DEVICES_HERE = [
    pytest.param(name, marks=pytest.mark.skipif(not available, reason=f"no {name} device here"))
    for name, available in (
        ("cpu", True),
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    )
]
every_device = pytest.mark.parametrize("device", DEVICES_HERE)
TRAINING = TrainingSettings(batch_size=4, seq_length=16, steps=100, learning_rate=0.005, precision="fp32")


def new_network(recurrence: str, vocabulary: Vocabulary) -> CharRNN:
    settings = ModelSettings(recurrence=recurrence, layers=2, hidden_size=32, embedding_size=8)
    network = CharRNN(settings, len(vocabulary))
    network.initialize(torch.Generator().manual_seed(1))
    return contracted(network)


def losses(network: CharRNN, ids: np.ndarray, precision: str = "fp32") -> list[float]:
    trainer = Trainer(network, TRAINING.changed(precision=precision), EncodedText(ids))
    found, before = [], 0.0
    for _ in range(100):
        trainer.make_step()
        total = trainer.loss_sum.item()
        found.append(total - before)
        before = total
    return found


@functools.cache
def losses_on(device: str, recurrence: str, text: str) -> list[float]:
    vocabulary = Vocabulary.of(text)
    return losses(new_network(recurrence, vocabulary).to(choose_device(device)), vocabulary.encode(text))


@every_device
@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_fp32_losses_equal_those_of_the_cpu(device: str, recurrence: str, short_text: str) -> None:
    on_device = losses_on(device, recurrence, short_text)
    assert on_device == pytest.approx(losses_on("cpu", recurrence, short_text), abs=1e-4)
    assert on_device[-1] < 0.8 * on_device[0]


@every_device
@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_scores_and_samples_equal_those_of_the_cpu(device: str, recurrence: str, short_text: str) -> None:
    vocabulary = Vocabulary.of(short_text)
    ids = vocabulary.encode(short_text)[:5000]
    cpu, other = new_network(recurrence, vocabulary).eval(), new_network(recurrence, vocabulary).eval()
    other.to(choose_device(device))
    np.testing.assert_allclose(
        score(other, EncodedText(ids)).nats, score(cpu, EncodedText(ids)).nats, rtol=0, atol=1e-4
    )
    settings = SampleSettings(length=50, seed=4, num=2)
    written = [np.stack(list(generate(n, settings, vocabulary=vocabulary))) for n in (cpu, other)]
    assert np.array_equal(*written)


LOWER = {"cpu": ["bf16"], "cuda": ["tf32", "bf16", "fp16"], "mps": []}


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        pytest.param(p.values[0], precision, marks=p.marks, id=f"{p.values[0]}-{precision}")
        for p in DEVICES_HERE
        for precision in LOWER[p.values[0]]
    ],
)
@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_lower_precision_learns_as_much(device: str, precision: str, recurrence: str, short_text: str) -> None:
    place = choose_device(device)
    if precision not in supported_precisions(place, recurrence):
        pytest.skip(f"no {precision} on this {device}")
    vocabulary = Vocabulary.of(short_text)
    ids = vocabulary.encode(short_text)
    exact = losses_on("cpu", recurrence, short_text)
    network = new_network(recurrence, vocabulary).to(place)
    lower = losses(network, ids, precision)
    assert lower == pytest.approx(exact, abs=0.1)
    assert np.mean(lower[-10:]) == pytest.approx(np.mean(exact[-10:]), abs=0.02)
    assert lower != exact
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_precision_is_refused_where_unsupported() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu, ModelSettings("lstm")) == "fp32"
    assert choose_precision("bf16", cpu, ModelSettings("gru")) == "bf16"
    for name in ("tf32", "fp16"):
        able = ", ".join(supported_precisions(cpu, "lstm"))
        with pytest.raises(UsageError, match=f"cannot train in {name}; choose `precision` from: {able}$"):
            choose_precision(name, cpu, ModelSettings("lstm"))
    with pytest.raises(UsageError, match="`precision` must be one of auto, fp32, tf32, bf16, fp16, not 'int8'"):
        choose_precision("int8", cpu, ModelSettings("lstm"))


@pytest.mark.parametrize(
    ("flags", "recurrence", "chosen"),
    [
        ("fpu avx2", "lstm", "fp32"),
        ("fpu avx512_bf16 avx2", "lstm", "bf16"),
        ("amx_bf16", "lstm", "bf16"),
        ("fpu avx512_bf16 avx2", "gru", "fp32"),
        ("", "lstm", "fp32"),
    ],
)
def test_auto_precision_on_a_cpu_follows_its_features(flags: str, recurrence: str, chosen: str) -> None:
    cpu = torch.device("cpu")
    expected = chosen if chosen in supported_precisions(cpu, recurrence) else "fp32"
    assert choose_precision("auto", cpu, ModelSettings(recurrence), cpu_flags=flags.split()) == expected


def test_bf16_is_refused_where_the_layer_fails_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.nn.LSTM, "forward", refuse)
    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match=r"cannot train in bf16; choose `precision` from: fp32$"):
        choose_precision("bf16", cpu, ModelSettings("lstm"))
    assert choose_precision("auto", cpu, ModelSettings("lstm"), cpu_flags=["avx512_bf16"]) == "fp32"


@pytest.mark.parametrize("hidden_size", [256, 1008, 1024, 1056])
def test_gradients_in_the_chosen_precision_are_right(hidden_size: int) -> None:
    """With AMX, oneDNN's are wrong in bf16 for 1,024 and 1,056 cells."""
    cpu, model = torch.device("cpu"), ModelSettings(hidden_size=hidden_size)
    network, ids = CharRNN(model, 64), torch.arange(6).view(2, 3)
    network.initialize(torch.Generator().manual_seed(1))
    gradients = []
    for precision in ("fp32", choose_precision("auto", cpu, model)):
        network.zero_grad()
        with autocast(cpu, precision):
            logits, _ = network(ids, network.initial_state(2))
        torch.autograd.backward(cross_entropy(logits.flatten(0, 1), ids.flatten()))
        gradients.append([parameter.grad for parameter in network.parameters()])
    for right, found in zip(*gradients, strict=True):
        assert (found - right).norm() <= 0.05 * right.norm()


def test_bf16_is_avoided_where_its_gradients_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hidden size that a user gave is kept, and computed in float32. One that is chosen is a little smaller."""
    cpu, wrong = torch.device("cpu"), ModelSettings(hidden_size=1024)
    monkeypatch.setattr(devices, "_has_right_gradients_in_bf16", lambda *sizes: 1024 not in sizes)
    assert choose_precision("auto", cpu, wrong, cpu_flags=["amx_bf16"]) == "fp32"
    with pytest.raises(UsageError, match="wrong gradients in bf16 at hidden size 1024; use `precision='fp32'`, or"):
        choose_precision("bf16", cpu, wrong)
    explicit = {"precision": "bf16"}
    chosen = choose_settings(9_000_000, 65, cpu, Budget(minutes=30), explicit, speed=lambda *_: 150e9)
    assert chosen.model.hidden_size == 1008
    assert "1008 is the largest hidden size that trains well" in chosen.because


def test_choosing_a_precision_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    choose_precision("auto", torch.device("cpu"), ModelSettings("lstm"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_freed_memory_is_kept() -> None:
    program = """
import resource, torch
from charrnn.model.device import keep_freed_memory

def page_faults(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        torch.ones(40 << 18)  # above 32 MiB, up to which glibc keeps what was freed before
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = page_faults(3)
keep_freed_memory()
page_faults(3)  # until the heap has grown
kept = page_faults(3)
assert kept < 1000 < returned, (kept, returned)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tf32_is_allowed_only_within_its_context() -> None:
    def settings() -> set[str]:
        backends = torch.backends
        return {
            backends.cudnn.rnn.fp32_precision,
            backends.cudnn.conv.fp32_precision,
            backends.cuda.matmul.fp32_precision,
        }

    with tf32_allowed("tf32"):
        assert settings() == {"tf32"}
    assert settings() == {"ieee"}
    with tf32_allowed("bf16"):
        assert settings() == {"ieee"}


def test_fp16_overflow_halves_the_loss_scale_and_skips_the_step(short_text: str) -> None:
    """On the CPU in float32, with infinite gradients above a loss scale of 2¹³."""
    vocabulary = Vocabulary.of(short_text)
    trainer = Trainer(new_network("lstm", vocabulary), TRAINING, EncodedText(vocabulary.encode(short_text)))
    plain = Trainer(new_network("lstm", vocabulary), TRAINING, EncodedText(vocabulary.encode(short_text)))
    trainer.loss_scale = torch.tensor(MAX_LOSS_SCALE)
    layer = trainer.network.recurrences[0].weight_hh_l0
    layer.register_hook(lambda gradient: gradient * torch.where(trainer.loss_scale > 2.0**13, torch.inf, 1.0))
    for _ in range(3):
        trainer.make_step()
    assert (trainer.skipped, trainer.loss_scale) == (3, 2.0**13)
    for _ in range(3):
        trainer.make_step()
    assert (trainer.skipped, trainer.loss_scale) == (3, 2.0**13)
    for plain.step in (3, 4, 5):
        plain.make_step()
    for name, parameter in trainer.parameters.items():  # a power of two changes no bit of the mantissa
        assert torch.equal(parameter, plain.parameters[name]), name
    trainer.step = STEPS_BETWEEN_SCALES - 1
    trainer.make_step()
    assert trainer.loss_scale == 2.0**14


@every_device
def test_a_device_has_a_name(device: str) -> None:
    assert device_name(choose_device(device))


def test_missing_device_is_refused_with_those_available() -> None:
    assert choose_device("auto").type in DEVICES
    for name in ("cuda", "mps"):
        if name not in [p.values[0] for p in DEVICES_HERE if not p.marks[0].args[0]]:
            with pytest.raises(UsageError, match=f"no {name} device here.*choose from: cpu"):
                choose_device(name)
    with pytest.raises(UsageError, match="`device` must be one of auto, cpu, cuda, mps, not 'tpu'"):
        choose_device("tpu")
