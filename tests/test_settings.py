"""charrnn.options and charrnn.settings"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.options import Settings, option
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import InspectSettings, ModelSettings, TrainingSettings

CLASSES = (ModelSettings, TrainingSettings, SampleSettings, InspectSettings)


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_survive_json(cls: type[Settings]) -> None:
    assert cls.from_json(json.loads(json.dumps(cls().to_json())), "a file") == cls()


@pytest.mark.parametrize("cls", CLASSES)
def test_help_is_one_sentence(cls: type[Settings]) -> None:
    for name, each in cls.options().items():
        assert each.help.endswith("."), name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "`layers` must be at least 1 and at most 64, not 0"),
        ({"layers": 2.0}, "`layers` must be a whole number, not 2.0"),
        ({"layers": True}, "`layers` must be a whole number"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, not 1.0"),
        ({"dropout": float("nan")}, "`dropout` must be a finite number"),
        ({"recurrence": "transformer"}, "`recurrence` must be one of "),
        ({"recurrence": "transformer"}, "lstm"),
        ({"hidden_size": None}, "`hidden_size` needs a value"),
    ],
)
def test_invalid_value_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelSettings(**values)
    assert message in caught.value.message


def test_long_document_rule_is_refused() -> None:
    with pytest.raises(CharrnnError, match=r"run\.json: `documents` must be at most 1,000 characters") as caught:
        TrainingSettings.from_json({"documents": "(" * 420_000}, "run.json")
    assert len(str(caught.value)) < 200


def test_int_is_accepted_for_float() -> None:
    assert type(SampleSettings(temperature=1).temperature) is float


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(CharrnnError, match=r"run\.json: unknown setting 'color'; upgrade"):
        ModelSettings.from_json({**ModelSettings().to_json(), "color": 1}, "run.json", "upgrade")


def test_missing_setting_takes_its_default() -> None:
    assert ModelSettings.from_json({"layers": 3}, "run.json") == ModelSettings(layers=3)


@dataclass(frozen=True)
class Extended(Settings):
    """Settings with options that older runs lack."""

    added: int = option(5, "On by default, off in older runs.", if_missing=0)
    optional: int | None = option(5, "The same, with None.", if_missing=None)


def test_missing_setting_takes_the_value_of_older_runs() -> None:
    assert Extended.from_json({}, "run.json") == Extended(added=0, optional=None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_any_json_is_read_exactly_or_refused(data: st.DataObject) -> None:
    """What is read is within bounds, and equal to what was written; an error names the file."""
    cls = data.draw(st.sampled_from(CLASSES))
    values = cls().to_json() | data.draw(st.dictionaries(st.sampled_from(list(cls.options())), json_values, max_size=3))
    try:
        made = cls.from_json(values, "a file")
    except CharrnnError as error:
        assert str(error).startswith("a file: ")
    else:
        assert made.to_json() == values


def test_keep_saves_every_nth_step() -> None:
    assert not TrainingSettings().keeps(0)
    assert [step for step in range(1, 31) if TrainingSettings(keep="every:10").keeps(step)] == [10, 20, 30]
    with pytest.raises(UsageError, match="`keep` must be of the form every:N, not 'every:0'"):
        TrainingSettings(keep="every:0")
