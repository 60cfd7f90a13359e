"""What else could be done in training, each behind an option, so that it can be measured against what is done.

    python -m tests.benchmarks.alternatives shakespeare --hidden-size 640 --characters 6.5e6 --recurrent-dropout 0.3

Trains for so many characters and prints the loss on the whole validation part at the end. The settings of `train` are
options too; what they leave open is as in `train`. Two of these beside each other, with OMP_NUM_THREADS=1, disturb only
each other's time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from charrnn.model.network import CharRNN, Share, State
from charrnn.model.score import score
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.corpus import load_corpus
from charrnn.training.batches import Window
from charrnn.training.loop import Trainer

OPTIONS = {
    ModelSettings: "layers hidden_size embedding_size dropout",
    TrainingSettings: "batch_size seq_length learning_rate warmup_steps grad_clip weight_decay seed precision",
}


class Alternative(CharRNN):
    """An LSTM network with what is tried in it.

    recurrent_dropout: share of the recurrent weights dropped at each step (Merity et al. 2017, arXiv 1708.02182,
    section 2). input_dropout: of the embeddings. locked: one dropout mask for all characters of a window (Gal &
    Ghahramani 2016, arXiv 1512.05287). residual: each layer but the first is added to what it reads. norm: layer
    normalisation of the hidden state before the output. tied: the output is the embedding, after a projection of h to
    its size (Press & Wolf 2017, arXiv 1608.05859).
    """

    def __init__(self, settings: ModelSettings, vocabulary_size: int, tried: argparse.Namespace):
        super().__init__(settings, vocabulary_size)
        self.tried = tried
        if tried.tied:
            self.projection = nn.Linear(settings.hidden_size, settings.embedding_size)
            self.output = nn.Linear(settings.embedding_size, vocabulary_size)
            self.output.weight = self.embedding.weight
        self.hidden = torch.empty(0)

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, share: Share | None = None
    ) -> tuple[Tensor, State]:
        tried, dropout = self.tried, self.settings.dropout
        signal = self._dropped(self.embedding(ids.t().long()), tried.input_dropout)
        after = []
        for depth, (layer, before) in enumerate(zip(self.recurrences, state, strict=True)):
            if depth:
                signal = self._dropped(signal, dropout)
            recurrent = layer.weight_hh_l0
            if self.training and tried.recurrent_dropout:
                recurrent = nn.functional.dropout(recurrent, tried.recurrent_dropout)
            weights = [layer.weight_ih_l0, recurrent, layer.bias_ih_l0, layer.bias_hh_l0]
            carried = tuple(part.unsqueeze(0).to(signal.dtype) for part in before)
            hidden, *parts = torch.lstm(signal, carried, weights, True, 1, 0.0, self.training, False, False)
            after.append(tuple(part.squeeze(0) for part in parts))
            signal = hidden + signal if depth and tried.residual else hidden
        self.hidden = signal.float()
        signal = self._dropped(signal, dropout)
        with torch.autocast(signal.device.type, enabled=False):
            signal = signal.to(self.output.weight.dtype)
            if tried.norm:
                signal = layer_norm(signal, signal.shape[-1:])
            logits = self.output(self.projection(signal) if tried.tied else signal)
        return logits.transpose(0, 1), tuple(after)

    def _dropped(self, signal: Tensor, share: float) -> Tensor:
        if not self.training or not share:
            return signal
        shape = (1, *signal.shape[1:]) if self.tried.locked else signal.shape
        return signal * (torch.rand(shape, device=signal.device) >= share).to(signal.dtype).div_(1 - share)


class AlternativeTrainer(Trainer):
    """activation, change: weights of the mean squares of h and of its change from one character to the next, added to
    the loss (Merity et al. 2017, section 4.6). schedule: how the rate falls after the warm-up."""

    def __init__(self, network: Alternative, settings: TrainingSettings, ids: np.ndarray, tried: argparse.Namespace):
        super().__init__(network, settings, ids)
        self.tried = tried

    def learning_rate(self) -> float:
        settings = self.settings
        warmup = min(settings.warmup_steps, settings.steps // 10)
        done = (self.step - warmup) / (settings.steps - warmup)
        if done < 0 or self.tried.schedule == "cosine":
            return super().learning_rate()
        return (
            settings.learning_rate
            * {"linear": 1 - done, "constant": 1.0, "late": min(1.0, 2 - 2 * done)}[self.tried.schedule]
        )

    def _loss(self, logits: Tensor, window: Window) -> Tensor:
        loss, hidden = super()._loss(logits, window), self.network.hidden
        if self.tried.activation:
            loss = loss + self.tried.activation * hidden.square().mean()
        if self.tried.change:
            loss = loss + self.tried.change * (hidden[1:] - hidden[:-1]).square().mean()
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--characters", type=float, default=6.5e6, help="to be read in training")
    for settings, names in OPTIONS.items():
        for name in names.split():
            kind, default, _ = settings.options()[name]
            parser.add_argument("--" + name.replace("_", "-"), type=kind.type, default=default)
    for name in ("recurrent-dropout", "input-dropout", "activation", "change"):
        parser.add_argument("--" + name, type=float, default=0.0)
    for name in ("locked", "residual", "norm", "tied"):
        parser.add_argument("--" + name, action="store_true")
    parser.add_argument("--schedule", choices=["cosine", "linear", "constant", "late"], default="cosine")
    parser.add_argument("--average", type=float, default=0.0, help="decay of a moving average of the weights")
    tried = parser.parse_args()

    corpus = load_corpus([tried.corpus])
    train_ids, validation_ids = corpus.split(TrainingSettings().val_fraction)
    given = vars(tried)
    model, training = (cls(**{name: given[name] for name in names.split()}) for cls, names in OPTIONS.items())
    steps = round(tried.characters / (training.batch_size * training.seq_length))
    training = training.changed(steps=steps)
    torch.manual_seed(tried.seed)
    network = Alternative(model, len(corpus.vocabulary), tried)
    network.initialise(torch.Generator().manual_seed(tried.seed))
    trainer = AlternativeTrainer(network, training, train_ids, tried)
    parameters = list(network.parameters())
    average = [p.detach().clone() for p in parameters] if tried.average else []
    start = time.process_time()
    for step in range(steps):
        trainer.make_step()
        if average:
            own = 1 - min(tried.average, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], own)
    train_nats = trainer.loss_sum.item() / trainer.weight_sum.item()
    nats = score(network.eval(), validation_ids).mean
    words = f"{nats:.4f} nats, {train_nats:.4f} in training, {time.process_time() - start:.0f} s of processors"
    if average:
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
        words += f"; averaged weights {score(network, validation_ids).mean:.4f}"
    changed = {k: v for k, v in given.items() if v != parser.get_default(k) and k != "corpus"}
    print(tried.corpus, changed, words)


if __name__ == "__main__":
    main()
