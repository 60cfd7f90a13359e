"""The Python interface, as a notebook uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import CharrnnError, Model, UsageError
from charrnn.model.checkpoint import Progress
from charrnn.scoring.score import score
from charrnn.training.events import Finished, StepsTaken

TOUR = Path(__file__).parent / "examples" / "tour.py"
TRACED = "The quick.\nA dog"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small LSTM, trained by the API itself."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(folder))
        words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
        draw = np.random.default_rng(1)
        lines = (" ".join(draw.choice(words, 5)).capitalize() + ".\n" for _ in range(5000))
        (folder / "book.txt").write_text("".join(lines))
        return charrnn.train(
            folder / "book.txt", steps=60, hidden_size=16, batch_size=8, seq_length=32, evaluations=2, precision="fp32"
        )


def test_train_returns_the_model_it_saved(model: Model) -> None:
    assert model.name == "book"
    assert model.network.settings.hidden_size == 16
    assert repr(model).startswith("Model('book', lstm 1×16, step ")
    again = charrnn.load(model.run.path)
    assert again.sample(length=50, seed=1) == model.sample(length=50, seed=1)


def test_train_reports_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("abcdefgh\n" * 300)
    events: list[object] = []
    charrnn.train(tmp_path / "a.txt", steps=4, hidden_size=4, evaluations=1, on_event=events.append)
    names = [type(event).__name__ for event in events]
    assert names[-3:] == ["Evaluated", "CheckpointSaved", "Finished"]
    assert all(len(repr(event)) < 500 and "\n" not in repr(event) for event in events)


def test_events_print_as_short_lines() -> None:
    steps = StepsTaken(step=10, nats=1.23456789, characters_per_second=65058.123456, learning_rate=8e-05, seconds=2.0)
    assert str(steps) == (
        "StepsTaken(step=10, nats=1.23457, characters_per_second=65058.1, learning_rate=8e-05, seconds=2)"
    )
    finished = Finished("done", Progress(step=10, seconds=2.3456789), train_nats=1.5)
    assert str(finished) == "Finished(reason='done', progress=Progress(step=10, seconds=2.34568), train_nats=1.5)"


def test_train_takes_encoding_newlines_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_bytes(b"caf\xe9\r\n" * 300)
    (tmp_path / "notes" / "b.txt").write_text("no")
    model = charrnn.train(
        tmp_path / "notes", encoding="latin-1", newlines="keep", include=["*.md"], steps=2, hidden_size=4, device="cpu"
    )
    assert model.vocabulary.characters == "\n\racfé"
    (tmp_path / "line.txt").write_text("café")
    _, text = model.read(tmp_path / "line.txt", encoding="utf-8")
    assert len(text) == 4
    with pytest.raises(UsageError, match="'encodign'; use 'encoding'"):
        model.read(tmp_path / "line.txt", encodign="utf-8")


def test_train_refuses_an_unknown_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("abc\n" * 300)
    with pytest.raises(UsageError, match="'hiden_size'; use 'hidden_size'"):
        charrnn.train(tmp_path / "a.txt", hiden_size=4, steps=1)
    assert not (tmp_path / "checkpoints").exists()


def test_sample_is_a_str_and_a_list_with_n(model: Model) -> None:
    text = model.sample("The ", length=30, seed=1)
    assert isinstance(text, str) and len(text) == 30
    texts = model.sample("The ", length=30, n=3, seed=1)
    assert len(texts) == 3 and texts[0] == text


def test_sample_with_n_and_stop_cuts_each_text(model: Model) -> None:
    texts = model.sample("The ", length=200, n=5, stop=".", seed=2)
    assert all(text.endswith(".") and text.count(".") == 1 for text in texts)
    assert len({len(text) for text in texts}) > 1


def test_stream_yields_the_characters_of_sample(model: Model) -> None:
    assert "".join(model.stream("The ", length=40, seed=3)) == model.sample("The ", length=40, seed=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be"),
        ({"top_p": 2.0}, "`top_p` must be"),
        ({"tempo": 1}, "tempo"),
        ({"n": 0}, "`n` must be at least 1"),
    ],
)
def test_sample_validates_as_the_command_line_does(model: Model, settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.sample(**settings)


def test_score_counts_all_but_the_first_character(model: Model) -> None:
    result = model.score("The dog")
    assert len(result.nats) == 6
    assert result.mean == pytest.approx(float(np.mean(result.nats)), rel=1e-6)
    assert result.bits_per_character == pytest.approx(result.mean / np.log(2))
    assert result.perplexity == pytest.approx(np.exp(result.mean))
    assert "bits per character" in repr(result)


def test_score_without_a_text_is_the_validation_loss(model: Model) -> None:
    assert model.score().mean == pytest.approx(model.checkpoint.progress.validation_nats, abs=1e-6)


@pytest.mark.parametrize("kind", ["str", "path", "ids", "encoded"])
def test_every_kind_of_text_is_the_same_text(model: Model, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TRACED)
    ids = model.vocabulary.encode(TRACED)
    text = {"str": TRACED, "path": path, "ids": ids, "encoded": charrnn.EncodedText(ids)}[kind]
    assert model.score(text).mean == score(model.network, charrnn.EncodedText(ids)).mean


def test_unknown_characters_are_named(model: Model) -> None:
    with pytest.raises(CharrnnError, match=r"'\(' U\+0028"):
        model.trace("Hello (world)")
    assert len(model.trace("The (dog)", skip_unknown=True)) == 7


def test_trace_gives_arrays_by_signal_and_cell(model: Model) -> None:
    trace = model.trace(TRACED)
    assert trace["c"].shape == trace["forget"].shape == (len(TRACED), 16)
    np.testing.assert_array_equal(trace["1:3"], trace["c"][:, 3])
    np.testing.assert_array_equal(trace[3], trace["1:3"])
    np.testing.assert_array_equal(trace[charrnn.Cell(1, 3), "forget"], trace["forget"][:, 3])
    assert trace.characters == list(TRACED)
    assert np.isnan(trace.surprise[-1]) and np.isfinite(trace.surprise[:-1]).all()
    np.testing.assert_allclose(trace.surprise[:-1] * np.log(2), model.score(TRACED).nats, rtol=1e-4)


def test_trace_of_a_part_reads_what_is_before_it(model: Model) -> None:
    whole, part = model.trace(), model.trace(start=200, length=30)
    np.testing.assert_allclose(part["c"], whole["c"][200:230], atol=1e-5)
    assert len(part) == 30


@pytest.mark.parametrize("key", ["1:16", "2:0", "nothing", ("1:3", "reset"), 99])
def test_trace_refuses_what_the_model_lacks(model: Model, key: object) -> None:
    with pytest.raises(UsageError):
        model.trace(TRACED)[key]


def test_a_picture_is_text_in_a_terminal_and_html_in_a_notebook(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = model.trace(TRACED).show("1:3", successors=True)
    assert "tanh(c) of cell 1:3" in str(picture)
    html = picture._repr_html_()
    assert html.startswith("<div>") and "background:rgb" in html and "<script" not in html
    monkeypatch.setenv("FORCE_COLOR", "3")
    assert "\x1b[" in str(picture)


def test_a_picture_is_saved_in_the_format_of_its_suffix(model: Model, tmp_path: Path) -> None:
    model.trace(TRACED).show("1:3").save(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


def test_dataframe_has_a_row_for_each_character(model: Model) -> None:
    trace = model.trace(TRACED)
    frame = trace.to_dataframe("1:3", "1:5", signal="forget")
    assert list(frame.columns) == ["character", "surprise", "1:3", "1:5"]
    np.testing.assert_array_equal(frame["1:5"], trace["1:5", "forget"])
    assert trace.to_dataframe().shape == (len(TRACED), 18)


def test_a_missing_pandas_is_one_line(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CharrnnError, match="needs pandas"):
        model.trace(TRACED).to_dataframe()


def test_a_clamped_model_is_a_model(model: Model) -> None:
    held = model.clamp("1:3", 0.9).clamp("1:5", -0.5, "c")
    assert repr(held).endswith("h of 1:3 = 0.9, c of 1:5 = -0.5)")
    np.testing.assert_allclose(held.trace(TRACED)["1:5"], -0.5, atol=1e-6)
    assert held.score().mean != model.score().mean
    assert len(held.sample("The ", length=20, seed=1)) == 20
    with pytest.raises(UsageError, match="two values"):
        held.clamp("1:3", 0.1)


def test_load_names_the_runs_there_are(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(model.run.path.parent.parent))
    assert charrnn.load().name == charrnn.load("book").name == "book"
    with pytest.raises(UsageError, match="there are: book, code"):
        charrnn.load("nobody")
    with pytest.raises(UsageError, match=r"did you mean 'book'\?"):
        charrnn.load("brook")


def test_every_exported_name_loads() -> None:
    for name in charrnn.__all__:
        assert getattr(charrnn, name) is not None
    with pytest.raises(AttributeError):
        charrnn.nothing  # noqa: B018 - the attribute is the test


def test_import_is_fast_and_loads_no_torch() -> None:
    program = "import charrnn, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("steps", [60, pytest.param(900, marks=pytest.mark.slow)])
def test_the_tour_runs(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a quarter of its text too, where it has fewer steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    code = TOUR.read_text(encoding="utf-8")
    assert "range(2000)" in code and "steps=900" in code
    if steps < 900:
        code = code.replace("range(2000)", "range(500)").replace("steps=900", f"steps={steps}")
    exec(compile(code, TOUR, "exec"), {})
    shown = capsys.readouterr().out
    assert "Model('book', lstm 1×48" in shown
    assert "of 48 cells" in shown
    assert "nats per character on the held-out text" in shown


# Cells


def test_discover_takes_names_and_expressions(model: Model) -> None:
    findings = model.discover(properties=["line position", r"fox=fox"])
    assert findings.cells == 16
    assert {"line position", "fox"} <= {title.removesuffix(" [next]") for title in findings.testable}
    assert "of 16 cells" in str(findings)
    assert "<table" in findings._repr_html_() or "of 16 cells" in findings._repr_html_()


def test_discover_keeps_its_findings(model: Model) -> None:
    stages: list[str] = []
    first = model.discover(properties=["line position"])
    again = model.discover(properties=["line position"], progress=lambda stage, share: stages.append(stage))
    assert stages == []
    assert again == first
    assert (first.kept, again.kept) == (False, True)
    assert not model.discover(properties=["line position"], again=True).kept
    assert model.known_findings() == model.earlier_findings() != []


def test_progress_bar_in_a_notebook(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere it is drawn on terminals only, and stderr is none here."""
    with charrnn.progress_bar() as bar:
        model.memory(positions=2, progress=bar)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with charrnn.progress_bar() as bar:
        model.memory(positions=2, progress=bar)
    assert "% " in capsys.readouterr().err


def test_history_compares_with_a_property_or_with_itself(model: Model) -> None:
    itself = model.history("1:3")
    assert itself.steps == tuple(model.run.checkpoint_steps())
    assert itself.rank_correlations[-1] == pytest.approx(1, abs=1e-6)
    tracked = model.history("1:3", "line position")
    assert tracked.property_name == "line position"
    assert len(tracked.rank_correlations) == len(itself.rank_correlations)


def test_gates_profile_and_span(model: Model) -> None:
    gates = {one.gate: one for one in model.gates()}
    assert set(gates) == {"input", "forget", "output"}
    profile = model.profile("1:3")
    assert profile.memory is not None and profile.memory > 0
    assert [one.state for one in profile.effects] == ["high", "low"]
    assert model.match_span("fox").occurrences[0] > 0
    with pytest.raises(CharrnnError, match="does not occur"):
        model.match_span("zebra")
