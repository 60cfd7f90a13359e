"""The device and the precision that a network computes with."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from charrnn.errors import UsageError
from charrnn.model.private_torch import set_fp32_precision
from charrnn.model.recurrences import find_recurrence
from charrnn.settings import DEVICES, PRECISIONS, ModelSettings
from charrnn.units import amount

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
TF32_SINCE = (8, 0)  # compute capability: NVIDIA's Ampere
BF16_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}  # without one bf16 is emulated, up to a hundred times slower than float32
CPU_INFO = Path("/proc/cpuinfo")
WRONG_GRADIENT = 0.2  # relative error; that of right ones in bf16 is about 0.005
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_KEPT_BLOCK = 1 << 30


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; `auto` prefers CUDA, then Apple's MPS, then the CPU.

    On CUDA float32 products stay float32 outside of `tf32_allowed`; cuDNN would use TF32, with 10 bits of mantissa.
    Raises UsageError if the device is not available.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    elif name not in available:
        raise UsageError(f"`device` must be one of {', '.join(DEVICES)}, not {name!r}")
    if not available[name]:
        kinds = ", ".join(kind for kind, found in available.items() if found)
        raise UsageError(f"no {name} device here, or this build of torch cannot use it", f"choose from: {kinds}, auto")
    if name == "cuda":
        set_fp32_precision("ieee")
    return torch.device(name)


def choose_precision(
    name: str, device: torch.device, model: ModelSettings, *, cpu_flags: Collection[str] | None = None
) -> str:
    """Return `fp32`, `tf32`, `bf16` or `fp16`; `auto` is bf16 where that is fast and right, else fp32.

    On a CPU bf16 is fast for recurrences that oneDNN fuses, with instructions for it. cpu_flags: the features of the
    CPU; None: of this one. Raises UsageError if the device does not support the precision.
    """
    if name not in PRECISIONS:
        raise UsageError(f"`precision` must be one of {', '.join(PRECISIONS)}, not {name!r}")
    supported = supported_precisions(device, model.recurrence)
    if name == "auto":
        flags = _cpu_info("flags").split() if cpu_flags is None else cpu_flags
        fast_on_cpu = find_recurrence(model.recurrence).is_fast_in_bf16_on_cpu and not BF16_CPU_FLAGS.isdisjoint(flags)
        is_fast = "bf16" in supported and (device.type == "cuda" or fast_on_cpu)
        return "bf16" if is_fast and has_right_gradients("bf16", device, model) else "fp32"
    if name not in supported:
        known = ", ".join(supported)
        raise UsageError(f"{device_name(device)} cannot train in {name}", f"choose `precision` from: {known}")
    if not has_right_gradients(name, device, model):
        raise UsageError(
            f"{device_name(device)} computes wrong gradients in {name} at hidden size {model.hidden_size}",
            "use `precision='fp32'`, or a hidden size that is no multiple of 32",
        )
    return name


def has_right_gradients(precision: str, device: torch.device, model: ModelSettings) -> bool:
    """Return whether the gradients of a network's layers are right in a precision; on a CPU in bf16, by a test.

    With AMX, oneDNN computes wrong ones of an LSTM in bf16 whose hidden size is a multiple of 32 from 1,024 on (PyTorch
    2.13).
    """
    if device.type != "cpu" or precision != "bf16":
        return True
    sizes = {model.embedding_size, *([model.hidden_size] if model.layers > 1 else [])}
    return all(_has_right_gradients_in_bf16(model.recurrence, size, model.hidden_size) for size in sizes)


@functools.cache
def _has_right_gradients_in_bf16(recurrence: str, input_size: int, hidden_size: int) -> bool:
    """Compare a layer's gradient by its input with that in float32."""
    kind = find_recurrence(recurrence)
    gradients: list[torch.Tensor] = []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        layer, values = kind.build(input_size, hidden_size), torch.randn(2, 1, input_size)
        state = tuple(torch.zeros(1, hidden_size) for _ in kind.state_parts)
        for is_bf16 in (False, True):
            inputs = values.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
                hidden, _ = kind.unroll(layer, inputs, state)
            gradients += torch.autograd.grad(hidden.float().sum(), inputs)
    right, found = gradients
    return bool((found - right).norm() <= WRONG_GRADIENT * right.norm())


def supported_precisions(device: torch.device, recurrence: str) -> list[str]:
    """Return the precisions in which a device can train a recurrence, however slowly."""
    if device.type == "cuda":
        has_tf32 = torch.version.hip is None and torch.cuda.get_device_capability(device) >= TF32_SINCE
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        supported = {"fp32": True, "tf32": has_tf32, "bf16": has_bf16, "fp16": True}
    else:
        supported = {"fp32": True, "bf16": device.type == "cpu" and _runs_in_bf16_on_cpu(recurrence)}
    return [precision for precision, is_supported in supported.items() if is_supported]


def _runs_in_bf16_on_cpu(recurrence: str) -> bool:
    """Run a small layer to find out: without AVX-512, oneDNN has no LSTM in bf16."""
    kind, zeros = find_recurrence(recurrence), torch.zeros(1, 1)
    try:
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16):
            kind.unroll(kind.build(1, 1), zeros.unsqueeze(0), tuple(zeros for _ in kind.state_parts))
    except RuntimeError:
        return False
    return True


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return a context in which operations that are safe in bf16 or fp16 use it, if that is the precision."""
    if precision not in AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(device.type, AUTOCAST[precision])


@contextlib.contextmanager
def tf32_allowed(precision: str) -> Iterator[None]:
    """Allow float32 products in TF32, forward and backward, if that is the precision."""
    if precision != "tf32":
        yield
        return
    set_fp32_precision("tf32")
    try:
        yield
    finally:
        set_fp32_precision("ieee")


@contextlib.contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Compute on a CPU with this many threads, within the context. None: torch's number stays."""
    before = torch.get_num_threads()
    if number in (None, before):
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """Return a name such as `NVIDIA H200` or `AMD EPYC, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.machine()} (Metal)"
    processor = _cpu_info("model name") or platform.processor() or platform.machine() or "CPU"
    return f"{processor}, {amount(torch.get_num_threads(), 'thread')}"


def _cpu_info(key: str) -> str:
    """Return Linux's entry for the first processor, or an empty string."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def keep_freed_memory() -> None:
    """Make glibc's malloc keep large freed blocks, for the rest of the process. Do nothing with another malloc.

    Each training step needs the same large blocks. By default glibc returns blocks above 32 MB to the kernel, which
    fills every page with zeros when it gives them back: up to a third of a step's time on two cores of an AMD EPYC.
    """
    if platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        glibc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        glibc.mallopt(M_TRIM_THRESHOLD, LARGEST_KEPT_BLOCK)


def synchronize(device: torch.device) -> None:
    """Wait for all work queued on the device, for timing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
