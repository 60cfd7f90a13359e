"""`charrnn sample`: generate text, character by character."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.cli.completion import complete_cell
from charrnn.cli.novelty import CorpusOption, NoveltyOption, training_index
from charrnn.cli.sampled_text import Drawn, TextOutput, print_json, print_texts
from charrnn.cli.sampling_options import sample_settings
from charrnn.cli.stderr import say
from charrnn.cli.typed_lines import TypedLines, known_ids
from charrnn.display.terminal import is_terminal
from charrnn.errors import CharrnnError, UsageError
from charrnn.options import only_one_of, settings_from
from charrnn.progress import progress_bar
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import TerminalSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from charrnn.api import Model
    from charrnn.display.colored_stream import ColoredStream
    from charrnn.model.run import Run
    from charrnn.sampling.novelty import TrainingIndex

PrimeOption = Annotated[
    str | None, typer.Option(help="Text to continue; - reads standard input.", metavar="TEXT", rich_help_panel="Prime")
]
PrimeFileOption = Annotated[
    str | None, typer.Option(help="File with the text to continue.", metavar="FILE|-", rich_help_panel="Prime")
]
InteractiveOption = Annotated[
    bool,
    typer.Option(
        "--interactive",
        "-i",
        help="Continue each line of standard input. Ctrl-C ends a text, Ctrl-D the program.",
        rich_help_panel="Prime",
    ),
]
NoEchoOption = Annotated[
    bool, typer.Option("--no-echo", help="Do not print the prime and the suffix.", rich_help_panel="Prime")
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per text, one per line.", rich_help_panel="Output")
]
OutputOption = Annotated[Path | None, options.output_option("Write to this file.", panel="Output")]
RawOption = Annotated[
    bool,
    typer.Option(
        "--raw",
        help="Print control characters unchanged on a terminal too, and Hangul letters as they are generated.",
        rich_help_panel="Output",
    ),
]
CELLS = "Cells"
AdaptOption = Annotated[
    str | None,
    typer.Option(help="Adapt the weights to a text first.", metavar="FILE|-", rich_help_panel="Adaptation"),
]
SaveAsOption = Annotated[
    str | None,
    typer.Option(help="Save the adapted model as a run of this name.", metavar="NAME", rich_help_panel="Adaptation"),
]
ClampOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Hold a cell at a value, or at its median inside or outside the property that `charrnn inspect` found; "
        "@100..300: only for these characters of each text. 1:42.h: h instead of c. Repeatable.",
        metavar="CELL=X|inside|outside[@FIRST..LAST]",
        rich_help_panel=CELLS,
    ),
]
ColorByOption = Annotated[
    str | None,
    typer.Option(
        help="Color each character by the value of a cell after reading it; 1:42.h: by h.",
        metavar="CELL",
        rich_help_panel=CELLS,
        autocompletion=complete_cell,
    ),
]


@options.with_settings(SampleSettings, TerminalSettings)
def sample(
    run: options.RunArgument = None,
    prime: PrimeOption = None,
    prime_file: PrimeFileOption = None,
    interactive: InteractiveOption = False,
    no_echo: NoEchoOption = False,
    skip_unknown: options.SkipUnknownOption = False,
    as_json: JsonLinesOption = False,
    raw: RawOption = False,
    output: OutputOption = None,
    novelty: NoveltyOption = False,
    corpus: CorpusOption = None,
    adapt: AdaptOption = None,
    save_as: SaveAsOption = None,
    clamp: ClampOption = None,
    color_by: ColorByOption = None,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    *,
    given: dict[str, Any],
) -> None:
    """Generate text from a trained model.

    Without a prime, the text starts at the beginning of a line. A model of documents continues the last document of the
    prime, or begins one. A pipe or a file gets the exact characters; a terminal shows control characters as symbols,
    and breaks lines between words. Several texts are printed one after the other,
    each ending with a newline; --json keeps them apart. Several temperatures start from the same prime and seed.

    [bold]charrnn sample --prime "ROMEO:" --length 400[/bold]
    [bold]charrnn sample --num 20 --stop "."[/bold]
    [bold]charrnn sample --temperature 0.3,0.8,1.5 --length 200[/bold]
    [bold]charrnn sample --interactive --lines 4[/bold]
    [bold]head -c 500 play.txt | charrnn sample --prime -[/bold]
    [bold]charrnn sample --adapt letters.txt --save-as letters[/bold]
    [bold]charrnn sample --clamp 1:42=inside@100..300 --color-by 1:42[/bold]
    [bold]charrnn sample --max-copy 40 --novelty[/bold]
    [bold]charrnn sample --matching '(.{0,60}\\n){14}' --particles 8[/bold]
    [bold]charrnn sample --prime "To be" --suffix "the question"[/bold]
    """
    variants = _variants(given, interactive=interactive)
    only_one_of(raw=raw, color_by=color_by)
    only_one_of(output=output, color_by=color_by)
    only_one_of(prime=prime, prime_file=prime_file, interactive=interactive)
    _check_inputs("-" if interactive else prime, prime_file, adapt, save_as)
    model = _adapted(options.load_model(run, checkpoint, device), adapt, save_as, skip_unknown=skip_unknown)
    prime_ids = _prime_ids(model, prime, prime_file, skip_unknown=skip_unknown)
    needs_index = novelty or variants[0].max_copy is not None
    index = training_index(model, corpus, needed=needs_index, by="--novelty and --max-copy")
    colors = None if as_json else _colored_stream(model, color_by, settings_from(TerminalSettings, given))
    printer = _Printer(
        model, clamp or (), color_by, colors, index, novelty=novelty, as_json=as_json, raw=raw, echo=not no_echo
    )
    # Texts are drawn before the output is opened, so that a mistake does not replace a file.
    drawn = None if interactive else printer.draw(prime_ids, variants[0])
    if not as_json:
        _announce(model.name, variants[0], colors, with_seed="seed" not in given)
    with _redirected(output):
        if drawn is None:
            printer.continue_lines(variants[0])
        else:
            printer.print_variants(drawn, variants)


def _variants(given: dict[str, Any], *, interactive: bool) -> list[SampleSettings]:
    """Return the settings for each value of --temperature, which commas separate. All have the same seed."""
    first, *others = str(given.get("temperature", "")).split(",")
    if interactive and others:
        raise UsageError("--interactive takes one --temperature", "leave out the others")
    settings = sample_settings({**given, **({"temperature": first} if "temperature" in given else {})}).seeded()
    return [settings, *(settings.changed(temperature=value) for value in others)]


@dataclass(frozen=True)
class _Printer:
    """Draws texts and prints them, as the options of `charrnn sample` say. index: of the training text, if needed."""

    model: Model
    clamp: Sequence[str]
    color_by: str | None
    colors: ColoredStream | None
    index: TrainingIndex | None
    novelty: bool
    as_json: bool
    raw: bool
    echo: bool

    def draw(self, prime: np.ndarray, settings: SampleSettings) -> Drawn:
        """Return texts that continue a prime. Raises CharrnnError for settings that do not fit the model."""
        return Drawn(self.model, prime, settings, clamp=self.clamp, color_by=self.color_by, index=self.index)

    def print(self, drawn: Drawn, *, newline: bool) -> None:
        """Print texts as they are generated. newline: end a single one with a newline too."""
        index = self.index if self.novelty else None
        if self.as_json:
            print_json(drawn, self.model, index, watched=self.color_by is not None, raw=self.raw)
        else:
            output = TextOutput(self.model.run, self.raw, self.colors)
            print_texts(drawn, output, index, echo=self.echo, newline=newline)

    def print_variants(self, first: Drawn, variants: Sequence[SampleSettings]) -> None:
        """Print texts with all of these settings. first: those with the first of them."""
        for settings in variants:
            if len(variants) > 1 and not self.as_json:
                say(f"── temperature {settings.temperature} ──")
            drawn = first if settings is variants[0] else self.draw(first.prime, settings)
            self.print(drawn, newline=len(variants) > 1)

    def continue_lines(self, settings: SampleSettings) -> None:
        """Continue each line of standard input, from one seed after the other. A person's Ctrl-C ends one text."""
        lines, seed = TypedLines("prime: "), settings.seed or 0
        for number, line in enumerate(lines):
            prime = known_ids(line, self.model.run)
            if line and not len(prime):
                continue
            try:
                self.print(self.draw(prime, settings.changed(seed=(seed + number) % 2**63)), newline=True)
            except KeyboardInterrupt:
                if not lines.is_typed:
                    raise


def _check_inputs(prime: str | None, prime_file: str | None, adapt: str | None, save_as: str | None) -> None:
    """Raise UsageError for a file that does not exist, or options that exclude each other."""
    if save_as is not None and adapt is None:
        raise UsageError("--save-as keeps an adapted model", "name a text with --adapt")
    if adapt == "-" and "-" in (prime, prime_file):
        raise UsageError("the prime and --adapt cannot both read standard input")
    # A pipe, as in --prime-file <(command), is a file too. Path.exists may raise.
    if prime_file not in (None, "-") and (not os.path.exists(prime_file) or os.path.isdir(prime_file)):  # noqa: PTH110, PTH112
        raise UsageError(f"there is no file {prime_file}", "check the path given to --prime-file")


def _announce(run: str, settings: SampleSettings, colors: ColoredStream | None, *, with_seed: bool) -> None:
    """Show the seed, and the legend of the colors, if standard error is a terminal."""
    if not is_terminal(sys.stderr):
        return
    facts = [f"seed {settings.seed}"] if with_seed and not settings.greedy else []
    facts += [colors.legend] if colors is not None and is_terminal(sys.stdout) else []
    if facts:
        say(" · ".join([run, *facts]), styled=True)


@contextlib.contextmanager
def _redirected(path: Path | None) -> Iterator[None]:
    """Write standard output to a file, if one is given, exactly as to a pipe."""
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror}") from None
    with file, contextlib.redirect_stdout(file):
        yield
    say(f"written to {path}")


def _adapted(model: Model, text: str | None, name: str | None, *, skip_unknown: bool) -> Model:
    """Return the model adapted to a text, if one is given, and kept as a run if it gets a name."""
    from charrnn.model.lookup import check_new_name, runs_folder

    if text is None:
        return model
    if name is not None:
        check_new_name(name, runs_folder(), "choose another name for --save-as")
    with progress_bar() as bar, _conversion_told(model.run):
        adapted = model.adapt(Path(text), skip_unknown=skip_unknown, progress=bar)
    title = "standard input" if text == "-" else text
    if name is None:
        say(f"adapted to {title}; --save-as NAME keeps the adapted model")
        return adapted
    saved = adapted.save_as(name)
    say(f"adapted to {title}; the adapted model is the run {saved.name}, in {saved.run.path}")
    return saved


def _prime_ids(model: Model, prime: str | None, prime_file: str | None, *, skip_unknown: bool) -> np.ndarray:
    text, hint = _read_prime(prime, prime_file, model.run), "use --skip-unknown to skip them"
    return model.run.encode(text, source="the prime", skip_unknown=skip_unknown, hint=hint)


def _read_prime(prime: str | None, prime_file: str | None, run: Run) -> str | bytes:
    as_bytes = run.vocabulary.kind == "bytes"
    source = "-" if prime == "-" else prime_file
    if source is not None:
        from charrnn.text.corpus import read_text

        with _conversion_told(run):
            return read_text(source, as_bytes=as_bytes, reading=run.read_settings())
    return os.fsencode(prime or "") if as_bytes else prime or ""


@contextlib.contextmanager
def _conversion_told(run: Run) -> Iterator[None]:
    """Where a file is in another encoding than the run's corpus, say what to convert it to: no option names it."""
    from charrnn.text.vocabulary import NotTextError

    try:
        yield
    except NotTextError as error:
        hint = f"convert it to {run.read_settings().encoding}, the encoding of the run's corpus"
        raise CharrnnError(error.message, hint) from None


def _colored_stream(model: Model, color_by: str | None, settings: TerminalSettings) -> ColoredStream | None:
    """Return what colors text by a cell; None where the output has no colors, or no cell is given."""
    from charrnn.display.colored_stream import ColoredStream

    if color_by is None:
        return None
    cell, _, signal = color_by.partition(".")
    text = None if model.run.has_held_out_text else model.sample(length=2_000, seed=1)
    view = model.trace(text, length=2_000).show(cell, signal=signal or "auto").views[0].part(0, 0)
    terminal = output_terminal(settings)
    return None if terminal.colors == "none" else ColoredStream(view, terminal)
