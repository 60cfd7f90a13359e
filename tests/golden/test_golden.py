"""Runs of every format that was ever written: they load, sample the same text and resume.

`make.py` wrote them. Stored weights are compared within 1e-5, because CPUs round differently; weights that are
computed twice on this machine have to be equal.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from charrnn import __version__
from charrnn.cli import app
from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.model.run_format import CHECKPOINTS_FOLDER, FORMAT
from charrnn.options import Settings
from tests.golden.make import CORPUS, GOLDEN, SAMPLES, TEXT_ENCODING, cut_back, sample_arguments

ALL = sorted(path.parent for path in GOLDEN.glob("format-*/*/run.json"))
RESUMABLE = [path for path in ALL if any(path.glob("*/*/training.safetensors"))]
FORMATS = sorted(path.name for path in GOLDEN.glob("format-*"))
Program = Callable[..., str]

every_run = pytest.mark.parametrize("golden", ALL, ids=lambda path: f"{path.parent.name}-{path.name}")
every_resumable_run = pytest.mark.parametrize("golden", RESUMABLE, ids=lambda path: f"{path.parent.name}-{path.name}")
every_format = pytest.mark.parametrize("golden", [GOLDEN / name / "lstm" for name in FORMATS], ids=FORMATS)


@pytest.fixture
def program(home: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run the program in this process and return its standard output."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["charrnn", *arguments])
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        out, err = capsysbinary.readouterr()
        assert not ended.value.code, err
        return out.decode(TEXT_ENCODING)

    return run


@pytest.fixture
def copied(home: Path) -> Callable[[Path], Path]:
    """Copy a golden run and its corpus to the home folder, and return the copy."""

    def copy(golden: Path) -> Path:
        shutil.copy(CORPUS, home)
        return Path(shutil.copytree(golden, home / "checkpoints" / golden.name))

    return copy


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    opened = Run(run)
    return opened.read_model(opened.checkpoint("last"))


def edit_json(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file and its entry in the manifest."""
    content = json.loads(file.read_bytes())
    edit(content)
    data = json.dumps(content).encode()
    file.write_bytes(data)
    manifest = file.with_name("manifest.json")
    entries = json.loads(manifest.read_bytes())
    entries[file.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(entries))


def test_every_format_has_golden_runs() -> None:
    assert [f"format-{number}" for number in range(1, FORMAT + 1)] == FORMATS


@every_run
@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_are_unchanged(golden: Path, sample: str, program: Program) -> None:
    expected = json.loads(golden.with_name(f"{golden.name}.json").read_bytes())
    assert program("sample", str(golden), *sample_arguments(sample)) == expected[sample]


@every_resumable_run
def test_resume_is_unchanged_and_bit_exact(golden: Path, program: Program, copied: Callable[[Path], Path]) -> None:
    """Resumed from the last checkpoint, and from one that the resumed run wrote itself."""
    run = copied(golden)
    before = (run / "run.json").read_bytes()
    resume = ("train", CORPUS.name, "--resume", "--name", run.name, "--device", "cpu")
    program(*resume)
    weights = last_weights(run)
    expected = safetensors.torch.load_file(golden.with_name(f"{golden.name}.safetensors"))
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5)

    steps = Run(run).checkpoint_steps()
    assert steps[-2:] == [250, Run(run).settings.training.steps]
    cut_back(run, tuple(steps[:-1]))
    program(*resume)
    assert Run(run).checkpoint_steps() == steps
    for name, tensor in last_weights(run).items():
        assert torch.equal(tensor, weights[name]), name

    assert (run / "run.json").read_bytes() == before
    folders = [path.name for path in run.iterdir() if path.is_dir()]
    assert folders == [CHECKPOINTS_FOLDER[json.loads(before)["format"]]]


def test_shared_run_has_weights_alone() -> None:
    run = Run(GOLDEN / "format-2" / "shared")
    checkpoint = run.checkpoint()
    assert {tensor.dtype for tensor in run.read_model(checkpoint).values()} == {torch.float32}
    stored = safetensors.torch.load_file(checkpoint.path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert not run.has_held_out_text
    with pytest.raises(CharrnnError, match="`init_from='shared'`"):
        run.resumable_checkpoint()


@every_format
def test_missing_setting_takes_its_default(golden: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for part, settings in vars(Run(golden).settings).items():
        if not isinstance(settings, Settings):
            continue
        for name, option in settings.options().items():
            shutil.copytree(golden, run, dirs_exist_ok=True)
            edit_json(run / "run.json", lambda content, part=part, name=name: content[part].pop(name, None))
            assert getattr(Run(run).settings, part) == settings.changed(**{name: option.missing_value}), name


@every_format
def test_missing_progress_takes_its_default(golden: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint = Run(golden).checkpoint("last")
    for name, option in checkpoint.progress.options().items():
        if name == "step":  # has to match the folder
            continue
        shutil.copytree(golden, run, dirs_exist_ok=True)
        file = run / checkpoint.path.relative_to(golden) / "progress.json"
        edit_json(file, lambda content, name=name: content.pop(name))
        assert Run(run).checkpoint("last").progress == checkpoint.progress.changed(**{name: option.missing_value})


@every_format
@pytest.mark.parametrize("part", ["", "model", "training", "corpus", "origin"])
def test_unknown_setting_is_refused_with_both_versions(golden: Path, part: str, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "run")
    edit_json(tmp_path / "run" / "run.json", lambda content: (content[part] if part else content).update(new=1))
    expected = rf"run\.json: unknown setting 'new'; charrnn 0\.1\.0 wrote it, and this is charrnn {__version__}"
    with pytest.raises(CharrnnError, match=expected):
        Run(tmp_path / "run")


@every_format
def test_unknown_progress_is_refused(golden: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(golden, tmp_path / "run"))
    edit_json(Run(run).checkpoint("last").path / "progress.json", lambda content: content.update(new=1))
    with pytest.raises(CharrnnError, match=rf"progress\.json: unknown setting 'new'; .*{__version__}"):
        Run(run).checkpoint("200")


@every_format
def test_newer_format_is_refused(golden: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(golden, tmp_path / "run"))
    edit_json(run / "run.json", lambda content: content.update(format=FORMAT + 1, charrnn="9.9"))
    expected = rf"has format {FORMAT + 1}, and charrnn {__version__} reads formats up to {FORMAT}; charrnn 9\.9"
    with pytest.raises(CharrnnError, match=expected):
        Run(run)
