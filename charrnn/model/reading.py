"""Read a file or a corpus as the ids of a run."""

from __future__ import annotations

import numpy as np

from charrnn.model.run import Run
from charrnn.text.corpus import load_corpus, read_text
from charrnn.text.encoded_text import EncodedText

HELD_OUT = "held-out text"
SKIP_UNKNOWN = "use --skip-unknown to leave them out"


def read_for(run: Run, spec: str, *, skip_unknown: bool = False) -> EncodedText:
    """Return a file, a folder, a corpus by name, or standard input (`-`) in the vocabulary of a run.

    The text is split into documents where the run was trained on documents. skip_unknown: leave out characters that the
    run does not know. Raises CharrnnError where there is no such text, or it holds unknown characters.
    """
    as_bytes = run.vocabulary.kind == "bytes"
    if run.settings.training.documents != "files" or spec == "-":
        source = "standard input" if spec == "-" else spec
        raw = read_text(spec, as_bytes=as_bytes)
        ids = run.vocabulary.encode(raw, source=source, skip_unknown=skip_unknown, hint=SKIP_UNKNOWN)
        return run.encoded_text(ids)
    corpus = load_corpus([spec], as_bytes=as_bytes)
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
