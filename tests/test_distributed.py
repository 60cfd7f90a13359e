"""charrnn.training.distributed, and the loop in a group of two processes.

Run as a program, this file is one of the two processes, which use gloo on 127.0.0.1. They go through everything that
needs a group and write their results to a folder, which the tests check.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.lookup import open_run
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.distributed import SINGLE_PROCESS, ControlFlags, ProcessGroup, process_group
from charrnn.training.events import Evaluated, Event, Exploded, Finished, Requests, StepsTaken
from charrnn.training.loop import train
from charrnn.training.schedule import Deadline
from charrnn.training.trainer import Trainer

MODEL = ModelSettings(layers=2, hidden_size=12, embedding_size=6)
TRAINING = TrainingSettings(
    batch_size=5, seq_length=9, steps=50, evaluations=4, warmup_steps=4, seed=5, precision="fp32"
)
TEXT = ("abc def.\nghi abc!\n" * 90)[:1500]
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
STOPS = (1, 7, 14, 27, 49)
TIMED = TRAINING.changed(steps=300, warmup_steps=20)


def new_network(model: ModelSettings = MODEL) -> CharRNN:
    network = CharRNN(model, len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(TRAINING.seed))
    return network


def run_settings(training: TrainingSettings = TRAINING) -> RunSettings:
    identity = CorpusIdentity(name="a", specs="a", sha256="0" * 64, characters=len(IDS), held_out=300)
    return RunSettings(MODEL, training, identity, Origin.here("cpu", "a test"))


def step_losses(model: ModelSettings, group: ProcessGroup = SINGLE_PROCESS) -> list[float]:
    """Return the training loss of each of fifty steps."""
    trainer = Trainer(new_network(model), TRAINING, EncodedText(IDS[:1200]), group)
    sums = [0.0]
    for _ in range(50):
        trainer.make_step()
        sums.append(trainer.loss_sum.item())
    return [after - before for before, after in itertools.pairwise(sums)]


def resume(
    name: str,
    folder: Path,
    stop: int | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    *,
    network: CharRNN | None = None,
    training: TrainingSettings = TRAINING,
    deadline: Deadline | None = None,
) -> list[Event]:
    """Train a run from its last checkpoint, or a new one, to its end or until this process stops it after a step.

    Each look at the clock takes 0.1 s, so that every step is reported. A group stops one step after the request.
    """
    ticks = itertools.count()
    writer = checkpoint = None
    if group.is_first:
        if (folder / name).exists():
            writer = RunWriter.open(open_run(name, folder))
            network, checkpoint = CharRNN(MODEL, len(VOCABULARY)), writer.run.checkpoint("last")
        else:
            network = network or new_network()
            writer = RunWriter.create(name, run_settings(training), VOCABULARY, b"abc", folder, network.state_dict())
    network = network or CharRNN(MODEL, len(VOCABULARY))
    last_report = None if stop is None else stop if group.is_single else stop - 1
    requests = Requests(stop=last_report == 0)
    events = []
    for event in train(
        network,
        training,
        EncodedText(IDS[:1200]),
        EncodedText(IDS[1200:]),
        writer=writer,
        resume=checkpoint,
        requests=requests,
        group=group,
        deadline=deadline,
        clock=lambda: 0.1 * next(ticks),
    ):
        requests.stop |= isinstance(event, StepsTaken) and event.step == last_report
        events.append(event)
    if writer is not None:
        writer.close()
    return events


def summary(events: list[Event]) -> dict[str, Any]:
    """Return what of the events does not depend on a clock."""
    return {
        "losses": [(e.step, e.train_nats, e.validation_nats) for e in events if isinstance(e, Evaluated)],
        "exploded": [(e.step, e.rate_scale) for e in events if isinstance(e, Exploded)],
        "ends": [(e.reason, e.progress.step) for e in events if isinstance(e, Finished)],
        "progress": events[-1].progress.changed(seconds=0.0).to_json(),
    }


def poison(network: CharRNN, steps: Sequence[int]) -> CharRNN:
    """Make this process's gradients of these steps, counted from 1 and across explosions, infinite."""
    calls = itertools.count(1)
    network.output.weight.register_hook(lambda gradient: gradient * math.inf if next(calls) in steps else None)
    return network


# What the two processes do


def run_process(folder: Path) -> None:
    torch.set_num_threads(1)
    out: dict[str, Any] = {}
    with process_group("cpu") as group:
        first = group.is_first
        out["rows"] = [group.rows(5).start, group.rows(5).stop]
        out["reduce_flags"] = group.reduce_flags(ControlFlags(stop=first, report=not first))
        out["broadcast_object"] = group.broadcast_object({"a": [1.5, None, "é"]} if first else "ignored")
        numbers = torch.full((3,), 1.0 + group.rank), torch.full((2, 2), 10.0)
        out["flags"] = group.all_reduce(numbers, ControlFlags(checkpoint=not first))
        out["sums"] = [tensor.tolist() for tensor in numbers]
        own = torch.arange(5.0).unsqueeze(1)[group.rows(5)]
        out["all_gather"] = group.all_gather(own, 5).tolist()
        for recurrence in ("lstm", "gru"):
            out[recurrence] = step_losses(MODEL.changed(recurrence=recurrence), group)
        out["dropout"] = step_losses(MODEL.changed(dropout=0.3), group)
        out["whole"] = summary(resume("whole", folder, None, group))
        out["broken"] = summary([e for stop in (*STOPS, None) for e in resume("broken", folder, stop, group)])
        out["two-then-one"] = summary(resume("two-then-one", folder, 20, group))
        out["one-then-two"] = summary(resume("one-then-two", folder, None, group))
        out["signal"] = summary(resume("signal", folder, None if first else 17, group))
        network = new_network() if first else poison(new_network(), range(23, 33))
        out["exploded"] = summary(resume("exploded", folder, None, group, network=network))
        deadline = Deadline(at=130.0, budget=130.0, per_step=1.0, per_evaluation=0.1) if first else None
        out["corrected"] = summary(resume("corrected", folder, None, group, training=TIMED, deadline=deadline))
        (folder / f"rank-{group.rank}.json").write_text(json.dumps(out))
        if not first:
            os._exit(3)
        try:
            resume("left", folder, None, group)
        except CharrnnError as error:
            (folder / "left.txt").write_text(str(error))
            os._exit(1)


# The tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the two processes and return the folder of their results."""
    folder = tmp_path_factory.mktemp("ranks")
    resume("one-then-two", folder, 20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**os.environ, **together, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    deadline = time.monotonic() + 300
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if processes[0].poll() not in (None, 1) or processes[1].poll() not in (None, 3):
                break  # the other one would wait until its timeout
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
        errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 3], "\n".join(errors)
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def first(both: list[dict[str, Any]]) -> dict[str, Any]:
    return both[0]


def test_rows_are_shared_without_gap_or_overlap() -> None:
    for size, streams in itertools.product(range(1, 9), range(1, 20)):
        if streams < size:
            with pytest.raises(UsageError, match=f"`batch_size={size}` or more"):
                ProcessGroup(0, size).rows(streams)
            continue
        slices = [ProcessGroup(rank, size).rows(streams) for rank in range(size)]
        assert [row for rows in slices for row in range(streams)[rows]] == list(range(streams))
        assert {rows.stop - rows.start for rows in slices} <= {streams // size, -(-streams // size)}


def test_collectives(both: list[dict[str, Any]]) -> None:
    assert [rank["rows"] for rank in both] == [[0, 2], [2, 5]]
    for rank in both:
        assert rank["reduce_flags"] == [True, False, True, False]
        assert rank["broadcast_object"] == {"a": [1.5, None, "é"]}
        assert rank["flags"] == [False, True, False, False]
        assert rank["sums"] == [[3.0] * 3, [[20.0] * 2] * 2]
        assert rank["all_gather"] == [[0.0], [1.0], [2.0], [3.0], [4.0]]


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
def test_losses_equal_those_of_one_process(first: dict[str, Any], recurrence: str) -> None:
    """Although one process has two streams and the other three."""
    alone = step_losses(MODEL.changed(recurrence=recurrence))
    assert first[recurrence] == pytest.approx(alone, rel=0, abs=1e-5)
    assert alone[-1] < 0.8 * alone[0]


def test_dropout_equals_that_of_one_process(first: dict[str, Any]) -> None:
    dropped, kept = step_losses(MODEL.changed(dropout=0.3)), step_losses(MODEL)
    assert first["dropout"] == pytest.approx(dropped, rel=0, abs=1e-5)
    assert not np.allclose(dropped, kept, atol=1e-3)


def test_resume_of_a_group_is_bit_exact(folder: Path, first: dict[str, Any]) -> None:
    whole, broken = Run(folder / "whole"), Run(folder / "broken")
    one, other = whole.checkpoint("last"), broken.checkpoint("last")
    assert one.step == other.step == 50
    assert first["broken"]["ends"] == [*(["stopped", step] for step in STOPS), ["done", 50]]
    for reader in (Run.read_model, Run.read_training):
        expected, found = reader(whole, one), reader(broken, other)
        for name in expected:
            assert torch.equal(expected[name], found[name]), name
    assert first["whole"]["losses"] == first["broken"]["losses"]
    assert first["whole"]["progress"] == first["broken"]["progress"]


def test_a_run_resumes_with_another_group_size(folder: Path, first: dict[str, Any], tmp_path: Path) -> None:
    expected = summary(resume("alone", tmp_path))["losses"]
    assert first["two-then-one"]["ends"] == [["stopped", 20]]
    by_one = summary(resume("two-then-one", folder))["losses"]
    for losses, wanted in (
        (first["two-then-one"]["losses"] + by_one, expected),
        (first["one-then-two"]["losses"], expected[1:]),
    ):
        assert np.array(losses) == pytest.approx(np.array(wanted), rel=0, abs=1e-5)


def test_a_stop_requested_of_one_process_stops_all(both: list[dict[str, Any]]) -> None:
    assert [rank["signal"]["ends"] for rank in both] == [[["stopped", 17]]] * 2


def test_all_processes_correct_the_number_of_steps(both: list[dict[str, Any]]) -> None:
    ends = [rank["corrected"]["ends"] for rank in both]
    assert ends[0] == ends[1]
    assert 200 <= ends[0][0][1] <= 285


def test_non_finite_gradients_of_one_process_return_all_to_the_same_checkpoint(both: list[dict[str, Any]]) -> None:
    assert [rank["exploded"]["exploded"] for rank in both] == [[[25, 0.5]]] * 2
    assert both[0]["exploded"]["progress"] == both[1]["exploded"]["progress"]


def test_a_process_reports_that_another_has_ended(folder: Path) -> None:
    message = (folder / "left.txt").read_text()
    assert "another rank has ended" in message
    assert "--max-restarts" in message


def test_a_single_process_joins_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with process_group("cpu") as group:
        assert group is SINGLE_PROCESS


if __name__ == "__main__":
    run_process(Path(sys.argv[1]))
