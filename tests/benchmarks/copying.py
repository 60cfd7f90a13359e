"""What a model that was overfitted on 40,000 characters copies, with and without a limit.

    python -m tests.benchmarks.copying shakespeare.txt [--steps 1500] [--seeds 5]

The longest run of the training text in a sample is found by a plain search, which shares no code with the package. Each
character is compared with the model's distribution by its randomized probability integral transform, which is uniform
if the character was drawn from that distribution (Smith 1985); a chi-square test of 20 bins says so. Where the last
characters leave some that would exceed the limit, the distribution is that of the others. As a control, the last column
tests the same characters against the model's whole distribution, which has to fail. Characters that the distribution
gives more than 0.9 say little, and are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import charrnn
from charrnn.model.device import choose_device, device_name

CHARACTERS, HELD_OUT = 40_000, 0.05
BINS = 20
CERTAIN = 0.9


def overfitted(text: str, steps: int, folder: Path) -> charrnn.Model:
    """Return the last checkpoint of a model trained on a text without dropout and weight decay."""
    os.environ["CHARRNN_HOME"] = str(folder)
    path = folder / "corpora" / "text.txt"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    shape = {"hidden_size": 256, "batch_size": 16, "dropout": 0.0, "weight_decay": 0.0}
    charrnn.train(path, steps=steps, seed=1, val_fraction=HELD_OUT, **shape)
    return charrnn.load("text", checkpoint="last")


def longest_run(text: str, training: str) -> int:
    """Return the length of the longest substring of the text that occurs in the training text."""
    length = 0
    for start in range(len(text)):
        while start + length < len(text) and text[start : start + length + 1] in training:
            length += 1
    return length


def distributions(model: charrnn.Model, text: str, temperature: float) -> np.ndarray:
    """Return the model's probabilities (T, V) of each character of a text that it generated."""
    ids = np.append(model.vocabulary.opening_id, model.vocabulary.encode(text)).astype(np.int64)
    network = model.network.cpu().float()
    with torch.inference_mode():
        logits, _ = network(torch.from_numpy(ids[None, :-1]), network.initial_state(1))
    return (logits[0].double() / temperature).softmax(dim=-1).numpy()


def transform(probabilities: np.ndarray, drawn: int, random: float) -> float:
    """Return the randomized probability integral transform of a draw, with characters sorted by probability."""
    order = np.argsort(-probabilities, kind="stable")
    place = int(np.flatnonzero(order == drawn)[0])
    ordered = probabilities[order] / probabilities.sum()
    return float(ordered[:place].sum() + random * ordered[place])


def uniformity(values: list[float]) -> str:
    """Return the p-value of a chi-square test, in bins that each expect at least ten values."""
    bins = min(BINS, len(values) // 10)
    if bins < 2:
        return "–"
    counts = np.histogram(values, bins=bins, range=(0, 1))[0]
    expected = len(values) / bins
    statistic = ((counts - expected) ** 2 / expected).sum()
    p_value = torch.special.gammaincc(torch.tensor((bins - 1) / 2), torch.tensor(statistic / 2))
    return f"{float(p_value):.3f}"


class Draws:
    """The transforms of characters where nothing, and where something, is excluded."""

    random = np.random.default_rng(1)

    def __init__(self) -> None:
        self.free: list[float] = []
        self.limited: list[float] = []
        self.control: list[float] = []

    def add(self, model: charrnn.Model, text: str, training: str, limit: int, temperature: float) -> int:
        """Take in a text. Return the place of the first character where something is excluded."""
        symbols, first = model.vocabulary.characters, len(text)
        for place, probabilities in enumerate(distributions(model, text, temperature)):
            drawn, u = symbols.index(text[place]), self.random.random()
            latest = text[max(0, place - limit) : place]
            at_limit = len(latest) == limit and latest in training
            excluded = [at_limit and latest + one in training for one in symbols]
            first = min(first, place) if any(excluded) else first
            allowed = np.where(excluded, 0, probabilities)
            if allowed.max() > CERTAIN * allowed.sum():
                continue
            (self.limited if any(excluded) else self.free).append(transform(allowed, drawn, u))
            if any(excluded):
                self.control.append(transform(probabilities, drawn, u))
        return first

    def row(self) -> Iterator[str]:
        for values in (self.free, self.limited):
            yield from (f"{len(values):,}", uniformity(values))
        yield uniformity(self.control)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--length", type=int, default=4000)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--temperature", type=float, default=0.8)
    chosen = parser.parse_args()
    text = chosen.text.read_text(encoding="utf-8")[:CHARACTERS]
    training = text[: int(len(text) * (1 - HELD_OUT))]
    with tempfile.TemporaryDirectory() as folder:
        model = overfitted(text, chosen.steps, Path(folder))
        nats = model.score(training).mean, model.score(text[len(training) :]).mean
        print(f"{device_name(choose_device())}; nats: training text {nats[0]:.3f}, held-out text {nats[1]:.3f}\n")
        headings = ("seed", "longest run", f"with --max-copy {chosen.limit}", "same until", "free", "p", "limited", "p")
        print("|".join(["", *headings, "control p", ""]))
        print("|---" * (len(headings) + 1) + "|")
        index, pooled = model.training_index(), Draws()
        settings = {"length": chosen.length, "temperature": chosen.temperature}
        for seed in range(1, chosen.seeds + 1):
            unlimited = model.sample(seed=seed, **settings)
            limited = model.sample(seed=seed, max_copy=chosen.limit, corpus=index, **settings)
            lengths = [longest_run(one, training) for one in (unlimited, limited)]
            reported = [model.novelty(one, corpus=index).longest_copy.characters for one in (unlimited, limited)]
            assert lengths == reported, "--novelty finds the same"
            draws = Draws()
            first = draws.add(model, limited, training, chosen.limit, chosen.temperature)
            differs = (place for place, pair in enumerate(zip(unlimited, limited, strict=True)) if len({*pair}) > 1)
            agreeing = next(differs, chosen.length)
            assert agreeing >= first, "nothing changes before something is excluded"
            for name, values in vars(draws).items():
                getattr(pooled, name).extend(values)
            print("|".join(["", str(seed), *(f"{one:,}" for one in lengths), f"{agreeing:,}", *draws.row(), ""]))
        print("|".join(["", "all", "", "", "", *pooled.row(), ""]))


if __name__ == "__main__":
    main()
