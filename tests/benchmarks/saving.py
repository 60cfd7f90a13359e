"""The share of the training time that checkpoints take at the default interval.

    python -m tests.benchmarks.saving [--hidden-size 384] [--minutes 5]

Measures steps and checkpoints in alternation in one process. From these it computes the share for a training with ten
evaluations, each followed by a checkpoint, and one every five minutes in between (`MIN_INTERVAL`; less often where one
takes more than 3 % of that time).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from charrnn.model.checkpoint import Progress
from charrnn.model.network import CharRNN, parameter_count
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.checkpointing import MAX_TIME_SHARE, MIN_INTERVAL
from charrnn.training.trainer import Trainer
from charrnn.units import percent

ROUNDS = 12


def step_and_checkpoint_seconds(folder: Path, model: ModelSettings, training: TrainingSettings) -> tuple[float, float]:
    """Return the median seconds of a step and of a checkpoint."""
    vocabulary = Vocabulary.of("".join(map(chr, range(32, 97))))
    ids = torch.randint(len(vocabulary), (200_000,), generator=torch.Generator().manual_seed(1)).byte().numpy()
    network = CharRNN(model, len(vocabulary))
    network.initialize(torch.Generator().manual_seed(1))
    trainer = Trainer(network, training, EncodedText(ids))
    identity = CorpusIdentity(name="noise", specs="noise", sha256="", characters=len(ids), held_out=0)
    settings = RunSettings(model, training, identity, Origin.here("here", "a benchmark"))
    steps, checkpoints = [], []
    with RunWriter.create("run", settings, vocabulary, b"", folder, network.state_dict()) as writer:
        for number in range(1, ROUNDS + 1):
            for _ in range(8):
                start = time.perf_counter()
                trainer.make_step()
                steps.append(time.perf_counter() - start)
            start = time.perf_counter()
            if trainer.is_finite():
                writer.save(Progress(step=number), trainer.model_tensors(), trainer.training_tensors())
            checkpoints.append(time.perf_counter() - start)
    return statistics.median(steps), statistics.median(checkpoints)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden-size", type=int, default=ModelSettings().hidden_size)
    parser.add_argument("--layers", type=int, default=ModelSettings().layers)
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    model = ModelSettings(hidden_size=arguments.hidden_size, layers=arguments.layers)
    training = TrainingSettings()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        step, checkpoint = step_and_checkpoint_seconds(Path(folder), model, training)
    length = 60 * arguments.minutes
    interval = max(MIN_INTERVAL, checkpoint / MAX_TIME_SHARE)
    count = training.evaluations + int(length / training.evaluations / interval) * training.evaluations
    print(f"{parameter_count(model, 65):,} parameters, {torch.get_num_threads()} threads")
    print(f"step {1000 * step:.1f} ms, checkpoint {1000 * checkpoint:.1f} ms: {checkpoint / step:.1f} steps")
    print(
        f"{count} checkpoints in {arguments.minutes:g} minutes: {percent(count * checkpoint / length, 2)} of the time"
    )
    print(f"one every {interval:.0f} s: {percent(checkpoint / interval, 2)} of the time")


if __name__ == "__main__":
    main()
