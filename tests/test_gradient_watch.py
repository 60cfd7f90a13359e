"""charrnn.training.gradient_watch"""

from __future__ import annotations

import math

import pytest
import torch

from charrnn.model.network import CharRNN
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.advice import gradient_advice
from charrnn.training.events import GradientTrouble
from charrnn.training.gradient_watch import EXPLODING, VANISHING, WINDOW, GradientWatch
from charrnn.training.trainer import Trainer


def read(watch: GradientWatch, norms: list[float], share: float = 0.5) -> list[tuple[str, float]]:
    found = [watch.read(norm, share) for norm in norms]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("norm", [2 * EXPLODING, math.inf, math.nan])
def test_explosion_is_reported_once(norm: float) -> None:
    watch = GradientWatch()
    assert read(watch, [1.0] * WINDOW) == []
    assert [problem for problem, _ in read(watch, [norm] * 3 * WINDOW)] == ["exploding"]
    assert read(watch, [1.0] * WINDOW + [norm] * WINDOW) == []


def test_spikes_are_not_reported() -> None:
    assert read(GradientWatch(), [1.0, 1.0, 1e9] * WINDOW) == []


def test_vanishing_is_reported_once_beside_an_explosion() -> None:
    watch = GradientWatch()
    found = read(watch, [2 * EXPLODING] * 2 * WINDOW, VANISHING / 2)
    assert [problem for problem, _ in found] == ["exploding", "vanishing"]
    assert found[1][1] == pytest.approx(VANISHING / 2)


def test_dead_recurrent_layers_are_found(short_text: str) -> None:
    """With a rate of 10 and a decay of 0.1 every step forgets the weights, and the units saturate."""
    vocabulary = Vocabulary.of(short_text)
    network = CharRNN(ModelSettings("rnn", 1, 16, 8), len(vocabulary))
    network.initialize(torch.Generator().manual_seed(1))
    shape = {"batch_size": 2, "seq_length": 16, "warmup_steps": 0, "steps": 60}
    settings = TrainingSettings(learning_rate=10.0, weight_decay=0.1, **shape)
    trainer, watch, found = Trainer(network, settings, EncodedText(vocabulary.encode(short_text))), GradientWatch(), []
    for _ in range(60):
        trainer.make_step()
        found.append(watch.read(*trainer.gradient_norms()))
    assert [problem for problem, _ in filter(None, found)] == ["vanishing"]


@pytest.mark.parametrize("problem", ["exploding", "vanishing"])
@pytest.mark.parametrize("recurrence", ["rnn", "lstm"])
def test_advice(problem: str, recurrence: str) -> None:
    settings = RunSettings(ModelSettings(recurrence), TrainingSettings(), CorpusIdentity(), Origin())
    advice = gradient_advice(GradientTrouble(3, problem, 123.0), settings)
    assert advice.startswith("the gradient " + problem.removesuffix("ing").removesuffix("h"))
    assert "try" in advice


@pytest.mark.parametrize(("norm", "words"), [(123.0, "of about 123"), (math.inf, "that are not finite")])
def test_size_of_an_explosion(norm: float, words: str) -> None:
    settings = RunSettings(ModelSettings(), TrainingSettings(), CorpusIdentity(), Origin())
    assert f"with norms {words}: try" in gradient_advice(GradientTrouble(3, "exploding", norm), settings)
