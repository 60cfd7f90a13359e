"""Plan the length of a training from the requested budget and timings on this machine."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field

import torch

from charrnn.model.device import cpu_threads, synchronize
from charrnn.model.network import CharRNN, parameter_count
from charrnn.model.run_settings import RunSettings
from charrnn.scoring.score import score, segments_of
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.distributed import SINGLE_PROCESS, ProcessGroup
from charrnn.training.schedule import Clock, Deadline, steps_within
from charrnn.training.trainer import Trainer, steps_per_epoch

EVALUATION_SHARE = 0.12  # of the training time
MAX_EVALUATIONS = 10
TIMED_CHARACTERS = 32_000  # of the validation text
TIMED_EVALUATIONS = 2  # the faster one counts
EVALUATION_FACTOR = 2.0  # a trained network forgets later than the timed one, so `score` reads more characters twice
MAX_EVALUATION_SHARE = 0.1  # of the time: where an evaluation takes longer, it gets a part of the validation text …
PART_SHARE = 0.02  # … that takes this share
MIN_PART = 20_000  # characters, where they do not take longer than MAX_EVALUATION_SHARE
MAX_FINAL_SHARE = 0.15  # of the requested time, for all of the validation text at the end
TIMING_SECONDS = 0.45
TRIALS = 4
THREAD_VARIABLES = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}  # by which a user chooses the number of threads
MIN_PLANNED_STEPS = 20  # of a run with a deadline, which can be corrected only while it trains


@dataclass(frozen=True)
class Budget:
    """The requested length of a run: steps, epochs or minutes, one of them.

    started: when the minutes began, by `time.perf_counter`. What passes before the first step counts.
    """

    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Timing:
    """Seconds that one step and one evaluation take. threads: number of threads; None is torch's."""

    step: float
    evaluation: float
    threads: int | None = None


@dataclass(frozen=True)
class Plan:
    """The length of a run. seconds: the forecast for all of it. deadline: where the budget is in minutes.

    val_characters: of the validation text that are evaluated during training; 0 is all of it.
    """

    steps: int
    evaluations: int
    seconds: float
    deadline: Deadline | None = None
    val_characters: int = 0


@dataclass(frozen=True)
class Workload:
    """What a training step computes: a network of these settings, on a text, a device and a group of processes."""

    model: ModelSettings
    training: TrainingSettings
    vocabulary_size: int
    train_text: EncodedText
    device: torch.device
    group: ProcessGroup = SINGLE_PROCESS


def measure_timing(work: Workload, validation_text: EncodedText, budget: Budget) -> Timing:
    """Time a throwaway network."""
    training = work.training
    seconds = max(TIMING_SECONDS, min(2.0, 0.02 * 60 * (budget.minutes or 0)))
    per_step, threads = fastest_step(work, seconds)
    network = CharRNN(work.model, work.vocabulary_size).to(work.device)
    network.initialize(torch.Generator().manual_seed(training.seed))
    trained_in_time = seconds / per_step * training.batch_size * training.seq_length
    timed = max(1, int(min(TIMED_CHARACTERS, trained_in_time)))  # a step may take long on busy cores
    with cpu_threads(threads):
        evaluation = min(_seconds_per_evaluation(network, validation_text, timed) for _ in range(TIMED_EVALUATIONS))
    return Timing(per_step, evaluation, threads)


def fastest_step(work: Workload, seconds: float) -> tuple[float, int | None]:
    """Return the time of a step with the fastest number of threads, and this number: 1 or all on a CPU.

    Threads synchronize at every operator, which takes longer than a small operator, above all where other processes use
    the cores. A number from the settings or the environment is kept.
    """
    numbers = [work.training.threads]
    if numbers == [None] and work.device.type == "cpu" and work.group.is_single:
        numbers = [torch.get_num_threads()]
        if THREAD_VARIABLES.isdisjoint(os.environ) and numbers != [1]:
            numbers = [1, *numbers]
    timed: list[tuple[float, int | None]] = []
    for number in numbers:
        with cpu_threads(number):
            timed.append((seconds_per_step(work, seconds / len(numbers)), number))
    return min(timed, key=lambda each: each[0])


def seconds_per_step(work: Workload, seconds: float, *, clock: Clock = time.perf_counter) -> float:
    """Return the time of a step: the best of the means of TRIALS trials, which take about this many seconds together.

    The best one is what the machine can do, although other processes may have disturbed a trial. In a group it is the
    time for the largest number of rows that a process has, and for the all-reduce.
    """
    device, group = work.device, work.group
    training = work.training.changed(batch_size=-(-work.training.batch_size // group.size))
    trainer = Trainer(CharRNN(work.model, work.vocabulary_size).to(device), training, work.train_text)
    trainer.make_step()  # not timed: the first step also selects kernels
    synchronize(device)
    best, end = math.inf, clock() + seconds
    for trial in range(TRIALS):
        start, steps = clock(), 0
        trial_end = start + (end - start) / (TRIALS - trial)
        while steps == 0 or clock() < trial_end:
            trainer.make_step()
            synchronize(device)
            steps += 1
        best = min(best, (clock() - start) / steps)
        if clock() > end + seconds:
            break  # every step takes very long
    return best + group.seconds_to_all_reduce(parameter_count(work.model, work.vocabulary_size), device)


def _seconds_per_evaluation(network: CharRNN, validation_text: EncodedText, timed: int) -> float:
    """Time the start of the text, in as many segments as the whole text has, and extrapolate."""
    ratio = max(1.0, len(validation_text) / timed)
    scored = max(2, int(len(validation_text) / ratio))
    segments = None if validation_text.has_documents else segments_of(len(validation_text))
    start = time.perf_counter()
    score(network, validation_text[:scored], segments=segments)
    return EVALUATION_FACTOR * ratio * (time.perf_counter() - start)


def make_plan(
    budget: Budget,
    timing: Timing,
    texts: tuple[EncodedText, EncodedText],
    training: TrainingSettings,
    now: float,
    *,
    evaluations: int | None = None,
    val_characters: int | None = None,
) -> Plan:
    """Turn a budget into a number of steps.

    timing: of all of the validation text. texts: to train on, and to validate on. evaluations, val_characters: None to
    choose. now: by the clock of `budget.started`.
    """
    spent = now - budget.started
    remaining = 60 * (budget.minutes or 0) - spent
    steps = budget.steps
    if budget.epochs is not None:
        steps = max(1, round(budget.epochs * steps_per_epoch(texts[0], training)))
    seconds = remaining if steps is None else steps * timing.step
    if val_characters is None:
        least = 2 if budget.minutes is not None else MIN_PART
        val_characters = _evaluated_characters(timing.evaluation, len(texts[1]), seconds, least)
    evaluation, final = _evaluation_seconds(timing, val_characters, len(texts[1]))
    if budget.minutes is not None and final > MAX_FINAL_SHARE * remaining:
        final = 0.0
    if evaluations is None:
        evaluations = max(1, min(MAX_EVALUATIONS, round(EVALUATION_SHARE * seconds / evaluation)))
    for_evaluations = evaluations * evaluation + final
    if steps is None:
        steps = steps_within(remaining, timing.step, for_evaluations)
    deadline = None
    if budget.minutes is not None:
        steps = max(steps, MIN_PLANNED_STEPS)
        deadline = Deadline(
            budget.started + 60 * budget.minutes, 60 * budget.minutes, timing.step, evaluation, final / evaluation
        )
    return Plan(steps, evaluations, spent + steps * timing.step + for_evaluations, deadline, val_characters)


def plan_rest(run: RunSettings, trained: float, timing: Timing, characters: int, started: float) -> Plan:
    """Return the plan of a resumed run that has a deadline, which has been trained for this many seconds.

    characters: of the validation text. started: when the run was resumed, by `time.perf_counter`.
    """
    training, budget = run.training, 60 * (run.origin.minutes or 0)
    remaining = max(0.0, budget - trained)
    evaluation, final = _evaluation_seconds(timing, training.val_characters, characters)
    final = 0.0 if final > MAX_FINAL_SHARE * budget else final
    deadline = Deadline(started + remaining, budget, timing.step, evaluation, final / evaluation)
    return Plan(training.steps, training.evaluations, remaining, deadline, training.val_characters)


def _evaluation_seconds(timing: Timing, val_characters: int, characters: int) -> tuple[float, float]:
    """Return the time of an evaluation, and of the one at the end of all of the text if evaluations measure a part."""
    if 0 < val_characters < characters:
        return timing.evaluation * val_characters / characters, timing.evaluation
    return timing.evaluation, 0.0


def _evaluated_characters(evaluation: float, characters: int, seconds: float, least: int) -> int:
    """Return how much of the validation text to evaluate in a run of this many seconds; 0 is all of it.

    least: characters, even where they take longer than MAX_EVALUATION_SHARE.
    """
    if evaluation <= MAX_EVALUATION_SHARE * seconds:
        return 0
    per_second = characters / evaluation
    part = max(PART_SHARE * seconds * per_second, min(MIN_PART, MAX_EVALUATION_SHARE * seconds * per_second))
    part = max(least, int(part if part < 1000 else part // 1000 * 1000))
    return part if part < characters else 0
