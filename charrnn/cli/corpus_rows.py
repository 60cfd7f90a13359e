"""The rows about a corpus that `charrnn train` shows before a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.text.path_filter import FILTERED
from charrnn.text.sources import EXPORTED
from charrnn.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charrnn.model.run import Run
    from charrnn.text.corpus import Corpus

SKIPPED_NAMED = 3


def corpus_rows(run: Run, corpus: Corpus, kept: int) -> Iterator[tuple[str, str]]:
    """Yield what is read, held out, skipped and converted. kept: characters of the held-out text that the run keeps."""
    text, validated = run.settings.corpus, kept
    if run.settings.training.val_characters:
        validated = min(validated, run.settings.training.val_characters)
    part = f", {count(validated)} of them for validation" if validated < text.held_out else ""
    files = last_file = ""
    if len(corpus.files) > 1:
        files = f" in {amount(len(corpus.files), 'file')}"
        if text.held_out <= corpus.lengths[-1]:
            last_file = f" of {Path(corpus.files[-1]).name}"
    yield (
        "corpus",
        f"{text.name}: {amount(text.characters, 'character')}{files}, "
        f"{len(run.vocabulary)} different; last {count(text.held_out)}{last_file} held out{part}",
    )
    yield from _skipped_rows(corpus.skipped_files)
    yield from _newlines_rows(corpus)
    yield from _normalization_rows(corpus)


def _skipped_rows(skipped: dict[str, str]) -> list[tuple[str, str]]:
    """Return the row of skipped files, those skipped on purpose last; no row if all are read."""
    named = sorted(skipped, key=lambda name: skipped[name] in ("hidden", EXPORTED, *FILTERED))[:SKIPPED_NAMED]
    more = f" and {len(skipped) - len(named)} more" if len(skipped) > len(named) else ""
    if any(reason.startswith("not UTF-8") for reason in skipped.values()):
        more += "; --encoding latin-1 reads files that are not UTF-8"
    return [("skipped", ", ".join(f"{name} ({skipped[name]})" for name in named) + more)] if skipped else []


def _normalization_rows(corpus: Corpus) -> list[tuple[str, str]]:
    """Return the row about Unicode normalization, if the text is normalized or not in NFC."""
    form = corpus.reading.normalize
    if form != "none":
        return [("normalized", "NFC, with Hangul syllables as their letters" if form == "jamo" else form.upper())]
    where = "" if len(corpus.files) == 1 else f" in {amount(corpus.not_nfc, 'file')}"
    text = f"not NFC{where}: the same letter may be written in several ways (--normalize nfc makes them one)"
    return [("Unicode", text)] if corpus.not_nfc else []


def _newlines_rows(corpus: Corpus) -> list[tuple[str, str]]:
    """Return the row about converted line ends, if there are any."""
    files = "" if len(corpus.files) == 1 else f" in {amount(corpus.converted, 'file')}"
    text = f"CRLF or CR converted to LF{files} (--newlines keep leaves them)"
    return [("newlines", text)] if corpus.converted else []
