"""What the tests of corpora share: write a file, read a corpus back, expect an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import CharrnnError
from charrnn.text.corpus import Corpus, load_corpus


def put(name: str, data: bytes | str = "some text") -> Path:
    """Write a file in the current directory."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def whole(corpus: Corpus) -> str:
    return corpus.text(0, len(corpus))


def failure(*specs: str, **options: object) -> CharrnnError:
    """Return the error, one line, of loading a corpus."""
    with pytest.raises(CharrnnError) as caught:
        load_corpus(specs, **options)
    assert "\n" not in str(caught.value)
    return caught.value
