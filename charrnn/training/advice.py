"""One sentence that follows from a run's numbers: what to change next time."""

from __future__ import annotations

from charrnn.settings import ModelSettings
from charrnn.training.loop import Evaluated, Finished

LEARNT_BY_HEART = 0.12
STILL_FALLING = 0.01


def advice(
    model: ModelSettings, finished: Finished, evaluations: list[Evaluated], steps: int, epochs: float
) -> str | None:
    """What the losses say of a run. epochs: how often the text was read. None where they say nothing yet.

    Nats: a training loss more than LEARNT_BY_HEART below the validation loss is overfitting; a validation loss that
    fell by more than STILL_FALLING over the last fifth of the run had not levelled off.
    """
    progress = finished.progress
    if progress.skipped_steps:
        return f"{progress.skipped_steps} steps had no finite gradient and were left out: try half the --learning-rate."
    if finished.reason == "stopped":
        return "It was stopped before its rate had come down, where most of the last gain is made: --resume goes on."
    if not evaluations or finished.train_nats is None:
        return None
    last = evaluations[-1]
    gap = last.validation_nats - last.train_nats
    if finished.reason == "early" or gap > LEARNT_BY_HEART:
        stronger = (
            f"more --dropout (it was {model.dropout:g})"
            if model.dropout < 0.4
            else f"a smaller --hidden-size (it was {model.hidden_size})"
        )
        return (
            f"Validation stands {gap:.2f} nats above training: the text is being learnt by heart. "
            f"Try {stronger}, or more text."
        )
    if epochs < 1:
        return f"Only {epochs:.0%} of the text was read: train longer, for instance with --epochs 1."
    earlier = [e.validation_nats for e in evaluations if e.step <= 0.8 * steps]
    if earlier and earlier[-1] - last.validation_nats > STILL_FALLING:
        return "Validation was still falling and training is no better than it: a longer run will gain, try --minutes."
    return f"The loss has levelled off: a larger --hidden-size (it was {model.hidden_size}) with more time would gain."
