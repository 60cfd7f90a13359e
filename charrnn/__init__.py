"""Character-level recurrent language models: train one on a text, sample from it, look inside its cells.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_FACE = {
    "CharrnnError": "charrnn.errors",
    "ModelSettings": "charrnn.settings",
    "SampleSettings": "charrnn.settings",
    "TrainingSettings": "charrnn.settings",
    "load_corpus": "charrnn.text.corpus",
    "open_run": "charrnn.model.run",
    "score": "charrnn.scoring.score",
    "generate": "charrnn.sampling.generate",
    "train": "charrnn.training.loop",
    "trace": "charrnn.inspection.trace",
    "Cell": "charrnn.inspection.trace",
    "Clamp": "charrnn.causal.clamp",
    "clamped": "charrnn.causal.clamp",
}

__all__ = [*_FACE, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _FACE:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
