"""`charrnn train --model rnn,gru,lstm`: train kinds of layers under equal conditions, and compare them."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from typing import TYPE_CHECKING

import typer

from charrnn.cli.parameters import with_flags
from charrnn.cli.runs import print_runs, summarize, write_plot
from charrnn.cli.training_run import Trained, load_with_bar, raise_output_error, train_with_screen
from charrnn.display.terminal import Terminal
from charrnn.errors import CharrnnError, CharrnnWarning, ExitCode
from charrnn.model.losses import LossPlot
from charrnn.settings import TrainingSettings
from charrnn.training.recurrence_comparison import ComparisonPlan, plan_comparison
from charrnn.units import amount, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charrnn.training.options import TrainOptions


def compare_models(
    corpus: Sequence[str], options: TrainOptions, recurrences: Sequence[str], *, tensorboard: bool, as_json: bool
) -> None:
    """Train a model of each kind, then draw their validation losses in one plot, and print a table."""
    loaded = load_with_bar(corpus, options.as_bytes, options.reading)
    comparison = plan_comparison(loaded, options, recurrences)
    terminal = Terminal.of(sys.stderr if as_json else sys.stdout)
    _show_plan(comparison, terminal)
    trained: list[Trained] = []
    validation: dict[str, int] = {}  # of all models on the part of the text that the first one's plan has time for
    for number, one in enumerate(comparison.options, start=1):
        one = dataclasses.replace(one, settings={**validation, **one.settings})
        terminal.write(f"── {number}/{len(comparison.options)} {one.settings['recurrence']} ──\n")
        try:
            ended = train_with_screen(loaded, one, tensorboard=tensorboard, to_stderr=as_json, with_corpus=not trained)
        except CharrnnError as error:
            reason = with_flags(str(error), {name: each.flag for name, each in TrainingSettings.options().items()})
            warnings.warn(f"{one.settings['recurrence']} is left out: {reason}", CharrnnWarning, stacklevel=1)
            continue
        if ended is None:
            continue
        trained.append(ended)
        validation = {"val_characters": trained[0].run.settings.training.val_characters}
        ended.screen.show_result(ended.run, ended.finished)
        if ended.exit_code != ExitCode.SUCCESS or ended.screen.output_error is not None:
            break
    if not trained:
        raise CharrnnError("none of the models could be trained")
    terminal.write("\n")
    x = "steps" if comparison.minutes is None else "minutes"
    write_plot(LossPlot.of([one.run for one in trained], x), terminal)
    terminal.write("\n")
    print_runs([summarize(str(one.run.path)) for one in trained], terminal)
    if as_json:
        print(json.dumps({"runs": [one.screen.summary_json(one.run, one.finished) for one in trained]}))
    if trained[-1].exit_code != ExitCode.SUCCESS:
        raise typer.Exit(trained[-1].exit_code)
    if not as_json:
        raise_output_error(trained[-1].screen)


def _show_plan(comparison: ComparisonPlan, terminal: Terminal) -> None:
    shapes = ", ".join(model.shape for model in comparison.models)
    sizes = sorted(comparison.parameters)
    number = len(comparison.models)
    length = "" if comparison.minutes is None else f", {duration(60 * comparison.minutes)} each"
    total = "" if comparison.minutes is None else f": about {duration(60 * number * comparison.minutes)} in all"
    terminal.paragraph(f"comparing {shapes}: {sizes[0]:,} to {amount(sizes[-1], 'parameter', exact=True)}")
    terminal.paragraph(f"{number} runs with the same settings{length}{total}")
    terminal.write("\n")
