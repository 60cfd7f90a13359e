"""One sentence that follows from a run's numbers: what to change next time."""

from __future__ import annotations

from charrnn.settings import ModelSettings
from charrnn.training.events import Evaluated, Finished
from charrnn.units import amount

LEARNED_BY_HEART = 0.12
STILL_FALLING = 0.01
FEWEST_HELD_OUT = 1000  # characters; the mean nats of fewer are some hundredths off by chance alone


def advice(
    model: ModelSettings, finished: Finished, evaluations: list[Evaluated], steps: int, epochs: float, held_out: int
) -> str | None:
    """What the losses say of a run. epochs: how often the text was read. held_out: characters validated on. None where
    they say nothing yet.

    Nats: a validation loss that fell by more than STILL_FALLING over the last fifth of the run, and by more than half
    of what the training loss fell there, had not levelled off. If it had, and the training loss is more than
    LEARNED_BY_HEART below it, that is overfitting, provided that the text was read twice: what is read for the first
    time cannot be known.
    """
    progress = finished.progress
    if progress.skipped_steps:
        skipped = amount(progress.skipped_steps, "step")
        return f"{skipped} had no finite gradient and did not count: try half the --learning-rate."
    if finished.reason == "stopped":
        return "It was stopped before its rate had come down, where most of the last gain is made: --resume goes on."
    if not evaluations or finished.train_nats is None:
        return None
    if held_out < FEWEST_HELD_OUT:
        return (
            f"A validation on {amount(held_out, 'character')} says little: more text would tell more, and teach more."
        )
    if epochs < 1:
        return f"Only {epochs:.0%} of the text was read: train longer, for instance with --epochs 1."
    last = evaluations[-1]
    earlier = next((e for e in reversed(evaluations) if e.step <= 0.8 * steps), last)
    fell = earlier.validation_nats - last.validation_nats
    if fell > STILL_FALLING and fell > (earlier.train_nats - last.train_nats) / 2:
        return "Validation was still falling: a longer run will gain, try --minutes."
    gap = last.validation_nats - last.train_nats
    if gap > LEARNED_BY_HEART and epochs >= 2:
        stronger = (
            f"more --dropout (it was {model.dropout:g})"
            if model.dropout < 0.4
            else f"a smaller --hidden-size (it was {model.hidden_size})"
        )
        return (
            f"Validation stands {gap:.2f} nats above training: the text is being learned by heart. "
            f"Try {stronger}, or more text."
        )
    return f"The loss has levelled off: a larger --hidden-size (it was {model.hidden_size}) with more time would gain."
