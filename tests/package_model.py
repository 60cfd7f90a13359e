"""Make the built-in model, checkpoints/code, from a trained run.

    python -m tests.package_model python --command "charrnn train python --minutes 55"
    python -m tests.package_model --search-only

Weights are stored in half precision, without the optimizer's state. A search of the held-out text and ablations of the
cells that it names are stored beside them, without excerpts: git holds no text of the corpus. The README.md there gets
the command, machine, minutes and losses. The run has to be trained on the corpus `python`, by this Python.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.api import Model, load
from charrnn.causal.cache import FOLDER as ABLATIONS
from charrnn.causal.cache import packaged_ablations
from charrnn.causal.effects import Ablation, costs
from charrnn.discovery.cache import FOLDER as FINDINGS
from charrnn.discovery.cache import load_findings, packaged_file
from charrnn.discovery.findings import Findings
from charrnn.discovery.report import cells_shown, sentence
from charrnn.errors import CharrnnError
from charrnn.files import home_folder
from charrnn.model.built_in import BUILT_IN
from charrnn.model.checkpoint import Progress
from charrnn.model.lock import LOCK_FILE
from charrnn.model.lookup import open_run
from charrnn.model.run import Run
from charrnn.model.tensors import in_half_precision
from charrnn.model.writer import RunWriter
from charrnn.progress import progress_bar
from charrnn.properties.catalog import property_titled
from charrnn.scoring.score import score
from charrnn.text.standard_library import read_source, source_files
from charrnn.units import bits, count, file_size

CHECKOUT = Path(__file__).parent.parent
FOLDER = CHECKOUT / "checkpoints" / BUILT_IN
FACTS, PAGE_FILE = "facts.json", "README.md"
SCORED = 200_000  # characters
PAGE = """# The built-in model

Every command uses this run where there is no other. `charrnn train --init-from code` trains it further; `--resume` and
`runs rm` refuse it. It was trained on the source code of Python's standard library, and holds none of it: its held-out
text is built on your machine, from {first} on. It is in half precision, without the optimizer's state.

| | |
|---|---|
| command | `{command}` |
| machine | {machine}, Python {python}, PyTorch {torch} |
| minutes | {minutes:.0f} |
| model | {model}, {parameters} parameters |
| trained on | {characters} characters, {steps} steps |
| validation loss | {validation_nats:.4f} nats, {bits:.4f} bits per character |
| the first {scored} held-out characters | {nats:.4f} nats; in half precision {half_nats:.4f} |
| as many from {first} on | {built_nats:.4f} nats, in half precision, Python {here} |
| size | {size} |

`python -m tests.package_model` made it from the trained run. The search reads {searched} characters from {first} on,
and names {named} of the cells; their ablations read the same text:

{cells}
"""


def first_held_out_file(run: Run) -> str:
    """Return the first file of this Python's library that starts in the held-out text of a run."""
    lengths = {name: len(read_source(path)) for name, path in source_files().items()}
    corpus = run.settings.corpus
    if sum(lengths.values()) != corpus.characters:
        raise SystemExit(f"{run.name} was not trained on the library of Python {platform.python_version()}")
    start = 0
    for name, length in lengths.items():
        if start >= corpus.characters - corpus.held_out:
            return name
        start += length
    raise SystemExit("no file starts in the held-out text")


def package(run: Run, command: str) -> dict[str, Any]:
    """Write the weights of a run, and return what the page says about them."""
    network, checkpoint = run.load_network()
    text = run.held_out_text()[:SCORED]
    before = score(network, text).mean
    halved = in_half_precision(network.state_dict(), run.name)
    network.load_state_dict({name: tensor.float() for name, tensor in halved.items()})
    corpus = run.settings.corpus.changed(held_out_from=first_held_out_file(run))
    settings = dataclasses.replace(run.settings, corpus=corpus)
    now = checkpoint.progress
    progress = Progress(
        step=now.step,
        seconds=now.seconds,
        evaluated_step=now.step,
        validation_nats=now.validation_nats,
        best_nats=now.validation_nats,
        best_step=now.step,
        finished=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        with RunWriter.create("new", settings, run.vocabulary, b"", Path(folder), halved, progress) as writer:
            for entry in run.metrics():
                writer.log(**entry)
        (writer.run.path / LOCK_FILE).unlink()
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(writer.run.path, FOLDER)
    model, training, origin = load(FOLDER), run.settings.training, run.settings.origin
    built = model.encode()[:SCORED]
    losses = [entry["nats"] for entry in run.metrics() if entry["event"] == "held_out"]
    nats = losses[-1] if losses else checkpoint.progress.validation_nats or before
    return {
        "first": corpus.held_out_from,
        "command": command,
        "machine": origin.device,
        "python": origin.python,
        "torch": origin.torch,
        "minutes": checkpoint.progress.seconds / 60,
        "model": model.shape,
        "parameters": count(model.parameters),
        "characters": count(checkpoint.step * training.batch_size * training.seq_length),
        "steps": count(checkpoint.step),
        "validation_nats": nats,
        "bits": bits(nats),
        "scored": count(len(text)),
        "nats": before,
        "half_nats": score(network, text).mean,
        "built_nats": model.score(built).mean,
        "here": platform.python_version(),
    }


def search(model: Model, corpus: Path) -> Findings:
    """Search the held-out text, and store what was found without its text. corpus: that of the run."""
    with progress_bar() as bar:
        findings = model.discover(corpus=str(corpus), again=True, progress=bar)
    without_text = tuple(dataclasses.replace(one, excerpt=None) for one in findings.evidence)
    findings = dataclasses.replace(findings, evidence=without_text)
    shutil.rmtree(FOLDER / FINDINGS, ignore_errors=True)
    write(packaged_file(FOLDER / FINDINGS, model.network), findings.to_json())
    return findings


def ablate(model: Model, findings: Findings, number: int) -> None:
    """Ablate the cells that `inspect` shows, the best first, and store the results.

    Cells are left out where the text has too few events.
    """
    shutil.rmtree(FOLDER / ABLATIONS, ignore_errors=True)
    for place, one in enumerate(cells_shown([*findings])[:number], start=1):
        try:
            with progress_bar() as bar:
                ablation = model.ablate(one.cell, property_titled(one.property_name), again=True, progress=bar)
        except CharrnnError as error:
            print(f"{one.cell} {one.property_name}: {error}")
            continue
        write(packaged_file(FOLDER / ABLATIONS, model.network, f"-{place:02d}"), ablation.to_json())


def page() -> str:
    """Return the page about the model, from the facts, findings and ablations that are stored beside it."""
    model, facts = load(FOLDER), json.loads((FOLDER / FACTS).read_text("utf-8"))
    findings = load_findings(packaged_file(FOLDER / FINDINGS, model.network), model.network)
    if findings is None:
        raise SystemExit(f"{FOLDER} has no findings about these weights")
    ablations = packaged_ablations(model.run, model.network, model.encode())
    causes = {(one.cell, one.property_name): _cause(one) for one in reversed(ablations)}
    cells = []
    for one in cells_shown([*findings]):
        cause = causes.get((one.cell, one.property_name))
        cells.append(f"- {one.cell} {sentence(one)}" + (f"; {cause}" if cause else ""))
    size = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file())
    size -= (FOLDER / PAGE_FILE).stat().st_size if (FOLDER / PAGE_FILE).exists() else 0
    return PAGE.format(
        **facts, size=file_size(size), searched=count(findings.characters), named=len(findings), cells="\n".join(cells)
    )


def write(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n", "utf-8")


def _cause(ablation: Ablation) -> str:
    return f"{'★' * ablation.stars} {costs(ablation)}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="name or folder of a run")
    parser.add_argument("--command", default="", help="the command that trained it")
    parser.add_argument("--ablations", type=int, default=10, help="cells to ablate, at most")
    parser.add_argument("--search-only", action="store_true", help="keep the weights, search and ablate again")
    arguments = parser.parse_args()
    corpus = (home_folder() / "corpora" / "python.txt").absolute()
    if arguments.search_only:
        facts = json.loads((FOLDER / FACTS).read_text("utf-8"))
    else:
        facts = package(open_run(arguments.run), arguments.command)
        write(FOLDER / FACTS, facts)
    model = load(FOLDER)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CHARRNN_HOME"] = home
        ablate(model, search(model, corpus), arguments.ablations)
    (FOLDER / PAGE_FILE).write_text(page(), "utf-8")
    print(page())


if __name__ == "__main__":
    main()
