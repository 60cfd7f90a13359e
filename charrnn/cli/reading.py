"""The text that a command reads: what was held out, or what a person names; as documents where that was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.model.run import Run
    from charrnn.text.encoded_text import EncodedText

HELD_OUT = "held-out text"
SKIP_UNKNOWN = "use --skip-unknown to leave them out"


def text_of(run: Run, spec: str | None, *, skip_unknown: bool = False) -> tuple[str, EncodedText]:
    """What a text is called, and its ids (N,); documents where the run was trained on such.

    spec: a file, a folder, a corpus' name or `-`; None is what was held out from training. skip_unknown: leave out
    characters that the run does not know. Raises CharrnnError where there is no such text, or it holds such characters.
    """
    from charrnn.text.corpus import read_text

    if spec is None:
        if skip_unknown:
            raise UsageError(f"--skip-unknown is for a text of your own, not for the {HELD_OUT}", "leave it out")
        return HELD_OUT, run.held_out_text()
    source = "standard input" if spec == "-" else spec
    if run.settings.training.documents == "files" and spec != "-":
        return source, _files(run, spec, skip_unknown)
    raw = read_text(spec, as_bytes=run.vocabulary.kind == "bytes")
    return source, run.encoded_text(
        run.vocabulary.encode(raw, source=source, skip_unknown=skip_unknown, hint=SKIP_UNKNOWN)
    )


def _files(run: Run, spec: str, skip_unknown: bool) -> EncodedText:
    """What a spec names, each file a document."""
    import numpy as np

    from charrnn.text.corpus import load_corpus

    corpus = load_corpus([spec], as_bytes=run.vocabulary.kind == "bytes")
    ends = np.cumsum(corpus.lengths)
    texts = [
        run.vocabulary.encode(
            corpus.vocabulary.decode(corpus.ids[end - length : end]),
            source=file,
            skip_unknown=skip_unknown,
            hint=SKIP_UNKNOWN,
        )
        for file, length, end in zip(corpus.files, corpus.lengths, ends, strict=True)
    ]
    return run.encoded_text(np.concatenate(texts), [len(text) for text in texts])
