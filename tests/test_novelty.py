"""What a text copies from the training text, and the limit of it, against searches in plain Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import charrnn
from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.sampling.novelty import NGRAM_LENGTHS, NoveltyMeter, TrainingIndex
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED
from charrnn.settings import ModelSettings
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.text.documents import DocumentSeparator
from charrnn.text.vocabulary import Vocabulary
from tests.planted import prose

LIMIT = 8
LOGITS = {"a": 0.0, "b": 0.4, "\n": -0.6}
MakeIndex = Callable[..., tuple[Corpus, TrainingIndex]]


@pytest.fixture
def indexed(home: Path) -> MakeIndex:
    """Return the corpus that some files make up, and its index."""

    def make(*texts: str, **reading: bool) -> tuple[Corpus, TrainingIndex]:
        names = [f"{number}.txt" for number in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (home / name).write_bytes(text.encode())
        corpus = load_corpus(names, **reading)
        return corpus, TrainingIndex(corpus)

    return make


def memoryless(vocabulary: Vocabulary) -> CharRNN:
    """Return a network that always predicts `LOGITS`."""
    network = CharRNN(ModelSettings(hidden_size=4, embedding_size=2), len(vocabulary)).eval()
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.bias.fill_(-80)
        for character, logit in LOGITS.items():
            network.output.bias[vocabulary.encode(character)[0]] = logit
    return network


def random_text(length: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("ab\n", k=length))


def longest_common_substring(text: str, training: str) -> int:
    """Return its length, by trying every substring of a length, then of the next one."""
    length = 0
    while any(text[start : start + length + 1] in training for start in range(len(text) - length)):
        length += 1
    return length


def sampled(corpus: Corpus, index: TrainingIndex | None, **settings: object) -> list[str]:
    given = SampleSettings(**{"length": 3000, "temperature": 1.0, "seed": 4, **settings})
    drawn = np.array(
        list(generate(memoryless(corpus.vocabulary), given, None, vocabulary=corpus.vocabulary, index=index))
    )
    return [corpus.vocabulary.text(ids[ids != STOPPED]) for ids in drawn.T]


@pytest.mark.parametrize("seed", range(4))
def test_novelty_against_a_plain_search(indexed: MakeIndex, seed: int) -> None:
    training = random_text(900, seed)
    piece = training[100 : 100 + 45 * (seed // 2)]
    text = random_text(60, seed + 100) + piece + random_text(60, seed + 200)
    corpus, index = indexed(training)
    result = index.novelty(corpus.vocabulary.encode(text))
    longest = result.longest_copy
    assert longest is not None
    assert longest.characters == longest_common_substring(text, training)
    assert text[longest.start :].startswith(longest.quotation)
    assert longest.line == training[: training.index(longest.quotation)].count("\n") + 1
    for n in NGRAM_LENGTHS:
        ngrams = [text[start : start + n] for start in range(len(text) - n + 1)]
        assert result.new_ngrams[n] == pytest.approx(np.mean([ngram not in training for ngram in ngrams]))


@pytest.mark.parametrize("block", [1, 7, 64, 5000])
def test_novelty_of_a_text_in_pieces(indexed: MakeIndex, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Runs that begin in one piece and end in another; the longest is the first of its length."""
    monkeypatch.setattr("charrnn.sampling.novelty.SEARCHED_AT_ONCE", block)
    training = random_text(900)
    copies = [training[start : start + length] for start, length in ((100, 30), (300, 130), (300, 130), (500, 200))]
    text = random_text(50, 8).join(["", *copies[:3], ""])
    corpus, index = indexed(training)
    meter = NoveltyMeter(index)
    for part in (text, random_text(300, 9) + copies[3]):
        for start in range(0, len(part), 11):
            meter.feed(corpus.vocabulary.encode(part[start : start + 11]).tolist())
        result = meter.result()
        text = part if part is text else text + part
        longest = result.longest_copy
        assert longest is not None
        assert longest.characters == longest_common_substring(text, training)
        assert longest.start == next(
            start for start in range(len(text)) if text[start : start + longest.characters] in training
        )
        for n, share in result.new_ngrams.items():
            ngrams = [text[start : start + n] for start in range(len(text) - n + 1)]
            assert share == pytest.approx(np.mean([ngram not in training for ngram in ngrams]))


def test_place_is_file_and_line(indexed: MakeIndex) -> None:
    corpus, index = indexed("one\ntwo\n", "three\nfour\nfive\n")
    longest = index.novelty(corpus.vocabulary.encode("\nfour\n")).longest_copy
    assert longest is not None
    assert (longest.file, longest.line, longest.quotation) == ("1.txt", 1, "\nfour\n")


def test_text_without_a_known_character(indexed: MakeIndex) -> None:
    corpus, index = indexed("abab")
    extended = corpus.vocabulary.extended_with("z")
    assert index.novelty(extended.encode("zz")).longest_copy is None
    assert index.novelty(extended.encode("")).new_ngrams == dict.fromkeys(NGRAM_LENGTHS)


def test_limit_changes_nothing_else(indexed: MakeIndex) -> None:
    """Chi-square of what is drawn where nothing is excluded, and of the rest renormalized where something is."""
    corpus, index = indexed(random_text(600))
    training = corpus.text()
    (text,) = sampled(corpus, index, max_copy=LIMIT)
    (free,) = sampled(corpus, index)
    assert longest_common_substring(free, training) > LIMIT
    assert longest_common_substring(text, training) == LIMIT
    drawn: dict[frozenset[str], Counter[str]] = {}
    for place, character in enumerate(text):
        latest = text[place - LIMIT : place] if place >= LIMIT else None
        allowed = frozenset(c for c in LOGITS if latest is None or latest + c not in training)
        drawn.setdefault(allowed, Counter())[character] += 1
    statistic, degrees = 0.0, 0
    for allowed, counts in drawn.items():
        assert set(counts) <= allowed
        weights = {c: np.exp(LOGITS[c]) for c in allowed}
        expected = {c: counts.total() * weight / sum(weights.values()) for c, weight in weights.items()}
        statistic += sum((counts[c] - expected[c]) ** 2 / expected[c] for c in allowed)
        degrees += len(allowed) - 1
    assert len(drawn) > 3
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("limit", [7, 8])
def test_texts_agree_until_the_limit(indexed: MakeIndex, limit: int) -> None:
    corpus, index = indexed(random_text(400))
    training = corpus.text()
    for free, text in zip(*(sampled(corpus, index, max_copy=n, num=3, length=600) for n in (None, limit)), strict=True):
        first = next(end for end in range(limit, len(free)) if free[end - limit : end + 1] in training)
        assert text[:first] == free[:first]
        assert text[first] != free[first]


@pytest.mark.parametrize("settings", [{}, {"top_k": 1}, {"top_p": 0.5}, {"min_p": 0.9}, {"stop": ["bb\n"]}])
def test_limit_holds_with_filters_and_streams(indexed: MakeIndex, settings: dict[str, object]) -> None:
    corpus, index = indexed(random_text(600))
    texts = sampled(corpus, index, num=3, length=400, max_copy=LIMIT, **settings)
    assert sampled(corpus, index, length=400, max_copy=LIMIT, **settings)[0] == texts[0]
    assert all(longest_common_substring(text, corpus.text()) <= LIMIT for text in texts)


def test_limit_holds_for_greedy_bytes_and_documents(indexed: MakeIndex) -> None:
    corpus, index = indexed(random_text(600) + 30 * "b", as_bytes=True)
    settings = SampleSettings(length=400, max_copy=LIMIT, greedy=True)
    network, documents = memoryless(corpus.vocabulary), DocumentSeparator("lines")
    drawn = generate(network, settings, vocabulary=corpus.vocabulary, documents=documents, index=index)
    text = corpus.vocabulary.text(np.concatenate(list(drawn)))
    assert longest_common_substring(text, corpus.text()) == LIMIT


def test_limit_that_excludes_every_character(indexed: MakeIndex) -> None:
    corpus, index = indexed("a\nb\naab\n\nbba")  # each of the three follows each
    with pytest.raises(CharrnnError, match="every character would copy more than 1 character"):
        sampled(corpus, index, max_copy=1)
    corpus, index = indexed(random_text(600))
    with pytest.raises(CharrnnError, match="every character would copy more"):
        sampled(corpus, index, max_copy=3, ban="b")


@pytest.mark.slow
def test_overfitted_model(home: Path) -> None:
    """A model that knows its 2,500 characters by heart copies them, unless it is limited."""
    text = prose(2500)
    (home / "corpora" / "text.txt").write_text(text)
    shape = {"hidden_size": 128, "batch_size": 8, "dropout": 0.0, "learning_rate": 0.005}
    charrnn.train("text", steps=2000, val_fraction=0.05, **shape)
    model = charrnn.load("text", checkpoint="last")
    training = text[: int(len(text) * 0.95)]
    settings = {"length": 1000, "temperature": 0.3, "seed": 1}
    assert longest_common_substring(model.sample(**settings), training) > 50
    for limited in model.sample(n=3, max_copy=40, **settings):
        assert longest_common_substring(limited, training) == 40
        longest = model.novelty(limited).longest_copy
        assert longest is not None and longest.characters == 40
