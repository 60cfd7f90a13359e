"""charrnn.settings"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import InspectSettings, ModelSettings, TrainingSettings

CLASSES = (ModelSettings, TrainingSettings, SampleSettings, InspectSettings)


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_are_within_their_own_bounds_and_survive_json(cls: type) -> None:
    made = cls()
    assert cls.from_json(json.loads(json.dumps(made.to_json())), "a file") == made


@pytest.mark.parametrize("cls", CLASSES)
def test_every_option_has_a_help_that_is_a_sentence(cls: type) -> None:
    for name, (_, _, details) in cls.options().items():
        assert details.help.endswith("."), name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layers": 0}, "--layers must be at least 1 and at most 64, not 0"),
        ({"layers": 2.0}, "--layers must be a whole number, not 2.0"),
        ({"layers": True}, "--layers must be a whole number"),
        ({"dropout": 1.0}, "--dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": float("nan")}, "--dropout must be a finite number"),
        ({"recurrence": "transformer"}, "--model must be one of gru, lstm, rnn, not 'transformer'"),
        ({"hidden_size": None}, "--hidden-size needs a value"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_flag_and_bounds(values: dict, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelSettings(**values)
    assert words in caught.value.message


def test_a_whole_number_may_stand_for_a_number() -> None:
    assert SampleSettings(temperature=1).temperature == 1.0
    assert type(SampleSettings(temperature=1).temperature) is float


def test_json_with_an_unknown_or_missing_name_is_refused_by_name() -> None:
    data = ModelSettings().to_json()
    with pytest.raises(CharrnnError, match="unknown setting 'color'"):
        ModelSettings.from_json({**data, "color": 1}, "run.json")
    del data["layers"]
    with pytest.raises(CharrnnError, match=r"run\.json: missing setting 'layers'"):
        ModelSettings.from_json(data, "run.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_whatever_json_holds_gives_settings_within_bounds_or_a_named_error(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(CLASSES))
    names = list(cls.options())
    values = cls().to_json() | data.draw(st.dictionaries(st.sampled_from(names), json_values, max_size=3))
    try:
        made = cls.from_json(values, "a file")
    except CharrnnError as error:
        assert str(error).startswith("a file: ")
    else:
        assert made.to_json() == values


def test_what_is_kept_is_every_nth_step() -> None:
    assert not TrainingSettings().keeps(0)
    assert [step for step in range(1, 31) if TrainingSettings(keep="every:10").keeps(step)] == [10, 20, 30]
    with pytest.raises(UsageError, match="--keep must be of the form every:N, not 'every:0'"):
        TrainingSettings(keep="every:0")
