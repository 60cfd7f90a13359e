"""charrnn.training.presets, on a CPU of known speed."""

from __future__ import annotations

import functools

import pytest
import torch

from charrnn.model.network import parameter_count
from charrnn.training import presets
from charrnn.training.batches import windows_per_epoch
from charrnn.training.planning import Budget
from charrnn.training.presets import choose_settings

SPEED = 150e9  # multiply-adds per second
choose = functools.partial(choose_settings, vocabulary_size=65, device=torch.device("cpu"), speed=lambda *_: SPEED)


def hidden_size(characters: int, minutes: float) -> int:
    return choose(characters, budget=Budget(minutes=minutes), explicit={}).model.hidden_size


def test_hidden_size_grows_with_time_and_text() -> None:
    assert hidden_size(1_000_000, 0.1) < hidden_size(1_000_000, 1) < hidden_size(10_000_000, 60)
    assert hidden_size(20_000, 5) < hidden_size(200_000, 5) < hidden_size(2_000_000, 5)
    assert hidden_size(100, 5) == min(presets.HIDDEN_SIZES)


@pytest.mark.parametrize(("characters", "per_parameter"), [(1_000_000, 2.0), (100_000_000, 8.0)])
def test_hidden_size_is_the_largest_within_both_limits(characters: int, per_parameter: float) -> None:
    """per_parameter: characters to read; more where the run is shorter than an epoch."""
    minutes = 5.0
    model = choose(characters, budget=Budget(minutes=minutes), explicit={}).model

    def is_within_limits(size: int) -> bool:
        parameters = parameter_count(model.changed(hidden_size=size), 65)
        read = 60 * minutes * SPEED / (3 * parameters)
        return read >= per_parameter * parameters and characters >= presets.MIN_CORPUS_PER_PARAMETER * parameters

    sizes = presets.HIDDEN_SIZES
    assert is_within_limits(model.hidden_size)
    assert not is_within_limits(sizes[sizes.index(model.hidden_size) + 1])


def test_dropout_grows_with_epochs() -> None:
    rates = [choose(1_000_000, budget=Budget(epochs=e), explicit={}).model.dropout for e in (1, 10, 20, 100)]
    assert rates == sorted(rates)
    assert rates[0] == 0 < rates[-1]


def test_weight_decay_grows_with_epochs() -> None:
    once, often = (choose(1_000_000, budget=Budget(epochs=e), explicit={}).training.weight_decay for e in (1, 10))
    assert 0 < once < often


def test_learning_rate_is_lower_within_an_epoch() -> None:
    part, whole = (choose(1_000_000, budget=Budget(epochs=e), explicit={}).training.learning_rate for e in (0.5, 1.5))
    assert 0 < part < whole


def test_a_short_run_has_shorter_windows() -> None:
    """Unless its steps, or the windows, were given."""

    def seq_length(budget: Budget, **explicit: object) -> int:
        return choose(1_000_000, budget=budget, explicit=explicit).training.seq_length

    enough = presets.MIN_STEPS * 16 * 128 / 1_000_000
    assert seq_length(Budget(epochs=enough * 1.01)) == 128
    assert seq_length(Budget(epochs=enough * 0.99)) == 64 == presets.MIN_SEQ_LENGTH
    assert seq_length(Budget(epochs=0.1)) == 64
    assert seq_length(Budget(steps=10)) == 128
    assert seq_length(Budget(epochs=0.1), seq_length=100) == 100


def test_explicit_settings_are_kept() -> None:
    model = {"hidden_size": 77, "dropout": 0.33, "recurrence": "gru"}
    training = {"batch_size": 5, "seq_length": 11, "weight_decay": 0.07, "learning_rate": 0.123}
    chosen = choose(1_000_000, budget=Budget(steps=10), explicit=model | training)
    assert {name: getattr(chosen.model, name) for name in model} == model
    assert {name: getattr(chosen.training, name) for name in training} == training


@pytest.mark.parametrize("characters", [300, 3_000, 30_000, 300_000])
def test_an_epoch_of_a_short_text_has_several_steps(characters: int) -> None:
    training = choose(characters, budget=Budget(steps=10), explicit={"hidden_size": 8}).training
    assert windows_per_epoch(characters, training.batch_size, training.seq_length) >= 5


@pytest.mark.parametrize(
    ("budget", "explicit", "reasons"),
    [
        (
            Budget(epochs=1),
            {},
            "768 is the largest hidden size that trains well on this much text; windows of 64 characters for more "
            "steps",
        ),
        (
            Budget(minutes=0.5),
            {},
            "384 is the largest hidden size that trains well in 30 s; windows of 64 characters for more steps",
        ),
        (
            Budget(epochs=20),
            {"hidden_size": 64},
            "dropout 0.4 and weight decay 0.3 against overfitting",
        ),
        (Budget(steps=500), {"hidden_size": 64, "dropout": 0.5}, ""),
    ],
)
def test_reasons_name_what_was_chosen(budget: Budget, explicit: dict[str, object], reasons: str) -> None:
    assert choose(1_000_000, budget=budget, explicit=explicit).because == reasons


def test_a_run_without_minutes_names_the_usual_time() -> None:
    because = choose(100_000_000, budget=Budget(steps=9000), explicit={}).because
    assert because == "512 is the largest hidden size that trains well in the usual 5 min 00 s"
