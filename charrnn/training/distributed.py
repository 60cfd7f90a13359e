"""Several processes that train one network: ranks, as `torchrun` starts them. A process of its own is alone.

The streams of a batch are shared out by rows. Each rank reads its rows and adds its share of the gradient to the
others', so that every rank makes the same update as one process with all rows would, up to rounding; the shares need
not be of one size. (Gradients of a recurrence are ready all at once, at the end of the way back through time: there is
no computation left that a sum in pieces, as DistributedDataParallel makes, could hide behind.)

Only the first rank reads and writes runs, and talks. What it decides by its clock it tells the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.device import synchronize
from charrnn.units import amount

LONGEST_WAIT = timedelta(hours=2)  # for a rank that evaluates or saves; one that dies is noticed at once
CUDA_STEPS_BETWEEN_WORDS = 8
SUMS_TIMED = 5


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, seen from one of them. rank: which one it is, from 0; size: how many."""

    rank: int = 0
    size: int = 1

    @property
    def is_single(self) -> bool:
        return self.size == 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def rows(self, streams: int) -> slice:
        """This rank's rows of a batch: slices that differ by at most one row, in the order of ranks.

        Raises UsageError where there are fewer streams than ranks.
        """
        if streams < self.size:
            raise UsageError(
                f"{amount(streams, 'stream')} cannot be shared among {self.size} ranks",
                f"use --batch-size {self.size} or more",
            )
        return slice(streams * self.rank // self.size, streams * (self.rank + 1) // self.size)

    def all_reduce(self, tensors: Sequence[Tensor], words: Sequence[bool] = ()) -> tuple[bool, ...]:
        """Puts into each tensor its sum over all ranks. All are float32 and on one device.

        words: what this rank has to say. Returns for each whether any rank said so; where they cannot be read without
        waiting for the device, none is carried and all are returned as False.
        """
        if self.is_single:
            return tuple(words)
        carried = [torch.tensor(words, dtype=torch.float32)] if tensors[0].device.type == "cpu" and words else []
        sums = torch.cat([tensor.flatten() for tensor in (*tensors, *carried)])
        with _others_may_end():
            distributed.all_reduce(sums)
        *parts, said = sums.split([*(tensor.numel() for tensor in tensors), len(words) if carried else 0])
        torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])
        return tuple(word > 0 for word in said.tolist()) if carried else (False,) * len(words)

    def any(self, words: Sequence[bool]) -> tuple[bool, ...]:
        """For each word whether any rank says so. Waits for all ranks, but not for their devices."""
        if self.is_single:
            return tuple(words)
        said = torch.tensor(words, dtype=torch.float32)
        with _others_may_end():
            distributed.all_reduce(said)
        return tuple(word > 0 for word in said.tolist())

    def broadcast_object(self, value: Any) -> Any:
        """The first rank's value, of JSON's types; what the others pass is not looked at."""
        if self.is_single:
            return value
        data = json.dumps(value).encode() if self.is_first else b""
        with _others_may_end():
            length = torch.tensor([len(data)])
            distributed.broadcast(length, 0)
            if self.is_first:
                content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            else:
                content = torch.empty(int(length), dtype=torch.uint8)
            distributed.broadcast(content, 0)
        return json.loads(content.numpy().tobytes())

    @torch.no_grad()
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Puts the first rank's values into each tensor, which must be contiguous."""
        if not self.is_single:
            with _others_may_end():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)

    def all_gather(self, own: Tensor, streams: int) -> Tensor:
        """The rows of all ranks, (streams, …), on every rank. own: this rank's."""
        if self.is_single:
            return own
        rows = own.new_zeros(streams, *own.shape[1:])
        rows[self.rows(streams)] = own
        with _others_may_end():
            distributed.all_reduce(rows)
        return rows

    def seconds_to_all_reduce(self, numbers: int, device: torch.device) -> float:
        """How long `all_reduce` of so many numbers takes: the median of some. Of the first rank; the others are in
        `serve_timing`."""
        if self.is_single:
            return 0.0
        self.broadcast_object({"add up": numbers})
        return self._timed_sums(numbers, device)

    def serve_timing(self, device: torch.device) -> Any:
        """Takes part in what the first rank wants timed, until it sends another value, by `broadcast_object`: that one."""
        while isinstance(order := self.broadcast_object(None), dict) and "add up" in order:
            self._timed_sums(order["add up"], device)
        return order

    def _timed_sums(self, numbers: int, device: torch.device) -> float:
        share = torch.zeros(numbers, device=device)
        times = []
        for _ in range(SUMS_TIMED):
            start = time.perf_counter()
            self.all_reduce([share])
            synchronize(device)
            times.append(time.perf_counter() - start)
        return statistics.median(times)


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """The ranks that this process has joined."""
    if not distributed.is_available() or not distributed.is_initialized():
        return SINGLE_PROCESS
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())


@contextlib.contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """Joins the other processes that torchrun has started, if it has; leaves them where all went well.

    device: as for `choose_device`. On CUDA each rank of a machine takes a GPU of its own, and sums travel by NCCL; on
    CPUs by gloo. Raises UsageError where there are more ranks than GPUs, or the device cannot be shared.
    """
    if "MASTER_ADDR" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield SINGLE_PROCESS
        return
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_cuda:
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UsageError(f"there are more ranks than GPUs ({there})", f"use torchrun --nproc-per-node {there}")
        torch.cuda.set_device(local)
    elif device not in ("auto", "cpu"):
        raise UsageError(f"ranks cannot share the device {device}", "use --device cpu")
    with _others_may_end():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=LONGEST_WAIT)
    yield current_group()
    # Not after an error: NCCL would wait for ranks that have gone. Waiting for all first also lets gloo's threads drop
    # the last tensors while Python is still there to do so; where it is not, they abort.
    with _others_may_end():
        distributed.barrier()
        distributed.destroy_process_group()


def restarts() -> int:
    """How often torchrun has begun this program again because a rank had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


@contextlib.contextmanager
def _others_may_end() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo; NCCL's are of subclasses
        place, _, what = str(error).partition("] ")  # gloo begins with its own file and line
        raise CharrnnError(
            f"another rank has ended ({(what or place).partition('. ')[0][:200]})",
            "see what it said; torchrun --max-restarts N goes on from the last save by itself",
        ) from None
