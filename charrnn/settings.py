"""The settings of models, training, files and terminals."""

from __future__ import annotations

import codecs
import contextlib
import pkgutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from charrnn.errors import UsageError
from charrnn.options import Settings, option
from charrnn.units import shortened

# Defaults of the search for cells, of ablation and of steering.
SEARCHED_CHARACTERS, SEARCH_SEED = 200_000, 1
CONTROLS = 200
STEERED_TEXTS, STEERED_CHARACTERS = 64, 2_000
LONGEST_EXPRESSION = 1000  # characters of a regular expression
RECURRENCE_NAMES = [
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "model" / "recurrences")])
    if module.name != "base"
]
"""The values of `--model`: the modules of `charrnn.model.recurrences`, which are not imported for this because they
import torch. `charrnn.model.recurrences.base.register` adds names to this list."""
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
PALETTES = ("blue-red", "purple-orange", "karpathy")
COLORS = ("auto", "truecolor", "256", "16", "none")
NOT_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Codecs of Python for text that no file is stored in."""
DATA, LENGTH = "Data", "Length (one of these)"
_model, _training, _data, _appearance = (
    partial(option, panel=panel) for panel in ("Model", "Training", DATA, "Appearance")
)


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The architecture of a network, apart from the vocabulary size."""

    recurrence: str = _model("lstm", "Kind of recurrent layer.", choices=RECURRENCE_NAMES, flags=("--model",))
    layers: int = _model(1, "Number of recurrent layers.", at_least=1, at_most=64)
    hidden_size: int = _model(384, "Hidden size of each layer.", at_least=1, at_most=65536, chosen=True)
    embedding_size: int = _model(64, "Embedding size.", at_least=1, at_most=65536)
    dropout: float = _model(
        0.0, "Dropout probability, between layers and before the output.", at_least=0, below=1, chosen=True
    )

    @property
    def shape(self) -> str:
        """Recurrence, layers and hidden size, such as `lstm 1×384`."""
        return f"{self.recurrence} {self.layers}×{self.hidden_size}"


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """How a network is trained. Corpus, model settings, training settings and device determine the result."""

    batch_size: int = _training(16, "Batch size: parallel streams of text.", at_least=1, at_most=1_000_000, chosen=True)
    seq_length: int = _training(
        128,
        "Characters of each stream in a training step: the window of truncated BPTT.",
        at_least=1,
        at_most=1_000_000,
        chosen=True,
    )
    learning_rate: float = _training(
        1.2e-2, "Peak learning rate of AdamW, after the warm-up.", above=0, at_most=10, chosen=True
    )
    warmup_steps: int = _training(
        100, "Steps of linear warm-up, at most a tenth of the run.", at_least=0, at_most=1_000_000_000
    )
    grad_clip: float = _training(1.0, "Maximum gradient norm. 0: no clipping.", at_least=0)
    weight_decay: float = _training(
        0.1, "Decoupled weight decay of the weight matrices.", at_least=0, at_most=10, chosen=True
    )
    steps: int = option(
        1000, "Train for this many steps.", at_least=1, at_most=10_000_000_000, panel=LENGTH, chosen=True
    )
    evaluations: int = _training(
        10,
        "Evaluate on the held-out text and save a checkpoint this many times.",
        at_least=1,
        at_most=1_000_000,
        chosen=True,
    )
    patience: int = _training(
        5,
        "Stop early after this many evaluations without improvement, if the loss has clearly risen. 0: never.",
        at_least=0,
        at_most=1_000_000,
    )
    keep: str | None = _training(
        None,
        "Save a checkpoint every N steps as well, and keep all of these.",
        pattern=r"every:[1-9][0-9]{0,9}",
        metavar="every:N",
    )
    val_fraction: float = _data(0.1, "Fraction of the text, at its end, held out for validation.", above=0, at_most=0.5)
    val_characters: int = _data(
        0,
        "Validate on this many held-out characters during training, and on all of them at the end. 0: always on all.",
        at_least=0,
        at_most=10**12,
        chosen=True,
    )
    documents: str | None = _data(
        None,
        "Treat the text as independent documents: its lines, its files, or what a regular expression separates.",
        metavar="lines|files|REGEX",
        longest=LONGEST_EXPRESSION,
    )
    seed: int = _training(
        1, "Random seed of initial weights, stream offsets and dropout.", at_least=0, at_most=2**63 - 1
    )
    precision: str = _training(
        "auto",
        "Precision of the recurrent layers; weights and losses are float32. auto: bf16 where it is fast.",
        choices=PRECISIONS,
    )
    threads: int | None = _training(
        None, "CPU threads: one or all, whichever is faster.", at_least=1, at_most=1024, chosen=True
    )

    def keeps(self, step: int) -> bool:
        """Return whether `keep` saves a checkpoint at this step and keeps it."""
        return self.keep is not None and step % int(self.keep.removeprefix("every:")) == 0


@dataclass(frozen=True)
class ReadSettings(Settings):
    """Which files of a folder are read, and how the bytes of a file become characters.

    encoding: becomes Python's name for it, such as iso8859-1 for latin-1. include, exclude: a list, or one str.
    """

    encoding: str = _data(
        "utf-8", "Encoding of the files, such as latin-1, cp1252 or utf-16.", longest=40, metavar="NAME"
    )
    newlines: str = _data(
        "lf",
        "Line ends. lf: convert CRLF and CR to LF. keep: change nothing.",
        choices=("keep", "lf"),
        if_missing="keep",
    )
    include: tuple[str, ...] = _data(
        (),
        "In folders and patterns, read only these files: a name, or a path below the folder; * and ** match parts. "
        "Repeatable.",
        longest=LONGEST_EXPRESSION,
        metavar="GLOB",
    )
    exclude: tuple[str, ...] = _data(
        (),
        "In folders and patterns, leave out these files and folders. Repeatable.",
        longest=LONGEST_EXPRESSION,
        metavar="GLOB",
    )
    normalize: str = _data(
        "none",
        "Unicode normalization of the text. jamo: NFC with Hangul syllables as their letters. none: change nothing.",
        choices=("nfc", "nfd", "jamo", "none"),
    )

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            value = getattr(self, name)
            if isinstance(value, str | list):
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        super().__post_init__()
        object.__setattr__(self, "encoding", _encoding_name(self.encoding))

    @property
    def decoding(self) -> tuple[str, ...]:
        """Encoding, newlines and the normalization if there is one: what determines the characters of a file."""
        normalization = () if self.normalize == "none" else (self.normalize,)
        return self.encoding, self.newlines, *normalization


def _encoding_name(name: str) -> str:
    """Return Python's name of an encoding. Raises UsageError where there is none that a file can be read in."""
    try:
        codec = codecs.lookup(name)
        with contextlib.suppress(UnicodeError):
            b"a".decode(name)  # raises LookupError for codecs such as base64
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.incrementaldecoder is None or codec.name in NOT_ENCODINGS:
        raise UsageError(f"unknown encoding {shortened(name)}", "use one such as utf-8, latin-1, cp1252 or utf-16")
    return codec.name


@dataclass(frozen=True)
class TerminalSettings(Settings):
    """How a terminal shows colors."""

    color: str = _appearance("auto", "Number of colors. auto: detect it.", choices=COLORS)
    background: str = _appearance(
        "auto",
        "Background that the colors start from. auto: as CHARRNN_BACKGROUND or COLORFGBG says, else ask the terminal.",
        choices=("auto", "dark", "light"),
    )


@dataclass(frozen=True)
class InspectSettings(TerminalSettings):
    """Which part of the text is shown, and how a cell is colored."""

    signal: str = option(
        "auto",
        "Signal of the cell: cell state c, hidden state h, or a gate. auto: c if the model has one, else h.",
        metavar="auto|c|h|GATE",
    )
    start: int | None = option(
        None,
        "First character to show, counted from the start of the text; by default where the cell changes most.",
        at_least=0,
        at_most=10**12,
    )
    length: int | None = option(
        None,
        "Characters to show; by default what fits on the first screen, and 1,500 in a file.",
        at_least=1,
        at_most=1_000_000,
    )
    passages: int = option(
        2, "Passages to show of each kind: highest, lowest, typical and random.", at_least=0, at_most=50
    )
    top: bool = option(
        False,
        "Below each character, show the five most likely next ones, the actual one marked, and the surprise in bits.",
    )
    palette: str = _appearance(
        "blue-red", f"Colors of negative and positive values: {', '.join(PALETTES)}.", choices=PALETTES, metavar="NAME"
    )
