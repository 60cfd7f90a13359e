"""Infilling: how well a suffix follows what has been generated.

Shapes: N streams, S characters of the suffix, V vocabulary.
"""

from __future__ import annotations

from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from charrnn.model.network import CharRNN, State, map_state

LOGITS_AT_ONCE = 4_000_000


class Suffix:
    """A text of ids (S,) that follows a generated one."""

    def __init__(self, ids: np.ndarray):
        self._ids = torch.from_numpy(ids.astype(np.int64))

    @torch.inference_mode()
    def log_probabilities(
        self, network: CharRNN, logits: Tensor, state: State, rows: np.ndarray, temperature: float
    ) -> np.ndarray:
        """Return the log-probability of the suffix in some of the streams, (rows,), at a temperature.

        network: in evaluation mode. logits (N, V), state: after the characters before the suffix.
        """
        total = np.zeros(len(rows))
        if not len(self._ids):
            return total
        ids = self._ids.to(logits.device)
        at_once = max(1, LOGITS_AT_ONCE // (len(ids) * logits.shape[-1]))
        for begin in range(0, len(rows), at_once):
            part = torch.from_numpy(rows[begin : begin + at_once]).to(logits.device)
            predicted = logits[part, None]
            if len(ids) > 1:
                later, _ = network(ids[:-1].expand(len(part), -1), map_state(itemgetter(part), state))
                predicted = torch.cat([predicted, later.to(predicted)], dim=1)
            scores = (predicted.double() / temperature).log_softmax(dim=-1)
            found = scores.gather(-1, ids.expand(len(part), -1)[..., None]).sum(dim=(1, 2))
            total[begin : begin + at_once] = found.cpu().numpy()
        return total
