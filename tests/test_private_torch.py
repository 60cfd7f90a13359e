"""The program works, and gives the same numbers, where PyTorch lacks the private functions it uses."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import charrnn
from charrnn.model import private_torch
from charrnn.model.device import tf32_allowed
from charrnn.sampling.step import FastStep
from charrnn.settings import TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.trainer import Trainer
from tests.conftest import small_network

PRIVATE = re.compile(r"torch\._(?!_)|torch\.ops\b|\b_VF\b|\.fp32_precision")
FOREACH = ("_foreach_add_", "_foreach_sub_", "_foreach_div_", "_foreach_copy_")


def test_private_functions_are_named_in_one_module() -> None:
    package = Path(charrnn.__file__).parent
    naming = {path.name for path in package.rglob("*.py") if PRIVATE.search(path.read_text(encoding="utf-8"))}
    assert naming == {"private_torch.py"}


def logits_of_a_step() -> torch.Tensor:
    network = small_network(hidden_size=24).float()
    ids = torch.arange(8)
    step, state = FastStep(network, 8), network.initial_state(8)
    for _ in range(5):
        logits, state = step(ids, state)
    return logits


def changed(*_: object) -> None:
    raise RuntimeError("expected at most 3 arguments")


@pytest.mark.parametrize(
    "operators",
    [
        SimpleNamespace(),
        SimpleNamespace(_reorder_linear_weight=SimpleNamespace(default=changed)),
        SimpleNamespace(
            _reorder_linear_weight=SimpleNamespace(default=lambda weight, _: weight),
            _linear_pointwise=SimpleNamespace(default=changed),
        ),
    ],
    ids=["missing", "packing-changed", "product-changed"],
)
def test_step_without_onednn_operators(operators: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits_of_a_step()
    monkeypatch.setattr(torch.ops, "mkldnn", operators, raising=False)
    assert private_torch.pack_linear(torch.ones(3, 3), 8) is None
    torch.testing.assert_close(logits_of_a_step(), expected, rtol=0, atol=1e-6)


def trained() -> list[torch.Tensor]:
    """Return the weights after 20 steps, of which one is skipped."""
    network = small_network("gru", hidden_size=16).float()
    ids = np.random.default_rng(3).integers(0, 11, 4000).astype(np.uint8)
    settings = TrainingSettings(batch_size=4, seq_length=16, steps=20, learning_rate=0.003, precision="fp32")
    trainer = Trainer(network, settings, EncodedText(ids))
    weight = network.recurrences[0].weight_hh_l0
    weight.register_hook(lambda gradient: gradient * torch.where(torch.tensor(trainer.step == 7), torch.inf, 1.0))
    for _ in range(20):
        trainer.make_step()
    assert trainer.skipped == 1
    return list(network.parameters())


def assert_trains_the_same(expected: list[torch.Tensor]) -> None:
    for found, other in zip(trained(), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-4, atol=2e-5)


def test_training_without_fused_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained()
    monkeypatch.delattr(torch, "_fused_adamw_")
    assert_trains_the_same(expected)


def test_training_where_fused_adamw_takes_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained()
    monkeypatch.setattr(torch, "_fused_adamw_", lambda parameters, gradients: None)
    assert_trains_the_same(expected)


def test_training_where_the_kernel_ignores_found_inf(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained()
    monkeypatch.setattr(private_torch, "IGNORES_FOUND_INF", ("cpu",))
    assert_trains_the_same(expected)


def test_training_without_foreach_is_bit_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained()
    for name in FOREACH:
        monkeypatch.delattr(torch, name)
    assert all(torch.equal(found, other) for found, other in zip(trained(), expected, strict=True))


def test_foreach_takes_an_argument_for_each_or_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        tensors = [torch.ones(2), torch.ones(3)]
        private_torch.foreach_("add_", tensors, 1)
        private_torch.foreach_("div_", tensors, torch.tensor(4.0))
        private_torch.foreach_("sub_", tensors, [torch.tensor(0.5), torch.tensor(0.25)])
        assert [tensor.unique().tolist() for tensor in tensors] == [[0.0], [0.25]]
        for name in FOREACH:
            monkeypatch.delattr(torch, name, raising=False)


def test_tf32_is_set_where_fp32_precision_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn, matmul = SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=True)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    with tf32_allowed("tf32"):
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True)
    assert (cudnn.allow_tf32, matmul.allow_tf32) == (False, False)
