"""The model that comes with charrnn: it is found, it is read-only, and it needs neither training nor a network."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import charrnn
from charrnn.api import Model
from charrnn.cli.app import app
from charrnn.discovery.cache import EXCERPT_CHARACTERS, FOLDER, save_json, subject_key
from charrnn.discovery.findings import Findings
from charrnn.errors import CharrnnError, UsageError
from charrnn.model.built_in import BUILT_IN, built_in_path, is_built_in
from charrnn.model.lookup import all_run_names, free_name, open_run, results_folder, runs_folder
from charrnn.model.manage import remove_run, rename_run
from charrnn.model.run import Run
from charrnn.model.training_text import training_file
from tests.package_model import page
from tests.untrained import make_run

CHECKOUT = Path(charrnn.__file__).parent.parent
LARGEST_WHEEL = 6_000_000  # bytes
NOTE = 'using the built-in model "code"'


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def invoke(*arguments: str) -> tuple[str, str]:
    """Return what a command writes to standard output and to standard error."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The built-in model, opened where there is no run. It reads the held-out text once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(tmp_path_factory.mktemp("empty")))
        return charrnn.load()


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return model.run


@pytest.fixture(scope="module")
def findings(model: Model) -> Findings:
    return model.discover()


def test_without_a_run_it_is_used_and_says_so(home: Path) -> None:
    folder = built_in_path()
    assert folder is not None
    before = everything_in(folder), everything_in(home)
    out, err = invoke("sample", "--length", "40", "--seed", "1")
    assert len(out) >= 40
    assert err.count("\n") == 1
    assert NOTE in err
    assert NOTE not in invoke("sample", BUILT_IN, "--length", "5")[1]
    assert (everything_in(folder), everything_in(home)) == before


def test_inspect_says_where_its_names_come_from(home: Path, findings: Findings) -> None:
    out, err = invoke("inspect")
    assert NOTE in err
    assert "The names were found in the library of Python" in " ".join(out.split())
    assert "--again" in out
    assert next(iter(findings)).cell in out
    first = out.partition("★ 1:")[2].split()[0]
    assert f"charrnn ablate code --cell 1:{first} " in out, "the cell with the most stars comes first"
    assert not (home / "checkpoints").exists()


def test_excerpts_are_from_the_library_of_this_python(findings: Findings, run: Run) -> None:
    assert findings.packaged_with == run.settings.origin.python
    shown = [one.excerpt for one in findings if one.excerpt is not None]
    assert len(shown) >= 1
    symbols, ids = run.vocabulary.symbols, run.held_out_text().ids
    for excerpt in shown:
        stop = excerpt.start + len(excerpt.symbols)
        assert stop <= EXCERPT_CHARACTERS
        assert excerpt.symbols == tuple(symbols[one] for one in ids[excerpt.start : stop])


def test_missing_training_text_is_a_known_corpus(home: Path, run: Run) -> None:
    with pytest.raises(CharrnnError, match=r"name it, as in `corpus='python'`"):
        training_file(run)


def test_names_are_known_to_other_commands(home: Path, model: Model, findings: Findings) -> None:
    best = next(iter(findings)).cell
    for text in (None, model.encode()[:50_000]):
        claim = model.claim(best, text)
        assert claim is not None
        assert claim.verdict == "tracks"
    other = "x = 1\n" * 10_000
    assert model.claim(best, other) == model.claim(best)
    assert model.earlier_findings(other) == []


def test_value_inside_is_known_of_a_named_cell_only(model: Model, findings: Findings) -> None:
    named = next(one.cell for one in findings if one.kind == "binary")
    outside, inside = model.class_medians(named)
    assert outside != inside
    unnamed = next(one.cell for one in findings.summaries if findings.claim_about(one.cell) is None)
    with pytest.raises(CharrnnError) as caught:
        model.sample(length=5, clamp=[f"{unnamed}=inside"])
    assert str(caught.value) == (
        f"the search found no property for cell {unnamed}, so its value inside is unknown; "
        f"give a number, as in {unnamed}=0.9"
    )


def test_ablations_come_with_it(home: Path, model: Model) -> None:
    proven = model.earlier_ablations()[0]
    assert model.ablate(proven.cell) == proven
    assert "when the model was packaged" in " ".join(invoke("ablate", "--cell", proven.cell)[0].split())


def test_other_weights_do_not_inherit_the_names(home: Path, model: Model) -> None:
    adapted = dataclasses.replace(model, network=copy.deepcopy(model.network))
    assert adapted.earlier_findings() != []
    with torch.no_grad():
        adapted.network.output.bias[0] += 1
    assert adapted.earlier_findings() == []
    assert adapted.earlier_ablations() == []


def test_packaged_files_hold_no_text() -> None:
    """Characters of the library are in the vocabulary alone."""
    folder = built_in_path()
    assert folder is not None
    (found,) = (folder / "findings").glob("*.json")
    evidence = json.loads(found.read_bytes())["evidence"]
    assert {one["excerpt"] for one in evidence} == {None}
    assert (folder / "held_out.bin").read_bytes() == b""
    assert not list(folder.rglob("training.safetensors"))


def test_own_runs_come_first(home: Path, short_text: str) -> None:
    assert all_run_names() == [BUILT_IN]
    make_run(home, short_text)
    assert all_run_names() == ["a", BUILT_IN]
    assert charrnn.load().name == "a"
    assert charrnn.load(BUILT_IN).name == BUILT_IN
    listed = json.loads(invoke("runs", "--json")[0])
    assert [one["run"] for one in listed] == ["a", BUILT_IN]
    assert [one["state"] == "built in" for one in listed] == [False, True]


def test_it_cannot_be_changed(home: Path) -> None:
    for change in (lambda: remove_run(BUILT_IN), lambda: rename_run(BUILT_IN, "mine")):
        with pytest.raises(UsageError, match="built-in"):
            change()
    with pytest.raises(UsageError, match="cannot be resumed; train it further with `init_from='code'`"):
        charrnn.train("python", resume=True)
    assert free_name(BUILT_IN, runs_folder()) == f"{BUILT_IN}-2"


def test_own_findings_about_it_are_kept_elsewhere_and_come_first(home: Path, model: Model, findings: Findings) -> None:
    before = everything_in(model.run.path)
    folder = results_folder(model.run.path) / FOLDER
    assert folder == home / "checkpoints" / ".built-in" / BUILT_IN / FOLDER
    subject = subject_key(model.network, model.encode())
    save_json(folder / f"{subject}-question.json", dataclasses.replace(findings, packaged_with="").to_json())
    assert everything_in(model.run.path) == before
    assert [bool(one.packaged_with) for one in model.earlier_findings()] == [False, True]
    assert all_run_names() == [BUILT_IN]


def test_training_starts_from_its_weights(home: Path, short_text: str) -> None:
    (home / "text.txt").write_text(short_text)
    model = charrnn.train(home / "text.txt", init_from=BUILT_IN, steps=2, seq_length=16, batch_size=2, name="mine")
    assert model.network.settings == charrnn.load(BUILT_IN).network.settings
    assert not is_built_in(model.run.path)
    assert (home / "checkpoints" / "mine").is_dir()


def test_held_out_text_of_another_python(home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files before the first held-out one are left out, unknown characters too; the first one may be missing."""
    library = tmp_path / "library"
    library.mkdir()
    first = run.settings.corpus.held_out_from
    for name, text in {"a.py": "before = 1\n", f"{first}0": "no Python file\n", "zz.py": "x = '漢é'\n"}.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(library))
    kept = "".join(character for character in "x = '漢é'\n" if character in run.vocabulary.characters)
    assert run.vocabulary.decode(open_run().held_out_text().ids) == kept


def test_training_text_is_not_held_out(run: Run) -> None:
    """The held-out text is at most as long as that of the run, up to one file."""
    assert 0.8 < len(run.held_out_text()) / run.settings.corpus.held_out < 1.3
    assert np.unique(run.held_out_text().ids).size > 80


def test_its_page_says_what_is_stored(home: Path) -> None:
    assert page() == (CHECKOUT / "checkpoints" / BUILT_IN / "README.md").read_text("utf-8")


def test_wheel_and_sdist_include_it() -> None:
    targets = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    folder = f"checkpoints/{BUILT_IN}"
    assert targets["wheel"]["force-include"] == {folder: f"charrnn/{folder}"}
    assert f"/{folder}" in targets["sdist"]["include"]
    files = [path for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_WHEEL / 2
    ignored = subprocess.run(["git", "check-ignore", *map(str, files)], cwd=CHECKOUT, capture_output=True, text=True)
    assert ignored.stdout == ""
