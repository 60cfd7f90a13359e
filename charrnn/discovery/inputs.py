"""The inputs of a search, from a run: characters, language, and training text for the k-gram baseline."""

from __future__ import annotations

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.model.training_text import training_text
from charrnn.properties.catalog import Text
from charrnn.properties.source_code import find_language, guess_language
from charrnn.text.vocabulary import Vocabulary

TRAINING_CHARACTERS = 500_000
"""Characters at the end of the training text that the k-gram baseline is fitted on."""


def characters_of(vocabulary: Vocabulary, ids: np.ndarray, language: str | None = None) -> Text:
    """Decode ids to characters, one for each id. Bytes become the first 256 code points."""
    decoded = vocabulary.decode(ids)
    return Text(decoded if isinstance(decoded, str) else decoded.decode("latin-1"), language)


def as_characters(vocabulary: Vocabulary, text: str) -> str:
    """Convert a string to the characters that `characters_of` gives for the same text."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1") if vocabulary.kind == "bytes" else text


def language_of(run: Run, name: str | None = None) -> str | None:
    """Find a language by name ("none": no language), or guess it from the file names of the run's corpus."""
    if name is not None:
        return None if name.lower() == "none" else find_language(name)
    specs = run.settings.corpus.named()
    return "python" if specs == ["python"] else guess_language(specs)


def training_ids(run: Run, spec: str | None = None) -> np.ndarray | None:
    """Return the end of the training text, or None where the corpus is not available.

    spec: the run's corpus; None: a file of its name in corpora/. Raises CharrnnError where `spec` is another corpus.
    """
    try:
        ids: np.ndarray = training_text(run, spec).ids[-TRAINING_CHARACTERS:]
    except CharrnnError:
        if spec is None:
            return None
        raise
    return ids
