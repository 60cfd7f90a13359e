"""charrnn.model: run, checkpoint, lookup, writer"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.model.checkpoint import Checkpoint, Progress, training_shapes
from charrnn.model.lookup import check_new_name, find_run, free_name, open_run, run_names
from charrnn.model.network import CharRNN, parameter_shapes
from charrnn.model.run import Run
from charrnn.model.run_format import RUN_FILE
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.vocabulary import Vocabulary

MODEL = ModelSettings(layers=2, hidden_size=6, embedding_size=3)
TRAINING = TrainingSettings(batch_size=2)
VOCABULARY = Vocabulary.of("ab\nc é漢")


def new_run(folder: Path, name: str = "run", **corpus: str) -> RunWriter:
    identity = {"name": "some", "specs": "some.txt", "sha256": "0" * 64, "characters": 100, "held_out": 10} | corpus
    settings = RunSettings(MODEL, TRAINING, CorpusIdentity(**identity), Origin.here("a device", "a reason"))
    return RunWriter.create(name, settings, VOCABULARY, "a漢b\n".encode(), folder)


def tensors(value: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model = {name: torch.full(shape, value) for name, shape in parameter_shapes(MODEL, len(VOCABULARY)).items()}
    training = {name: torch.full(shape, value) for name, shape in training_shapes(MODEL, len(VOCABULARY), 2).items()}
    return model, training


def save(writer: RunWriter, step: int, nats: float | None = None, best: int | None = None) -> None:
    """Save a checkpoint whose tensors are filled with its step."""
    progress = Progress(step=step, validation_nats=nats, best_nats=nats, best_step=best)
    writer.save(progress, *tensors(float(step)))


# Write and read


def test_round_trip(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 10, 2.5, 10)
        writer.log("evaluation", step=10, validation_nats=2.5)
    run = open_run("run", tmp_path)
    assert run.settings == writer.run.settings
    assert run.vocabulary == VOCABULARY
    assert run.vocabulary.decode(run.held_out_text().ids) == "a漢b\n"
    assert run.metrics() == [{"event": "evaluation", "step": 10, "validation_nats": 2.5}]
    network, checkpoint = run.load_network("last")
    assert checkpoint.progress == Progress(step=10, validation_nats=2.5, best_nats=2.5, best_step=10)
    assert not network.training
    assert all((p == 10).all() for p in network.parameters())
    assert all((t == 10).all() for t in run.read_training(checkpoint).values())


def test_training_shapes_match_optimizer_and_state() -> None:
    network = CharRNN(MODEL, len(VOCABULARY))
    shapes = training_shapes(MODEL, len(VOCABULARY), 2)
    for name, parameter in network.named_parameters():
        assert shapes[f"adam.m.{name}"] == shapes[f"adam.v.{name}"] == tuple(parameter.shape)
    for number, layer in enumerate(network.initial_state(2), start=1):
        for part, values in zip("hc", layer, strict=True):
            assert shapes[f"state.{number}.{part}"] == tuple(values.shape)
    assert len(shapes) == 2 * len(list(network.parameters())) + 4


def test_best_and_last_survive_rotation(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        for step, nats, best in ((10, 3.0, 10), (20, 1.0, 20), (30, 2.0, 20), (40, None, 20), (50, 2.5, 20)):
            save(writer, step, nats, best)
    run = writer.run
    assert run.checkpoint_steps() == [20, 40, 50]
    assert run.checkpoint("best").step == 20
    assert run.checkpoint("last").step == 50
    assert run.checkpoint("40").step == 40
    with pytest.raises(UsageError, match="no checkpoint '30'; choose from: best, last, 20, 40, 50"):
        run.checkpoint("30")


@pytest.mark.parametrize("moment", ["checkpoint_steps", "read_model"])
@pytest.mark.parametrize("which", ["best", "last"])
def test_rotation_while_reading(tmp_path: Path, which: str, moment: str) -> None:
    """The checkpoints that were listed are gone when the progress or the weights are read. Warnings are errors."""
    with new_run(tmp_path) as writer:
        save(writer, 10, 3.0, 10)
        save(writer, 20, 2.0, 20)

        class Rotated(Run):
            rotations = 0

            def rotate(self) -> None:
                self.rotations += 1
                if self.rotations == 1:
                    for step in (30, 40, 50):
                        save(writer, step, 100.0 / step, step)

            def checkpoint_steps(self) -> list[int]:
                steps = super().checkpoint_steps()
                if moment == "checkpoint_steps":
                    self.rotate()
                return steps

            def read_model(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
                if moment == "read_model":
                    self.rotate()
                return super().read_model(checkpoint)

        network, checkpoint = Rotated(tmp_path / "run").load_network(which)
    assert checkpoint.step == 50
    assert all((p == 50).all() for p in network.parameters())


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_run(tmp_path) as writer:
            save(writer, 10)
    finally:
        os.umask(before)
    for path in (tmp_path / "run").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_non_finite_values_are_not_saved(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        model, training = tensors(1.0)
        model["output.bias"][0] = float("nan")
        with pytest.raises(CharrnnError, match=r"output\.bias has non-finite values"):
            writer.save(Progress(step=5), model, training)
        assert writer.run.checkpoint_steps() == []


def test_full_disk_is_detected_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 10, 3.0, 10)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        with pytest.raises(OSError, match="needed"):
            save(writer, 20)
        assert [path.name for path in writer.run.checkpoints_folder.iterdir()] == ["00000010"]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({"specs": "some/folder/with/a/file.txt " * 40_000}, "the file names of some are too many .* in quotes"),
        ({"held_out_files": "12 " * 350_000}, "the lengths of the held-out files of some .* `val_fraction`"),
    ],
)
def test_too_many_files_are_refused(tmp_path: Path, corpus: dict[str, str], message: str) -> None:
    with pytest.raises(CharrnnError, match=message):
        new_run(tmp_path, **corpus)
    assert list(tmp_path.iterdir()) == []


def test_second_trainer_is_refused(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer, pytest.raises(CharrnnError, match="another process is training run"):
        RunWriter.open(writer.run)
    RunWriter.open(writer.run).close()


def test_a_reader_does_not_keep_a_trainer_from_starting(tmp_path: Path) -> None:
    """`is_being_trained` holds a shared lock for a moment."""
    new_run(tmp_path).close()
    with (tmp_path / "run" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        release = threading.Timer(0.05, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        RunWriter.open(open_run("run", tmp_path)).close()
        release.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    new_run(tmp_path).close()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = open_run("run", tmp_path)
    assert not run.is_being_trained()
    with pytest.warns(CharrnnWarning, match="a file system without locks"), RunWriter.open(run) as writer:
        save(writer, 1)
    assert run.checkpoint_steps() == [1]


def test_deleted_checkpoints_folder_is_created_again(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 1)
        shutil.rmtree(writer.run.checkpoints_folder)
        save(writer, 2)
    assert writer.run.checkpoint_steps() == [2]


def test_moved_run_is_saved_once_it_is_back(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        writer.run.path.rename(tmp_path / "elsewhere")
        with pytest.raises(CharrnnError, match=r"the run is no longer in .*run: move it back"):
            save(writer, 1)
        (tmp_path / "elsewhere").rename(writer.run.path)
        save(writer, 2)
    assert writer.run.checkpoint_steps() == [2]


def test_huge_sparse_metrics_are_refused_at_once(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    with (tmp_path / "run" / "metrics.jsonl").open("wb") as file:
        file.truncate(40_000_000_000)
    run = open_run("run", tmp_path)
    with pytest.raises(CharrnnError, match="too large"):
        run.metrics()
    with pytest.raises(CharrnnError, match="has a line of more than"):
        RunWriter.open(run)


def test_is_being_trained(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        assert writer.run.is_being_trained()
    assert not writer.run.is_being_trained()


def test_partial_line_of_metrics_is_removed(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        writer.log("evaluation", step=1)
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event": "evalu')
    run = open_run("run", tmp_path)
    assert [entry["step"] for entry in run.metrics()] == [1]
    with RunWriter.open(run) as writer:
        writer.log("evaluation", step=2)
    assert [entry["step"] for entry in run.metrics()] == [1, 2]


# Damage


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        path.symlink_to("/dev/zero")
    elif how != "missing":
        path.write_bytes({"short": data[:-2], "bit": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[how])


@pytest.mark.parametrize("how", ["missing", "short", "bit", "empty", "link"])
@pytest.mark.parametrize("file", ["model.safetensors", "progress.json", "manifest.json"])
def test_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path: Path, file: str, how: str) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 10, 3.0, 10)
        save(writer, 20, 2.0, 20)
    damage(writer.run.checkpoints_folder / "00000020" / file, how)
    run = open_run("run", tmp_path)
    for which in ("last", "best"):
        with pytest.warns(CharrnnWarning, match=r"checkpoints/00000020.*another checkpoint is used instead"):
            network, checkpoint = run.load_network(which)
        assert checkpoint.step == 10
        assert all((p == 10).all() for p in network.parameters())
    with pytest.raises(CharrnnError):
        run.load_network("20")


@pytest.mark.parametrize("file", ["run.json", "vocabulary.json", "held_out.bin", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "short", "bit", "empty", "link"])
def test_damaged_run_is_refused(tmp_path: Path, file: str, how: str) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 10, 3.0, 10)
    damage(tmp_path / "run" / file, how)
    with pytest.raises(CharrnnError, match="run"):
        open_run("run", tmp_path).held_out_text()


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file and its entry in the manifest."""
    path.write_bytes(data)
    manifest = path.with_name("manifest.json")
    entries = json.loads(manifest.read_bytes())
    entries[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(entries))


def invalid_weights() -> dict[str, dict[str, Tensor]]:
    good, _ = tensors(1.0)
    name = "output.weight"
    return {
        "missing": {k: v for k, v in good.items() if k != name},
        "additional": good | {"evil": torch.zeros(1)},
        "shape": good | {name: torch.zeros(6, len(VOCABULARY))},
        "type": good | {name: good[name].half()},
        "nan": good | {name: good[name] * float("nan")},
        "infinite": good | {name: good[name] * float("inf")},
    }


@pytest.mark.parametrize("weights", invalid_weights())
def test_weights_that_do_not_fit_the_settings_are_refused(tmp_path: Path, weights: str) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 10, 3.0, 10)
    file = writer.run.checkpoints_folder / "00000010" / "model.safetensors"
    replace_file(file, safetensors.torch.save(invalid_weights()[weights]))
    with pytest.raises(CharrnnError, match=r"model\.safetensors is damaged"):
        open_run("run", tmp_path).load_network()


@pytest.mark.parametrize("name", ["../../etc/passwd", "extra"])
def test_manifest_with_other_files_is_refused(tmp_path: Path, name: str) -> None:
    new_run(tmp_path).close()
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), name: {"bytes": 1, "sha256": "0"}}))
    with pytest.raises(CharrnnError, match="does not list the files of this folder"):
        open_run("run", tmp_path)


# Names


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "-x", "a b", "x" * 101, "ä"])
def test_invalid_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        check_new_name(name, tmp_path)


def test_valid_name_is_accepted(tmp_path: Path) -> None:
    assert check_new_name("Shake_speare-2.5", tmp_path) == "Shake_speare-2.5"


def test_name_in_a_folder_whose_path_is_too_long_is_free() -> None:
    """The error comes when the run is created, in one line."""
    folder = Path("x" * 5000)
    assert check_new_name("a", folder) == free_name("a", folder) == "a"


def test_free_name_is_valid_and_not_taken(tmp_path: Path) -> None:
    assert free_name("../tiny shakespeare!", tmp_path) == "tiny-shakespeare"
    assert free_name("漢字", tmp_path) == "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert free_name("漢字", tmp_path) == "run-3"


def test_newest_run_is_the_one_trained_last(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with new_run(tmp_path, name) as writer:
            save(writer, 1)
    os.utime(tmp_path / "second" / "checkpoints", (1, 1))
    assert run_names(tmp_path) == ["first", "second"]
    assert open_run(None, tmp_path).name == "first"


def test_renamed_folder_stays_a_run(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    (tmp_path / "run").rename(tmp_path / "my run (copy)")
    assert run_names(tmp_path) == ["my run (copy)"]
    assert open_run("my run (copy)", tmp_path).path == tmp_path / "my run (copy)"


def test_run_is_opened_by_path(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    assert repr(open_run(str(tmp_path / "run"))) == repr(Run(tmp_path / "run"))


def test_unknown_name_suggests_a_similar_one(tmp_path: Path) -> None:
    with pytest.raises(CharrnnError, match=r"no run in .*; train one first"):
        open_run(None, tmp_path)
    new_run(tmp_path, "second").close()
    new_run(tmp_path, "other").close()
    with pytest.raises(UsageError, match=r"no run called 'secnd' in .*; did you mean 'second'\?$"):
        open_run("secnd", tmp_path)


@pytest.mark.parametrize(("number", "listed"), [(2, "run-1, run-0"), (23, "run-22, .*, run-3 and 3 more")])
def test_unknown_name_lists_the_runs(tmp_path: Path, number: int, listed: str) -> None:
    """The one trained last comes first."""
    for each in range(number):
        path = tmp_path / f"run-{each}"
        path.mkdir()
        (path / RUN_FILE).touch()
        os.utime(path, (each, each))
    with pytest.raises(UsageError, match=f"no run called 'x' in .*; there are: {listed}$"):
        find_run("x", tmp_path)


def test_taken_name_is_refused(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    with pytest.raises(UsageError, match="run run exists already; choose another name"):
        new_run(tmp_path)
    open_run("run", tmp_path)


def test_run_without_checkpoint_is_refused(tmp_path: Path) -> None:
    new_run(tmp_path).close()
    with pytest.raises(CharrnnError, match="has no checkpoint yet"):
        open_run("run", tmp_path).load_network()
