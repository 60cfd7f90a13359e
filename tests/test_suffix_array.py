"""Suffix arrays against sorting and searching in plain Python, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.corpus import load_corpus
from charrnn.text.suffix_array import SubstringIndex, prefix_doubling, suffix_array
from charrnn.text.suffix_cache import kept_suffix_array

LONGEST = 6
TYPES = st.sampled_from(["u1", "u2", "u4"])
IDS = st.lists(st.sampled_from([0, 1, 255]), min_size=1, max_size=40)


def sorted_suffixes(ids: list[int]) -> list[int]:
    return sorted(range(len(ids)), key=lambda start: ids[start:])


@given(IDS, TYPES)
def test_suffixes_are_sorted(ids: list[int], dtype: str) -> None:
    assert prefix_doubling(np.array(ids, dtype), lambda stage, fraction: None).tolist() == sorted_suffixes(ids)


@given(IDS, TYPES)
def test_library_gives_the_same_array(ids: list[int], dtype: str) -> None:
    pytest.importorskip("pydivsufsort")
    assert suffix_array(np.array(ids, dtype)).tolist() == sorted_suffixes(ids)


def test_long_repeats_are_sorted() -> None:
    ids = np.zeros(3000, np.uint8)
    assert (suffix_array(ids) == np.arange(3000)[::-1]).all()


@given(IDS, TYPES, st.data())
def test_substrings_are_found(ids: list[int], dtype: str, data: st.DataObject) -> None:
    index = SubstringIndex(np.array(ids, dtype), suffix_array(np.array(ids, dtype)), LONGEST)
    length = data.draw(st.integers(1, LONGEST))
    sought = data.draw(st.lists(st.sampled_from([0, 1, 255]), min_size=length, max_size=length))
    occurrences = [start for start in range(len(ids) - length + 1) if ids[start : start + length] == sought]
    key = index.keys(np.array([sought]))
    assert index.find(key)[0] in (occurrences or [-1])
    assert sorted(index.occurrences(key)) == occurrences
    assert set(index.followers(key)) == {ids[start + length] for start in occurrences if start + length < len(ids)}


def test_array_is_kept_beside_the_corpus_and_rebuilt_if_damaged(home: Path, short_text: str) -> None:
    (home / "text.txt").write_text(short_text)
    corpus = load_corpus(["text.txt"])
    built: list[str] = []

    def keep() -> np.ndarray:
        return kept_suffix_array(corpus, lambda stage, fraction: built.append(stage))

    first = np.array(keep())
    assert built
    built.clear()
    assert (keep() == first).all() and not built
    (file,) = home.glob(".text.suffixes-*.npy")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert (keep() == first).all() and built
