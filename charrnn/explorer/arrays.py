"""Arrays as base64 in JSON, for a page that decodes them: little-endian, in as few bits as they need."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def encoded(values: np.ndarray) -> str:
    """Return the bytes of an array, in row-major order, as base64."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def encoded_ids(ids: np.ndarray) -> dict[str, Any]:
    """Return ids in 8, 16 or 32 bits, with the number of bits."""
    largest = int(ids.max(initial=0))
    kind = np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
    return {"bits": np.dtype(kind).itemsize * 8, "values": encoded(ids.astype(kind))}


def encoded_shares(shares: np.ndarray) -> str:
    """Return values between 0 and 1 in 8 bits: 255 is 1."""
    return encoded(np.round(np.clip(np.nan_to_num(shares), 0, 1) * 255).astype(np.uint8))


def encoded_signed(values: np.ndarray, high: float) -> str:
    """Return values between −high and high in 8 bits: 127 is high."""
    return encoded(np.round(np.clip(np.nan_to_num(values) / high, -1, 1) * 127).astype(np.int8))


def encoded_matrix(matrix: np.ndarray, bits: int) -> dict[str, Any]:
    """Return a matrix as `row_integers`: value = integer × scale of the row."""
    integers, scales = row_integers(matrix, bits)
    return {"rows": len(matrix), "bits": bits, "values": encoded(integers), "scales": encoded(scales)}


def row_integers(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Round a matrix (R, C) to integers of 8 or 16 bits, with a scale for each row, (R,)."""
    limit = (1 << (bits - 1)) - 1
    scales = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float32) / np.float32(limit)
    divisors = np.where(scales > 0, scales, 1)[:, None]
    integers = np.clip(np.round(matrix / divisors), -limit, limit).astype(np.int8 if bits == 8 else np.int16)
    return integers, scales
