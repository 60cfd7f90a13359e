"""charrnn.scoring.compressors and charrnn.scoring.baselines"""

from __future__ import annotations

import bz2
import lzma

import numpy as np
import pytest

from charrnn.scoring.baselines import score_baselines
from charrnn.scoring.compressors import COMPRESSORS, PIECE
from charrnn.scoring.ngram import ngram_score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import prose

TRAINING, TEXT = prose(20_000), prose(3_000, seed=1).replace("noon", "nñ漢")
PLAIN = {
    "PPMd": lambda data: pytest.importorskip("pyppmd").compress(data, max_order=6, mem_size=1 << 28, variant="I"),
    "bzip2 -9": bz2.compress,
    "xz -9": lambda data: lzma.compress(data, preset=9),
}


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda one: one.name)
def test_bits_are_the_difference_of_two_compressed_sizes(compressor) -> None:
    training, text = TRAINING.encode(), TEXT.encode()
    plain = PLAIN[compressor.name]
    expected = 8 * (len(plain(training + text)) - len(plain(training)))
    assert compressor.bits_after(training, text) == pytest.approx(expected, abs=64)  # xz: padding to 4 bytes


def test_progress_rises_to_one() -> None:
    bzip2 = next(one for one in COMPRESSORS if one.name.startswith("bzip2"))
    fractions: list[float] = []
    bzip2.bits_after(bytes(2 * PIECE), bytes(PIECE + 1), fractions.append)
    assert len(fractions) == 2 + 4
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_bits_are_per_character_and_not_per_byte() -> None:
    vocabulary = Vocabulary.of(TRAINING + TEXT)
    training, text = (EncodedText(vocabulary.encode(each)) for each in (TRAINING, TEXT))
    rows = {one.name: one for one in score_baselines(training, text, vocabulary)}
    assert list(rows) == ["n-gram", *PLAIN]
    for compressor in COMPRESSORS:
        expected = compressor.bits_after(TRAINING.encode(), TEXT.encode()) / len(TEXT)
        assert rows[compressor.name].adaptive == pytest.approx(expected)
        assert rows[compressor.name].frozen is None
    size = len(vocabulary)
    assert rows["n-gram"].frozen == ngram_score(training, text, size).bits_per_character
    assert rows["n-gram"].adaptive == ngram_score(training, text, size, adaptive=True).bits_per_character
    assert rows["n-gram"].adaptive < rows["n-gram"].frozen


def test_bytes_are_compressed_as_they_are() -> None:
    vocabulary = Vocabulary.of_bytes()
    data = np.frombuffer(bytes(range(256)) * 4, np.uint8)
    rows = {one.name: one for one in score_baselines(EncodedText(data), EncodedText(data[:512]), vocabulary)}
    bits = COMPRESSORS[2].bits_after(data.tobytes(), data[:512].tobytes())
    assert rows["xz -9"].adaptive == bits / 512


@pytest.mark.slow
def test_shakespeare_with_ppmd() -> None:
    """The last tenth of tiny shakespeare after the rest, as PPMd of order 6 codes it: 2.026 bits per character."""
    from charrnn.errors import CharrnnError
    from charrnn.text.corpus import load_corpus

    pytest.importorskip("pyppmd")
    try:
        text = load_corpus(["shakespeare"]).text().encode()
    except CharrnnError:
        pytest.skip("shakespeare is not in corpora/ and cannot be downloaded")
    cut = len(text) * 9 // 10
    bits = COMPRESSORS[0].bits_after(text[:cut], text[cut:])
    assert bits / len(text[cut:]) == pytest.approx(2.026, abs=5e-4)
