"""Which device a network runs on, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from charrnn.errors import UsageError
from charrnn.model.private_torch import set_fp32_precision
from charrnn.model.recurrences import find_recurrence
from charrnn.settings import DEVICES, PRECISIONS
from charrnn.units import amount

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_WITH_TF32 = (8, 0)  # compute capability: NVIDIA's Ampere
CPU_FLAGS_OF_BF16 = {"avx512_bf16", "amx_bf16"}  # elsewhere it is emulated, up to a hundred times slower than float32
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_KEPT_BLOCK = 1 << 30


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes CUDA where there is one, then Apple's MPS, then the CPU.

    Multiplications of float32 stay so outside `tf32_allowed`: cuDNN's recurrences would otherwise use TF32, with 10
    bits of mantissa. Raises UsageError where the device is not there.
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
        set_fp32_precision("ieee")
    return torch.device(name)


def choose_precision(name: str, device: torch.device, recurrence: str) -> str:
    """One of `fp32`, `tf32`, `bf16`, `fp16`; `auto` is bf16 where the device computes with it, else fp32.

    On a CPU only an LSTM's: the other recurrences, which oneDNN does not fuse, may be slower in bf16. Raises UsageError
    where the device cannot do what is asked for.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, not {name!r}")
    able = _precisions(device, recurrence)
    if name == "auto":
        fast = device.type == "cuda" or (find_recurrence(recurrence).is_fast_in_bf16_on_cpu and _cpu_computes_in_bf16())
        return "bf16" if fast and "bf16" in able else "fp32"
    if name not in able:
        raise UsageError(f"{device_name(device)} cannot train in {name}", f"choose --precision from: {', '.join(able)}")
    return name


def _precisions(device: torch.device, recurrence: str) -> list[str]:
    if device.type == "cuda":
        has_tf32 = torch.version.hip is None and torch.cuda.get_device_capability(device) >= FIRST_WITH_TF32
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["fp32", *["tf32"] * has_tf32, *["bf16"] * has_bf16, "fp16"]
    return ["fp32", *["bf16"] * (device.type == "cpu" and _cpu_reads_in_bf16(recurrence))]


@functools.cache
def _cpu_reads_in_bf16(recurrence: str) -> bool:
    """Whether such a layer can be run so, however slowly: oneDNN has no LSTM in bf16 where there is no AVX-512."""
    kind, zeros = find_recurrence(recurrence), torch.zeros(1, 1)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            kind.unroll(kind.build(1, 1), zeros.unsqueeze(0), tuple(zeros for _ in kind.state_parts))
    except RuntimeError:
        return False
    return True


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Where a forward pass computes in bf16 or fp16 what is safe there, of float32 weights; else nothing changes."""
    if precision not in AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(device.type, AUTOCAST[precision])


@contextlib.contextmanager
def tf32_allowed(precision: str) -> Iterator[None]:
    """Where float32 matrices may be multiplied in TF32, if that is the precision: forward and backward."""
    if precision != "tf32":
        yield
        return
    set_fp32_precision("tf32")
    try:
        yield
    finally:
        set_fp32_precision("ieee")


def device_name(device: torch.device) -> str:
    """The device in words, as `NVIDIA H200` or `AMD EPYC, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.machine()} (Metal)"
    return f"{_processor()}, {amount(torch.get_num_threads(), 'thread')}"


def _processor() -> str:
    return _cpu_says("model name") or platform.processor() or platform.machine() or "CPU"


def _cpu_computes_in_bf16() -> bool:
    return not CPU_FLAGS_OF_BF16.isdisjoint(_cpu_says("flags").split())


@functools.cache
def _cpu_says(key: str) -> str:
    """What Linux tells of the first processor under this key; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


@functools.cache
def keep_freed_memory() -> None:
    """Has glibc's malloc keep what is freed for what is needed next, for the rest of this process.

    A step needs the same large blocks each time. Above 32 MB glibc would give each back to the kernel and get it anew,
    every page of it filled with zeros: on two cores of an AMD EPYC that took up to a third of a step's time. Nothing
    changes where there is another malloc.
    """
    if platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        glibc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        glibc.mallopt(M_TRIM_THRESHOLD, LARGEST_KEPT_BLOCK)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was asked, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
