"""What every kind of look into a run needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.display.terminal import Terminal
    from charrnn.model.checkpoint import Checkpoint
    from charrnn.model.network import CharRNN
    from charrnn.model.run import Run
    from charrnn.text.encoded_text import EncodedText


@dataclass(frozen=True)
class Look:
    """A run, the weights of one of its saves, a text to read, and where what is seen is written.

    source: what the text is called. as_json: one JSON object instead of what a person reads.
    """

    run: Run
    checkpoint: Checkpoint
    network: CharRNN
    source: str
    passage: EncodedText
    terminal: Terminal
    as_json: bool = False

    def of_first(self, characters: int) -> Look:
        """The same, of the beginning of the text."""
        return replace(self, passage=self.passage[:characters])

    @property
    def title(self) -> str:
        """The run and its shape, as a heading begins."""
        model = self.run.settings.model
        return f"{self.run.name} · {model.recurrence} {model.layers}×{model.hidden_size}"

    @property
    def text(self) -> str:
        """What the text is called, and that it is documents where it is."""
        return f"documents of {self.source}" if self.passage.has_documents else self.source
