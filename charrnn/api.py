"""The Python interface: `load` a trained model or `train` one, then sample, score, trace, and search its cells.

    import charrnn

    model = charrnn.load("shakespeare")
    model.sample("ROMEO:", length=200, temperature=0.7, seed=1)
    model.score("To be, or not to be").bits_per_character
    model.trace("Hello (world)").show("1:42")

The command line is built on this module. Nothing here prints or changes the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Any

from charrnn.inspected_model import Model
from charrnn.model.device import choose_device
from charrnn.model.lookup import open_run
from charrnn.model.losses import LossPlot
from charrnn.reading_model import TextLike
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.training.events import Event, Requests
from charrnn.training.options import TrainOptions
from charrnn.training.recurrence_comparison import plan_comparison
from charrnn.training.session import training_session

__all__ = ["Model", "TextLike", "compare", "load", "loss_plot", "train"]


def load(name: str | PathLike[str] | None = None, *, checkpoint: str = "best", device: str = "auto") -> Model:
    """Return a trained model.

    name: of a run in checkpoints/, or its folder; None: the run trained last, or the built-in one where there is none.
    checkpoint: "best", "last", or a step. device: "auto", "cpu", "cuda" or "mps".
    Raises UsageError where there is no such run, checkpoint or device, CharrnnError where the run is damaged.
    """
    run = open_run(None if name is None else fspath(name))
    network, loaded = run.load_network(checkpoint, choose_device(device))
    return Model(run, loaded, network)


def train(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    *,
    name: str | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    resume: bool = False,
    more_minutes: float | None = None,
    more_steps: int | None = None,
    init_from: str | None = None,
    as_bytes: bool = False,
    device: str = "auto",
    on_event: Callable[[Event], object] | None = None,
    requests: Requests | None = None,
    **settings: Any,
) -> Model:
    """Train a model and return it with its best weights; the run is kept in checkpoints/.

    corpus: files, folders, glob patterns or names of corpora. name: of the run. minutes, epochs, or `steps` among the
    settings: the length of the run. resume: continue the run `name` (or the newest). more_minutes, more_steps: extend
    that run after it was finished. init_from: a run to take the initial weights from. on_event: called with each event
    of `charrnn.training.events`. requests: to stop, or to ask for a checkpoint, from another thread. settings: fields
    of `ModelSettings` and `TrainingSettings`; those left out are chosen for the corpus and the device. Also fields of
    `ReadSettings`, such as encoding.
    Raises UsageError for settings out of bounds, CharrnnError where training cannot start or continue.
    """
    options = TrainOptions(
        settings, epochs, minutes, name, resume, init_from, as_bytes, device, more_minutes, more_steps
    )
    return _train(_specs(corpus), options, on_event, requests)


def compare(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]],
    recurrences: Sequence[str] = ("rnn", "gru", "lstm"),
    *,
    name: str | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    as_bytes: bool = False,
    device: str = "auto",
    on_event: Callable[[Event], object] | None = None,
    requests: Requests | None = None,
    **settings: Any,
) -> list[Model]:
    """Train a model of each recurrence with equal budgets and settings and nearly equal sizes, and return them.

    They are trained one after the other; `loss_plot` overlays their curves. name: the runs are called NAME-RECURRENCE.
    minutes, epochs, or `steps` among the settings: for each model. Other arguments, and errors, as for `train`.
    """
    options = TrainOptions(settings, epochs, minutes, name, as_bytes=as_bytes, device=device)
    loaded = load_corpus(_specs(corpus), as_bytes=as_bytes, **options.reading.to_json())
    models = []
    for one in plan_comparison(loaded, options, recurrences).options:
        models.append(_train(loaded, one, on_event, requests))
        if requests is not None and requests.stop:
            break
    return models


def loss_plot(models: Sequence[Model], x: str = "characters") -> LossPlot:
    """Return one plot of the validation losses of up to four models; `save` writes it.

    x: "characters", "minutes" or "steps".
    """
    return LossPlot.of([model.run for model in models], x)


def _specs(corpus: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[str]:
    return [fspath(one) for one in ([corpus] if isinstance(corpus, str | PathLike) else corpus)]


def _train(
    corpus: Corpus | Sequence[str],
    options: TrainOptions,
    on_event: Callable[[Event], object] | None,
    requests: Requests | None,
) -> Model:
    with training_session(corpus, options) as session:
        for event in session.events(requests):
            if on_event is not None:
                on_event(event)
    return load(session.run.path, device=options.device)
