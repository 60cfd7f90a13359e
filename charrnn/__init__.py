"""Character-level recurrent language models: train one on a text, sample from it, look inside its cells.

The names below load on first use, so that `import charrnn` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api import Model, compare, load, loss_plot, train
    from charrnn.causal.clamp import Clamp
    from charrnn.discovery.findings import Findings
    from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
    from charrnn.inspection.recorded_trace import Picture, Trace
    from charrnn.inspection.trace import Cell
    from charrnn.model.exported import export_run, import_run
    from charrnn.model.lookup import open_run
    from charrnn.model.manage import remove_run, rename_run
    from charrnn.model.run import Run
    from charrnn.sampling.settings import SampleSettings
    from charrnn.scoring.score import Score
    from charrnn.settings import ModelSettings, TrainingSettings
    from charrnn.text.corpus import Corpus, load_corpus
    from charrnn.text.encoded_text import EncodedText

__version__ = "0.1.0"

_MODULES = {
    "Cell": "charrnn.inspection.trace",
    "CharrnnError": "charrnn.errors",
    "CharrnnWarning": "charrnn.errors",
    "Clamp": "charrnn.causal.clamp",
    "Corpus": "charrnn.text.corpus",
    "EncodedText": "charrnn.text.encoded_text",
    "Findings": "charrnn.discovery.findings",
    "Model": "charrnn.api",
    "ModelSettings": "charrnn.settings",
    "Picture": "charrnn.inspection.recorded_trace",
    "Run": "charrnn.model.run",
    "SampleSettings": "charrnn.sampling.settings",
    "Score": "charrnn.scoring.score",
    "Trace": "charrnn.inspection.recorded_trace",
    "TrainingSettings": "charrnn.settings",
    "UsageError": "charrnn.errors",
    "compare": "charrnn.api",
    "export_run": "charrnn.model.exported",
    "import_run": "charrnn.model.exported",
    "load": "charrnn.api",
    "load_corpus": "charrnn.text.corpus",
    "loss_plot": "charrnn.api",
    "open_run": "charrnn.model.lookup",
    "remove_run": "charrnn.model.manage",
    "rename_run": "charrnn.model.manage",
    "train": "charrnn.api",
}

__all__ = [
    "Cell",
    "CharrnnError",
    "CharrnnWarning",
    "Clamp",
    "Corpus",
    "EncodedText",
    "Findings",
    "Model",
    "ModelSettings",
    "Picture",
    "Run",
    "SampleSettings",
    "Score",
    "Trace",
    "TrainingSettings",
    "UsageError",
    "__version__",
    "compare",
    "export_run",
    "import_run",
    "load",
    "load_corpus",
    "loss_plot",
    "open_run",
    "remove_run",
    "rename_run",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
