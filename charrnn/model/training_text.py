"""The text that a run was trained on, where this machine has it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.model.run_settings import CorpusIdentity
from charrnn.text import catalog
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.text.sources import corpora_folder
from charrnn.text.vocabulary import NotTextError
from charrnn.units import LONGEST_VALUE


def training_text(run: Run, spec: str | None = None) -> Corpus:
    """Return the corpus of a run in the run's vocabulary, without its held-out end.

    spec: the run's corpus, several files quoted as for a shell; None: the file of its name in corpora/. Other paths
    that a run names are not opened, because it may come from a stranger. Raises CharrnnError where there is no such
    file, or it is another text.
    """
    identity = run.settings.corpus
    specs = [str(training_file(run))] if spec is None else _specs(spec, identity)
    as_bytes = run.vocabulary.kind == "bytes"
    another = CharrnnError(
        f"{shlex.join(specs)} is not the corpus that {run.name} was trained on", "name another with `corpus`"
    )
    try:
        corpus = load_corpus(specs, as_bytes=as_bytes, vocabulary=run.vocabulary, **identity.reading.to_json())
    except NotTextError:
        raise another from None
    if corpus.sha256 != identity.sha256:
        raise another
    end = len(corpus) - identity.held_out
    lengths = np.diff(np.minimum(np.cumsum([0, *corpus.lengths]), end))
    return replace(corpus, ids=corpus.ids[:end], lengths=lengths.tolist())


def _specs(spec: str, identity: CorpusIdentity) -> list[str]:
    """Return the files that a spec names, of which only a run with several has more than one."""
    try:
        return shlex.split(spec) if len(identity.named()) > 1 else [spec]
    except ValueError:  # an unclosed quote
        return [spec]


def training_file(run: Run) -> Path:
    """Return the file in corpora/ with the name of the run's corpus. Raises CharrnnError where there is none."""
    identity = run.settings.corpus
    name = identity.name.removesuffix(".txt")
    file = corpora_folder() / f"{name}.txt"
    if not name or "/" in name or "\\" in name or not file.is_file():
        raise CharrnnError(f"the text that {run.name} was trained on is not in {file.parent}", _hint(identity))
    return file


def _hint(identity: CorpusIdentity) -> str:
    """Return how to name the corpus of a run."""
    if (known := catalog.find(identity.specs)) is not None:
        return f"name it, as in `corpus='{known.name}'`"
    specs = identity.quoted()
    short = 0 < len(specs) <= LONGEST_VALUE
    if len(identity.named()) > 1:
        were = f" (they were {specs})" if short else ""
        return f"name its files as one argument with `corpus`, such as 'a.txt b.txt'{were}"
    return f"name its file with `corpus='FILE'`{f' (it was {specs})' if short else ''}"
