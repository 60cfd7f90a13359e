"""`charrnn inspect`: the search, `--cell` and `--like`."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.display.export import FORMATS, Format, register
from charrnn.inspection.trace import Cell, state_after, trace, trace_signal
from charrnn.model.run import Run
from charrnn.text.encoded_text import EncodedText
from tests.test_findings import evidence
from tests.untrained import invoke, make_run, refused


@pytest.fixture
def run(home, short_text) -> Run:
    return make_run(home, short_text[:11_000])


def test_cell(run):
    lines = invoke("--cell", "4", "--start", "0", "--length", "60").splitlines()
    assert lines[0].startswith("cell 1:4: not searched yet")
    assert lines[1].startswith("a (step 3) · lstm 1×6 · held-out text, characters 0–59 · ")
    assert lines[1].endswith("bits/char on these characters")
    assert any("tanh(c) of cell 1:4" in line for line in lines)
    shown = "".join(run.vocabulary.decode(run.held_out_text().ids[:20])).split("\n")[0].replace(" ", "·")
    at = next(place for place, line in enumerate(lines) if line.startswith(shown))
    assert set(lines[at + 1]) <= set("+- ")
    assert set(lines[at + 2]) <= set("0123456789 ")


def test_several_cells(run):
    shown = invoke("--cell", "4", "--cell", "1:2", "--length", "30")
    assert shown.index("cell 1:4") < shown.index("cell 1:2")


@pytest.mark.parametrize("signal", ["auto", "h", "forget"])
def test_json_matches_trace(run, signal):
    data = json.loads(invoke("--cell", "3", "--start", "200", "--length", "40", "--json", "--signal", signal, "--top"))
    network, _ = run.load_network()
    ids = run.held_out_text().ids
    name = {"auto": "c"}.get(signal, signal)
    (chunk,) = trace(network, EncodedText(ids[:241]), signals=[name], cells=[Cell(1, 3)], predictions=True)
    np.testing.assert_allclose(data["cells"][0]["values"], chunk.signals[name][200:240, 0], atol=1e-5)
    assert data["cells"][0]["cell"] == "1:3"
    assert data["cells"][0]["signal"] == name
    assert "".join(data["characters"]) == run.vocabulary.decode(ids[200:240])
    surprise = -chunk.log_probabilities[np.arange(200, 240), ids[201:241]] / np.log(2)
    np.testing.assert_allclose(data["surprise_bits"], surprise, atol=1e-4)
    likeliest = data["likeliest_next"][0]
    assert len(likeliest) == 5
    assert list(likeliest.values()) == sorted(likeliest.values(), reverse=True)


def test_last_character_has_no_surprise(run):
    length = len(run.held_out_text().ids)
    data = json.loads(invoke("--cell", "3", "--start", str(length - 2), "--json"))
    assert data["surprise_bits"][-1] is None
    assert data["surprise_bits"][0] > 0


def test_start_is_read_with_context(run):
    """The network reads 10,000 characters before --start."""
    data = json.loads(invoke("--cell", "0", "--start", "10500", "--length", "5", "--json"))
    network, _ = run.load_network()
    ids = run.held_out_text().ids
    state = state_after(network, EncodedText(ids[500:10_500]))
    (chunk,) = trace(network, EncodedText(ids[10_500:10_505]), signals=["c"], state=state)
    np.testing.assert_allclose(data["cells"][0]["values"], chunk.signals["c"][:, 0], atol=1e-6)


def test_top(run):
    lines = invoke("--cell", "1", "--length", "20", "--top", "--passages", "0").splitlines()
    assert [line.split()[0] for line in lines if line[:2] in {f"{k} " for k in range(1, 6)}] == list("12345")
    assert any(line.startswith("bits") for line in lines)


@pytest.mark.parametrize("suffix", [".html", ".svg", ".txt", ".json", ".csv"])
def test_output(run, tmp_path, suffix):
    file = tmp_path / f"picture{suffix}"
    assert invoke("--cell", "1", "--length", "40", "--output", str(file)) == ""
    assert "cell 1:1" in file.read_text()


def test_output_in_a_format_from_outside_the_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, ".md", None)  # unregisters it at the end

    @register
    class Markdown(Format):
        suffix = ".md"

        def content(self, views, facts):
            return f"# {views[0].title}\n"

    invoke("--cell", "1", "--output", str(tmp_path / "cell.md"))
    assert (tmp_path / "cell.md").read_text() == "# tanh(c) of cell 1:1\n"


def test_output_with_unknown_suffix(run, tmp_path):
    assert ".html" in refused("nowhere", "--cell", "1", "--output", str(tmp_path / "picture.docx"))


def test_missing_converter_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    message = refused("nowhere", "--cell", "1", "--output", str(tmp_path / "picture.pdf"))
    assert message == "a picture in PDF needs vl-convert-python; pip install vl-convert-python"


@pytest.mark.parametrize("path", [f"{'x' * 300}.html", "file/x.html"])
@pytest.mark.parametrize("option", ["--html", "--output"])
def test_file_that_cannot_be_written_is_refused_before_the_work(run, home, option, path):
    (home / "file").write_text("")
    assert "cannot be written" in refused("nowhere", *(["--cell", "1"] if option == "--output" else []), option, path)


def test_text_from_file_and_stdin(run, tmp_path):
    (tmp_path / "other.txt").write_text("the lazy fox")
    by_file = invoke("--cell", "1", "--text", str(tmp_path / "other.txt"), "--json")
    by_input = invoke("--cell", "1", "--text", "-", "--json", standard_input="the lazy fox")
    assert json.loads(by_file)["cells"] == json.loads(by_input)["cells"]
    assert json.loads(by_input)["text"] == "standard input"


def test_unknown_characters(run, tmp_path):
    (tmp_path / "other.txt").write_text("the læzy fox")
    assert "U+00E6" in refused("--cell", "1", "--text", str(tmp_path / "other.txt"))
    data = json.loads(invoke("--cell", "1", "--text", str(tmp_path / "other.txt"), "--skip-unknown", "--json"))
    assert "".join(data["characters"]) == "the lzy fox"


def test_text_that_is_not_utf_8(run, tmp_path):
    """The run decides whether bytes or characters are read, so --bytes is no way out."""
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    message = refused("--cell", "1", "--text", str(tmp_path / "latin.txt"))
    assert message.endswith(": byte 0xE9 at offset 3; --encoding latin-1 reads it")
    (tmp_path / "texts").mkdir()
    (tmp_path / "latin.txt").rename(tmp_path / "texts" / "latin.txt")
    message = refused("--cell", "1", "--text", str(tmp_path / "texts"))
    assert message.endswith("; --encoding latin-1 reads most other texts")


def test_bytes_are_escaped(home):
    make_run(home, "caf\u00e9 au lait\n" * 20, as_bytes=True)
    shown = invoke("--cell", "1", "--start", "0", "--length", "15")
    assert "caf\\xc3\\xa9·au·lait↵" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "9999"], "cell 9999 does not exist; this model has 1 layer of 6 cells, 1:0 to 1:5"),
        (["--cell", "1", "--layer", "2"], "layer 2 does not exist"),
        (["--layer", "1"], "--layer needs a --cell, or the table of --all"),
        (["--layer", "1", "--all", "--json"], "--layer needs a --cell"),
        (["--layer", "2", "--all"], "layer 2 does not exist"),
        (["--cell", "1", "--seed", "0"], "--seed is for the search"),
        (["--like", "fox", "--seed", "1"], "--seed is for the search"),
        (["--skip-unknown"], "--skip-unknown needs a text of your own"),
        (["--cell", "1", "--skip-unknown"], "--skip-unknown needs a text of your own"),
        (["--cell", "1", "--signal", "reset"], "no signal 'reset'"),
        (["--cell", "1", "--start", "99999999"], "ends before character 99999999"),
        (["--output", "a.html"], "--output needs a --cell"),
        (["--top"], "--top needs a --cell"),
        (["--cell", "1", "--all"], "--all is for the search"),
        (["--cell", "1", "--json", "--output", "a.html"], "--json and --output exclude each other"),
        (["--json", "--csv"], "--json and --csv exclude each other"),
        (["--cell", "1", "--like", "a"], "--cell and --like exclude each other"),
        (["--like", "zebra"], "'zebra' does not occur in"),
        (["--like", ""], "'' does not occur in"),
        (["--like", "fox", "--start", "4"], "--start needs a --cell"),
        (["--language", "klingonian"], "no language 'klingonian'"),
        (["--property", "speling"], "no property 'speling'"),
        (["--property", "in string"], "none of the properties can be tested"),
        (["--cell", "1", "--palette", "grey"], "--palette must be one of"),
        (["--cell", "1", "--checkpoint", "77"], "no checkpoint '77'"),
        (["--cell", "1", "--text", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistake_is_one_line(run, arguments, message):
    assert message in refused(*arguments)


def test_seed_out_of_range(run) -> None:
    result = CliRunner().invoke(app, ["inspect", "--seed", str(2**64)])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_search(home, short_text):
    make_run(home, short_text[:11_000])
    brief, shown = invoke(), invoke("--all", "--evidence")
    assert brief.startswith("a · lstm 1×6 · ")
    assert "none of 6 cells earned a name" in brief
    assert "line position" in brief
    assert all(len(line) <= 80 for line in brief.splitlines())
    for words in ("labels that earned a name: 0 of ", "not testable: ", "fitted on the SELECT half"):
        assert words in " ".join(shown.split()) and words not in " ".join(brief.split())
    assert re.findall(r"^(1:\d) [ch] ", shown, re.MULTILINE) == [f"1:{k}" for k in range(6)]


def test_search_lists_one_layer(home, short_text):
    make_run(home, short_text[:11_000], layers=2)
    shown = invoke("--all", "--layer", "2", "--property", "line position")
    assert re.findall(r"^(\d:\d) [ch] ", shown, re.MULTILINE) == [f"2:{k}" for k in range(6)]


def test_search_characters(home, short_text):
    make_run(home, short_text)
    searched = [
        json.loads(invoke("--property", "line position", "--json", *more))["characters"]
        for more in ([], ["--characters", "11000"])
    ]
    assert searched == [len(short_text), 11_000]
    assert "--characters is for the search" in refused("--cell", "1", "--characters", "11000")
    assert "10,000 characters or more, and this one has 500" in refused("--characters", "500")


def test_search_is_cached(home, short_text):
    run = make_run(home, short_text[:11_000])
    data = json.loads(invoke("--property", "line position", "--json"))
    assert data["testable"] == ["line position"]
    (cached,) = (run.path / "findings").iterdir()
    cached.write_text(json.dumps(json.loads(cached.read_text()) | {"seed": 77}))
    assert json.loads(invoke("--property", "line position", "--json")) == data | {"seed": 77, "kept": True}
    assert "From an earlier search, kept with the run; --again repeats it." in invoke("--property", "line position")
    assert json.loads(invoke("--property", "line position", "--again", "--json")) == data
    table = invoke("--property", "line position", "--csv").splitlines()
    assert len(table) == 1 + len(data["evidence"])
    assert table[0].startswith("verdict,failed,property")


def test_cell_profile(run):
    before = invoke("--cell", "1", "--length", "20")
    assert "cell 1:1: not searched yet" in before
    assert re.search(r"median time constant [\d,]+ characters? · input gate shut \d+ %, wide open \d+ %", before)
    assert re.search(r"high .+ up +\S+ \+\S+ .*\n +down +\S+ [+−]\S+ .*\nlow ", before)
    assert re.search(r"correlated cells: (1:\d [+−]\.?\d\S+( · )?){5}", before)
    assert re.search(r"^all characters .* 100 %, mean ", before, re.M)
    assert [line.split()[0] for line in before.splitlines() if re.match(r"(highest|lowest|random|\d+ %) ", line)] == [
        "highest", "95", "50", "5", "lowest", "random",
    ]  # fmt: skip
    invoke("--property", "line position")
    assert "cell 1:1: no property found" in invoke("--cell", "1", "--length", "20")


def test_search_of_the_held_out_text_counts_for_another_text(run, tmp_path):
    (tmp_path / "notes.txt").write_text("the lazy fox\n" * 20)
    own_text = ("--cell", "1", "--text", str(tmp_path / "notes.txt"))
    assert "cell 1:1: not searched yet; `charrnn inspect a` finds what it tracks" in invoke(*own_text)
    invoke("--property", "line position")
    assert invoke("--cell", "1").startswith("cell 1:1: no property found\n")
    assert invoke(*own_text).startswith("cell 1:1: no property found in the held-out text\n")


def test_like_beyond_ascii(home):
    text = "caf\u00e9 au lait\n" * 200
    for as_bytes in (False, True):
        run = make_run(home, text, as_bytes=as_bytes, name=f"bytes-{as_bytes}")
        data = json.loads(invoke(run.name, "--like", "\u00e9 au", "--json"))
        assert len(data["occurrences"]) == 200
        shown = invoke(run.name, "--like", "\u00e9")
        assert shown.startswith("'\u00e9' occurs 200 times in this text")
        assert "\u00c3" not in shown


def test_profile_without_gates(home, short_text):
    make_run(home, short_text, recurrence="rnn", layers=2)
    assert "what it adds to the logits" in invoke("--cell", "2:1", "--length", "20")
    below = invoke("--cell", "1:1", "--length", "20")
    assert "layer 1 is not connected to the output" in below and "logits" not in below


def test_profile_of_a_named_cell(run):
    """A search that names a cell gives its page a sentence and a histogram for each class."""
    invoke("--property", "line position")
    (cached,) = (run.path / "findings").iterdir()
    data = json.loads(cached.read_text())
    claim = dataclasses.asdict(evidence(cell="1:1", property_name="inside parentheses"))
    cached.write_text(json.dumps(data | {"evidence": [claim]}))
    lines = invoke("--cell", "1", "--length", "20").splitlines()
    assert lines[0].startswith("cell 1:1 is high inside parentheses: mean c ")
    assert any(re.match(r"inside parentheses .* %, mean", line) for line in lines)
    assert any(re.match(r"elsewhere .* %, mean", line) for line in lines)


@pytest.mark.parametrize(("signal", "name"), [("c", "tanh(c)"), ("h", "h"), ("forget", "forget gate")])
def test_values_of_a_profile_are_named(run, signal, name):
    lines = invoke("--cell", "1", "--length", "20", "--signal", signal).splitlines()
    assert f"{name} at the marked character, and the text around it" in lines
    assert f"distribution of {name}: share of the characters, and their mean {name}" in lines


def test_cell_without_a_name_says_what_it_fits_and_why_that_is_no_name(run):
    invoke("--property", "line position")
    (cached,) = (run.path / "findings").iterdir()
    data = json.loads(cached.read_text())
    denied = dataclasses.asdict(evidence(cell="1:1", beyond_linear_memory=(-0.1, 0.1)))
    cached.write_text(json.dumps(data | {"evidence": [denied]}))
    first = " ".join(invoke("--cell", "1", "--length", "20").split())
    assert first.startswith('cell 1:1 has no name; for "in string" it reaches AUC .950 [.900, .975] within the same ')
    assert "character, but a linear memory of the text shows it as clearly" in first
    denied = dataclasses.asdict(evidence(cell="1:1", rank_correlation=0.6, interval=None, beyond_kgram=None))
    cached.write_text(json.dumps(data | {"evidence": [denied]}))
    first = " ".join(invoke("--cell", "1", "--length", "20").split())
    assert "it reaches AUC .800 within the same character, but its score is only .80" in first  # no interval


def test_start_is_where_the_cell_changes_most(run):
    data = json.loads(invoke("--cell", "1", "--length", "100", "--json"))
    network, _ = run.load_network()
    values = np.tanh(trace_signal(network, run.held_out_text()[:20_000], "c", [Cell(1, 1)])[:, 0].astype(float))
    changes = np.abs(np.diff(values))
    most = max(changes[k : k + 99].sum() for k in range(500, len(changes) - 99))
    assert changes[data["start"] : data["start"] + 99].sum() >= 0.8 * most


def test_passages(run):
    shown = invoke("--cell", "1", "--length", "20", "--passages", "0")
    assert "highest" not in shown and "correlated cells" in shown
    data = json.loads(invoke("--cell", "1", "--passages", "1", "--json"))
    assert len(data["cells"][0]["profile"]["passages"]) == 6


def test_custom_properties(home, short_text, tmp_path):
    make_run(home, short_text[:11_000])
    (tmp_path / "mine.py").write_text("def after_vowel(text):\n    return [c in 'aeiou' for c in '.' + text[:-1]]\n")
    data = json.loads(invoke("-p", "dog=dog", "-p", f"{tmp_path / 'mine.py'}:after_vowel", "--json"))
    assert data["testable"] == ["dog [next]", "after_vowel"]


def test_corpus_fits_the_baseline(home, short_text):
    text = short_text * 2
    make_run(home, text[-11_000:], corpus=text)

    def evidence() -> str:
        return " ".join(invoke("-p", "line position", "--evidence").split())

    assert "fitted on the SELECT half" in evidence()
    (home / "corpora" / "a.txt").write_text(text)
    assert "fitted on training text" in evidence()
    (home / "corpora" / "a.txt").write_text(text + "the")
    assert "fitted on the SELECT half" in evidence()
    assert "is not the corpus that a was trained on" in refused("--corpus", str(home / "corpora" / "a.txt"))
    (home / "corpora" / "a.txt").write_bytes(b"caf\xe9")
    assert "is not the corpus that a was trained on" in refused("--corpus", str(home / "corpora" / "a.txt"))


def test_search_output_is_safe(home, short_text):
    make_run(home, short_text[:11_000].replace("z", "\x1b"))
    assert "\x1b" not in invoke("--all", "--color", "none")


def test_documents_start_from_a_zero_state(home, short_text):
    run = make_run(home, short_text, documents="lines")
    network, _ = run.load_network()
    documents = run.held_out_text()
    start, stop = documents.starts[5:7].tolist()
    shown = invoke("--cell", "3", "--start", str(start), "--length", str(stop - start + 1))
    assert f"documents of held-out text, characters {start}–{stop}" in shown
    data = json.loads(invoke("--cell", "3", "--start", str(start), "--length", str(stop - start + 1), "--json"))
    assert data["text"] == "documents of held-out text"
    opened = np.concatenate([[documents.opening], documents.ids[start:stop]])
    (chunk,) = trace(network, EncodedText(opened), signals=["c"], cells=[Cell(1, 3)], predictions=True)
    np.testing.assert_allclose(data["cells"][0]["values"][:-1], chunk.signals["c"][1:, 0], atol=1e-6)
    surprise = -chunk.log_probabilities[np.arange(1, stop - start), opened[2:]] / np.log(2)
    np.testing.assert_allclose(data["surprise_bits"][:-2], surprise, atol=1e-5)
    assert data["surprise_bits"][-2] is None  # the next document is not predicted
    whole = make_run(home, short_text, name="whole")
    assert json.loads(invoke(whole.name, "--cell", "3", "--start", str(start), "--json"))["cells"] != data["cells"]


def test_findings_on_documents_are_separate(home, short_text):
    run = make_run(home, short_text[:11_000], documents="lines")
    by_document = json.loads(invoke("-p", "line position", "--json"))
    assert " characters of documents of held-out text" in invoke("-p", "line position")
    plain = make_run(home, short_text[:11_000], name="plain")
    shutil.copytree(run.path / "findings", plain.path / "findings")
    as_one_text = json.loads(invoke("plain", "-p", "line position", "--json"))
    assert as_one_text["bits_per_character"] != by_document["bits_per_character"]


@pytest.mark.parametrize("recurrence", ["gru", "rnn"])
def test_signal_without_a_cell_state(home, short_text, recurrence):
    make_run(home, short_text, recurrence=recurrence, layers=2)
    assert "h of cell 2:3" in invoke("--cell", "9", "--length", "20")


def test_without_a_named_cell_the_way_out_is_told(run):
    shown = " ".join(invoke("-p", "in word").split())
    assert "none of 6 cells earned a name" in shown
    assert "often have no named cell: train longer, or on more text; --evidence says what the best ones miss" in shown
    assert "charrnn inspect code named cells of the built-in model" in shown
