"""charrnn.training.presets"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.model.network import parameter_count
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training import presets
from charrnn.training.presets import Choice, RequestedLength, choose, length_of
from charrnn.training.schedule import Deadline

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_device_of_known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_multiplications_per_second", lambda *_: 150e9)


def test_more_time_buys_a_wider_model_and_a_short_text_a_narrower_one() -> None:
    def width(characters: int, minutes: float) -> int:
        return choose(characters, 65, CPU, RequestedLength(minutes=minutes), {}).model.hidden_size

    assert width(1_000_000, 0.1) < width(1_000_000, 1) < width(10_000_000, 60)
    assert width(20_000, 5) < width(200_000, 5) < width(2_000_000, 5)
    assert width(100, 5) == min(presets.WIDTHS)


@pytest.mark.parametrize(("characters", "wanted"), [(1_000_000, 2.0), (100_000_000, 8.0)])
def test_the_chosen_width_keeps_its_two_promises_and_the_next_one_would_break_one(
    characters: int, wanted: float
) -> None:
    """wanted: for each parameter, more where a text is not read to its end."""
    minutes = 5.0
    model = choose(characters, 65, CPU, RequestedLength(minutes=minutes), {}).model

    def kept(width: int) -> bool:
        parameters = parameter_count(model.changed(hidden_size=width), 65)
        read = 60 * minutes * 150e9 / (3 * parameters)
        return read >= wanted * parameters and characters >= presets.CORPUS_PER_PARAMETER * parameters

    assert kept(model.hidden_size)
    assert not kept(presets.WIDTHS[presets.WIDTHS.index(model.hidden_size) + 1])


def test_dropout_grows_with_the_number_of_times_the_text_is_read() -> None:
    drops = [choose(1_000_000, 65, CPU, RequestedLength(epochs=e), {}).model.dropout for e in (1, 10, 20, 100)]
    assert drops == sorted(drops)
    assert drops[0] == 0 < drops[-1]


def test_a_text_that_is_read_many_times_gets_more_weight_decay() -> None:
    once, often = (choose(1_000_000, 65, CPU, RequestedLength(epochs=e), {}).training.weight_decay for e in (1, 10))
    assert 0 < once < often


def test_a_short_training_gets_shorter_windows_but_not_where_its_updates_were_counted_out_or_the_window_given() -> None:
    def window(asked: RequestedLength, **given: object) -> int:
        return choose(1_000_000, 65, CPU, asked, given).training.seq_length

    enough = presets.FEWEST_UPDATES * 16 * 128 / 1_000_000
    assert window(RequestedLength(epochs=enough * 1.01)) == 128
    assert window(RequestedLength(epochs=enough * 0.99)) == 64 == presets.SHORTEST_WINDOW
    assert window(RequestedLength(epochs=0.1)) == 64
    assert window(RequestedLength(steps=10)) == 128
    assert window(RequestedLength(epochs=0.1), seq_length=100) == 100
    assert "windows of 64" in choose(1_000_000, 65, CPU, RequestedLength(epochs=1), {}).because


def test_a_text_that_is_not_read_to_its_end_is_trained_on_at_a_lower_rate() -> None:
    part, whole = (choose(1_000_000, 65, CPU, RequestedLength(epochs=e), {}).training.learning_rate for e in (0.5, 1.5))
    assert 0 < part < whole


def test_what_was_given_is_kept() -> None:
    given = {"hidden_size": 77, "dropout": 0.33, "batch_size": 5, "seq_length": 11, "recurrence": "gru"}
    given |= {"weight_decay": 0.07, "learning_rate": 0.123}
    choice = choose(1_000_000, 65, CPU, RequestedLength(steps=10), given)
    assert (choice.model.hidden_size, choice.model.dropout, choice.model.recurrence) == (77, 0.33, "gru")
    assert (choice.training.batch_size, choice.training.seq_length) == (5, 11)
    assert (choice.training.weight_decay, choice.training.learning_rate) == (0.07, 0.123)


@pytest.mark.parametrize("characters", [300, 3_000, 30_000, 300_000])
def test_a_short_text_gets_fewer_streams_so_that_an_epoch_has_many_updates(characters: int) -> None:
    training = choose(characters, 65, CPU, RequestedLength(steps=10), {"hidden_size": 8}).training
    assert presets.windows_per_epoch(characters, training.batch_size, training.seq_length) >= 5


def test_the_reasons_name_what_was_chosen_and_only_that() -> None:
    chosen = choose(1_000_000, 65, CPU, RequestedLength(minutes=1), {})
    assert f"; {chosen.model.hidden_size} is the largest width that this device trains well in 1 min" in chosen.because
    assert "by heart" not in chosen.because
    some, many = (choose(1_000_000, 65, CPU, RequestedLength(epochs=epochs), {}).because for epochs in (8, 20))
    assert some.endswith("; dropout 0.1 and weight decay 0.2 keep it from learning the text by heart")
    assert many.endswith("; dropout 0.4 and weight decay 0.3 keep it from learning the text by heart")
    given = choose(1_000_000, 65, CPU, RequestedLength(steps=500), {"hidden_size": 64, "dropout": 0.5})
    assert given.because == "about 1,000,000 characters will be read, 1.0 times the text"


@pytest.mark.parametrize(("asked", "steps"), [(RequestedLength(steps=17), 17), (RequestedLength(epochs=2), 2 * 18)])
def test_steps_are_as_asked_and_epochs_become_steps(asked: RequestedLength, steps: int) -> None:
    choice = Choice(ModelSettings(hidden_size=8), TrainingSettings(batch_size=2, seq_length=25), "")
    ids = np.zeros(950, np.uint8)
    length = length_of(choice, 5, EncodedText(ids), EncodedText(ids[:100]), CPU, asked, evaluations=3)
    assert length.deadline is None
    assert (length.steps, length.evaluations) == (steps, 3)
    assert length.seconds > 0


def test_a_slow_evaluation_leaves_most_of_the_minutes_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_seconds_per_evaluation", lambda *_: 1000.0)
    monkeypatch.setattr(presets, "seconds_per_step", lambda *_: 0.01)
    choice = Choice(ModelSettings(hidden_size=8), TrainingSettings(batch_size=2, seq_length=25), "")
    ids = np.zeros(950, np.uint8)
    asked = RequestedLength(minutes=1)
    length = length_of(choice, 5, EncodedText(ids), EncodedText(ids[:100]), CPU, asked, evaluations=None)
    assert length.evaluations == 1
    assert length.steps == pytest.approx(0.7 * 60 / 0.01, rel=0.02)
    assert length.seconds > 1000
    assert length.deadline == Deadline(asked.since + 60, per_step=0.01, for_evaluations=1000.0)
