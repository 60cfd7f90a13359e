"""charrnn.training.timetable"""

from __future__ import annotations

import itertools
import math

import pytest

from charrnn.model.run_settings import Correction
from charrnn.settings import TrainingSettings
from charrnn.training.timetable import Timetable

SETTINGS = TrainingSettings(steps=1000, warmup_steps=50, evaluations=4)
PEAK = SETTINGS.learning_rate
PLAN = Correction(0, 1000, 4)


def rates(timetable: Timetable) -> list[float]:
    return [timetable.learning_rate(step) for step in range(timetable.steps)]


def evaluations(timetable: Timetable) -> list[int]:
    return [step for step in range(timetable.steps + 1) if timetable.evaluates_after(step)]


def test_learning_rate_warms_up_and_decays_to_zero() -> None:
    planned = rates(Timetable(SETTINGS))
    assert planned[:50] == pytest.approx([PEAK * k / 50 for k in range(1, 51)])
    assert max(planned) == planned[50] == PEAK
    assert all(one > later for one, later in itertools.pairwise(planned[50:]))
    assert planned[525] == pytest.approx(PEAK / 2, rel=1e-6)
    assert planned[-1] < 1e-5 * PEAK


def test_learning_rate_is_the_cosine_bit_for_bit() -> None:
    """Runs made before corrections could be repeated resume exactly."""
    expected = [PEAK * (step + 1) / 50 for step in range(50)]
    expected += [PEAK * 0.5 * (1 + math.cos(math.pi * (step - 50) / 950)) for step in range(50, 1000)]
    assert rates(Timetable(SETTINGS)) == expected


def test_warmup_is_at_most_a_tenth() -> None:
    assert Timetable(SETTINGS.changed(steps=100)).learning_rate(10) == PEAK


def test_evaluations_are_evenly_spaced() -> None:
    assert evaluations(Timetable(SETTINGS)) == [250, 500, 750, 1000]
    assert evaluations(Timetable(SETTINGS.changed(steps=3))) == [1, 2, 3]


CORRECTED = [
    [Correction(50, 800, 4)],
    [Correction(300, 2000, 3)],
    [Correction(300, 400, 3)],
    [Correction(20, 300, 4)],  # during the warm-up
    [Correction(20, 5000, 4)],
    [Correction(20, 500, 4), Correction(30, 2000, 4), Correction(700, 800, 3), Correction(790, 1000, 1)],
]


@pytest.mark.parametrize("corrections", CORRECTED)
def test_corrections_do_not_jump_the_rate(corrections: list[Correction]) -> None:
    """Between two steps it changes by at most the steepest slope of a warm-up or a cosine of that length."""
    timetable = Timetable(SETTINGS.changed(steps=corrections[-1].steps), [PLAN, *corrections])
    corrected = rates(timetable)
    stages = [PLAN, *corrections]
    in_warmup = corrections[0].step < 50
    for step in range(1, timetable.steps):
        near = [each for each in stages if each.step <= step][-2:]
        shortest = min(each.steps - each.step for each in near)
        steepest = PEAK / min(50, shortest // 10) if step < 50 or in_warmup else PEAK * math.pi / 2 / shortest
        assert abs(corrected[step] - corrected[step - 1]) <= 1.001 * steepest
    assert corrected[-1] < 1e-3 * PEAK
    assert max(corrected) == pytest.approx(PEAK)


@pytest.mark.parametrize("corrections", CORRECTED)
def test_the_past_of_a_correction_stays(corrections: list[Correction]) -> None:
    before = Timetable(SETTINGS, [PLAN, *corrections[:-1]])
    after = Timetable(SETTINGS, [PLAN, *corrections])
    step = corrections[-1].step
    assert rates(after)[:step] == rates(before)[:step]
    assert [e for e in evaluations(after) if e <= step] == [e for e in evaluations(before) if e <= step]
    if step >= 50:
        assert after.learning_rate(step) == before.learning_rate(step)


def test_correction_at_the_end_of_the_warmup_equals_a_plan() -> None:
    planned = Timetable(SETTINGS.changed(steps=800))
    corrected = Timetable(SETTINGS, [PLAN, Correction(50, 800, 4)])
    assert rates(corrected) == rates(planned)
    assert evaluations(corrected) == evaluations(planned)


def test_evaluations_are_spread_again() -> None:
    corrections = [PLAN, Correction(300, 1150, 3), Correction(1000, 1100, 1)]
    assert evaluations(Timetable(SETTINGS, corrections)) == [250, 550, 850, 1100]
    assert evaluations(Timetable(SETTINGS, [PLAN, Correction(240, 260, 2)])) == [250, 260]
    assert Timetable(SETTINGS, corrections).evaluations_left(900) == 1


def test_an_extended_run_restarts_at_half_the_peak() -> None:
    extended = Timetable(SETTINGS.changed(steps=1600), [PLAN, Correction(1000, 1600, 3, restart=True)])
    planned, restarted = rates(extended)[:1000], rates(extended)[1000:]
    assert planned == rates(Timetable(SETTINGS))
    assert restarted[:50] == pytest.approx([PEAK / 2 * k / 50 for k in range(1, 51)])
    assert all(one > later for one, later in itertools.pairwise(restarted[50:]))
    assert restarted[-1] < 1e-5 * PEAK
    assert evaluations(extended) == [250, 500, 750, 1000, 1200, 1400, 1600]
    assert extended.restarted_at == 1000


def test_an_extension_is_corrected_without_a_jump() -> None:
    for step in (1020, 1300):  # during the warm-up, and after it
        corrections = [PLAN, Correction(1000, 1600, 3, restart=True), Correction(step, 1800, 2)]
        corrected = rates(Timetable(SETTINGS.changed(steps=1800), corrections))[1000:]
        assert max(abs(one - later) for one, later in itertools.pairwise(corrected)) < PEAK / 50
        assert max(corrected) == pytest.approx(PEAK / 2)
        assert corrected[-1] < 1e-5 * PEAK
