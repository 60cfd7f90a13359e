"""steps.json: the number of steps of a run that was corrected for a deadline, or extended after it was finished."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError
from charrnn.files import from_json_bytes, read_bounded, to_json_bytes
from charrnn.model.run_settings import (
    LARGEST_COUNT,
    MAX_CORRECTIONS,
    MAX_EVALUATIONS_LEFT,
    Correction,
    Origin,
    RunSettings,
)
from charrnn.settings import TrainingSettings

STEPS_FILE = "steps.json"
LARGEST_STEPS_FILE = 50_000  # bytes


def steps_json(corrections: Sequence[Correction], minutes: float | None) -> bytes:
    """Return the content of the file. minutes: those of the whole run, which only an extension changes."""
    content: dict[str, Any] = {
        "steps": corrections[-1].steps,
        "corrections": [list(each if each.restart else each[:3]) for each in corrections],
    }
    if any(each.restart for each in corrections):
        content["minutes"] = minutes
    return to_json_bytes(content)


def read_steps(path: Path, settings: RunSettings) -> tuple[RunSettings, tuple[Correction, ...]]:
    """Return the settings of a run with the steps and minutes of its steps.json, and its corrections, if it has any.

    path: of the run. Raises CharrnnError where the file is damaged.
    """
    file = path / STEPS_FILE
    if not os.path.lexists(file):
        return settings, ()
    content = from_json_bytes(read_bounded(file, LARGEST_STEPS_FILE), str(file))
    if not isinstance(content, dict) or not {"steps"} <= set(content) <= {"steps", "corrections", "minutes"}:
        raise CharrnnError(f"{file} is damaged: it does not hold a number of steps")
    training = TrainingSettings.from_json({**settings.training.to_json(), "steps": content["steps"]}, str(file))
    minutes = content.get("minutes", settings.origin.minutes)
    origin = Origin.from_json({**settings.origin.to_json(), "minutes": minutes}, str(file))
    settings = dataclasses.replace(settings, training=training, origin=origin)
    stored = content.get("corrections")
    if stored is None:
        return settings, ()
    try:
        corrections = tuple(Correction(*each) for each in stored)
    except TypeError:
        corrections = ()
    if not _are_corrections(corrections, training):
        raise CharrnnError(f"{file} is damaged: its corrections do not lead to its number of steps")
    return settings, corrections


def _are_corrections(corrections: tuple[Correction, ...], training: TrainingSettings) -> bool:
    """Return whether a training with these settings could have made these corrections."""
    if not 0 < len(corrections) <= 1 + MAX_CORRECTIONS or not all(map(_has_types, corrections)):
        return False
    first, last = corrections[0], corrections[-1]
    if first.step != 0 or first.restart or first.evaluations != training.evaluations or last.steps != training.steps:
        return False
    if not all(each.step < each.steps <= LARGEST_COUNT for each in corrections):
        return False
    if not all(0 < each.evaluations <= MAX_EVALUATIONS_LEFT for each in corrections[1:]):
        return False
    return all(
        one.step < after.step == one.steps if after.restart else one.step < after.step < one.steps
        for one, after in itertools.pairwise(corrections)
    )


def _has_types(correction: Correction) -> bool:
    return type(correction.restart) is bool and all(type(number) is int for number in correction[:3])
