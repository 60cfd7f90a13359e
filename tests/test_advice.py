"""charrnn.training.advice"""

from __future__ import annotations

import pytest

from charrnn.model.checkpoint import Progress
from charrnn.model.losses import Losses
from charrnn.settings import ModelSettings
from charrnn.training.advice import advice
from charrnn.training.events import Finished

TEXT = 100_000  # characters held out


def finished(reason: str = "done", train: float | None = 1.5, **progress: object) -> Finished:
    return Finished(reason, Progress(step=100, **progress), train)


def losses(validation: tuple[float, ...], train: tuple[float, ...]) -> list[Losses]:
    """Return the losses after every 20 steps."""
    return [Losses(20 * (k + 1), 1.0, t, v) for k, (t, v) in enumerate(zip(train, validation, strict=True))]


FLAT = (1.2,) * 5


@pytest.mark.parametrize(
    ("end", "validation", "train", "epochs", "words"),
    [
        (finished(), (2.0, 1.6, 1.5, 1.5, 1.5), (1.8, 1.5, 1.4, 1.3, 1.2), 9.0, "more --dropout"),
        (finished("early"), (1.5, 1.4, 1.5, 1.6, 1.7), (1.6, 1.5, 1.4, 1.3, 1.2), 9.0, "The model overfits"),
        (finished(), (1.6, 1.5, 1.46, 1.45, 1.43), (1.6, 1.5, 1.4, 1.3, 1.2), 9.0, "The model overfits"),
        (finished(), (2.0, 1.8, 1.7, 1.6, 1.52), (1.9, 1.8, 1.7, 1.6, 1.5), 9.0, "still falling"),
        (finished(), (1.6, 1.52, 1.51, 1.502, 1.5), (1.6, 1.55, 1.52, 1.51, 1.5), 9.0, "has converged"),
        (finished("early"), (1.6, 1.52, 1.51, 1.52, 1.53), (1.6, 1.55, 1.52, 1.51, 1.5), 9.0, "has converged"),
        (finished(), (2.0, 1.8, 1.7, 1.6, 1.55), FLAT, 0.3, "read only 30 % of the text: train it further, with"),
        (finished(skipped_steps=3), (2.0,), (2.0,), 9.0, "3 steps had a non-finite gradient"),
        (finished(skipped_steps=1), (2.0,), (2.0,), 9.0, "1 step had a non-finite gradient"),
        (finished("early"), (2.0, 1.8, 1.7, 1.8, 1.9), FLAT, 0.3, "a lower --learning-rate"),
        (finished("stopped"), (2.0,), (2.0,), 9.0, "further as the learning rate decays: try --resume"),
    ],
)
def test_advice_follows_from_the_losses(
    end: Finished, validation: tuple, train: tuple, epochs: float, words: str
) -> None:
    assert words in advice(ModelSettings(dropout=0.1), end, losses(validation, train), 100, epochs, TEXT)


@pytest.mark.parametrize(
    ("validation", "train", "epochs", "held_out", "words"),
    [
        ((3.5, 3.45, 3.4, 3.3, 3.1), (3.4, 3.3, 3.2, 3.1, 2.9), 9.0, TEXT, "still falling"),  # both fall
        ((1.8, 1.65, 1.55, 1.5, 1.475), (1.7, 1.55, 1.45, 1.38, 1.3), 4.0, TEXT, "still falling"),  # no dropout
        ((3.5, 3.4, 3.3, 3.3, 3.3), FLAT, 0.5, TEXT, "only 50 %"),
        ((3.5, 3.4, 3.3, 3.3, 3.3), FLAT, 1.5, TEXT, "has converged"),  # less than two epochs
        ((3.5, 3.4, 3.3, 3.3, 3.3), FLAT, 40.0, 999, "only 999 characters"),
    ],
)
def test_a_gap_is_not_always_overfitting(
    validation: tuple, train: tuple, epochs: float, held_out: int, words: str
) -> None:
    said = advice(ModelSettings(), finished(), losses(validation, train), 100, epochs, held_out)
    assert words in said
    assert "overfits" not in said


def test_a_model_with_much_dropout_should_be_smaller() -> None:
    flat = losses((1.5,) * 5, (1.2,) * 5)
    said = advice(ModelSettings(dropout=0.5), finished(train=1.2), flat, 100, 9.0, TEXT)
    assert "a smaller --hidden-size (it was 384)" in said


def test_no_losses_no_advice() -> None:
    assert advice(ModelSettings(), finished(train=None), [], 1, 1.0, TEXT) is None


@pytest.mark.parametrize("validation", [1.2, 1.5])
def test_one_evaluation_no_advice(validation: float) -> None:
    assert advice(ModelSettings(), finished(), losses((validation,), (1.2,)), 20, 9.0, TEXT) is None
