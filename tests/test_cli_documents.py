"""Documents and large texts from the command line: train, evaluate, sample."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import charrnn
from charrnn.cli import app
from charrnn.model.lookup import open_run
from charrnn.sampling.generate import generate, generate_states
from charrnn.sampling.settings import SampleSettings
from charrnn.scoring.score import score
from charrnn.text import corpus as corpus_module
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import small_network
from tests.untrained import make_run

NAMES = "anna\nberta\nclara\ndora\nemil\nfrieda\ngustav\nhans\n" * 25
SHAPE = ["--hidden-size", "16", "--embedding-size", "8", "--layers", "1", "--steps", "40", "--evaluations", "2"]


def command(*arguments: str) -> int:
    """The exit code of the program."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["charrnn", *arguments])
        app.main()
    return ended.value.code or 0


def run(*arguments: str) -> None:
    assert command(*arguments) == 0


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    run(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("rule", ["lines", "files", "a "])
def test_empty_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    make_run(tmp_path, NAMES, name="run", documents=rule)
    for arguments in (
        ("evaluate", "run", "-"),
        ("inspect", "run", "--text", "-", "--cell", "1"),
        ("gates", "--text", "-"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        assert command(*arguments) == 1
        assert capsys.readouterr().err == "charrnn: standard input has no characters\n"


@pytest.mark.parametrize(("rule", "as_bytes"), [("lines", False), (r"[\n]", True), ("files", False)])
def test_evaluate_matches_the_validation_loss_of_documents(
    home: Path, capsys: pytest.CaptureFixture[str], rule: str, as_bytes: bool
) -> None:
    (home / "names").mkdir()
    for number in range(30):
        (home / "names" / f"{number:02}.txt").write_text(NAMES[13 * number : 13 * number + 200])
    kind = ["--bytes"] if as_bytes else []
    told = as_json(capsys, "train", "names", "--documents", rule, "--name", "run", *SHAPE, *kind)
    found = as_json(capsys, "evaluate", "run", "--checkpoint", "last")
    opened = open_run("run")
    validation = opened.checkpoint("last").progress.validation_nats
    assert found["nats_per_character"] == pytest.approx(validation, abs=1e-6)
    assert found["characters"] == opened.settings.corpus.held_out
    assert isinstance(opened.held_out_text(), EncodedText)
    assert opened.settings.training.documents == rule
    assert told["run"] == "run"


@pytest.mark.parametrize("as_bytes", [False, True])
def test_folder_of_files_as_documents(home: Path, capsys: pytest.CaptureFixture[str], as_bytes: bool) -> None:
    (home / "names").mkdir()
    for number in range(30):
        (home / "names" / f"{number:02}.txt").write_text(NAMES[13 * number : 13 * number + 200])
    (home / "new").mkdir()
    texts = ["anna\n", "bert", "clara\ndora\n"]
    for number, text in enumerate(texts):
        (home / "new" / f"{number}.txt").write_text(text.replace("t", "t!"))
    kind = ["--bytes"] if as_bytes else []
    run("train", "names", "--documents", "files", "--name", "run", *SHAPE, *kind)
    if not as_bytes:
        assert command("evaluate", "run", "new") != 0
        assert "1.txt has unknown characters: '!'" in capsys.readouterr().err
    (home / "new" / "1.txt").write_text("bert")
    opened = open_run("run")
    network, _ = opened.load_network()
    alone = sum(score(network, opened.encoded_text(opened.vocabulary.encode(text))).nats.sum() for text in texts)
    found = as_json(capsys, "evaluate", "run", "new")
    assert found["characters"] == sum(map(len, texts))
    assert found["nats_per_character"] * found["characters"] == pytest.approx(alone, abs=1e-4)
    shown = as_json(capsys, "inspect", "run", "--cell", "1", "--text", "new")
    assert shown["text"] == "documents of new"
    assert [place for place, bits in enumerate(shown["surprise_bits"]) if bits is None] == [4, 8, 19]


def test_resume_documents(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "names.txt").write_text(NAMES)
    run("train", "names.txt", "--documents", "lines", "--name", "run", *SHAPE)
    capsys.readouterr()
    assert command("train", "names.txt", "--resume", "--name", "run", "--documents", "files") == 2
    assert "--documents lines, not files" in capsys.readouterr().err


def test_documents_mistakes_are_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "names.txt").write_text(NAMES)
    for rule, words in (("(", "--documents must be lines, files or"), ("files", "the whole text is one document")):
        assert command("train", "names.txt", "--documents", rule, *SHAPE) != 0
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error


@pytest.mark.parametrize("rule", ["lines", r"\n", r"a\n", "files"])
def test_sampled_documents_are_independent(rule: str) -> None:
    vocabulary = Vocabulary.of("abc\n")
    network = small_network(vocabulary_size=4).float()
    with torch.no_grad():
        network.output.weight.mul_(9)
    separator = DocumentSeparator(rule)
    plain, documents = (
        np.stack(list(generate(network, SampleSettings(length=300, num=2, seed=5), vocabulary=vocabulary, documents=d)))
        for d in (None, separator)
    )
    text = vocabulary.text(documents[:, 1])
    state, character = network.initial_state(1), int(vocabulary.encode("\n")[0])
    wanted = np.random.default_rng((5, 1))
    noise = -np.log(np.maximum(wanted.standard_exponential((256, 4)), np.finfo(np.float32).tiny))
    begun = 0
    for place, drawn in enumerate(text[:256]):
        with torch.no_grad():
            logits, state = network(torch.tensor([[character]]), state)
        character = int((logits[0, 0].numpy() / 0.8 + noise[place]).argmax())
        assert vocabulary.characters[character] == drawn
        if separator.is_end(text[begun : place + 1]):
            state, character, begun = network.initial_state(1), 0, place + 1
    assert (begun > 0) == (rule != "files")
    assert np.array_equal(plain, documents) == (rule == "files")


def test_prime_starts_a_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "names.txt").write_text(NAMES)
    run("train", "names.txt", "--documents", "lines", "--name", "run", *SHAPE)
    out = as_json(capsys, "sample", "run", "--prime", "a", "--length", "20", "--seed", "1")
    opened = open_run("run")
    network, _ = opened.load_network()
    vocabulary = opened.vocabulary
    settings = SampleSettings(length=20, seed=1)
    opened_prime = vocabulary.encode("\na")
    ids = [
        row[0]
        for row in generate(
            network, settings, opened_prime[1:], vocabulary=vocabulary, documents=opened.document_separator
        )
    ]
    assert out["text"] == vocabulary.text(ids)
    first = next(generate(network, settings, opened_prime, vocabulary=vocabulary))  # no documents: as it is given
    assert first[0] == ids[0]


@pytest.mark.parametrize(
    ("rule", "prime", "latest"),
    [("lines", "anna\nbe", "be"), ("lines", "anna\n", ""), (r"a\n", "a\nb\n", "b\n"), ("files", "a\nb", "a\nb")],
)
def test_last_document_of_a_prime_is_continued(home: Path, rule: str, prime: str, latest: str) -> None:
    make_run(home, NAMES, documents=rule)
    model = charrnn.load("a")
    drawn, expected = (list(model.watch("1:0", one, seed=1, length=30)) for one in (prime, latest))
    assert [(int(ids[0]), float(value[0])) for ids, value in drawn] == [(ids[0], value[0]) for ids, value in expected]
    penalized = {"presence_penalty": 100, "repeat_last_n": -1, "length": 5, "seed": 1}
    assert not {*model.sample(prime, **penalized)} & {*prime}, "filters see the whole prime"


def test_stop_conditions_see_the_last_document_of_a_prime(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home, NAMES + "()", documents="lines")
    closing = ("--until-balanced", "--bias", ")=30", "--length", "1", "--prime")
    told = [as_json(capsys, "sample", "a", *closing, prime)["stopped"] for prime in ("(", "(\n")]
    assert told == [True, False]


def test_end_of_a_document_may_begin_in_the_prime() -> None:
    vocabulary = Vocabulary.of("ab\n")
    network = small_network(vocabulary_size=3).float()
    settings = SampleSettings(length=40, seed=1, bias=("\n=30",))
    separator = DocumentSeparator(r"\n\n")
    prime = vocabulary.encode("a\n")
    _, state = next(generate_states(network, settings, prime, vocabulary=vocabulary, documents=separator))
    opened = network.advance(torch.tensor([[vocabulary.opening_id]]), network.initial_state(1))[1]
    assert torch.allclose(state[0][0], opened[0][0]), "the generated newline ends the document of the prime"


def test_large_text_is_memory_mapped(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "MEMORY_LIMIT", 100)
    (home / "names.txt").write_text(NAMES)
    for documents in ([], ["--documents", "lines"]):
        name = "run" + str(len(documents))
        run("train", "names.txt", "--name", name, *SHAPE, *documents)
        run("train", "names.txt", "--name", f"{name}-init", "--init-from", name, *SHAPE[-4:], *documents)
        found = as_json(capsys, "evaluate", name, "--checkpoint", "last")
        validation = open_run(name).checkpoint("last").progress.validation_nats
        assert found["nats_per_character"] == pytest.approx(validation, abs=1e-6)
    assert len(list(home.glob(".names.txt.charrnn-*.npy"))) == 1
