"""`charrnn train`: train a model on a text."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from charrnn.cli.completion import complete_corpus, complete_run
from charrnn.cli.options import DeviceOption, with_settings
from charrnn.errors import ExitCode, UsageError
from charrnn.settings import DATA, LENGTH, ModelSettings, ReadSettings, TrainingSettings
from charrnn.training.options import TrainOptions

RUN = "Run"
DEFAULT_CORPUS = "python"

CorpusArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, folders, glob patterns, - for standard input, or names (see: charrnn corpora).",
        metavar="CORPUS",
        show_default=False,
        autocompletion=complete_corpus,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the run.",
        metavar="NAME",
        rich_help_panel=RUN,
        show_default="after the corpus",
        autocompletion=complete_run,
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume a run (--name, or the newest).", rich_help_panel=RUN)
]
InitFromOption = Annotated[
    str | None,
    typer.Option(
        help="Initialize from another run's weights.", metavar="RUN", rich_help_panel=RUN, autocompletion=complete_run
    ),
]
EpochsOption = Annotated[float | None, typer.Option(help="Train for this many epochs.", rich_help_panel=LENGTH)]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        help="Train for this many minutes, evaluations included.",
        rich_help_panel=LENGTH,
        show_default="5, or 3 on a GPU",
    ),
]
MoreMinutesOption = Annotated[
    float | None,
    typer.Option(help="Extend a finished run (--name, or the newest) by this many minutes.", rich_help_panel=LENGTH),
]
MoreStepsOption = Annotated[
    int | None, typer.Option(help="Extend a finished run by this many steps.", rich_help_panel=LENGTH)
]
BytesOption = Annotated[
    bool, typer.Option("--bytes", help="Model the bytes of any file instead of characters.", rich_help_panel=DATA)
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also log to TensorBoard, in the run's folder.", rich_help_panel=RUN)
]
SummaryJsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object at the end; everything else goes to stderr.")
]


@with_settings(ModelSettings, TrainingSettings, ReadSettings)
def train(
    corpus: CorpusArgument = None,
    name: NameOption = None,
    resume: ResumeOption = False,
    init_from: InitFromOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    more_minutes: MoreMinutesOption = None,
    more_steps: MoreStepsOption = None,
    as_bytes: BytesOption = False,
    device: DeviceOption = "auto",
    tensorboard: TensorboardOption = False,
    as_json: SummaryJsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a model on a text.

    By default, model size and training length are chosen for the corpus and the device, to finish in about five minutes
    (three on a GPU). Several kinds of layers, as in --model rnn,gru,lstm, are trained one after the other, in models of
    nearly the same size with the same settings, and compared.

    [bold]charrnn train shakespeare.txt[/bold]
    [bold]charrnn train src/ --minutes 20 --name mine[/bold]
    [bold]charrnn train shakespeare.txt --resume[/bold]
    [bold]charrnn train shakespeare.txt --more-minutes 10[/bold]
    [bold]charrnn train shakespeare.txt --model rnn,gru,lstm[/bold]
    """
    recurrences = str(given.get("recurrence", "")).split(",")
    if len(recurrences) > 1:
        given["recurrence"] = recurrences[0]
    options = TrainOptions(given, epochs, minutes, name, resume, init_from, as_bytes, device, more_minutes, more_steps)

    from charrnn.cli.tensorboard import summary_writer
    from charrnn.cli.training_run import interesting_cell, raise_output_error, train_with_screen
    from charrnn.model.device import choose_device, keep_freed_memory
    from charrnn.training.distributed import is_launched

    if tensorboard:
        summary_writer()
    if choose_device(device).type == "cpu":
        keep_freed_memory()
    if not corpus and not resume and options.extension is None and not is_launched():
        corpus = [_default_corpus()]
    if len(recurrences) > 1:
        from charrnn.cli.compare_models import compare_models

        compare_models(corpus or [], options, recurrences, tensorboard=tensorboard, as_json=as_json)
        return
    note = _note(options) if "recurrence" in given else None
    trained = train_with_screen(corpus, options, tensorboard=tensorboard, to_stderr=as_json, note=note)
    if trained is None:
        return
    trained.screen.show_summary(trained.run, trained.finished, interesting_cell(trained))
    if as_json:
        print(json.dumps(trained.screen.summary_json(trained.run, trained.finished)))
    if trained.exit_code != ExitCode.SUCCESS:
        raise typer.Exit(trained.exit_code)
    if not as_json:
        raise_output_error(trained.screen)


def _note(options: TrainOptions) -> str | None:
    """Return what else --model changes in a new run, where that is not given; None for the default kind."""
    kind, default = options.settings["recurrence"], ModelSettings().recurrence
    is_new = not options.resume and options.init_from is None and options.extension is None
    if kind == default or not is_new or {"hidden_size", "learning_rate"} <= options.settings.keys():
        return None
    return f"note: size, steps and rate are those chosen for {kind}; --model {kind},{default} compares fairly"


def _default_corpus() -> str:
    """Offer the corpus that every machine has. Raise UsageError off a terminal, or if the user declines."""
    from charrnn.display.terminal import is_terminal

    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        typer.echo(f"No corpus given. {DEFAULT_CORPUS} is the source code of Python's standard library.", err=True)
        if typer.confirm("Train on it?", default=True, err=True):
            return DEFAULT_CORPUS
    raise UsageError("no corpus given", f"name one, such as: charrnn train {DEFAULT_CORPUS}")
