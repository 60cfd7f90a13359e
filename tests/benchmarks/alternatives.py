"""Alternatives to how `charrnn train` trains an LSTM, each behind an option.

    python -m tests.benchmarks.alternatives shakespeare --hidden-size 640 --characters 6.5e6 --recurrent-dropout 0.3
    python -m tests.benchmarks.alternatives shakespeare --mogrifier 5 --minutes 2.4

Trains on a number of characters, or for a time, and prints the loss on the validation text. The settings of `train` are
options too. Two of these side by side, with OMP_NUM_THREADS=1, affect only each other's time.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from charrnn.model.device import autocast
from charrnn.model.network import CharRNN, Shard, State
from charrnn.scoring.score import score
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.corpus import load_corpus
from charrnn.text.encoded_text import EncodedText
from charrnn.training.batches import Window
from charrnn.training.optimizer import AdamW
from charrnn.training.trainer import ADAM_BETAS, Trainer

TIMED_STEPS = 20
OPTIONS = {
    ModelSettings: "layers hidden_size embedding_size dropout",
    TrainingSettings: "batch_size seq_length learning_rate warmup_steps grad_clip weight_decay seed precision",
}


class Mogrifier(nn.Module):
    """What a Mogrifier LSTM does before each step (Melis, Kočiský & Blunsom 2020, arXiv 1909.01792, section 2).

    The input and h multiply each other in alternation: x ← 2σ(Q·h) ⊙ x, then h ← 2σ(R·x) ⊙ h, and so on. Q and R have
    full rank.
    """

    def __init__(self, input_size: int, hidden_size: int, rounds: int):
        super().__init__()
        sizes = [(hidden_size, input_size), (input_size, hidden_size)]
        self.gates = nn.ModuleList(nn.Linear(*sizes[number % 2], bias=False) for number in range(rounds))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        for number, gate in enumerate(self.gates):
            if number % 2:
                h = 2 * torch.sigmoid(gate(x)) * h
            else:
                x = 2 * torch.sigmoid(gate(h)) * x
        return x, h

    def unroll(self, inputs: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return h after each step (T, B, H), and the last h and c (B, H). weights: of the LSTM."""
        outputs = []
        for x in inputs:
            x, h = self(x, h)
            h, c = torch.lstm_cell(x, (h, c), *weights)
            outputs.append(h)
        return torch.stack(outputs), h, c


class Alternative(CharRNN):
    """An LSTM network with variations.

    recurrent_dropout: dropout probability of the recurrent weights at each step (Merity et al. 2017, arXiv 1708.02182,
    section 2). input_dropout: of the embeddings. locked: one dropout mask for all characters of a window (Gal &
    Ghahramani 2016, arXiv 1512.05287). replaced, zeroed: probability that a character of the input is replaced by one
    drawn from the text, or its embedding by zeros. residual: residual connections around all layers but the first.
    summed: the output reads the sum of h of all layers. two_ahead: weight of the loss of a second output, which
    predicts the character after the next. norm: layer normalization of h before the output. tied: the output uses the
    embedding, after a projection of h to its size (Press & Wolf 2017, arXiv 1608.05859). uniform: layers are
    initialized as PyTorch does, except for forget_bias. embedding_scale: initial standard deviation of the embedding.
    output_scale: factor of h before the output, whose weights learn that many times faster. mogrifier: rounds of
    `Mogrifier`; 0: none. layer_drop: probability that a window skips a layer after the first (stochastic depth: Huang
    et al. 2016, arXiv 1603.09382); needs residual or summed. zoneout: probability that a value of h or c keeps its
    last value (Krueger et al. 2017, arXiv 1606.01305).
    """

    def __init__(self, settings: ModelSettings, vocabulary_size: int, tried: argparse.Namespace):
        super().__init__(settings, vocabulary_size)
        self.tried = tried
        if tried.tied:
            self.projection = nn.Linear(settings.hidden_size, settings.embedding_size)
            self.output = nn.Linear(settings.embedding_size, vocabulary_size)
            self.output.weight = self.embedding.weight
        sizes = [settings.embedding_size, *[settings.hidden_size] * (settings.layers - 1)]
        self.mogrifiers = nn.ModuleList(
            Mogrifier(size, settings.hidden_size, tried.mogrifier) for size in sizes if tried.mogrifier
        )
        self.second = nn.Linear(settings.hidden_size, vocabulary_size) if tried.two_ahead else None
        self.hidden = self.dropped = torch.empty(0)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        super().initialize(generator)
        hidden_size = self.settings.hidden_size
        self.embedding.weight.mul_(self.tried.embedding_scale)
        for parameter in self.mogrifiers.parameters():
            nn.init.xavier_uniform_(parameter, generator=generator)
        for layer in self.recurrences:
            if self.tried.uniform:
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5, generator=generator)
            layer.bias_ih_l0[self.recurrence.gate_rows("forget", hidden_size)] = self.tried.forget_bias

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None, shard: Shard | None = None
    ) -> tuple[Tensor, State]:
        tried, dropout = self.tried, self.settings.dropout
        signal = self._dropped(self._embedded(ids), tried.input_dropout)
        after, outputs = [], []
        for depth, (layer, before) in enumerate(zip(self.recurrences, state, strict=True)):
            if depth:
                signal = self._dropped(signal, dropout)
            recurrent = layer.weight_hh_l0
            if self.training and tried.recurrent_dropout:
                recurrent = nn.functional.dropout(recurrent, tried.recurrent_dropout)
            weights = [layer.weight_ih_l0, recurrent, layer.bias_ih_l0, layer.bias_hh_l0]
            if tried.mogrifier:
                hidden, *parts = self.mogrifiers[depth].unroll(signal, *before, weights)
            elif tried.zoneout:
                hidden, *parts = self._zoned_out(signal, *before, weights)
            else:
                carried = tuple(part.unsqueeze(0).to(signal.dtype) for part in before)
                hidden, *parts = torch.lstm(signal, carried, weights, True, 1, 0.0, self.training, False, False)
                parts = [part.squeeze(0) for part in parts]
            after.append(tuple(parts))
            if depth and tried.layer_drop:
                hidden = hidden * (float(torch.rand(()) >= tried.layer_drop) if self.training else 1 - tried.layer_drop)
            signal = signal + hidden if depth and tried.residual else hidden
            outputs.append(hidden)
        if tried.summed:
            signal = torch.stack(outputs).sum(0)
        self.hidden = signal.float()
        signal = self._dropped(signal, dropout)
        self.dropped = signal.float()
        with torch.autocast(signal.device.type, enabled=False):
            signal = signal.to(self.output.weight.dtype)
            if tried.norm:
                signal = layer_norm(signal, signal.shape[-1:])
            signal = tried.output_scale * signal
            logits = self.output(self.projection(signal) if tried.tied else signal)
        return logits.transpose(0, 1), tuple(after)

    def _zoned_out(self, inputs: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return h after each step (T, B, H), and the last h and c (B, H). In evaluation, the expected state."""
        outputs = []
        for x in inputs:
            state = torch.lstm_cell(x, (h, c), *weights)
            if self.training:
                kept = [(torch.rand(h.shape) < self.tried.zoneout).to(h.dtype) for _ in state]
            else:
                kept = [torch.full_like(h, self.tried.zoneout) for _ in state]
            h, c = (torch.lerp(new, old, share) for new, old, share in zip(state, (h, c), kept, strict=True))
            outputs.append(h)
        return torch.stack(outputs), h, c

    def _embedded(self, ids: Tensor) -> Tensor:
        """Return the embeddings (T, B, E), in training with `replaced` and `zeroed`."""
        tried = self.tried
        if self.training and tried.replaced:
            drawn = tried.text[torch.randint(len(tried.text), ids.shape)]
            ids = torch.where(torch.rand(ids.shape) < tried.replaced, drawn, ids)
        signal = self.embedding(ids.t().long())
        if self.training and tried.zeroed:
            signal = signal * (torch.rand(signal.shape[:2]) >= tried.zeroed).to(signal.dtype).unsqueeze(-1)
        return signal

    def _dropped(self, signal: Tensor, share: float) -> Tensor:
        if not self.training or not share:
            return signal
        shape = (1, *signal.shape[1:]) if self.tried.locked else signal.shape
        return signal * (torch.rand(shape, device=signal.device) >= share).to(signal.dtype).div_(1 - share)


class OrthogonalizedMomentum:
    """AdamW for all but the matrices of the recurrent layers. Each gate's part of these goes along its momentum's
    nearest semi-orthogonal matrix, found by a few Newton–Schulz iterations (Muon: Jordan et al. 2024; Liu et al. 2025,
    arXiv 2502.16982, from whom the scale is too: at 0.2 to 0.4 a change is about as large as one of Adam's)."""

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)
    MOMENTUM = 0.95

    def __init__(self, network: Alternative, settings: TrainingSettings, tried: argparse.Namespace):
        self.matrices = [w for layer in network.recurrences for w in (layer.weight_ih_l0, layer.weight_hh_l0)]
        taken = {id(parameter) for parameter in self.matrices}
        others = [parameter for parameter in network.parameters() if id(parameter) not in taken]
        decayed, free = ([p for p in others if (p.ndim > 1) is matrix] for matrix in (True, False))
        self.others = AdamW([(decayed, settings.weight_decay), (free, 0.0)], ADAM_BETAS)
        self.weight_decay, self.iterations, self.scale = settings.weight_decay, tried.muon, tried.muon_scale
        self.momenta = [torch.zeros_like(parameter, requires_grad=False) for parameter in self.matrices]

    def zero_grad(self) -> None:
        self.others.zero_grad()
        for parameter in self.matrices:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, skipped_step: Tensor, divisor: Tensor) -> None:
        self.others.step(learning_rate, skipped_step, divisor)
        for parameter, momentum in zip(self.matrices, self.momenta, strict=True):
            parameter.grad.div_(divisor)
            momentum.lerp_(parameter.grad, 1 - self.MOMENTUM)
            ahead = parameter.grad.lerp(momentum, self.MOMENTUM)  # Nesterov's
            gates = ahead.view(4, -1, parameter.shape[1])
            parameter.mul_(1 - learning_rate * self.weight_decay)
            size = learning_rate * self.scale * math.sqrt(max(gates.shape[1:]))
            parameter.sub_(self._orthogonalized(gates).reshape(parameter.shape), alpha=size)

    def _orthogonalized(self, matrices: Tensor) -> Tensor:
        """matrices: (gates, H, columns)."""
        tall = matrices.shape[1] > matrices.shape[2]
        wide = matrices.mT if tall else matrices
        found = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
        first, third, fifth = self.COEFFICIENTS
        for _ in range(self.iterations):
            square = found @ found.mT
            found = first * found + (third * square + fifth * (square @ square)) @ found
        return found.mT if tall else found


class AlternativeTrainer(Trainer):
    """activation, change: weights of two penalties, the mean squares of h and of its change from one character to the
    next (Merity et al. 2017, section 4.6). schedule: of the learning rate after the warm-up. final_rate: the cosine's
    end, as a part of the peak. recurrent_decay: weight decay of the recurrent matrices; None: that of the others.
    teacher, soft: a trained network, whose predictions replace this share of the targets (Hinton et al. 2015, arXiv
    1503.02531). smoothing: share of the targets that is uniform over the vocabulary (Szegedy et al. 2016, arXiv
    1512.00567, section 7). r_drop: weight of the symmetric KL divergence between the predictions of two dropout masks
    (Wu et al. 2021, arXiv 2106.14448)."""

    def __init__(self, network: Alternative, settings: TrainingSettings, text: EncodedText, tried: argparse.Namespace):
        super().__init__(network, settings, text)
        self.tried = tried
        if tried.muon:
            self.optimizer = OrthogonalizedMomentum(network, settings, tried)
        elif tried.recurrent_decay is not None:
            kinds: dict[float, list[Tensor]] = {}
            for name, parameter in self.parameters.items():
                decay = tried.recurrent_decay if "weight_hh" in name else settings.weight_decay
                kinds.setdefault(decay if parameter.ndim > 1 else 0.0, []).append(parameter)
            self.optimizer = AdamW([(parameters, decay) for decay, parameters in kinds.items()], ADAM_BETAS)
        self.teacher = torch.load(tried.teacher, weights_only=False).eval() if tried.teacher else None
        self.teacher_state: State = ()

    def learning_rate(self) -> float:
        settings = self.settings
        warmup = min(settings.warmup_steps, settings.steps // 10)
        done = (self.step - warmup) / (settings.steps - warmup)
        if done < 0:
            return super().learning_rate()
        if self.tried.schedule == "cosine":
            final = self.tried.final_rate
            return final * settings.learning_rate + (1 - final) * super().learning_rate()
        return (
            settings.learning_rate
            * {"linear": 1 - done, "constant": 1.0, "late": min(1.0, 2 - 2 * done)}[self.tried.schedule]
        )

    def _loss(self, logits: Tensor, window: Window) -> Tensor:
        loss, hidden = super()._loss(logits, window), self.network.hidden
        if self.tried.smoothing:
            uniform = -logits.log_softmax(-1).mean()
            loss = (1 - self.tried.smoothing) * loss + self.tried.smoothing * uniform
        if self.tried.r_drop:
            loss = self._two_masks(loss, logits, window)
        if self.tried.activation:
            loss = loss + self.tried.activation * hidden.square().mean()
        if self.tried.change:
            loss = loss + self.tried.change * (hidden[1:] - hidden[:-1]).square().mean()
        if self.network.second is not None:
            ahead = self.network.second(self.network.dropped[:-1]).transpose(0, 1)
            loss = loss + self.tried.two_ahead * cross_entropy(ahead.flatten(0, 1), window.targets[:, 1:].flatten())
        if self.teacher is not None:
            soft = cross_entropy(logits.flatten(0, 1), self._taught(window).softmax(-1).flatten(0, 1))
            loss = (1 - self.tried.soft) * loss + self.tried.soft * soft
        return loss

    def _two_masks(self, loss: Tensor, logits: Tensor, window: Window) -> Tensor:
        """Return the mean loss of two passes, and `r_drop` times the mean of both divergences between them."""
        with autocast(self.device, self.precision):
            others, _ = self.network(window.inputs, self.state, self.dropout_generator)
        one, other = logits.log_softmax(-1), others.log_softmax(-1)
        divergence = ((one.exp() - other.exp()) * (one - other)).sum(-1).mean() / 2
        return (loss + super()._loss(others, window)) / 2 + self.tried.r_drop * divergence

    @torch.no_grad()
    def _taught(self, window: Window) -> Tensor:
        """Return the teacher's logits. Its state is carried from window to window."""
        if window.begins:
            self.teacher_state = self.teacher.initial_state(len(window.inputs))
        with autocast(self.device, self.precision):
            logits, self.teacher_state = self.teacher(window.inputs, self.teacher_state)
        return logits


def four_pieces(ids: np.ndarray, part: float) -> np.ndarray:
    """Return this part of a text, as four pieces that start at its quarters."""
    length = int(len(ids) * part / 4)
    return np.concatenate([ids[start : start + length] for start in (i * len(ids) // 4 for i in range(4))])


def seconds_per_step(trainer: AlternativeTrainer) -> float:
    """Return the median time of a step."""
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        trainer.make_step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--characters", type=float, default=6.5e6, help="to train on")
    parser.add_argument("--minutes", type=float, help="train for this time instead; 20 steps are timed first")
    for settings, names in OPTIONS.items():
        for name in names.split():
            option = settings.options()[name]
            parser.add_argument("--" + name.replace("_", "-"), type=option.value_type, default=option.default)
    parser.add_argument("--part", type=float, default=1.0, help="of the training text: four pieces, evenly spaced")
    for name in ("recurrent-dropout", "input-dropout", "replaced", "zeroed"):
        parser.add_argument("--" + name, type=float, default=0.0)
    for name in ("two-ahead", "final-rate", "activation", "change", "smoothing", "r-drop", "layer-drop", "zoneout"):
        parser.add_argument("--" + name, type=float, default=0.0)
    parser.add_argument("--muon", type=int, default=0, help="iterations of orthogonalizing the momentum; 0: AdamW")
    parser.add_argument("--mogrifier", type=int, default=0, help="rounds of a Mogrifier LSTM; 0: a plain LSTM")
    parser.add_argument("--muon-scale", type=float, default=0.4)
    for name, default in (("forget-bias", 0.0), ("embedding-scale", 1.0), ("output-scale", 1.0)):
        parser.add_argument("--" + name, type=float, default=default)
    parser.add_argument("--recurrent-decay", type=float)
    parser.add_argument("--save", help="file for the trained network, to be a --teacher")
    parser.add_argument("--teacher", help="file of a network to learn from as well")
    parser.add_argument("--soft", type=float, default=0.7, help="share of the teacher's predictions in the targets")
    for name in ("locked", "residual", "summed", "norm", "tied", "uniform"):
        parser.add_argument("--" + name, action="store_true")
    parser.add_argument("--schedule", choices=["cosine", "linear", "constant", "late"], default="cosine")
    parser.add_argument("--average", type=float, default=0.0, help="decay of a moving average of the weights")
    return parser


def main() -> None:
    parser = argument_parser()
    tried = parser.parse_args()
    corpus = load_corpus([tried.corpus])
    train_text, validation_text = EncodedText(corpus.ids).split(TrainingSettings().val_fraction)
    if tried.part < 1:
        train_text = EncodedText(four_pieces(train_text.ids, tried.part))
    given = dict(vars(tried))
    tried.text = torch.from_numpy(np.array(train_text.ids)).long()
    model, training = (cls(**{name: given[name] for name in names.split()}) for cls, names in OPTIONS.items())

    def prepared(steps: int) -> AlternativeTrainer:
        torch.manual_seed(tried.seed)
        network = Alternative(model, len(corpus.vocabulary), tried)
        network.initialize(torch.Generator().manual_seed(tried.seed))
        return AlternativeTrainer(network, training.changed(steps=steps), train_text, tried)

    steps = round(tried.characters / (training.batch_size * training.seq_length))
    if tried.minutes is not None:
        steps = round(60 * tried.minutes / seconds_per_step(prepared(TIMED_STEPS)))
    trainer = prepared(steps)
    network = trainer.network
    parameters = list(network.parameters())
    average = [p.detach().clone() for p in parameters] if tried.average else []
    start = time.process_time()
    for step in range(steps):
        trainer.make_step()
        if average:
            own = 1 - min(tried.average, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], own)
    train_nats = trainer.loss_sum.item() / trainer.weight_sum.item()
    nats = score(network.eval(), validation_text).mean
    if tried.save:
        torch.save(network, tried.save)
    words = f"{nats:.4f} nats, {train_nats:.4f} in training, {time.process_time() - start:.0f} s of processors"
    if average:
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
        words += f"; averaged weights {score(network, validation_text).mean:.4f}"
    changed = {k: v for k, v in given.items() if v != parser.get_default(k) and k != "corpus"}
    print(tried.corpus, changed, words)


if __name__ == "__main__":
    main()
