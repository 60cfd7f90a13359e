"""What saving costs a training: the share of its time that goes into saves at the default interval.

    python -m tests.benchmarks.saving [--hidden-size 384] [--minutes 5]

Measures steps and saves by turns in one process, so that a busy machine slows both, and works out from them the share
for a training of so many minutes with its default ten evaluations, each followed by a save, and a save every five
minutes in between (`MIN_INTERVAL`; further apart where one takes more than 3 % of that).
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

ROUNDS = 12


def seconds_of(folder: Path, model: ModelSettings, training: TrainingSettings) -> tuple[float, float]:
    """Median seconds of a step and of a save."""
    vocabulary = Vocabulary.of("".join(map(chr, range(32, 97))))
    ids = torch.randint(len(vocabulary), (200_000,), generator=torch.Generator().manual_seed(1)).byte().numpy()
    network = CharRNN(model, len(vocabulary))
    network.initialize(torch.Generator().manual_seed(1))
    trainer = Trainer(network, training, EncodedText(ids))
    identity = CorpusIdentity(name="noise", specs="noise", sha256="", characters=len(ids), held_out=0)
    settings = RunSettings(model, training, identity, Origin.here("here", "a benchmark"))
    steps, saves = [], []
    with RunWriter.create("run", settings, vocabulary, b"", folder, network.state_dict()) as writer:
        for number in range(1, ROUNDS + 1):
            for _ in range(8):
                start = time.perf_counter()
                trainer.make_step()
                steps.append(time.perf_counter() - start)
            start = time.perf_counter()
            if trainer.is_finite():
                writer.save(Progress(step=number), trainer.model_tensors(), trainer.training_tensors())
            saves.append(time.perf_counter() - start)
    return statistics.median(steps), statistics.median(saves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden-size", type=int, default=ModelSettings().hidden_size)
    parser.add_argument("--layers", type=int, default=ModelSettings().layers)
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    model = ModelSettings(hidden_size=arguments.hidden_size, layers=arguments.layers)
    training = TrainingSettings()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        step, save = seconds_of(Path(folder), model, training)
    length = 60 * arguments.minutes
    between = max(MIN_INTERVAL, save / MAX_TIME_SHARE)
    saves = training.evaluations + int(length / training.evaluations / between) * training.evaluations
    print(f"{parameter_count(model, 65):,} parameters, {torch.get_num_threads()} threads")
    print(f"a step {1000 * step:.1f} ms, a save {1000 * save:.1f} ms: as much as {save / step:.1f} steps")
    print(f"{saves} saves in {arguments.minutes:g} minutes: {saves * save / length:.2%} of the time")
    print(f"one each {between:.0f} s: {save / between:.2%} of the time")


if __name__ == "__main__":
    main()
