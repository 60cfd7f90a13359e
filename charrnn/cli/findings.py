"""The search for interpretable cells: its progress bar and its output."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.cli.look import Look
    from charrnn.discovery.findings import Findings
    from charrnn.discovery.study import Effort


def search(look: Look, effort: Effort, *, properties: list[str], language: str | None, corpus: str | None) -> Findings:
    """Search for cells, or read the findings of the same search made before.

    properties: arguments of --property. language: of the text; None: guessed. corpus: None: looked for.
    """
    from charrnn.discovery.cache import search_run
    from charrnn.properties.catalog import find_property

<<<<<<< HEAD
    chosen = [find_property(argument) for argument in properties] or whole_catalog()
    run, subject, look = look.run, _subject(look), look.of_first(effort.characters)
    language = language_of(run, language)
    training = _training_ids(run, corpus)
    key = (
        subject,
        key_of(
            b"" if training is None else training.tobytes(),
            repr((language, [(one.name, one.definition) for one in chosen], effort)),
        ),
    )
    from_catalog = all(CATALOG.get(one.name) is one for one in chosen)
    findings = kept(run.path, *key) if from_catalog else None
    if findings is None:
        with _bar() as progress:
            findings = discover(
                look.network,
                look.passage,
                as_text(run, look.passage.ids, language),
                chosen,
                symbols=run.vocabulary.symbols,
                training=None if training is None else (training, as_text(run, training, language)),
                effort=effort,
                progress=progress,
            )
        if from_catalog:
            keep(run.path, *key, findings)
    return findings


def whole_catalog() -> list[Property]:
    """What is searched for if nothing is named: all that means something."""
    from charrnn.properties.catalog import CATALOG

    return [one for one in CATALOG.values() if not one.control]


def earlier_findings(look: Look) -> list[Findings]:
    """What searches with these weights found on this text, the latest first."""
    from charrnn.discovery.findings import all_kept

    return all_kept(look.run.path, _subject(look))


def _subject(look: Look) -> str:
    """Stands for the weights and the text, which its beginning tells from others however much of it is searched."""
    from charrnn.discovery.findings import key_of

    passage = look.passage[:SEARCHED_CHARACTERS]
    documents = [passage.begins().tobytes()] if passage.has_documents else []
    return key_of(look.checkpoint.sizes["model.safetensors"][1], passage.ids.tobytes(), *documents)


def as_text(run: Run, ids: np.ndarray, language: str | None) -> Text:
    """Ids as characters, one for one: bytes become the 256 first code points."""
    from charrnn.properties.catalog import Text

    decoded = run.vocabulary.decode(ids)
    return Text(decoded if isinstance(decoded, str) else decoded.decode("latin-1"), language)


def language_of(run: Run, name: str | None) -> str | None:
    """The language that a person named ("none" is none), else one guessed from the names of the corpus' files."""
    from charrnn.properties.source_code import find_language, guess_language

    if name is not None:
        return None if name.lower() == "none" else find_language(name)
    specs = run.settings.corpus.named()
    if specs == ["python"]:
        return "python"
    return guess_language(specs)


def _training_ids(run: Run, spec: str | None) -> np.ndarray | None:
    """Ids of the end of the training text, if the run's corpus is at hand: named, or lying in corpora/ by its name.

    Raises CharrnnError where the corpus named is not the one the run was trained on.
    """
    from charrnn.text.corpus import load_corpus
    from charrnn.text.sources import corpora_folder

    identity = run.settings.corpus
    as_bytes = run.vocabulary.kind == "bytes"
    if spec is not None:
        corpus = load_corpus([spec], as_bytes=as_bytes, vocabulary=run.vocabulary)
        if corpus.sha256 != identity.sha256:
            raise CharrnnError(f"{spec} is not the corpus that {run.name} was trained on", "leave --corpus out")
    else:
        name = identity.name.removesuffix(".txt")
        file = corpora_folder() / f"{name}.txt"
        if not name or "/" in name or "\\" in name or not file.is_file():
            return None
        try:
            corpus = load_corpus([str(file)], as_bytes=as_bytes, vocabulary=run.vocabulary)
        except CharrnnError:
            return None
        if corpus.sha256 != identity.sha256:
            return None
    trained = len(corpus.ids) - identity.held_out
    return corpus.ids[max(0, trained - TRAINING_CHARACTERS) : trained]
=======
    with _bar() as progress:
        return search_run(
            look.run,
            look.network,
            look.passage,
            [find_property(argument) for argument in properties],
            language=language,
            corpus=corpus,
            effort=effort,
            progress=progress,
        )
>>>>>>> da45644 (The search for cells is a pipeline: study, scores, baselines, evidence, verdicts)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """Yield a function of stage and share done that draws a bar on stderr if that is a terminal."""
    from tqdm import tqdm

    with contextlib.ExitStack() as stack:
        bars: list[tqdm] = []

        def show(stage: str, share: float) -> None:
            if not bars:
                style = "{desc:<18}{bar}{n:4.0f} %  {elapsed}"
                bar = tqdm(total=100, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True, bar_format=style)
                bars.append(stack.enter_context(bar))
            bars[0].set_description_str(stage, refresh=False)
            bars[0].n = 100 * share
            bars[0].refresh()

        yield show


def show(findings: Findings, look: Look, *, every_cell: bool = False, layer: int | None = None) -> None:
    """Print findings. every_cell: also the property that each cell, or each of one layer, fits best."""
    from charrnn.discovery import report
    from charrnn.display.tables import table

    terminal = look.terminal
    terminal.paragraph(f"{look.title} · {findings.heading(look.text)}")
    terminal.write("\n")
    tracks = findings.of_kind("tracks")
    if tracks:
        table(report.CLAIM_HEADERS, findings.table(), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.related_lines():
        terminal.paragraph(line)
    if every_cell:
        table(report.CELL_HEADERS, findings.cell_table(layer), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.closing_lines():
        terminal.paragraph(line)
    if tracks:
        terminal.paragraph(f"look at one: charrnn inspect {look.run.name} --cell {tracks[0].evidence.cell}")


def write_csv(findings: Findings) -> None:
    """Write the evidence for every candidate to stdout as CSV."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
