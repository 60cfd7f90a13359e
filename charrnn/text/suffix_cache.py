"""Keep the suffix array of a corpus beside it: it is built once, and mapped to memory afterwards.

    .NAME.suffixes-HASH.npy     8 bytes for each character
    .NAME.suffixes-HASH.json    a checksum of every block

HASH depends on the ids. A pair that is damaged is written again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import MAX_JSON_PARTS, from_json_bytes, read_bounded, remove_leftovers
from charrnn.progress import StageProgress, no_progress
from charrnn.text.corpus import Corpus
from charrnn.text.corpus_cache import LONGEST_NAME, is_writable, locked, writing
from charrnn.text.id_files import LARGEST_MANIFEST, array_path, map_array, write_array
from charrnn.text.sources import corpora_folder
from charrnn.text.suffix_array import suffix_array

ORDER_TYPE = np.dtype(np.int64)
BLOCK = 1 << 20


def kept_suffix_array(corpus: Corpus, progress: StageProgress = no_progress) -> np.ndarray:
    """Return the suffix array (N,) of the ids of a corpus, from a file that was kept or is written now.

    The file is beside the corpus, or in corpora/ where the corpus has several files or its folder cannot be written to.
    It is not kept where neither folder can be written to. progress: called with a stage and the share of it that is
    done. Raises CharrnnError where the disk or the memory is too small.
    """
    digest = hashlib.sha256(corpus.ids.dtype.str.encode() + b" ")
    digest.update(np.ascontiguousarray(corpus.ids).data)
    stem = corpus.name.replace("/", "_").encode()[:LONGEST_NAME].decode("utf-8", "ignore")
    manifests = [folder / f".{stem}.suffixes-{digest.hexdigest()[:12]}.json" for folder in _folders(corpus)]
    found = _find(manifests, len(corpus))
    manifest = next((path for path in manifests if is_writable(path.parent)), None)
    if found is not None:
        return found
    if manifest is None:
        return _build(corpus, progress)
    with locked(manifest.parent):
        found = _find(manifests, len(corpus))  # written by the process this one waited for
        if found is not None:
            return found
        remove_leftovers(manifest.parent)
        with writing(f"the index of {corpus.name}", manifest.parent, len(corpus) * ORDER_TYPE.itemsize):
            order = _build(corpus, progress)
            blocks = (order[start : start + BLOCK].tobytes() for start in range(0, len(order), BLOCK))
            return write_array(manifest, ORDER_TYPE, len(order), blocks, {})


def _folders(corpus: Corpus) -> Sequence[Path]:
    file = Path(corpus.specs[0])
    beside = [file.parent] if len(corpus.specs) == 1 and file.is_file() else []
    return [*beside, corpora_folder()]


def _find(manifests: Sequence[Path], length: int) -> np.ndarray | None:
    for path in manifests:
        with contextlib.suppress(CharrnnError, OSError):
            content = from_json_bytes(read_bounded(path, LARGEST_MANIFEST), str(path), MAX_JSON_PARTS + length)
            if isinstance(content, dict) and isinstance(content.get("checksums"), list):
                return map_array(array_path(path), ORDER_TYPE, length, content["checksums"])
    return None


def _build(corpus: Corpus, progress: StageProgress) -> np.ndarray:
    try:
        return suffix_array(np.ascontiguousarray(corpus.ids), progress)
    except MemoryError:
        raise CharrnnError(f"the index of {corpus.name} does not fit into memory") from None
