"""The settings of a run: how its network is built and trained, on what, and where it was created."""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import torch

from charrnn.errors import CharrnnError
from charrnn.model.run_format import FORMAT, RUN_FILE, migrate, with_version
from charrnn.options import Settings, option, settings_from
from charrnn.settings import ModelSettings, ReadSettings, TrainingSettings
from charrnn.units import shortened

LARGEST_COUNT = 10**15  # steps or characters
MAX_CORRECTIONS = 100  # of the number of steps of one run
MAX_EVALUATIONS_LEFT = 1000  # after a correction
PARTS = ("model", "training", "corpus", "origin")
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class CorpusIdentity(ReadSettings):
    """The text that a run was trained on, and how it was read."""

    name: str = option("", "Name of the corpus.")
    specs: str = option("", "Arguments that named the corpus, as one shell-quoted string. Never opened.")
    sha256: str = option("", "SHA-256 of the bytes of the files, one after the other.")
    characters: int = option(0, "Length of the text.", at_least=0, at_most=LARGEST_COUNT)
    held_out: int = option(0, "Held-out characters, at its end.", at_least=0, at_most=LARGEST_COUNT)
    held_out_files: str = option("", "Lengths of the held-out files if files are documents, separated by spaces.")
    held_out_from: str = option("", "With an empty held_out.bin: the first held-out file of Python's library.")

    @property
    def reading(self) -> ReadSettings:
        return settings_from(ReadSettings, self.to_json())

    def named(self) -> list[str]:
        """Return the specs as a list. Raises CharrnnError where they are not shell-quoted."""
        try:
            return shlex.split(self.specs)
        except ValueError:
            raise CharrnnError(f"the corpus name {shortened(self.specs)} is not quoted for a shell") from None

    def quoted(self) -> str:
        """Return the specs as arguments that are safe to paste, whatever they hold, with ? for a backtick.

        An error names parameters in backticks. As a pattern, ? matches a backtick. Raises what `named` raises.
        """
        return shlex.join(spec.replace("`", "?") for spec in self.named())


@dataclass(frozen=True)
class Origin(Settings):
    """Where and when a run was created."""

    created: str = option("", "UTC time, ISO 8601.")
    device: str = option("", "Name of the device.")
    torch: str = option("", "Version of PyTorch.")
    python: str = option("", "Version of Python.")
    chosen_because: str = option("", "Why these settings were chosen.")
    minutes: float | None = option(None, "Requested minutes, if the length was given in minutes.", above=0)

    @classmethod
    def here(cls, device: str, chosen_because: str, minutes: float | None = None) -> Origin:
        """Return the origin of a run created now by this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(now, device, str(torch.__version__), platform.python_version(), chosen_because, minutes)


class Correction(NamedTuple):
    """From the step after `step` on, a run has this many steps in total, and this many evaluations left.

    restart: the run was finished at `step`, and is extended: the learning rate rises again.
    """

    step: int
    steps: int
    evaluations: int
    restart: bool = False


@dataclass(frozen=True)
class RunSettings:
    """The content of run.json. format: the one that the run was created in."""

    model: ModelSettings
    training: TrainingSettings
    corpus: CorpusIdentity
    origin: Origin
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the settings in the current format."""
        return with_version({name: getattr(self, name).to_json() for name in PARTS})

    @classmethod
    def from_json(cls, data: Any, source: str) -> RunSettings:
        """Return the settings that `to_json` wrote, in this format or an older one. source: the file, for errors."""
        read = migrate(RUN_FILE, data, source)
        unknown = sorted(read.content.keys() - PARTS)
        if unknown:
            raise CharrnnError(f"{source}: unknown setting {shortened(unknown[0])}", read.hint)

        def part(name: str, settings: type[S]) -> S:
            return settings.from_json(read.content.get(name, {}), source, read.hint)

        return cls(
            part("model", ModelSettings),
            part("training", TrainingSettings),
            part("corpus", CorpusIdentity),
            part("origin", Origin),
            read.format,
        )
