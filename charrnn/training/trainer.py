"""One training step: the network, its optimizer and the state of the streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.model.checkpoint import MAX_LOSS_SCALE, Progress
from charrnn.model.device import autocast, choose_precision, tf32_allowed
from charrnn.model.network import CharRNN, Shard, State, detach_state, map_state
from charrnn.settings import TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.batches import NOT_COUNTED, Batches, Window, derived_seed
from charrnn.training.distributed import SINGLE_PROCESS, ControlFlags, ProcessGroup
from charrnn.training.document_batches import DocumentBatches
from charrnn.training.optimizer import AdamW
from charrnn.training.timetable import Timetable

ADAM_BETAS = (0.9, 0.99)
STEPS_BETWEEN_SCALES = 1000  # fp16: the loss scale doubles after this many steps


class Trainer:
    """The network, its optimizer and the state of the streams, and how one step changes them.

    Each process of a group has its own trainer, which reads its rows of the batch.

    loss_sum, weight_sum: training nats since the last evaluation, each step's mean over B · T characters, and the
    number of characters in units of B · T. Set both to zero to start a new mean.
    """

    def __init__(
        self,
        network: CharRNN,
        settings: TrainingSettings,
        train_text: EncodedText,
        group: ProcessGroup = SINGLE_PROCESS,
    ):
        self.network, self.settings, self.group = network, settings, group
        self.timetable = Timetable(settings)
        self.device = network.output.weight.device
        self.rows = group.rows(settings.batch_size)
        self.shard = None if group.is_single else Shard(settings.batch_size, self.rows)
        self.own_streams = self.rows.stop - self.rows.start
        self.batches = _batches(train_text, settings, self.device, group)
        self.parameters = dict(network.named_parameters())
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        biases = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimizer = AdamW([(matrices, settings.weight_decay), (biases, 0.0)], ADAM_BETAS)
        self.dropout_generator = torch.Generator(self.device)
        self.precision = choose_precision(settings.precision, self.device, network.settings)
        self._set_progress(Progress())

    def _set_progress(self, progress: Progress) -> None:
        """Set the counters, and the state of the streams to zero."""
        self.step = progress.step
        self.rate_scale = progress.rate_scale
        self.state: State = self.network.initial_state(self.own_streams)
        self.gradient_norm = torch.zeros((), device=self.device)
        self.skipped = torch.tensor(float(progress.skipped_steps), device=self.device)
        self.skipped_in_a_row = torch.tensor(float(progress.skipped_in_a_row), device=self.device)
        precision = torch.float32 if self.device.type == "mps" else torch.float64
        self.loss_scale = torch.tensor(progress.loss_scale, device=self.device) if self.precision == "fp16" else None
        self.loss_sum = torch.tensor(progress.loss_sum, dtype=precision, device=self.device)
        self.weight_sum = torch.tensor(progress.weight_sum, dtype=precision, device=self.device)

    def progress(self) -> dict[str, Any]:
        """Return the fields of `Progress` that the trainer keeps."""
        return {
            "step": self.step,
            "loss_sum": self.loss_sum.item(),
            "weight_sum": self.weight_sum.item(),
            "rate_scale": self.rate_scale,
            "loss_scale": MAX_LOSS_SCALE if self.loss_scale is None else self.loss_scale.item(),
            "skipped_steps": int(self.skipped.item()),
            "skipped_in_a_row": int(self.skipped_in_a_row.item()),
        }

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return self.timetable.learning_rate(self.step) * self.rate_scale

    def make_step(self, flags: ControlFlags = ControlFlags()) -> ControlFlags:
        """Read one window and update the weights. Return the flags that any process of the group passed.

        Where the loss or a gradient is not finite, the weights stay as they are and the state of the streams becomes
        zero. The device decides that, without a synchronization.
        """
        window = self.batches.window(self.step)
        if window.begins:
            self.state = self.network.initial_state(len(window.inputs))
        self.dropout_generator.manual_seed(derived_seed(self.settings.seed, "dropout", self.step))
        self.network.train()
        self.optimizer.zero_grad()
        with tf32_allowed(self.precision):
            with autocast(self.device, self.precision):
                logits, state = self.network(
                    window.inputs, self.state, self.dropout_generator, window.shard or self.shard
                )
            loss = self._loss(logits, window)
            torch.autograd.backward(loss if self.loss_scale is None else loss * self.loss_scale)
        loss = loss.detach()
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        flags = self.group.all_reduce([loss, *gradients], flags)
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        self.gradient_norm = norm if self.loss_scale is None else norm / self.loss_scale
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        skipped = finite.logical_not().float()
        self.optimizer.step(self.learning_rate(), skipped, self._divisor(norm))
        self.state = (
            self._next_state(state, finite) if window.continues else self.network.initial_state(self.own_streams)
        )
        if self.loss_scale is not None:
            self.loss_scale = self._next_loss_scale(self.loss_scale, finite)
        self.skipped += skipped
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * skipped
        self.loss_sum += torch.where(finite, loss, 0.0)
        self.weight_sum += torch.where(finite, window.weight, 0.0)
        self.step += 1
        return flags

    def _loss(self, logits: Tensor, window: Window) -> Tensor:
        """Return this process's part of the loss: its summed nats, over B · T. The group's sum is the loss.

        A window with fewer counted characters has a smaller loss, so that every character has the same weight.
        """
        logits, targets = logits.flatten(0, 1), window.targets.flatten()
        if isinstance(self.batches, DocumentBatches):
            nats = cross_entropy(logits, targets, ignore_index=NOT_COUNTED, reduction="sum")
            return nats.div(self.settings.batch_size * self.settings.seq_length)
        return cross_entropy(logits, targets).mul(self.own_streams / self.settings.batch_size)

    def _divisor(self, norm: Tensor) -> Tensor:
        """Return what the optimizer divides gradients by, to undo the loss scale and to clip the norm to `grad_clip`.

        Pascanu et al. 2013, arXiv 1211.5063, algorithm 1.
        """
        scale = torch.ones((), device=self.device) if self.loss_scale is None else self.loss_scale
        if not self.settings.grad_clip:
            return scale
        return torch.maximum(scale, (norm / self.settings.grad_clip).float())

    def _next_state(self, state: State, finite: Tensor) -> State:
        dtype = self.network.output.weight.dtype
        return map_state(lambda part: torch.where(finite, part.to(dtype), 0.0), detach_state(state))

    def _next_loss_scale(self, scale: Tensor, finite: Tensor) -> Tensor:
        """Halve the scale after an overflow; double it from time to time, up to the first scale.

        Micikevicius et al. 2018, arXiv 1710.03740, section 3.2.
        """
        grown = scale * (2.0 if (self.step + 1) % STEPS_BETWEEN_SCALES == 0 else 1.0)
        return torch.where(finite, grown, scale / 2).clamp(1.0, MAX_LOSS_SCALE)

    def gradient_norms(self) -> tuple[float, float]:
        """Return the norm of the last step's gradient before clipping, and the share of the recurrent layers in it.

        Waits for the device.
        """
        groups = self.network.parameters(), self.network.recurrences.parameters()
        gradients = ([p.grad for p in group if p.grad is not None] for group in groups)
        clipped, recurrent = (torch.nn.utils.get_total_norm(each, foreach=True).item() for each in gradients)
        return self.gradient_norm.item(), recurrent / clipped if clipped else 0.0

    def model_tensors(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def training_tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's moments and the state of all streams, gathered from the group."""
        tensors = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            tensors[f"adam.m.{name}"], tensors[f"adam.v.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
        for number, layer in enumerate(self.state, start=1):
            for part, values in zip(self.network.recurrence.state_parts, layer, strict=True):
                tensors[f"state.{number}.{part}"] = self.group.all_gather(values, self.settings.batch_size)
        return tensors

    def is_finite(self) -> bool:
        """Return whether all weights, moments and states are finite. They may not be although every gradient was."""
        tensors = {**self.model_tensors(), **self.training_tensors()}
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()]).all())

    def load(self, model: Mapping[str, Tensor], training: Mapping[str, Tensor], progress: Progress) -> None:
        """Restore the trainer from what `model_tensors`, `training_tensors` and `progress` returned."""
        self.network.load_state_dict(model)
        self._set_progress(progress)
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(progress.step - progress.skipped_steps), device=self.device),
                "exp_avg": training[f"adam.m.{name}"].to(self.device),
                "exp_avg_sq": training[f"adam.v.{name}"].to(self.device),
            }
        self.state = tuple(
            tuple(
                training[f"state.{number}.{part}"][self.rows].to(self.device)
                for part in self.network.recurrence.state_parts
            )
            for number in range(1, self.network.settings.layers + 1)
        )


def _batches(
    text: EncodedText, settings: TrainingSettings, device: torch.device, group: ProcessGroup = SINGLE_PROCESS
) -> Batches | DocumentBatches:
    shape = (settings.batch_size, settings.seq_length, settings.seed, device)
    if text.has_documents:
        return DocumentBatches(text, *shape, None if group.is_single else group.rows, min_rows=group.size)
    return Batches(text.ids, *shape, group.rows(settings.batch_size))


def steps_per_epoch(text: EncodedText, settings: TrainingSettings) -> int:
    """Return how many steps read the whole text once."""
    return _batches(text, settings, torch.device("cpu")).windows_per_epoch
