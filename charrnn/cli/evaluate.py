"""`charrnn evaluate`: the loss of a text."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.cli.completion import complete_run
from charrnn.cli.parameters import with_flags
from charrnn.cli.stderr import say
from charrnn.errors import CharrnnError, UsageError
from charrnn.options import settings_from
from charrnn.progress import progress_bar
from charrnn.settings import TerminalSettings
from charrnn.units import amount, count

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.display.terminal import Terminal
    from charrnn.progress import StageProgress
    from charrnn.scoring.baselines import Baseline
    from charrnn.scoring.comparison import Comparison
    from charrnn.scoring.explanation import Explanation
    from charrnn.text.encoded_text import EncodedText

NUMBERS = (".json", ".csv")
"""Suffixes of files that `inspect --output` fills with numbers."""
ADAPTIVE, COMPARED = "Adaptive scores", "Comparison"
BASELINE_CHARACTERS = 1_500_000
"""Characters of the corpus and the text up to which baselines are scored by default: a few seconds on one core."""

TextArgument = Annotated[
    str | None,
    typer.Argument(
        help="File or folder to score, or - for standard input.", metavar="TEXT", show_default="the held-out text"
    ),
]
PerLineOption = Annotated[bool, typer.Option("--per-line", help="Also show the bits per character of each line.")]
DynamicOption = Annotated[
    bool,
    typer.Option(
        "--dynamic",
        help="Let a copy of the weights learn from the text as it is scored (dynamic evaluation).",
        rich_help_panel=ADAPTIVE,
    ),
]
MixOption = Annotated[
    bool,
    typer.Option(
        "--mix", help="Mix the model with an n-gram of the training text that learns along.", rich_help_panel=ADAPTIVE
    ),
]
BaselinesOption = Annotated[
    bool | None,
    typer.Option(
        "--baselines/--no-baselines",
        help="Also score an n-gram, PPMd, bzip2 and xz, given the training text.",
        show_default=f"for a text in corpora/ of up to {count(BASELINE_CHARACTERS)} characters",
        rich_help_panel=COMPARED,
    ),
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Show where the bits go: by class of character, by kind of error, and the passages that take most.",
    ),
]
OutputOption = Annotated[
    Path | None, options.output_option("Write the passages of --explain to this file: .html, .svg, .txt, …")
]
CompareOption = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        help="Compare with this run on the same text: bits by class of character, with intervals. Repeatable.",
        metavar="RUN",
        autocompletion=complete_run,
        rich_help_panel=COMPARED,
    ),
]
CorpusOption = Annotated[
    str | None, options.corpus_option("The run's corpus, for --baselines, --explain, --dynamic and --mix.")
]


@options.reads_text(TerminalSettings)
def evaluate(
    run: options.RunArgument = None,
    text: TextArgument = None,
    per_line: PerLineOption = False,
    corpus: CorpusOption = None,
    dynamic: DynamicOption = False,
    mix: MixOption = False,
    baselines: BaselinesOption = None,
    compare: CompareOption = None,
    explain: ExplainOption = False,
    output: OutputOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    as_json: options.JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Score a text: nats and bits per character, and perplexity.

    The network reads the text in one pass from a zero state; the first character is not scored. A run trained on
    documents reads each from a zero state and scores all characters. A text is read in the encoding and with the
    newlines of the run's corpus by default. A single argument that is not the name of a run is the text.

    Below the score, a table compares the run with other models that know the same training text. A frozen model stays
    as the training text left it; an adaptive one also learns from the text, as compressors do.

    [bold]charrnn evaluate notes.txt[/bold]
    [bold]charrnn evaluate shakespeare sonnets.txt --per-line[/bold]
    [bold]charrnn evaluate --dynamic --mix[/bold]
    [bold]charrnn evaluate --explain --compare rnn[/bold]
    """
    from charrnn.api import load
    from charrnn.model.lookup import or_another_run
    from charrnn.model.run import NoHeldOutTextError

    settings = settings_from(TerminalSettings, given)
    run, text = _run_and_text(run, text)
    _check_options(output, corpus, explain=explain, reads_corpus=dynamic or mix or explain or baselines is not False)
    model = options.load_model(run, checkpoint, device)
    if text is None and not model.run.has_held_out_text:
        hint = f"name a text, as in `charrnn evaluate {model.name} FILE`{or_another_run(model.run)}"
        raise NoHeldOutTextError(model.name, hint)
    others = [load(name, device=device) for name in compare or ()]
    title, encoded = options.read_text(model, text, skip_unknown=skip_unknown, given=given)
    if len(encoded) < 2:
        raise CharrnnError(f"{title} is too short to score: it has {amount(len(encoded), 'character')} the model knows")
    with progress_bar() as bar:
        evaluation = _Evaluation(model, title, encoded, corpus, bar)
        evaluation.score(dynamic=dynamic, mix=mix, per_line=per_line)
        evaluation.score_baselines(asked=baselines)
        if explain:
            evaluation.explain()
        for other in others:
            evaluation.compare(other)
    if output is not None:
        evaluation.export(output)
    if as_json:
        print(json.dumps(evaluation.to_json()))
    elif output is None:
        evaluation.print(output_terminal(settings))


class _Evaluation:
    """The scores of a text, as they are computed one after the other, and how they are printed."""

    def __init__(self, model: Model, title: str, encoded: EncodedText, corpus: str | None, progress: StageProgress):
        self.model, self.title, self.encoded = model, title, encoded
        self.corpus, self.progress = corpus, progress
        self.result: dict[str, Any] = {}
        self.baselines: list[Baseline] = []
        self.explanation: Explanation | None = None
        self.comparisons: list[tuple[Model, Comparison]] = []

    def score(self, *, dynamic: bool, mix: bool, per_line: bool) -> None:
        """Score the text with the frozen weights, and in the adaptive mode that the user asked for."""
        self.frozen = self.scored = self.model.score(self.encoded, progress=self.progress)
        started = time.perf_counter()
        if dynamic or mix:
            self.scored = self.model.score(
                self.encoded, dynamic=dynamic, mix=mix, corpus=self.corpus, progress=self.progress
            )
        seconds = time.perf_counter() - started
        perplexity = self.scored.perplexity
        self.result = {
            "run": self.model.name,
            "step": self.model.checkpoint.step,
            "text": self.title,
            "is_training_text": self.model.run.is_corpus(self.encoded.ids),
            "characters": len(self.scored),
            "nats_per_character": self.scored.mean,
            "bits_per_character": self.scored.bits_per_character,
            "perplexity": perplexity if math.isfinite(perplexity) else None,  # JSON has no infinity
        }
        if dynamic or mix:
            self.result["mode"] = " + ".join([name for name, on in (("dynamic", dynamic), ("mix", mix)) if on])
            self.result["frozen_nats_per_character"] = self.frozen.mean
            self.result["seconds"] = round(seconds, 3)
        if per_line:
            self._add_lines()

    def _add_lines(self) -> None:
        from charrnn.scoring.score import score_lines

        self.result["lines"] = [
            {"line": one.number, "text": one.text, "characters": one.characters, "nats_per_character": one.nats}
            for one in score_lines(self.scored, self.encoded, self.model.vocabulary)
        ]

    def score_baselines(self, *, asked: bool | None) -> None:
        """Score the baselines, if the user wants them; asked: None where the user did not say."""
        wanted = asked or self.corpus is not None
        reason = None if wanted else self._reason_for_no_baselines()
        if asked is not False and reason is None:
            try:
                self.baselines = self.model.baselines(self.encoded, corpus=self.corpus, progress=self.progress)
            except CharrnnError as error:
                if wanted:
                    raise
                reason = _no_baselines(error)
        self.result["baselines_note"] = None if asked is False else reason or self._what_baselines_know()

    def _reason_for_no_baselines(self) -> str | None:
        from charrnn.model.training_text import training_file

        size = self.model.run.settings.corpus.characters + len(self.encoded)
        if self.result["is_training_text"]:
            return "No baselines: the text is the training text. --baselines scores them anyway."
        try:
            training_file(self.model.run)
        except CharrnnError as error:
            return _no_baselines(error)
        if size > BASELINE_CHARACTERS:
            return f"--baselines also scores an n-gram and compressors, which read {amount(size, 'character')}."
        return None

    def _what_baselines_know(self) -> str:
        from charrnn.scoring.ngram import TRAINING_CHARACTERS

        identity = self.model.run.settings.corpus
        known = identity.characters - identity.held_out
        which = "the training text" if known <= TRAINING_CHARACTERS else "the end of the training text"
        note = f"All know {which}, {amount(min(known, TRAINING_CHARACTERS), 'character')}. Adaptive ones also learn "
        return note + ("from this text." if "mode" in self.result else "from this text; so does --dynamic --mix.")

    def explain(self) -> None:
        """Find where the bits go."""
        self.explanation = self.model.explain(
            self.encoded, score=self.scored, corpus=self.corpus, progress=self.progress
        )

    def compare(self, other: Model) -> None:
        """Compare the frozen weights with those of another run."""
        found = self.model.compare(other, self.encoded, score=self.frozen, progress=self.progress)
        self.comparisons.append((other, found))

    def to_json(self) -> dict[str, Any]:
        from charrnn.cli.comparison import corpus_note

        explained = {} if self.explanation is None else {"explanation": self.explanation.to_json()}
        compared = [
            {"run": other.name, "step": other.checkpoint.step, "note": corpus_note(self.model, other), **one.to_json()}
            for other, one in self.comparisons
        ]
        baselines = {"baselines": [one.to_json() for one in self.baselines]}
        return {**self.result, **baselines, **explained, **({"comparisons": compared} if compared else {})}

    def print(self, terminal: Terminal) -> None:
        """Print tables."""
        from charrnn.cli.comparison import corpus_note, print_comparison
        from charrnn.cli.explanation import print_explanation
        from charrnn.cli.score_tables import print_baselines, print_score

        print_score(self.result, terminal)
        if self.result["baselines_note"] is not None:
            print_baselines(self.result, self.baselines, terminal)
        if self.explanation is not None:
            print_explanation(self.explanation, self._symbols(), terminal)
        for other, compared in self.comparisons:
            note = corpus_note(self.model, other)
            print_comparison(self.model.name, other.name, compared, [note] if note else [], terminal)

    def export(self, path: Path) -> None:
        """Write the passages that take most bits to a file."""
        from charrnn.cli.explanation import export_passages

        assert self.explanation is not None, "checked before"
        facts = {"run": f"{self.model.name} (step {count(self.model.checkpoint.step)})", "text": self.title}
        facts["loss"] = f"{self.scored.bits_per_character:.4f} bits per character"
        export_passages(path, self.explanation, self._symbols(), facts)
        say(f"written to {path}")

    def _symbols(self) -> list[str]:
        from charrnn.inspection.recorded_trace import display_symbols

        symbols = display_symbols(self.model.vocabulary)
        return [symbols[one] for one in self.encoded.ids.tolist()]


def _check_options(output: Path | None, corpus: str | None, *, explain: bool, reads_corpus: bool) -> None:
    from charrnn.display.export import find_format

    if corpus is not None and not reads_corpus:
        raise UsageError("--corpus is for --baselines, --explain, --dynamic and --mix")
    if output is not None:
        if not explain:
            raise UsageError("--output is for --explain", "add it, or leave --output out")
        if output.suffix.lower() in NUMBERS:
            raise UsageError(f"{output}: --output draws passages", "--json prints the numbers")
        find_format(output)
        options.check_output(output)


def _no_baselines(error: CharrnnError) -> str:
    hint = f" {error.hint[:1].upper()}{error.hint[1:]}." if error.hint else ""
    return with_flags(f"No baselines: {error.message}.{hint}", {"corpus": "--corpus"})


def _run_and_text(run: str | None, text: str | None) -> tuple[str | None, str | None]:
    """Interpret `evaluate TEXT`: a single argument that names no run is the text, and the run is the newest."""
    from charrnn.model.lookup import open_run

    if run is None or text is not None:
        return run, text
    try:
        open_run(run)
    except UsageError:  # no such run; CharrnnError, for a damaged one, passes
        if run == "-" or os.path.exists(run):  # noqa: PTH110 - Path.exists raises for some strings
            return None, run
        if os.path.splitext(run)[1]:  # noqa: PTH122 - it looks like a file name
            raise UsageError(f"{run} is neither a run nor a file", "`charrnn runs` lists the runs") from None
        raise
    return run, None
