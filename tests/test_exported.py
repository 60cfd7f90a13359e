"""charrnn.model.exported, `charrnn export` and `charrnn import`"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from charrnn.errors import CharrnnError
from charrnn.model.exported import HASHED, LARGEST_HEADER, export_run, import_run, read_exported
from charrnn.model.lookup import open_run
from charrnn.model.run import HELD_OUT_CHARACTERS, Run
from charrnn.model.writer import RunWriter
from tests.attacks.folders import join_tensors, split_tensors
from tests.golden.make import EXPORTED, EXPORTS, GOLDEN, sample_arguments
from tests.untrained import invoke, make_run, refused

TEXT = 'Anna: "Meet me at 5?"\nBob: "No."\n' * 4


@pytest.fixture
def run(home: Path) -> Run:
    return make_run(home, TEXT, name="chat", layers=2)


@pytest.fixture
def file(run: Run, home: Path) -> Path:
    export_run(run, home / "chat.safetensors", with_text=True)
    return home / "chat.safetensors"


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.read_model(run.checkpoint())


def test_import_restores_what_was_exported(run: Run, file: Path) -> None:
    imported = import_run(file, "copy")
    assert imported.settings.model == run.settings.model
    assert imported.settings.training == run.settings.training
    assert imported.vocabulary == run.vocabulary
    assert imported.vocabulary.decode(imported.held_out_text().ids) == TEXT
    assert imported.checkpoint().step == 3
    assert imported.checkpoint().progress.validation_nats == 1.0
    for name, tensor in weights(imported).items():
        assert torch.equal(tensor, weights(run)[name])


def test_export_twice_writes_the_same_bytes(run: Run, file: Path, home: Path) -> None:
    export_run(run, home / "again", with_text=True)
    assert (home / "again").read_bytes() == file.read_bytes()


def test_safetensors_reads_the_weights(run: Run, file: Path) -> None:
    read = safetensors.torch.load_file(file)
    assert bytes(read.pop("held_out").tolist()).decode() == TEXT
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in read.items())


def test_no_text_and_no_folder_unless_asked(home: Path) -> None:
    run = make_run(home, TEXT, name="chat")
    run.settings = run.settings.__class__(
        run.settings.model,
        run.settings.training,
        run.settings.corpus.changed(specs="'/home/anna/my chats/bob.txt' python"),
        run.settings.origin,
    )
    export_run(run, home / "file")
    data = (home / "file").read_bytes()
    assert b"Meet me" not in data
    assert b"anna" not in data
    assert b"bob.txt" in data
    assert b"adam" not in data


def test_half_precision(run: Run, home: Path) -> None:
    single, half = export_run(run, home / "single"), export_run(run, home / "half", half=True)
    assert 2 * half.sizes["weights"] == single.sizes["weights"]
    assert sum(half.sizes.values()) == (home / "half").stat().st_size
    imported = import_run(home / "half", "half")
    for name, tensor in weights(imported).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, weights(run)[name].half().float())


def test_weights_beyond_half_precision(home: Path) -> None:
    run = make_run(home, TEXT)
    network, checkpoint = run.load_network()
    with torch.no_grad():
        network.output.bias[0] = 1e6

    class Large(Run):
        def load_network(self, *_: object, **__: object) -> Any:
            return network, checkpoint

    with pytest.raises(CharrnnError, match="too large for half precision"):
        export_run(Large(run.path), home / "file", half=True)
    assert not (home / "file").exists()


def test_loss_curve_is_kept(run: Run, home: Path) -> None:
    with RunWriter.open(run) as writer:
        for step in (1, 2, 3, 4):
            writer.log("evaluation", step=step, train_nats=None, validation_nats=3.0 - step / 8, seconds=0.5 * step)
        writer.log("explosion", step=3)
    assert [one.step for one in export_run(run, home / "file").losses] == [1, 2, 3]  # 4 is after the checkpoint
    assert [entry["validation_nats"] for entry in import_run(home / "file", "copy").metrics()] == [2.875, 2.75, 2.625]


def test_existing_file_stays(run: Run, home: Path) -> None:
    (home / "notes.txt").write_text("mine")
    with pytest.raises(CharrnnError, match="exists already; remove it first"):
        export_run(run, home / "notes.txt")
    assert (home / "notes.txt").read_text() == "mine"


def test_unwritable_file(run: Run, home: Path) -> None:
    (home / "notes.txt").write_text("mine")
    with pytest.raises(CharrnnError, match=r"cannot be written: (Not a directory|File exists)"):
        export_run(run, home / "notes.txt" / "file")


def test_missing_folder_is_made(run: Run, home: Path) -> None:
    export_run(run, home / "missing" / "file")
    assert (home / "missing" / "file").is_file()


# Import


def test_taken_name_stays(run: Run, file: Path) -> None:
    before = weights(run)
    assert "run chat exists already; choose another name with --name" in refused(str(file), command="import")
    assert "cannot be a run's name" in refused(str(file), "--name", "../up", command="import")
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(open_run("chat")).items())


def test_imported_run_cannot_be_resumed(file: Path, home: Path) -> None:
    import_run(file, "copy")
    imported = open_run("copy")
    with pytest.raises(
        CharrnnError, match=r"copy has no optimizer state, so it cannot be resumed; .* `init_from='copy'`"
    ):
        imported.resumable_checkpoint()
    assert not list(imported.path.rglob("training.safetensors"))


def test_run_without_text_says_how_to_give_one(run: Run, home: Path) -> None:
    export_run(run, home / "file")
    import_run(home / "file", "copy")
    message, other = "copy was imported without held-out text", ", or another run, such as 'chat'"
    hint = "name a text, as in `charrnn evaluate copy FILE`"
    assert refused("copy", command="evaluate") == f"{message}; {hint}{other}"
    for command in ("inspect", "gates", "memory"):
        assert refused("copy", command=command) == f"{message}; name a text, as in --text FILE{other}"
    assert refused("copy", "--cell", "1", command="history").endswith(other)
    assert refused("copy", "--clamp", "1:2=inside", command="sample") == f"{message}; give a value, as in 1:2=0.9"
    (home / "a.txt").write_text(TEXT)
    assert "nats per character" in invoke("copy", "a.txt", command="evaluate")
    assert "1:2" in invoke("copy", "--cell", "1:2", "--text", "a.txt")
    assert invoke("copy", "--length", "9", "--color-by", "1:2", "--color", "256", command="sample")


def test_exported_file_is_not_a_run(file: Path) -> None:
    expected = "chat.safetensors is a file, not a run; import it first: charrnn import chat.safetensors"
    assert refused("chat.safetensors", command="sample") == expected


def test_missing_text_is_not_exported(run: Run, home: Path) -> None:
    export_run(run, home / "bare")
    import_run(home / "bare", "bare")
    assert refused("bare", "again", "--with-text", command="export").endswith("held-out text; leave --with-text out")


def test_commands_say_what_is_inside(run: Run, home: Path) -> None:
    out = invoke("chat", "f", "--half", command="export")
    assert "chat written to f" in out
    assert "half precision; no optimizer state" in out
    assert out.splitlines()[-1].split() == ["held-out", "text", "none"]
    out = invoke("chat", "g", "--with-text", command="export")
    assert "readable by everyone who gets the file" in out
    told = json.loads(invoke("g", "--name", "copy", "--json", command="import"))
    assert told["bytes"]["held-out text"] == len(TEXT)
    assert told["path"] == str(home / "checkpoints" / "copy")


# Files that must load for ever


@pytest.mark.parametrize("name", EXPORTS)
def test_golden_file(name: str, home: Path) -> None:
    """Exported from the golden run of that name, with its held-out text."""
    import_run(EXPORTED / f"{name}.safetensors")
    run, golden = open_run(name), Run(GOLDEN / "format-2" / name)
    assert run.held_out_bytes() == golden.held_out_bytes()
    assert run.held_out_text().starts.tolist() == golden.held_out_text().starts.tolist()
    if EXPORTS[name]:
        assert weights(run)["output.bias"].tolist() == weights(golden)["output.bias"].half().float().tolist()
        return
    expected = json.loads((GOLDEN / "format-2" / f"{name}.json").read_bytes())
    assert invoke(name, *sample_arguments("greedy"), command="sample") == expected["greedy"]


# Attacks


Change = Callable[[dict[str, Any], dict[str, str]], object]


def rewritten(file: Path, change: Change, *, rest: Callable[[bytes], bytes] = bytes) -> Path:
    """Change header and metadata of an exported file, and make its hash right."""
    header, data = split_tensors(file.read_bytes())
    data = rest(data)
    change(header, header["__metadata__"])
    metadata = header["__metadata__"]
    if isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in HASHED):
        text = "".join(metadata[key] for key in HASHED)
        metadata["sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass") + data).hexdigest()
    changed = file.with_name("changed")
    changed.write_bytes(join_tensors(header, data))
    return changed


def settings(part: str, **values: object) -> Change:
    def change(header: dict[str, Any], metadata: dict[str, str]) -> None:
        content = json.loads(metadata["run"])
        content[part].update(values)
        metadata["run"] = json.dumps(content)

    return change


def metadata(**values: Any) -> Change:
    return lambda header, metadata: metadata.update(values)


def tensor(name: str, **values: Any) -> Change:
    return lambda header, metadata: header[name].update(values)


ATTACKS: dict[str, tuple[Change, str]] = {
    "another-file": (lambda header, metadata: header.pop("__metadata__") and header.update(__metadata__=None), "not a"),
    "future": (metadata(charrnn_run="2"), "unknown version '2'"),
    "version-list": (metadata(charrnn_run=["1"]), "unknown version"),
    "extra-key": (metadata(code="import os"), "its metadata are not those of a run"),
    "no-text": (metadata(vocabulary=1), "its metadata are not those of a run"),
    "long-name": (metadata(name="a" * 101), "its metadata are not those of a run"),
    "traversal": (metadata(name="../../evil"), "cannot be a run's name"),
    "hidden": (metadata(name=".bashrc"), "cannot be a run's name"),
    "escape": (metadata(name="\x1b[2J"), "cannot be a run's name"),
    "surrogate": (metadata(run="\ud800"), "half of a surrogate pair"),
    "run-list": (metadata(run="[]"), "does not describe a run"),
    "run-deep": (metadata(run="[" * 90_000), "is damaged"),
    "run-format": (metadata(run='{"format": 99}'), "has format 99"),
    "vocabulary-twice": (metadata(vocabulary='{"kind":"characters","characters":"aa"}'), "a character twice"),
    "progress-unknown": (metadata(progress='{"format":2,"new":1}'), "unknown setting 'new'"),
    "progress-not-a-number": (metadata(progress='{"format":2,"seconds":NaN}'), "NaN is not a number"),
    "losses-text": (metadata(losses='["a"]'), "its loss curve is not a list of losses"),
    "losses-negative": (metadata(losses="[[1,-1,1,1]]"), "its loss curve is not a list of losses"),
    "losses-many": (metadata(losses=json.dumps([[1, 1, 1, 1]] * 1001)), "its loss curve is not a list of losses"),
    "absurd-model": (settings("model", layers=64, hidden_size=65536), "its size does not fit its settings"),
    "unknown-model": (settings("model", recurrence="os.system"), "must be one of"),
    "other-size": (settings("model", hidden_size=7), "its size does not fit its settings"),
    "other-recurrence": (settings("model", recurrence="gru"), "is damaged"),
    "more-tensors": (lambda header, metadata: header.update(evil=header["output.bias"]), "its tensors are not those"),
    "double": (tensor("output.bias", dtype="F64"), "not a float32 tensor"),
    "one-half": (tensor("output.bias", dtype="F16"), "not a float32 tensor"),
    "overlap": (tensor("output.bias", data_offsets=[0, 60]), "is damaged"),
    "outside": (tensor("output.bias", data_offsets=[2**62, 2**62 + 60]), "is damaged"),
    "text-shape": (tensor("held_out", shape=["1"]), "is not described as bytes"),
    "text-huge": (tensor("held_out", shape=[4 * HELD_OUT_CHARACTERS + 1]), "its held-out text has"),
    "text-empty": (tensor("held_out", shape=[0]), "its held-out text has"),
    "text-unknown": (lambda header, metadata: None, "unknown characters"),
    "text-lengths": (settings("corpus", held_out_files="1 x"), "are not whole numbers"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_file_is_refused(name: str, file: Path, home: Path) -> None:
    change, error = ATTACKS[name]
    foreign = "é".encode() if name == "text-unknown" else b""
    attacked = rewritten(file, change, rest=lambda data: data[: len(data) - len(foreign)] + foreign)
    with pytest.raises(CharrnnError) as caught:
        import_run(attacked)
    assert error in caught.value.message
    assert len(caught.value.message) < 2000
    assert [path.name for path in (home / "checkpoints").iterdir()] == ["chat"]


def test_non_finite_weights_are_refused(file: Path) -> None:
    infinite = rewritten(file, lambda header, metadata: None, rest=lambda data: b"\0\0\x80\x7f" + data[4:])
    with pytest.raises(CharrnnError, match="has non-finite values"):
        import_run(infinite)


def test_any_changed_byte_of_the_content_is_found(file: Path) -> None:
    data = file.read_bytes()
    for place in range(len(data) - 200, len(data), 7):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CharrnnError):
            read_exported(file)


def test_cut_file_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for size in (0, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        with pytest.raises(CharrnnError):
            read_exported(file)


@pytest.mark.parametrize("length", [0, 1, LARGEST_HEADER + 1, 2**63, 2**64 - 1])
def test_absurd_header_is_refused(length: int, file: Path) -> None:
    file.write_bytes(length.to_bytes(8, "little") + b"{}" * 100)
    with pytest.raises(CharrnnError, match="is not a run that `charrnn export` wrote"):
        read_exported(file)


def test_links_and_devices_are_refused(file: Path, home: Path) -> None:
    (home / "link").symlink_to(file)
    os.mkfifo(home / "fifo")
    for name in ("link", "fifo", "checkpoints", "/dev/zero"):
        with pytest.raises(CharrnnError, match="is not a regular file"):
            read_exported(home / name)
    with pytest.raises(CharrnnError, match="cannot be read: No such file"):
        read_exported(home / "missing")


def test_pickle_is_refused(home: Path) -> None:
    torch.save({"a": torch.zeros(3)}, home / "model.pt")
    with pytest.raises(CharrnnError, match="is not a run that `charrnn export` wrote"):
        read_exported(home / "model.pt")
    shutil.copy(GOLDEN / "format-2" / "lstm.safetensors", home / "weights.safetensors")
    with pytest.raises(CharrnnError, match="is not a run that `charrnn export` wrote"):
        read_exported(home / "weights.safetensors")
