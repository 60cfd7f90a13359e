"""Cuts a text into B parallel streams and the streams into windows of T characters.

Which characters a step reads is a function of the seed and the step's number alone, so the number is all that has to be
saved for training to go on where it stopped.
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

LARGEST_ON_DEVICE = 1_000_000_000
NOT_COUNTED = -100  # a target that has no loss


@dataclass(frozen=True)
class Window:
    """What one step reads. inputs, targets: (B, T) ids, or those of its rows that are read here; targets[b, t] is the
    character after inputs[b, t], or NOT_COUNTED.

    begins: the state before this window is zero rather than carried. continues: the next one begins with the state
    after this one. weight: counted targets of all rows, those read elsewhere among them, as a share of B · T.
    shard: which rows are read here, if not those that are read always.
    """

    inputs: Tensor
    targets: Tensor
    begins: bool
    continues: bool = True
    weight: float = 1.0
    shard: Shard | None = None


class Batches:
    """The windows of a text, epoch after epoch.

    Each epoch begins at a fresh random offset of up to T or more characters, so that windows are cut elsewhere each
    time. What is left over at the end, less than B · T + T characters, belongs to other epochs.
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
        """ids: (N,). rows: which of the B streams are read here, where others read the rest.

        Raises CharrnnError where the text is too short for one window of every stream.
        """
        self.rows = rows
        self.batch_size, self.seq_length, self.seed, self.device = batch_size, seq_length, seed, device
        self.windows_per_epoch = windows_per_epoch(len(ids), batch_size, seq_length)
        if self.windows_per_epoch < 1:
            needed = batch_size * seq_length + seq_length
            raise CharrnnError(
                f"{len(ids):,} characters to train on are too few for {amount(batch_size, 'stream')} and windows of "
                f"{seq_length} ({needed:,} needed)",
                "give more text, or a smaller --batch-size or --seq-length",
            )
        self._ids = torch.from_numpy(ids)
        if ids.nbytes <= LARGEST_ON_DEVICE:
            self._ids = self._ids.to(device)

    def window(self, step: int) -> Window:
        """What step number `step` (from 0) reads."""
        epoch, index = divmod(step, self.windows_per_epoch)
        length = self.windows_per_epoch * self.seq_length
        slack = len(self._ids) - 1 - self.batch_size * length
        offset = derived_seed(self.seed, "offset", epoch) % (slack + 1)
        start = index * self.seq_length

        def columns(first: int) -> Tensor:
            streams = self._ids[first : first + self.batch_size * length].view(self.batch_size, length)
            own = streams[self.rows, start : start + self.seq_length]
            if self.device.type == "cuda" and own.device.type == "cpu":
                own = own.pin_memory()  # or else the copy would be waited for
            return own.to(self.device, non_blocking=True).long()

        return Window(columns(offset), columns(offset + 1), begins=index == 0)


def windows_per_epoch(characters: int, batch_size: int, seq_length: int) -> int:
    """Steps in an epoch: as many whole windows as every stream has, T − 1 characters being kept for the offset."""
    return max(0, (characters - seq_length) // (batch_size * seq_length))


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """A seed for one purpose and one step or epoch: unrelated seeds for neighboring numbers, the same everywhere."""
    digest = hashlib.blake2b(f"{seed} {purpose} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
