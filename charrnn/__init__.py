"""Character-level recurrent language models: train one on a text, sample from it, look inside its cells.

The names below load on first use, so that `import charrnn` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api import Model as Model
    from charrnn.api import compare as compare
    from charrnn.api import load as load
    from charrnn.api import loss_plot as loss_plot
    from charrnn.api import train as train
    from charrnn.causal.clamp import Clamp as Clamp
    from charrnn.discovery.findings import Findings as Findings
    from charrnn.errors import CharrnnError as CharrnnError
    from charrnn.errors import CharrnnWarning as CharrnnWarning
    from charrnn.errors import UsageError as UsageError
    from charrnn.inspection.recorded_trace import Picture as Picture
    from charrnn.inspection.recorded_trace import Trace as Trace
    from charrnn.inspection.trace import Cell as Cell
    from charrnn.model.exported import export_run as export_run
    from charrnn.model.exported import import_run as import_run
    from charrnn.model.lookup import open_run as open_run
    from charrnn.model.manage import remove_run as remove_run
    from charrnn.model.manage import rename_run as rename_run
    from charrnn.model.run import Run as Run
    from charrnn.progress import progress_bar as progress_bar
    from charrnn.sampling.settings import SampleSettings as SampleSettings
    from charrnn.scoring.score import Score as Score
    from charrnn.settings import ModelSettings as ModelSettings
    from charrnn.settings import TrainingSettings as TrainingSettings
    from charrnn.text.corpus import Corpus as Corpus
    from charrnn.text.corpus import load_corpus as load_corpus
    from charrnn.text.encoded_text import EncodedText as EncodedText

__version__ = "0.1.0"

_NAMES = {
    "api": ("Model", "compare", "load", "loss_plot", "train"),
    "causal.clamp": ("Clamp",),
    "discovery.findings": ("Findings",),
    "errors": ("CharrnnError", "CharrnnWarning", "UsageError"),
    "inspection.recorded_trace": ("Picture", "Trace"),
    "inspection.trace": ("Cell",),
    "model.exported": ("export_run", "import_run"),
    "model.lookup": ("open_run",),
    "model.manage": ("remove_run", "rename_run"),
    "model.run": ("Run",),
    "progress": ("progress_bar",),
    "sampling.settings": ("SampleSettings",),
    "scoring.score": ("Score",),
    "settings": ("ModelSettings", "TrainingSettings"),
    "text.corpus": ("Corpus", "load_corpus"),
    "text.encoded_text": ("EncodedText",),
}
_MODULES = {name: f"charrnn.{module}" for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
