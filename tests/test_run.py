"""charrnn.model.run"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.model.network import CharRNN, parameter_shapes
from charrnn.model.run import (
    CorpusIdentity,
    Origin,
    Progress,
    Run,
    RunSettings,
    checked_name,
    free_name,
    open_run,
    run_names,
    training_shapes,
)
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.vocabulary import Vocabulary

MODEL = ModelSettings(layers=2, hidden_size=6, embedding_size=3)
TRAINING = TrainingSettings(batch_size=2)
VOCABULARY = Vocabulary.of("ab\nc é漢")


def created(folder: Path, name: str = "run") -> RunWriter:
    identity = CorpusIdentity(name="some", specs="some.txt", sha256="0" * 64, characters=100, held_out=10)
    settings = RunSettings(MODEL, TRAINING, identity, Origin.here("a device", "a reason"))
    return RunWriter.create(name, settings, VOCABULARY, "a漢b\n".encode(), folder)


def tensors(fill: float) -> tuple[dict, dict]:
    model = {name: torch.full(shape, fill) for name, shape in parameter_shapes(MODEL, len(VOCABULARY)).items()}
    training = {name: torch.full(shape, fill) for name, shape in training_shapes(MODEL, len(VOCABULARY), 2).items()}
    return model, training


def commit(writer: RunWriter, step: int, nats: float | None = None, best: int | None = None) -> None:
    progress = Progress(step=step, validation_nats=nats, best_nats=nats, best_step=best)
    writer.commit(progress, *tensors(float(step)))


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with created(tmp_path) as writer:
        commit(writer, 10, 2.5, 10)
        writer.log("evaluation", step=10, validation_nats=2.5)
    run = open_run("run", tmp_path)
    assert run.settings == writer.run.settings
    assert run.vocabulary == VOCABULARY
    assert run.vocabulary.decode(run.held_out()) == "a漢b\n"
    assert run.metrics() == [{"event": "evaluation", "step": 10, "validation_nats": 2.5}]
    network, save = run.load_network("last")
    assert save.progress == Progress(step=10, validation_nats=2.5, best_nats=2.5, best_step=10)
    assert not network.training
    assert all((p == 10).all() for p in network.parameters())
    assert all((t == 10).all() for t in run.read_training(save).values())


def test_training_shapes_are_those_of_an_optimizer_and_a_state() -> None:
    network = CharRNN(MODEL, len(VOCABULARY))
    shapes = training_shapes(MODEL, len(VOCABULARY), 2)
    for name, parameter in network.named_parameters():
        assert shapes[f"adam.m.{name}"] == shapes[f"adam.v.{name}"] == tuple(parameter.shape)
    for number, layer in enumerate(network.initial_state(2), start=1):
        for part, values in zip("hc", layer, strict=True):
            assert shapes[f"state.{number}.{part}"] == tuple(values.shape)
    assert len(shapes) == 2 * len(list(network.parameters())) + 4


def test_best_is_the_lowest_loss_and_last_the_highest_step_and_both_survive_rotation(tmp_path: Path) -> None:
    with created(tmp_path) as writer:
        for step, nats, best in ((10, 3.0, 10), (20, 1.0, 20), (30, 2.0, 20), (40, None, 20), (50, 2.5, 20)):
            commit(writer, step, nats, best)
    run = writer.run
    assert run.checkpoint_steps() == [20, 40, 50]
    assert run.checkpoint("best").step == 20
    assert run.checkpoint("last").step == 50
    assert run.checkpoint("40").step == 40
    with pytest.raises(UsageError, match="no checkpoint '30'; choose from: best, last, 20, 40, 50"):
        run.checkpoint("30")


def broken_by(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "short":
        path.write_bytes(data[:-2])
    elif how == "a bit flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("how", ["missing", "short", "a bit flipped", "empty", "a link"])
@pytest.mark.parametrize("file", ["model.safetensors", "progress.json", "manifest.json"])
def test_a_broken_newest_save_falls_back_to_the_one_before(tmp_path: Path, file: str, how: str) -> None:
    with created(tmp_path) as writer:
        commit(writer, 10, 3.0, 10)
        commit(writer, 20, 2.0, 20)
    broken_by(tmp_path / "run" / "saves" / "00000020" / file, how)
    run = open_run("run", tmp_path)
    for which in ("last", "best"):
        with pytest.warns(CharrnnWarning, match=r"saves/00000020.*another save is used instead"):
            network, save = run.load_network(which)
        assert save.step == 10
        assert all((p == 10).all() for p in network.parameters())
    with pytest.raises(CharrnnError):
        run.load_network("20")


@pytest.mark.parametrize("file", ["run.json", "vocabulary.json", "held_out.bin", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "short", "a bit flipped", "empty", "a link"])
def test_a_run_with_a_damaged_file_is_refused_by_name(tmp_path: Path, file: str, how: str) -> None:
    with created(tmp_path) as writer:
        commit(writer, 10, 3.0, 10)
    broken_by(tmp_path / "run" / file, how)
    with pytest.raises(CharrnnError, match="run"):
        open_run("run", tmp_path).held_out()


def rewritten(folder: Path, file: str, data: bytes) -> None:
    """Replaces a file and makes the manifest vouch for it, as a stranger would."""
    import hashlib

    (folder / file).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest[file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def hostile_tensors() -> dict[str, dict]:
    good, _ = tensors(1.0)
    name = "output.weight"
    return {
        "one missing": {k: v for k, v in good.items() if k != name},
        "one too many": good | {"evil": torch.zeros(1)},
        "another shape": good | {name: torch.zeros(6, len(VOCABULARY))},
        "another type": good | {name: good[name].half()},
        "not a number": good | {name: good[name] * float("nan")},
        "infinite": good | {name: good[name] * float("inf")},
    }


@pytest.mark.parametrize("attack", hostile_tensors())
def test_weights_other_than_the_settings_call_for_are_refused(tmp_path: Path, attack: str) -> None:
    with created(tmp_path) as writer:
        commit(writer, 10, 3.0, 10)
    data = safetensors.torch.save(hostile_tensors()[attack])
    rewritten(tmp_path / "run" / "saves" / "00000010", "model.safetensors", data)
    with pytest.raises(CharrnnError, match=r"model\.safetensors is damaged"):
        open_run("run", tmp_path).load_network()


def test_a_manifest_that_names_other_files_is_refused(tmp_path: Path) -> None:
    created(tmp_path).close()
    manifest = tmp_path / "run" / "manifest.json"
    entries = json.loads(manifest.read_text())
    for strange in ("../../etc/passwd", "extra"):
        manifest.write_text(json.dumps({**entries, strange: {"bytes": 1, "sha256": "0"}}))
        with pytest.raises(CharrnnError, match="does not list the files that belong there"):
            open_run("run", tmp_path)


def test_a_newer_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    created(tmp_path).close()
    data = json.loads((tmp_path / "run" / "run.json").read_text())
    rewritten(tmp_path / "run", "run.json", json.dumps({**data, "format": 99}).encode())
    with pytest.raises(CharrnnError, match=r"has format 99.*or a newer one"):
        open_run("run", tmp_path)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    with created(tmp_path) as writer:
        model, training = tensors(1.0)
        model["output.bias"][0] = float("nan")
        with pytest.raises(CharrnnError, match=r"output\.bias holds numbers that are not finite"):
            writer.commit(Progress(step=5), model, training)
        assert writer.run.checkpoint_steps() == []


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with created(tmp_path) as writer:
        commit(writer, 10, 3.0, 10)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        with pytest.raises(OSError, match="needed"):
            commit(writer, 20)
        assert writer.run.checkpoint_steps() == [10]
        assert sorted(p.name for p in (tmp_path / "run" / "saves").iterdir()) == ["00000010"]


@pytest.mark.parametrize(
    ("much", "words"),
    [
        ({"specs": "some/folder/with/a/file.txt " * 40_000}, "the names that make up some .* a pattern in quotes"),
        ({"held_out_files": "12 " * 350_000}, "the lengths of the files held out of some .* --val-fraction"),
    ],
)
def test_a_corpus_of_more_files_than_a_run_can_describe_is_refused_before_there_is_one(
    tmp_path: Path, much: dict, words: str
) -> None:
    identity = CorpusIdentity(**{"name": "some", "specs": "some", "sha256": "0" * 64, **much})
    settings = RunSettings(MODEL, TRAINING, identity, Origin.here("a device", "a reason"))
    with pytest.raises(CharrnnError, match=words):
        RunWriter.create("run", settings, VOCABULARY, b"ab\n", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_trainers_on_one_run_are_refused(tmp_path: Path) -> None:
    with created(tmp_path) as writer, pytest.raises(CharrnnError, match="another process is training run"):
        RunWriter.open(writer.run)
    RunWriter.open(writer.run).close()


def test_a_metrics_line_that_a_crash_cut_short_is_left_out_and_cut_off(tmp_path: Path) -> None:
    with created(tmp_path) as writer:
        writer.log("evaluation", step=1)
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event": "evalu')
    run = open_run("run", tmp_path)
    assert [m["step"] for m in run.metrics()] == [1]
    with RunWriter.open(run) as writer:
        writer.log("evaluation", step=2)
    assert [m["step"] for m in run.metrics()] == [1, 2]


def test_files_get_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with created(tmp_path) as writer:
            commit(writer, 10)
    finally:
        os.umask(before)
    for path in (tmp_path / "run").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_names_are_kept_inside_the_folder() -> None:
    for name in ("", ".", "..", ".hidden", "a/b", "a\\b", "-x", "a b", "x" * 101, "ä"):
        with pytest.raises(UsageError):
            checked_name(name)
    assert checked_name("Shake_speare-2.5") == "Shake_speare-2.5"


def test_a_free_name_is_safe_and_not_taken(tmp_path: Path) -> None:
    assert free_name("../tiny shakespeare!", tmp_path) == "tiny-shakespeare"
    assert free_name("漢字", tmp_path) == "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert free_name("漢字", tmp_path) == "run-3"


def test_the_newest_run_is_the_one_trained_last(tmp_path: Path) -> None:
    with pytest.raises(CharrnnError, match=r"no run in .*; train one first"):
        open_run(None, tmp_path)
    for name in ("first", "second"):
        with created(tmp_path, name) as writer:
            commit(writer, 1)
    os.utime(tmp_path / "second" / "saves", (1, 1))
    assert run_names(tmp_path) == ["first", "second"]
    assert open_run(None, tmp_path).name == "first"
    with pytest.raises(UsageError, match=r"no run called 'secnd' .* there are: second"):
        open_run("secnd", tmp_path)
    assert open_run(str(tmp_path / "second")).name == "second"


def test_a_name_that_is_taken_says_how_to_go_on(tmp_path: Path) -> None:
    created(tmp_path).close()
    with pytest.raises(UsageError, match="there is a run run already; choose another --name"):
        created(tmp_path)
    assert isinstance(open_run("run", tmp_path), Run)


def test_a_run_without_a_save_says_so(tmp_path: Path) -> None:
    created(tmp_path).close()
    with pytest.raises(CharrnnError, match="holds no weights yet"):
        open_run("run", tmp_path).load_network()
