"""Advice in one sentence: after a training, what to change next time; during it, about its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

from charrnn.model.losses import Losses
from charrnn.model.run_settings import RunSettings
from charrnn.settings import ModelSettings
from charrnn.training.events import Finished, GradientTrouble
from charrnn.training.presets import DROPOUT
from charrnn.units import amount, percent

OVERFITTING_GAP = 0.12  # nats between training and validation loss
MIN_IMPROVEMENT = 0.01  # nats over the last fifth of a run that had not converged
MIN_HELD_OUT = 1000  # characters; the mean loss of fewer varies by hundredths of a nat by chance
FURTHER = "--more-minutes"


def advice(
    model: ModelSettings, finished: Finished, losses: Sequence[Losses], steps: int, epochs: float, held_out: int
) -> str | None:
    """Return advice that follows from the losses, or None where they say nothing yet.

    The run had not converged if the validation loss improved by more than MIN_IMPROVEMENT over its last fifth. Where
    the presets use dropout, it also has to improve by more than half of what the training loss improved. Otherwise a
    gap between the two is overfitting, unless the text was read less than twice.

    losses: of all evaluations of the run. steps: planned. epochs: how often the text was read. held_out: characters of
    the validation text.
    """
    progress = finished.progress
    if progress.skipped_steps:
        skipped = amount(progress.skipped_steps, "step")
        return f"{skipped} had a non-finite gradient and were skipped: try half the --learning-rate."
    if finished.reason == "stopped":
        return "The run was stopped early. The loss falls further as the learning rate decays: try --resume."
    evaluations = [(one.step, one.train_nats, one.validation_nats) for one in losses if one.train_nats is not None]
    if not evaluations or finished.train_nats is None:
        return None
    if held_out < MIN_HELD_OUT:
        return f"The validation text has only {amount(held_out, 'character')}: its loss is uncertain. Use more text."
    if epochs < 1:
        if finished.reason == "early":
            return "The validation loss rose before the text was read once: try a lower --learning-rate."
        read = percent(epochs, 0 if epochs >= 0.1 else 1)
        return f"The model read only {read} of the text: train it further, with {FURTHER}."
    earlier = [losses for step, *losses in evaluations if step <= 0.8 * steps]
    if not earlier:
        return None
    (train_before, before), (_, train_nats, nats) = earlier[-1], evaluations[-1]
    improvement = before - nats
    follows_training = improvement > (train_before - train_nats) / 2
    if improvement > MIN_IMPROVEMENT and (follows_training or epochs <= DROPOUT[0][0]):
        return f"The validation loss was still falling: train it further, with {FURTHER}."
    gap = nats - train_nats
    if gap > OVERFITTING_GAP and epochs >= 2:
        remedy = (
            f"more --dropout (it was {model.dropout:g})"
            if model.dropout < 0.4
            else f"a smaller --hidden-size (it was {model.hidden_size})"
        )
        return f"The model overfits: validation loss is {gap:.2f} nats above training loss. Try {remedy}, or more text."
    return f"The loss has converged: try a larger --hidden-size (it was {model.hidden_size}) and more time."


def gradient_advice(trouble: GradientTrouble, settings: RunSettings) -> str:
    """Return what is wrong with the gradient, and what to try."""
    slower, default = "a lower --learning-rate", ModelSettings().recurrence
    if trouble.problem == "exploding":
        remedy = slower if settings.training.grad_clip else "--grad-clip 1"
        size = f"of about {trouble.value:.3g}" if math.isfinite(trouble.value) else "that are not finite"
        return f"the gradient explodes, with norms {size}: try {remedy}"
    remedy = slower if settings.model.recurrence == default else f"--model {default}"
    return f"the gradient vanishes in the recurrent layers, which learn little: try {remedy}"
