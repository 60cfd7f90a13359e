"""Batches of one text: B parallel streams, cut into windows of T characters.

The characters that a step reads are a function of the seed and the step's number, so a checkpoint needs no more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.model.network import Shard
from charrnn.units import amount

MAX_BYTES_ON_DEVICE = 1_000_000_000  # a longer text stays on the CPU, or in its file
NOT_COUNTED = -100  # a target without a loss


@dataclass(frozen=True)
class Window:
    """The input of one step.

    inputs, targets: (B, T) ids, or the rows of this process; targets[b, t] is the character after inputs[b, t], or
    NOT_COUNTED. begins: start from a zero state. continues: the next window starts from the state after this one.
    weight: number of counted targets in all processes, over B · T. shard: the rows of this process, if they are not
    the same in every window.
    """

    inputs: Tensor
    targets: Tensor
    begins: bool
    continues: bool = True
    weight: float = 1.0
    shard: Shard | None = None


class Batches:
    """The windows of a text, epoch after epoch.

    Each epoch starts at a random offset of up to T or more characters, so that windows differ between epochs. Less than
    B · T + T characters at the end are left out of an epoch.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        seq_length: int,
        seed: int,
        device: torch.device,
        rows: slice = slice(None),
    ):
        """ids: (N,). rows: the streams of this process.

        Raises CharrnnError where the text is too short for one window of every stream.
        """
        self.rows = rows
        self.batch_size, self.seq_length, self.seed, self.device = batch_size, seq_length, seed, device
        self.windows_per_epoch = windows_per_epoch(len(ids), batch_size, seq_length)
        if self.windows_per_epoch < 1:
            needed = batch_size * seq_length + seq_length
            raise CharrnnError(
                f"{len(ids):,} characters to train on are too few for {amount(batch_size, 'stream')} and windows of "
                f"{seq_length:,} ({needed:,} needed)",
                "use more text, or a smaller `batch_size` or `seq_length`",
            )
        self._ids = torch.from_numpy(ids)
        if ids.nbytes <= MAX_BYTES_ON_DEVICE:
            self._ids = self._ids.to(device)

    def window(self, step: int) -> Window:
        """Return the window of step number `step` (from 0)."""
        epoch, index = divmod(step, self.windows_per_epoch)
        length = self.windows_per_epoch * self.seq_length
        slack = len(self._ids) - 1 - self.batch_size * length
        offset = derived_seed(self.seed, "offset", epoch) % (slack + 1)
        start = index * self.seq_length

        def columns(first: int) -> Tensor:
            streams = self._ids[first : first + self.batch_size * length].view(self.batch_size, length)
            own = streams[self.rows, start : start + self.seq_length]
            if self.device.type == "cuda" and own.device.type == "cpu":
                own = own.pin_memory()  # makes the copy asynchronous
            return own.to(self.device, non_blocking=True).long()

        return Window(columns(offset), columns(offset + 1), begins=index == 0)


def windows_per_epoch(characters: int, batch_size: int, seq_length: int) -> int:
    """Return the steps of an epoch: whole windows that every stream has, with T − 1 characters kept for the offset."""
    return max(0, (characters - seq_length) // (batch_size * seq_length))


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """Return a seed for one purpose and one step or epoch. Seeds of neighboring numbers are unrelated."""
    digest = hashlib.blake2b(f"{seed} {purpose} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
