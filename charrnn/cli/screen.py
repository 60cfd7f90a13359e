"""The screen of `charrnn train`: the plan, a progress bar, evaluations with a sample, and the summary."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from charrnn.cli.corpus_rows import corpus_rows
from charrnn.display.plots import loss_curve
from charrnn.display.tables import key_values
from charrnn.display.terminal import Terminal, safe_text
from charrnn.errors import CharrnnError
from charrnn.training.forecast import range_of
from charrnn.units import amount, bits, count, duration, loss, percent

if TYPE_CHECKING:
    from tqdm import tqdm

    from charrnn.model.checkpoint import Checkpoint
    from charrnn.model.network import CharRNN
    from charrnn.model.run import Run
    from charrnn.training.events import Evaluated, Event, Finished, Requests
    from charrnn.training.planning import Plan
    from charrnn.training.setup import PreparedRun

SAMPLE_CHARACTERS = 160
SAMPLE_INTERVAL = 15.0  # seconds
VALIDATION_DELAY, VALIDATION_INTERVAL = 1.0, 0.2  # seconds before the progress of a validation appears and changes
MAX_WIDTH = 100
MIN_POINTS = 5  # of both losses; fewer are not plotted
MIN_CORRECTION = 1.25  # ratio of the number of steps to that on screen; smaller corrections are not shown


class TrainingScreen:
    """Draws the events of training: lines to `out`, the progress bar to stderr.

    On a terminal, a sample from the current network follows each evaluation, and appears every SAMPLE_INTERVAL without
    one. If `out` is a pipe and its reader exits, a stop is requested. output_error: the first error of a write to
    `out`. clock: in seconds, monotonic.
    """

    def __init__(self, out: TextIO, requests: Requests, clock: Callable[[], float] = time.monotonic):
        self.terminal = Terminal.of(_DurableStream(out, self._on_output_error))
        self._clock, self._sampled_at = clock, clock()
        self._network: CharRNN | None = None
        self._validated, self._validation_shown_at = 1.0, 0.0
        self.output_error: OSError | None = None
        self._requests = requests
        self._training_losses: list[tuple[float, float]] = []
        self._validation_losses: list[tuple[float, float]] = []
        self._forecast: dict[str, float | None] | None = None
        self._planned_steps = self._shown_steps = 0
        self._is_corrected = False
        self._bar: tqdm[NoReturn] | None = None

    def line(self, text: str = "", *, wrap: bool = True) -> None:
        """Write a line above the bar, wrapped to the terminal's width."""
        if self._bar is not None:
            self._bar.clear()
        self.terminal.write("".join(f"{row}\n" for row in (self.terminal.wrap(text) if wrap else [text])))
        self.terminal.flush()
        if self._bar is not None:
            self._bar.refresh()

    def _on_output_error(self, error: OSError) -> None:
        self.output_error = error
        if isinstance(error, BrokenPipeError):
            self._requests.stop = True

    def show_plan(self, prepared: PreparedRun, run: Run, note: str | None = None, *, with_corpus: bool = True) -> None:
        """Show what is trained, why, and the forecast; of a resumed run, where it continues.

        note: a line below. with_corpus: also what the corpus is.
        """
        plan, nats = prepared.plan, prepared.forecast_nats
        self._network, self._sampled_at = prepared.network, self._clock()
        if prepared.checkpoint is not None:
            self._recall_losses(run, prepared.checkpoint)
            self._show_resumed(run, prepared.checkpoint, plan)
            return
        training, origin = run.settings.training, run.settings.origin
        seconds = plan.seconds if plan is not None else 0.0
        self._forecast = {"seconds": seconds, "nats": nats}
        expected = ""
        if nats is not None:
            low, high = range_of(nats, of_part=0 < training.val_characters < len(prepared.validation_text))
            decimals = 1 if nats >= 1 else 2  # fewer could make both the same
            expected = f", validation loss about {low:.{decimals}f} to {high:.{decimals}f} nats"
        rows = [
            *(corpus_rows(run, prepared.corpus, len(prepared.validation_text)) if with_corpus else ()),
            ("model", model_line(run)),
            (
                "plan",
                f"{amount(training.steps, 'step')} of {amount(training.batch_size, 'stream')} × "
                f"{amount(training.seq_length, 'character')}, learning rate {training.learning_rate:g}, "
                f"{amount(training.evaluations, 'evaluation')}: about {duration(seconds)}{expected}",
            ),
            ("reason", origin.chosen_because),
            *([("weights", _origin_of_weights(prepared.initialized_from))] if prepared.initialized_from else []),
            ("device", f"{origin.device}, {training.precision}"),
            ("run", str(run.path)),
        ]
        key_values(rows, self.terminal)
        if note is not None:
            self.line(note)
        self.line()

    def _recall_losses(self, run: Run, checkpoint: Checkpoint) -> None:
        """Begin the curves with what was logged up to the checkpoint that a run is resumed from."""
        from charrnn.model.losses import losses_of

        earlier = [one for one in losses_of(run) if one.step <= checkpoint.step]
        self._training_losses = [(one.step, one.train_nats) for one in earlier if one.train_nats is not None]
        self._validation_losses = [(one.step, one.validation_nats) for one in earlier]

    def _show_resumed(self, run: Run, checkpoint: Checkpoint, plan: Plan | None) -> None:
        training = run.settings.training
        step, steps = count(checkpoint.step), count(training.steps)
        if checkpoint.progress.finished:
            about = "" if plan is None else f", about {duration(plan.seconds)}"
            how = (
                "extended",
                f"from step {step} to {steps}, in {training.precision}{about}; the learning rate restarts",
            )
        else:
            left = "" if plan is None else f": {duration(plan.seconds)} left"
            how = ("resumed", f"at step {step} of {steps}, in {training.precision}{left}")
        key_values([("run", str(run.path)), ("model", model_line(run)), how], self.terminal)
        self.line()

    @contextlib.contextmanager
    def progress_bar(self, steps: int, step: int) -> Iterator[None]:
        """Draw a bar on stderr within this context, if stderr is a terminal."""
        from tqdm import tqdm

        self._planned_steps = self._shown_steps = steps
        with tqdm(
            total=steps,
            initial=step,
            unit="step",
            disable=None,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            bar_format="{percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
        ) as self._bar:
            yield
        self._bar = None

    def show_interrupt(self) -> None:
        """Acknowledge the first Ctrl-C, unless the signal arrived during a write to the same stream."""
        with contextlib.suppress(RuntimeError):
            self.line("stopping after this step; press Ctrl-C again to stop now without saving")

    def show_validation(self, fraction: float) -> None:
        """Draw the progress of a validation that takes longer than VALIDATION_DELAY, in place of the loss and speed."""
        now = self._clock()
        if fraction <= self._validated:  # another one has started
            self._validation_shown_at = now + VALIDATION_DELAY
        self._validated = fraction
        if self._bar is not None and now >= self._validation_shown_at:
            self._bar.set_postfix_str(f" validating: {percent(fraction)}")
            self._validation_shown_at = now + VALIDATION_INTERVAL

    def show(self, event: Event, run: Run) -> None:
        """Draw an event."""
        from charrnn.training import events
        from charrnn.training.advice import gradient_advice

        match event:
            case events.StepsTaken():
                self._training_losses.append((event.step, event.nats))
                if self._bar is not None:
                    speed = f"{event.characters_per_second / 1e3:.1f}k ch/s"
                    self._bar.set_postfix_str(f" {event.nats:.3f} nats {bits(event.nats):.2f} bpc {speed}", False)
                    self._bar.update(event.step - self._bar.n)
                if self._network is not None and self._clock() - self._sampled_at >= SAMPLE_INTERVAL:
                    self._show_sample(self._network, run, event.step, f"step {count(event.step):>7}")
            case events.Evaluated():
                self._validation_losses.append((event.step, event.validation_nats))
                self._show_evaluation(event, run)
            case events.CheckpointFailed():
                self.line(f"checkpoint of step {count(event.step)} not saved: {event.reason}; the previous one stays")
            case events.StepsCorrected():
                self._show_correction(event.step, event.steps)
            case events.GradientTrouble():
                self.line(f"step {count(event.step)}: {gradient_advice(event, run.settings)}")
            case events.Exploded():
                self.line(f"exploded: back to step {count(event.step)}, with the learning rate × {event.rate_scale:g}")

    def _show_correction(self, step: int, steps: int) -> None:
        """Show a considerable correction; the summary shows all of them together."""
        self._is_corrected = True
        if not self._shown_steps / MIN_CORRECTION < steps < self._shown_steps * MIN_CORRECTION:
            self.line(f"step {count(step)}: now {count(steps)} steps in total, so that the run still ends on time")
            self._shown_steps = steps
        if self._bar is not None:
            self._bar.total = steps
            self._bar.refresh()

    def _show_evaluation(self, event: Evaluated, run: Run) -> None:
        self.line(
            f"step {count(event.step):>7}  train {event.train_nats:.3f}  validation {event.validation_nats:.3f} nats"
            f" ({bits(event.validation_nats):.3f} bpc){'  best' if event.is_best else ''}  {duration(event.seconds)}"
        )
        self._show_sample(event.network, run, event.step)

    def _show_sample(self, network: CharRNN, run: Run, step: int, title: str | None = None) -> None:
        """Draw a sample on a terminal. It has its own random generator: training stays bit for bit as without it."""
        if not self.terminal.is_terminal:
            return
        if title is not None:
            self.line(title)
        width = max(20, min(MAX_WIDTH, self.terminal.width - 2))
        for line in _sample(network, run, step).strip("\n").split("\n"):
            for row in textwrap.wrap(safe_text(line), width - 4, drop_whitespace=False) or [""]:
                self.line(f"    {row}", wrap=False)
        self._sampled_at = self._clock()

    def show_result(self, run: Run, finished: Finished) -> None:
        """Show the losses, the length and the time."""
        self.line()
        rows = _summary_rows(run, finished, _epochs(run, finished))
        if self._is_corrected:
            rows.append(("corrected", f"from {amount(self._planned_steps, 'step')}, to end on time"))
        key_values(rows, self.terminal)

    def show_summary(self, run: Run, finished: Finished, cell: str | None = None) -> None:
        """Show the result, the curve, advice, and what to do next. cell: one worth looking at, if any is known."""
        from charrnn.model.losses import losses_of
        from charrnn.training.advice import FURTHER, advice

        training, corpus, epochs = run.settings.training, run.settings.corpus, _epochs(run, finished)
        self.show_result(run, finished)
        if len(self._training_losses) + len(self._validation_losses) >= MIN_POINTS:
            self.line()
            curves = {"training": self._training_losses, "validation": self._validation_losses}
            self.terminal.write_lines(loss_curve(curves, self.terminal))
        said = advice(run.settings.model, finished, losses_of(run), training.steps, epochs, corpus.held_out)
        if said:
            self.line()
            self.line(said)
        self.line()
        self.line("next:")
        for command in _next_commands(run, finished, cell, further=FURTHER in (said or "")):
            self.line(f"  {command}", wrap=False)  # so that it can be copied

    def summary_json(self, run: Run, finished: Finished) -> dict[str, Any]:
        """Return the summary for `--json`. forecast: of the seconds and the loss that `show_plan` showed."""
        progress = finished.progress
        return {
            "run": run.name,
            "path": str(run.path),
            "reason": finished.reason,
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "train_nats": finished.train_nats,
            "best_validation_nats": progress.best_nats,
            "best_step": progress.best_step,
            "held_out_nats": finished.held_out_nats,
            "corrections": [correction._asdict() for correction in run.corrections],
            "forecast": self._forecast,
            "model": run.settings.model.to_json(),
            "training": run.settings.training.to_json(),
        }


class _DurableStream:
    """A stream to /dev/null after its first error, such as a closed terminal, so that training continues."""

    def __init__(self, stream: TextIO, on_error: Callable[[OSError], None]):
        self._stream, self._on_error = stream, on_error
        self.encoding = stream.encoding
        self.isatty, self.fileno = stream.isatty, stream.fileno

    def write(self, text: str) -> int:
        with self._surviving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._surviving():
            self._stream.flush()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            self._on_error(error)


def _origin_of_weights(checkpoint: Checkpoint) -> str:
    nats = checkpoint.progress.validation_nats
    validation = "" if nats is None else f", validation loss {nats:.3f} nats"
    return f"from {checkpoint.path.parent.parent.name}, step {count(checkpoint.step)}{validation}"


def model_line(run: Run) -> str:
    """Return the architecture of a run in words."""
    from charrnn.model.network import parameter_count

    model = run.settings.model
    return (
        f"{model.shape}, embedding {model.embedding_size}, dropout {model.dropout:g}, "
        f"{amount(parameter_count(model, len(run.vocabulary)), 'parameter')}"
    )


def _characters_read(run: Run, finished: Finished) -> int:
    return finished.progress.step * run.settings.training.batch_size * run.settings.training.seq_length


def _epochs(run: Run, finished: Finished) -> float:
    corpus = run.settings.corpus
    return _characters_read(run, finished) / max(1, corpus.characters - corpus.held_out)


def _summary_rows(run: Run, finished: Finished, epochs: float) -> list[tuple[str, str]]:
    progress, read = finished.progress, _characters_read(run, finished)
    rows = [("run", str(run.path)), ("model", model_line(run))]
    if finished.train_nats is not None:
        rows.append(("training loss", loss(finished.train_nats)))
    if progress.best_nats is not None:
        at = "" if progress.best_step in (None, progress.step) else f", at step {count(progress.best_step)}"
        part = run.settings.training.val_characters
        on = f", on the first {count(part)} held-out characters" if 0 < part < run.settings.corpus.held_out else ""
        rows.append(("validation loss", f"{loss(progress.best_nats)}{at}{on}"))
    if finished.held_out_nats is not None:
        rows.append(("on all held out", f"{loss(finished.held_out_nats)}, at step {count(progress.step)}"))
    ending = {"done": "", "early": ", stopped early because the validation loss rose", "stopped": ", stopped"}
    rows.append(("steps", f"{count(progress.step)} of {count(run.settings.training.steps)}{ending[finished.reason]}"))
    rows.append(("trained on", f"{amount(read, 'character')}, {epochs:.1f} epochs"))
    if progress.seconds:
        rows.append(("time", f"{duration(progress.seconds)}, {count(read / progress.seconds)} characters per second"))
    return rows


def _next_commands(run: Run, finished: Finished, cell: str | None, *, further: bool) -> list[str]:
    """Return commands that use the run. further: one of them trains it further."""
    from charrnn.discovery.study import MIN_CHARACTERS

    corpus, named = run.settings.corpus, run.settings.corpus.named()
    inspect = f"charrnn inspect {run.name}"
    if cell is None and corpus.held_out < MIN_CHARACTERS:  # too short for a search
        if corpus.characters >= MIN_CHARACTERS and len(named) == 1 and Path(named[0]).is_file():
            inspect += f" --text {shlex.quote(named[0])}"
        else:
            cell = "1"
    if cell is not None:
        inspect += f" --cell {cell}"
    sample = f"charrnn sample {run.name} --temperature 0.8"
    if finished.reason == "stopped":
        resume = f"charrnn train {shlex.join(named)} --resume --name {run.name}"
        return [resume, sample, inspect]
    commands = [sample, inspect, f"charrnn evaluate {run.name} another.txt"]
    if further:
        minutes = max(1, math.ceil(finished.progress.seconds / 60))
        commands.append(f"charrnn train {shlex.join(named)} --more-minutes {minutes} --name {run.name}")
    return commands


def _sample(network: CharRNN, run: Run, step: int) -> str:
    from charrnn.sampling.generate import generate
    from charrnn.sampling.settings import SampleSettings

    settings = SampleSettings(length=SAMPLE_CHARACTERS, temperature=0.8, seed=step)
    drawn = generate(network, settings, vocabulary=run.vocabulary, documents=run.document_separator)
    try:
        return run.text([ids[0] for ids in drawn])
    except CharrnnError as error:  # training has diverged, and may recover
        return f"({error.message})"
