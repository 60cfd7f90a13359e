"""Data-parallel training: several processes, as `torchrun` starts them, that train one network.

Each process reads its rows of the batch. Gradients are summed over the group, so that every process makes the update
that one process with all rows would make, up to rounding; the numbers of rows need not be equal. The sum is one
all-reduce of all gradients: those of a recurrence are ready only when backpropagation through time ends, and no
computation is left that DistributedDataParallel's buckets could overlap with.

Only the first process reads and writes runs. The others get its decisions by broadcast or as control flags.
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
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.device import synchronize
from charrnn.model.private_torch import foreach_
from charrnn.units import amount

TIMEOUT = timedelta(hours=2)  # of a collective: other processes wait while the first evaluates or saves
CUDA_FLAGS_INTERVAL = 8  # steps between two reductions of the control flags
TIMED_REDUCTIONS = 5


class ControlFlags(NamedTuple):
    """What a process wants its group to do after the current step."""

    stop: bool = False
    checkpoint: bool = False
    report: bool = False
    forecast: bool = False


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, as one of them sees it."""

    rank: int = 0
    size: int = 1

    @property
    def is_single(self) -> bool:
        return self.size == 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def rows(self, streams: int) -> slice:
        """Return this process's rows of a batch. Processes have equally many, or one more than others.

        Raises UsageError where there are fewer streams than processes.
        """
        if streams < self.size:
            raise UsageError(
                f"{amount(streams, 'stream')} cannot be shared among {self.size} ranks",
                f"use `batch_size={self.size}` or more",
            )
        return slice(streams * self.rank // self.size, streams * (self.rank + 1) // self.size)

    def all_reduce(self, tensors: Sequence[Tensor], flags: ControlFlags = ControlFlags()) -> ControlFlags:
        """Replace each tensor by its sum over the group. All are float32 and on one device.

        Returns the flags that any process passed. On a GPU reading them would wait for the device, and none is
        returned: use `reduce_flags`.
        """
        if self.is_single:
            return flags
        on_cpu = tensors[0].device.type == "cpu"
        carried = [torch.tensor(flags, dtype=torch.float32)] if on_cpu else []
        sums = torch.cat([tensor.flatten() for tensor in (*tensors, *carried)])
        with _error_if_others_ended():
            distributed.all_reduce(sums)
        *parts, raised = torch.split(sums, [*(tensor.numel() for tensor in tensors), len(flags) if on_cpu else 0])
        foreach_("copy_", list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])
        return ControlFlags(*(count > 0 for count in raised.tolist()))

    def reduce_flags(self, flags: ControlFlags) -> ControlFlags:
        """Return the flags that any process passed. Waits for all processes, but not for their devices."""
        if self.is_single:
            return flags
        raised = torch.tensor(flags, dtype=torch.float32)
        with _error_if_others_ended():
            distributed.all_reduce(raised)
        return ControlFlags(*(count > 0 for count in raised.tolist()))

    def broadcast_object(self, value: Any) -> Any:
        """Return the first process's value, of JSON's types; the others' are ignored."""
        if self.is_single:
            return value
        data = json.dumps(value).encode() if self.is_first else b""
        with _error_if_others_ended():
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
        """Replace each tensor, which must be contiguous, by the first process's."""
        if not self.is_single:
            with _error_if_others_ended():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)

    def all_gather(self, own: Tensor, streams: int) -> Tensor:
        """Return the rows of all processes, (streams, …). own: this process's."""
        if self.is_single:
            return own
        rows = own.new_zeros(streams, *own.shape[1:])
        rows[self.rows(streams)] = own
        with _error_if_others_ended():
            distributed.all_reduce(rows)
        return rows

    def seconds_to_all_reduce(self, numel: int, device: torch.device) -> float:
        """Return the median time to `all_reduce` this many numbers.

        Only the first process calls this; the others are in `serve_timing`.
        """
        if self.is_single:
            return 0.0
        self.broadcast_object({"all_reduce": numel})
        return self._time_all_reduce(numel, device)

    def serve_timing(self, device: torch.device) -> Any:
        """Take part in the first process's timings until it broadcasts another object. Return that object."""
        while isinstance(order := self.broadcast_object(None), dict) and "all_reduce" in order:
            self._time_all_reduce(order["all_reduce"], device)
        return order

    def _time_all_reduce(self, numel: int, device: torch.device) -> float:
        numbers = torch.zeros(numel, device=device)
        times = []
        for _ in range(TIMED_REDUCTIONS):
            start = time.perf_counter()
            self.all_reduce([numbers])
            synchronize(device)
            times.append(time.perf_counter() - start)
        return statistics.median(times)


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """Return the group that this process has joined."""
    if not distributed.is_available() or not distributed.is_initialized():
        return SINGLE_PROCESS
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())


def is_launched() -> bool:
    """Return whether torchrun started this process together with others."""
    return "MASTER_ADDR" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the group of processes that torchrun started, if it did; leave it where no error occurred.

    device: as for `choose_device`. CUDA processes of a machine take one GPU each and use NCCL; CPU processes use gloo.
    Raises UsageError where a machine has more processes than GPUs, or the device cannot be shared.
    """
    if not is_launched():
        yield SINGLE_PROCESS
        return
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_cuda:
        local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local_rank >= gpus:
            raise UsageError(f"there are more ranks than GPUs ({gpus})", f"use torchrun --nproc-per-node {gpus}")
        torch.cuda.set_device(local_rank)
    elif device not in ("auto", "cpu"):
        raise UsageError(f"ranks cannot share the device {device}", "use `device='cpu'`")
    with _error_if_others_ended():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=TIMEOUT)
    yield current_group()
    # Not after an error: NCCL would wait for processes that have ended. The barrier lets gloo's threads release the
    # last tensors while the interpreter still runs; without it they may abort.
    with _error_if_others_ended():
        distributed.barrier()
        distributed.destroy_process_group()


def restart_count() -> int:
    """Return how often torchrun restarted this program because a process had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


@contextlib.contextmanager
def _error_if_others_ended() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's; NCCL's are subclasses
        location, _, message = str(error).partition("] ")  # gloo starts with its source file and line
        raise CharrnnError(
            f"another rank has ended ({(message or location).partition('. ')[0][:200]})",
            "see its message; torchrun --max-restarts N resumes from the last checkpoint by itself",
        ) from None
