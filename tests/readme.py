"""Compare the figures and pictures of the README with what the program prints now, and rewrite what differs.

    python -m tests.readme
    python -m tests.readme --write
    python -m tests.readme --write --novel warpeace

The screen of inspect, the sample, the picture of code and checkpoints/code/README.md come from the built-in model. The
table of results repeats tests/benchmarks/RESULTS.md, which names the command of each measurement. Two cells of the run
that --novel names color the page of dialogue; without one the page stays as it is.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from charrnn.api import Model, load
from tests.package_model import FOLDER, PAGE_FILE, page

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "tests" / "benchmarks" / "RESULTS.md"
PICTURES = ROOT / "tests" / "pictures"
SHOWN = ("inside “…”", "line position")
"""Properties of the cells that color the page of dialogue."""
CELL_LINE = re.compile(r"(★+ )?\d+:\d+ ")


def printed(*arguments: str) -> str:
    """Return what a command prints on 80 columns where there is no run but the built-in one."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "CHARRNN_HOME": home, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONUTF8": "1"}
        command = [sys.executable, "-m", "charrnn", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, encoding="utf-8")
    return done.stdout


def replaced(text: str, before: str, old: str, new: str) -> str:
    """Replace what a pattern matches after another one. Together they have to occur once."""
    changed, places = re.subn(f"({before})(?:{old})", lambda found: found[1] + new, text)
    if places != 1:
        raise SystemExit(f"README.md has {places} places like {before}{old}, not 1")
    return changed


def with_screen(readme: str) -> str:
    """Return the README with what `charrnn inspect` prints of the first cell."""
    paragraphs = printed("inspect", "code").split("\n\n")
    cells = [place for place, one in enumerate(paragraphs) if CELL_LINE.match(one)]
    shown = "\n\n".join(paragraphs[: cells[0] + 1])
    return replaced(readme, "fit on your terminal:\n\n```\n", "(?s:.*?)(?=\n```)", shown)


def with_sample(readme: str) -> str:
    """Return the README with what its command that samples from the built-in model writes."""
    (command,) = re.findall(r"`charrnn (sample code --prime [^`]+)` writes", readme)
    return replaced(readme, "` writes:\n\n```python\n", "(?s:.*?)(?=```)", f"{printed(*shlex.split(command))}\n")


def with_results(readme: str, results: str) -> str:
    """Return the README with the measurements of its machine in the table of results."""
    machine = re.findall(r"Two cores of an AMD EPYC\s(Zen \d)", readme)[0]
    quality = results.partition("\n## Quality\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in quality.splitlines() if "|" in line]
    shown = [f"| {' | '.join(_result(row))} |" for row in rows if row[0] == machine]
    header = re.escape("| command | model | minutes | nats | bits per character |\n|---|---|---|---|---|\n")
    return replaced(readme, header, r"(?:\|.*\n)+", "".join(f"{line}\n" for line in shown))


def _result(row: list[str]) -> list[str]:
    """Return a row of the README from one of RESULTS.md."""
    command, model, seconds, nats, spread = row[2:7]
    command = re.sub(r"quality (\w+)", r"charrnn train \1.txt", command)
    command = re.sub(r"(?<=--minutes )[\d.]+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), command)
    low_high = "–".join(f"{float(part):.3f}" for part in spread.split("–")) if spread else "one seed"
    bits = float(nats) / math.log(2)
    minutes = f"{float(seconds) / 60:.1f}"
    return [command, f"LSTM {model}", minutes, f"{float(nats):.3f} ({low_high})", f"{bits:.3f}"]


def picture(*arguments: str) -> str:
    """Return the picture that `charrnn inspect` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cell.svg"
        printed("inspect", *arguments, "--output", str(file))
        return file.read_text("utf-8")


def with_caption(readme: str, model: Model, cells: Sequence[str]) -> str:
    """Return the README with facts about the model whose cells color the dialogue."""
    training, corpus = model.run.settings.training, model.run.settings.corpus
    epochs = model.checkpoint.step * training.batch_size * training.seq_length / (corpus.characters - corpus.held_out)
    readme = replaced(readme, r"\*Two of the ", r"\d+ cells", f"{model.network.settings.hidden_size} cells")
    readme = replaced(readme, "read War and Peace ", r"[\d.]+ times", f"{epochs:.1f} times")
    readme = replaced(readme, r"cores, ", r"[\d.]+ nats", f"{model.checkpoint.progress.validation_nats or 0:.2f} nats")
    return replaced(readme, "inspect warpeace", r"(?: --cell \S+)+", "".join(f" --cell {one}" for one in cells))


def expected(novel: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the files and what they should hold. novel: a run that has read one."""
    readme = with_results(README.read_text("utf-8"), RESULTS.read_text("utf-8"))
    readme = with_sample(with_screen(readme))
    (command,) = re.findall(r"`charrnn inspect (code --cell\s[^`]+) --output cell.svg`", readme)
    yield PICTURES / "docstrings.svg", picture(*shlex.split(command))
    yield FOLDER / PAGE_FILE, page()
    if novel is not None:
        model = load(novel)
        findings = model.discover()
        cells = [next(one.cell for one in findings if one.property_name == name) for name in SHOWN]
        readme = with_caption(readme, model, cells)
        (command,) = re.findall(r"`charrnn inspect warpeace (--cell\s[^`]+) -o two.svg`", readme)
        yield PICTURES / "quotes.svg", picture(str(model.run.path), *shlex.split(command))
    yield README, readme


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="rewrite what differs")
    parser.add_argument("--novel", metavar="RUN", help="color the page of dialogue by this run")
    arguments = parser.parse_args()
    differing = 0
    for file, content in expected(arguments.novel):
        name, now = str(file.relative_to(ROOT)), file.read_text("utf-8") if file.exists() else ""
        if now == content:
            continue
        differing += 1
        if file.suffix == ".svg":
            print(f"{name} differs")
        else:
            print(*difflib.unified_diff(now.splitlines(), content.splitlines(), name, name, "", "now", 0, ""), sep="\n")
        if arguments.write:
            file.write_text(content, "utf-8")
    print(f"{differing} files {'rewritten' if arguments.write else 'differ'}")
    return 1 if differing and not arguments.write else 0


if __name__ == "__main__":
    sys.exit(main())
