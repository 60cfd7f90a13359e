"""Control labels: properties without meaning, which no cell should be named after (Hewitt & Liang 2019)."""

from __future__ import annotations

import re
import zlib

import numpy as np

from charrnn.properties.catalog import Booleans, Text, register


@register("hash of the word", "binary", "The CRC-32 of the current word is odd.", looks_ahead=True, control=True)
def _hash_of_word(text: Text) -> Booleans:
    words = re.finditer(r"[^\W\d_]+", text.characters)
    return text.spans(match.span() for match in words if zlib.crc32(match.group().encode()) & 1)


@register("t mod 7", "binary", "The position in the text modulo 7 is below 3.", control=True)
def _t_mod_7(text: Text) -> Booleans:
    return np.arange(len(text)) % 7 < 3


@register("comma parity", "binary", "The number of commas since the start of the text is odd.", control=True)
def _comma_parity(text: Text) -> Booleans:
    odd: Booleans = np.cumsum(text.is_any_of(",")) % 2 == 1
    return odd


@register(
    "sentence begins with A–M",
    "binary",
    "The first letter since the last full stop, `!`, `?` or blank line is one of A to M.",
    control=True,
)
def _sentence_begins_with_a_to_m(text: Text) -> Booleans:
    ends = text.is_any_of(".!?") | text.paragraph_starts
    first = text.letter & (text.count_since(text.letter, ends) == 1)
    return text.count_since(first & text.is_any_of("ABCDEFGHIJKLMabcdefghijklm"), ends) > 0
