"""charrnn.training.batches"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.training.batches import Batches, derived_seed, windows_per_epoch

CPU = torch.device("cpu")


@given(length=st.integers(10, 400), batch_size=st.integers(1, 6), seq_length=st.integers(1, 12), seed=st.integers(0, 9))
def test_streams_continue_and_an_epoch_repeats_no_character(
    length: int, batch_size: int, seq_length: int, seed: int
) -> None:
    ids = np.arange(length, dtype=np.uint16)
    per_epoch = windows_per_epoch(length, batch_size, seq_length)
    if per_epoch == 0:
        with pytest.raises(CharrnnError, match="are too few"):
            Batches(ids, batch_size, seq_length, seed, CPU)
        return
    batches = Batches(ids, batch_size, seq_length, seed, CPU)
    for epoch in range(2):
        windows = [batches.window(epoch * per_epoch + k) for k in range(per_epoch)]
        assert [w.begins for w in windows] == [True] + [False] * (per_epoch - 1)
        streams = torch.cat([w.inputs for w in windows], dim=1)
        targets = torch.cat([w.targets for w in windows], dim=1)
        assert streams.shape == (batch_size, per_epoch * seq_length)
        assert torch.equal(targets, streams + 1)  # each target is the character after its input
        assert torch.equal(streams.diff(dim=1), torch.ones_like(streams[:, 1:]))
        assert len(streams.unique()) == streams.numel()
        # The streams are consecutive parts of the text.
        assert torch.equal(streams[1:, 0], streams[:-1, -1] + 1)


def test_an_epoch_leaves_out_less_than_two_windows() -> None:
    for length in range(200, 260):
        read = windows_per_epoch(length, 4, 10) * 4 * 10
        assert length - read < 4 * 10 + 10


def test_offsets_differ_between_epochs_and_are_reproducible() -> None:
    ids = np.arange(5000, dtype=np.uint16)
    batches = Batches(ids, 2, 50, 1, CPU)
    firsts = [batches.window(epoch * batches.windows_per_epoch).inputs[0, 0].item() for epoch in range(12)]
    assert len(set(firsts)) > 6
    again = Batches(ids, 2, 50, 1, CPU)
    assert torch.equal(again.window(7).inputs, batches.window(7).inputs)


def test_a_short_text_is_refused() -> None:
    with pytest.raises(CharrnnError, match=r"99 characters .* \(110 needed\)"):
        Batches(np.zeros(99, np.uint8), 10, 10, 1, CPU)
    with pytest.raises(CharrnnError, match=r"windows of 100,000 \(500,000 needed\)"):
        Batches(np.zeros(99, np.uint8), 4, 100_000, 1, CPU)
    Batches(np.zeros(110, np.uint8), 10, 10, 1, CPU)


def test_derived_seeds_differ_by_purpose_and_number() -> None:
    assert derived_seed(1, "offset", 0) == 3795453269040026788  # as released: runs resume with it
    seeds = {derived_seed(s, p, n) for s in range(5) for p in ("offset", "dropout") for n in range(50)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)
