"""What every recurrence promises, and a recurrence that is registered from outside the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import charrnn
from charrnn.cli import app
from charrnn.discovery.search import discover
from charrnn.discovery.study import Effort
from charrnn.errors import CharrnnError, UsageError
from charrnn.model.network import parameter_shapes, plain_step
from charrnn.model.recurrences import RECURRENCES, Recurrence, base, find_recurrence, register
from charrnn.properties.catalog import CATALOG, Text
from charrnn.sampling.step import FastStep
from charrnn.settings import RECURRENCE_NAMES, ModelSettings
from charrnn.training.events import Event, Requests
from tests.conftest import small_network

every_recurrence = pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)


class ReLURNN(Recurrence):
    """h' = ReLU(W·x + U·h + b), with U = I/2 initially."""

    name = "relu-rnn"
    title = "network of this test"
    state_parts: ClassVar = {"h": base.NON_NEGATIVE}
    gates: ClassVar = {"candidate": base.RELU}

    def build(self, input_size: int, hidden_size: int) -> nn.Module:
        return nn.RNN(input_size, hidden_size, nonlinearity="relu")

    def update(self, gates: Mapping[str, Tensor], *state: Tensor) -> tuple[Tensor]:
        return (gates["candidate"],)

    @torch.no_grad()
    def initialize(self, layer: nn.Module, generator: torch.Generator) -> None:
        super().initialize(layer, generator)
        nn.init.eye_(layer.weight_hh_l0).mul_(0.5)


@pytest.fixture(scope="module")
def registered() -> Iterator[str]:
    register(ReLURNN)
    yield ReLURNN.name
    del RECURRENCES[ReLURNN.name]
    RECURRENCE_NAMES.remove(ReLURNN.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of this module's runs, with a text of 40,000 characters in quotes and out of them."""
    path = tmp_path_factory.mktemp("home")
    draw = np.random.default_rng(1)
    words = ["the", "quick", "brown", "fox", '"jumps', 'over"', "a", "lazy", "dog"]
    lines = (" ".join(draw.choice(words, 6)) + ".\n" for _ in range(1500))
    (path / "text.txt").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(path))
        yield path


def train(folder: Path, name: str, steps: int = 60, **options: object) -> charrnn.Model:
    shape = {"hidden_size": 24, "embedding_size": 8, "batch_size": 4, "seq_length": 20, "learning_rate": 0.003}
    return charrnn.train(
        folder / "text.txt", name=name, steps=steps, evaluations=3, precision="fp32", device="cpu", **shape, **options
    )


@pytest.fixture(scope="module")
def model(registered: str, folder: Path) -> charrnn.Model:
    """An outside recurrence, trained for 60 steps."""
    return train(folder, "outside", recurrence=registered)


@pytest.fixture
def program(
    model: charrnn.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the CLI in this process and return its stdout."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["charrnn", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out

    return run


def test_outside_recurrence_learns(model: charrnn.Model) -> None:
    assert model.network.settings.recurrence == "relu-rnn"
    assert model.score().mean < 2.7 < np.log(len(model.vocabulary)) - 0.2


def test_outside_recurrence_resumes_bit_exactly(registered: str, folder: Path, model: charrnn.Model) -> None:
    requests = Requests()

    def stop(event: Event) -> None:
        requests.stop = requests.stop or getattr(event, "step", 0) >= 20

    train(folder, "stopped", recurrence=registered, on_event=stop, requests=requests)
    resumed = charrnn.train(folder / "text.txt", name="stopped", resume=True, device="cpu")
    assert resumed.checkpoint.step == 60
    expected = model.network.state_dict()
    assert all(torch.equal(values, expected[name]) for name, values in resumed.network.state_dict().items())


def test_outside_recurrence_is_sampled_without_a_fast_layer(model: charrnn.Model) -> None:
    """`FastStep` steps through the network, which agrees with the equations and with sampling in parallel."""
    network, ids = model.network, torch.tensor([3, 1])
    state = plain_step(network, ids, network.initial_state(2))[1]
    expected, after = plain_step(network, ids, state)
    logits, found = FastStep(network, 2)(ids, state)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0][0], after[0][0], rtol=0, atol=1e-5)
    one, two = model.sample(length=100, n=2, seed=5)
    assert one == model.sample(length=100, seed=5) != two


def test_candidate_of_an_outside_recurrence_equals_the_equation(model: charrnn.Model) -> None:
    text = model.run.held_out_text()[:300]
    layer, h = model.network.recurrences[0], torch.zeros(24)
    rows = []
    for character in text.ids.tolist():
        x = model.network.embedding.weight[character]
        h = torch.relu(layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0).detach()
        rows.append(h.numpy())
    trace = model.trace(text)
    assert trace.signals == ("h", "candidate")
    np.testing.assert_allclose(trace["candidate"], np.array(rows), atol=1e-4)
    np.testing.assert_allclose(trace["candidate"], trace["h"], atol=1e-4)
    assert trace["h"].max() > 1.0


def test_unbounded_h_is_displayed_on_a_scale_that_covers_it(model: charrnn.Model) -> None:
    trace = model.trace(model.run.held_out_text()[:300])
    cell = int(trace["h"].max(axis=0).argmax())
    (view,) = trace.show(cell).views
    assert view.title == f"h of cell 1:{cell}"
    assert view.scale.low == 0
    assert view.scale.high >= trace["h"].max() > 1.0


def test_outside_recurrence_is_searched(model: charrnn.Model, folder: Path) -> None:
    characters = Text((folder / "text.txt").read_text(), None)
    text = model.encode(characters.characters)
    effort = Effort(characters=15_000, permutations=50, pseudo_labels=10, resamples=50, untrained=1)
    properties = [CATALOG["inside “…”"]]
    findings = discover(model.network, text, characters, properties, symbols=model.vocabulary.symbols, effort=effort)
    assert findings.cells == 24
    assert {evidence.signal for evidence in findings.evidence} == {"h"}


def test_outside_recurrence_is_clamped(model: charrnn.Model) -> None:
    clamped = model.clamp("1:3", 2.5)
    found = clamped.trace("the quick").predictions.surprise
    free = model.trace("the quick").predictions.surprise
    assert np.abs(found - free)[:-1].max() > 0.01
    with pytest.raises(UsageError, match="candidate of cell 1:3 cannot be clamped; clamp h"):
        model.clamp("1:3", 0.5, "candidate")


def test_outside_recurrence_has_no_gates_to_measure(model: charrnn.Model) -> None:
    with pytest.raises(CharrnnError, match=r"network of this test has no gates; .* gru, lstm"):
        model.gates()


def test_outside_recurrence_through_the_cli(program: Callable[..., str], folder: Path) -> None:
    small = ("--hidden-size", "8", "--batch-size", "4", "--seq-length", "20", "--device", "cpu")
    program("train", str(folder / "text.txt"), "--name", "cli", "--model", "relu-rnn", "--steps", "20", *small)
    assert len(program("sample", "cli", "--length", "50")) >= 50
    assert "relu-rnn" in program("runs")
    data = json.loads(program("inspect", "cli", "--cell", "3", "--length", "20", "--signal", "candidate", "--json"))
    assert data["cells"][0]["signal"] == "candidate"


def test_a_name_is_registered_once(registered: str) -> None:
    assert isinstance(find_recurrence(registered), ReLURNN)
    register(ReLURNN)
    assert RECURRENCE_NAMES.count(registered) == 1
    with pytest.raises(ValueError, match="already a recurrence 'lstm'"):
        register(type("Other", (ReLURNN,), {"name": "lstm"}))
    with pytest.raises(UsageError, match="`recurrence` must be one of gru, irnn, lstm, rnn"):
        find_recurrence("transformer")


def test_built_in_names_are_the_module_names() -> None:
    for name in RECURRENCE_NAMES:
        assert RECURRENCES[name].name == name
        assert type(RECURRENCES[name]).__module__ in ("charrnn.model.recurrences." + name, __name__)


@every_recurrence
def test_shapes_are_those_of_the_parameters(recurrence: str) -> None:
    network = small_network(recurrence)
    expected = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert parameter_shapes(network.settings, 11) == expected


def test_shapes_of_a_network_larger_than_memory() -> None:
    shapes = parameter_shapes(ModelSettings(layers=64, hidden_size=65536), 1_000_000)
    assert shapes["recurrences.63.weight_hh_l0"] == (4 * 65536, 65536)


@every_recurrence
def test_displayed_values_are_in_the_displayed_range(recurrence: str) -> None:
    kind = find_recurrence(recurrence)
    for signal in kind.signals:
        low, high = kind.displayed_range(signal)
        shown = kind.displayed(signal, np.array([max(low, -9.0), min(high, 9.0)]))
        assert low <= shown[0] < shown[1] <= high
        assert signal in kind.display_name(signal)
