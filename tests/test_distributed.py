"""charrnn.training.distributed, and the loop with several ranks.

Run as a program, this file is one of two ranks, which talk by gloo on 127.0.0.1: one pair of processes goes through all
that needs two, and leaves what came out in a folder. The tests look at that.
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
from charrnn.model.network import CharRNN
from charrnn.model.run import CorpusIdentity, Origin, Run, RunSettings, open_run
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import loop
from charrnn.training.distributed import SINGLE_PROCESS, ProcessGroup, joined
from charrnn.training.loop import Evaluated, Event, Exploded, Finished, Requests, Trainer, follow, train

MODEL = ModelSettings(layers=2, hidden_size=12, embedding_size=6)
TRAINING = TrainingSettings(
    batch_size=5, seq_length=9, steps=50, evaluations=4, warmup_steps=4, seed=5, precision="fp32"
)
TEXT = ("abc def.\nghi abc!\n" * 90)[:1500]
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
STOPS = (1, 7, 13, 26, 49)


def fresh_network(model: ModelSettings = MODEL) -> CharRNN:
    network = CharRNN(model, len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(TRAINING.seed))
    return network


def run_settings(model: ModelSettings = MODEL) -> RunSettings:
    identity = CorpusIdentity(name="a", specs="a", sha256="0" * 64, characters=len(IDS), held_out=300)
    return RunSettings(model, TRAINING, identity, Origin.here("cpu", "a test"))


def step_losses(model: ModelSettings, ranks: ProcessGroup = SINGLE_PROCESS) -> list[float]:
    """The training loss of each of fifty steps, and a digest of the weights after them."""
    trainer = Trainer(fresh_network(model), TRAINING, EncodedText(IDS[:1200]), ranks)
    sums = [0.0]
    for _ in range(50):
        trainer.make_step()
        sums.append(trainer.loss_sum.item())
    return [after - before for before, after in itertools.pairwise(sums)]


def go_on(name: str, folder: Path, stops: Sequence[int | None], ranks: ProcessGroup = SINGLE_PROCESS) -> list[Event]:
    """Trains a run, made if there is none, up to each of these steps (None: its end), each time from its last save."""
    events: list[Event] = []
    make_step = loop._Loop._make_step
    for stop in stops:
        requests = Requests()

        def stopping(self: loop._Loop, stop: int | None = stop, requests: Requests = requests) -> None:
            requests.stop = requests.stop or self.trainer.step + 1 == stop
            make_step(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop._Loop, "_make_step", stopping)
            if not ranks.is_first:
                events += follow(
                    run_settings(), CharRNN(MODEL, len(VOCABULARY)), EncodedText(IDS[:1200]), ranks, requests
                )
                continue
            network, save = fresh_network(), None
            if (folder / name).exists():
                writer = RunWriter.open(open_run(name, folder))
                network, save = CharRNN(MODEL, len(VOCABULARY)), writer.run.checkpoint("last")
            else:
                writer = RunWriter.create(name, run_settings(), VOCABULARY, b"abc", folder, network.state_dict())
            with writer:
                parts = EncodedText(IDS[:1200]), EncodedText(IDS[1200:])
                events += train(writer, network, *parts, resume=save, requests=requests, ranks=ranks)
    return events


def told(events: list[Event]) -> dict[str, Any]:
    """What of the events does not depend on a clock."""
    finished = events[-1]
    return {
        "losses": [(e.step, e.train_nats, e.validation_nats) for e in events if isinstance(e, Evaluated)],
        "exploded": [(e.step, e.rate_scale) for e in events if isinstance(e, Exploded)],
        "ends": [(e.reason, e.progress.step) for e in events if isinstance(e, Finished)],
        "progress": finished.progress.changed(seconds=0.0).to_json(),
    }


# What the two ranks do


def be_a_rank(folder: Path) -> None:
    torch.set_num_threads(1)
    out: dict[str, Any] = {}
    with joined("cpu") as ranks:
        out["rows"] = [ranks.rows(5).start, ranks.rows(5).stop]
        out["any"] = ranks.any([ranks.is_first, False, not ranks.is_first])
        out["broadcast_object"] = ranks.broadcast_object({"a": [1.5, None, "é"]} if ranks.is_first else "not looked at")
        numbers = torch.full((3,), 1.0 + ranks.rank), torch.full((2, 2), 10.0)
        out["heard"] = ranks.all_reduce(numbers, [False, not ranks.is_first])
        out["sums"] = [tensor.tolist() for tensor in numbers]
        own = torch.arange(5.0).unsqueeze(1)[ranks.rows(5)]
        out["all_gather"] = ranks.all_gather(own, 5).tolist()
        for recurrence in ("lstm", "gru"):
            out[recurrence] = step_losses(MODEL.changed(recurrence=recurrence), ranks)
        out["dropout"] = step_losses(MODEL.changed(dropout=0.3), ranks)
        out["whole"] = told(go_on("whole", folder, [None], ranks))
        out["broken"] = told(go_on("broken", folder, [*STOPS, None], ranks))
        out["two-then-one"] = told(go_on("two-then-one", folder, [20], ranks))
        out["one-then-two"] = told(go_on("one-then-two", folder, [None], ranks))
        out["signal"] = told(go_on("signal", folder, [None if ranks.is_first else 17], ranks))
        with pytest.MonkeyPatch.context() as patch:
            if not ranks.is_first:
                poison(patch, set(range(22, 32)))
            out["exploded"] = told(go_on("exploded", folder, [None], ranks))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop._Loop, "_corrected_steps", lambda self: 60 if self.writer is not None else None)
            out["replanned"] = told(go_on("replanned", folder, [None], ranks))
        (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(out))
        if not ranks.is_first:
            os._exit(3)
        try:
            go_on("left", folder, [None], ranks)
        except CharrnnError as error:
            (folder / "left.txt").write_text(str(error))
            os._exit(1)


def poison(patch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Makes what this rank adds to the gradients of these steps infinite, once each."""
    all_reduce, counter = ProcessGroup.all_reduce, iter(range(10**9))

    def poisoned(self: ProcessGroup, tensors: Sequence[torch.Tensor], words: Sequence[bool] = ()) -> tuple[bool, ...]:
        if next(counter) in steps:
            tensors[1].view(-1)[0] = math.inf
        return all_reduce(self, tensors, words)

    patch.setattr(ProcessGroup, "all_reduce", poisoned)


# The tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have been."""
    folder = tmp_path_factory.mktemp("ranks")
    go_on("one-then-two", folder, [20])
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
    deadline = time.monotonic() + 100
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if processes[0].poll() not in (None, 1) or processes[1].poll() not in (None, 3):
                break  # the other one would wait for long
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
        said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 3], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def first(both: list[dict[str, Any]]) -> dict[str, Any]:
    return both[0]


def test_rows_are_shared_out_without_gap_or_overlap() -> None:
    for size, streams in itertools.product(range(1, 9), range(1, 20)):
        if streams < size:
            with pytest.raises(UsageError, match=f"--batch-size {size} or more"):
                ProcessGroup(0, size).rows(streams)
            continue
        slices = [ProcessGroup(rank, size).rows(streams) for rank in range(size)]
        assert [row for rows in slices for row in range(streams)[rows]] == list(range(streams))
        assert {rows.stop - rows.start for rows in slices} <= {streams // size, -(-streams // size)}


def test_what_ranks_tell_each_other_arrives(both: list[dict[str, Any]]) -> None:
    assert [rank["rows"] for rank in both] == [[0, 2], [2, 5]]
    for rank in both:
        assert rank["any"] == [True, False, True]
        assert rank["broadcast_object"] == {"a": [1.5, None, "é"]}
        assert rank["heard"] == [False, True]
        assert rank["sums"] == [[3.0] * 3, [[20.0] * 2] * 2]
        assert rank["all_gather"] == [[0.0], [1.0], [2.0], [3.0], [4.0]]


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
def test_two_ranks_with_unequal_shares_have_the_losses_of_one_process(first: dict[str, Any], recurrence: str) -> None:
    alone = step_losses(MODEL.changed(recurrence=recurrence))
    assert first[recurrence] == pytest.approx(alone, rel=0, abs=1e-5)
    assert alone[-1] < 0.8 * alone[0]


def test_their_dropout_is_that_of_one_process_too(first: dict[str, Any]) -> None:
    dropped, kept = step_losses(MODEL.changed(dropout=0.3)), step_losses(MODEL)
    assert first["dropout"] == pytest.approx(dropped, rel=0, abs=1e-5)
    assert not np.allclose(dropped, kept, atol=1e-3)


def test_two_ranks_interrupted_five_times_end_as_uninterrupted_ones_to_the_last_bit(
    folder: Path, first: dict[str, Any]
) -> None:
    whole, broken = Run(folder / "whole"), Run(folder / "broken")
    one, other = whole.checkpoint("last"), broken.checkpoint("last")
    assert one.step == other.step == 50
    assert [end for end, _ in first["broken"]["ends"]] == ["stopped"] * 5 + ["done"]
    for reader in (Run.read_model, Run.read_training):
        expected, found = reader(whole, one), reader(broken, other)
        for name in expected:
            assert torch.equal(expected[name], found[name]), name
    assert first["whole"]["losses"] == first["broken"]["losses"]
    assert first["whole"]["progress"] == first["broken"]["progress"]


def test_a_run_saved_by_two_ranks_goes_on_with_one_and_the_other_way_round(
    folder: Path, first: dict[str, Any], tmp_path: Path
) -> None:
    expected = told(go_on("alone", tmp_path, [None]))["losses"]
    assert first["two-then-one"]["ends"] == [["stopped", 20]]
    by_one = told(go_on("two-then-one", folder, [None]))["losses"]
    for losses, wanted in (
        (first["two-then-one"]["losses"] + by_one, expected),
        (first["one-then-two"]["losses"], expected[1:]),
    ):
        assert np.array(losses) == pytest.approx(np.array(wanted), rel=0, abs=1e-5)


def test_a_stop_that_one_rank_is_asked_for_stops_all_after_the_same_step(both: list[dict[str, Any]]) -> None:
    assert [rank["signal"]["ends"] for rank in both] == [[["stopped", 17]]] * 2


def test_what_the_first_rank_plans_anew_all_follow(both: list[dict[str, Any]]) -> None:
    assert [rank["replanned"]["ends"] for rank in both] == [[["done", 60]]] * 2
    assert [step for step, *_ in both[0]["replanned"]["losses"]] == [15, 30, 45, 60]


def test_gradients_that_are_not_finite_on_one_rank_take_all_back_to_the_same_save(both: list[dict[str, Any]]) -> None:
    assert [rank["exploded"]["exploded"] for rank in both] == [[[25, 0.5]]] * 2
    assert both[0]["exploded"]["progress"] == both[1]["exploded"]["progress"]


def test_a_rank_whose_fellow_has_gone_says_so(folder: Path) -> None:
    assert "another rank has ended" in (folder / "left.txt").read_text()
    assert "--max-restarts" in (folder / "left.txt").read_text()


def test_a_process_of_its_own_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with joined("cpu") as ranks:
        assert ranks is SINGLE_PROCESS


if __name__ == "__main__":
    be_a_rank(Path(sys.argv[1]))
