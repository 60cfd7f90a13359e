"""Which device a network runs on, and in which precision."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from charrnn.errors import UsageError
from charrnn.settings import DEVICES


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes CUDA where there is one, then Apple's MPS, then the CPU.

    Multiplications of float32 stay float32: cuDNN's recurrences would otherwise use TF32, with 10 bits of mantissa.
    Raises UsageError where the device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    elif name not in there:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, not {name!r}")
    if not there[name]:
        kinds = ", ".join(kind for kind, found in there.items() if found)
        raise UsageError(f"no {name} device here, or this build of torch cannot use it", f"choose from: {kinds}, auto")
    if name == "cuda":
        torch.backends.cudnn.rnn.fp32_precision = "ieee"
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The device in words, as `NVIDIA H200` or `AMD EPYC, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.machine()} (Metal)"
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was asked, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
