"""The search for cells that earn a name: its progress, and the table of what it found."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError
from charrnn.settings import SEARCHED_CHARACTERS
from charrnn.units import count

if TYPE_CHECKING:
    import numpy as np

    from charrnn.cli.look import Look
    from charrnn.discovery.findings import Findings
    from charrnn.discovery.naming import Evidence
    from charrnn.discovery.search import Effort
    from charrnn.display.terminal import Terminal
    from charrnn.model.run import Run
    from charrnn.properties.catalog import Property, Text

TRAINING_CHARACTERS = 500_000  # of the training text's end, that the k-gram rival learns from
DETECTORS_SHOWN = 12


def search(
    look: Look,
    effort: Effort,
    *,
    properties: list[str],
    language: str | None,
    corpus: str | None,
) -> Findings:
    """The findings on a text, from an earlier search if there was one.

    properties: arguments of --property; none is the whole catalog. language: of the text, guessed if None; "none" is
    none. corpus: where the run's corpus is, looked for if None.
    """
    from charrnn.discovery.findings import keep, kept, key_of
    from charrnn.discovery.search import discover
    from charrnn.properties.catalog import CATALOG, find_property

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
    return key_of(look.checkpoint.manifest.entries["model.safetensors"].sha256, passage.ids.tobytes(), *documents)


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


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """A function of (stage, share done) that draws a bar on stderr if that is a terminal."""
    from tqdm import tqdm

    bar = tqdm(
        total=100,
        file=sys.stderr,
        disable=None,
        leave=False,
        dynamic_ncols=True,
        bar_format="{desc:<18}{bar}{n:4.0f} %  {elapsed}",
    )

    def show(stage: str, share: float) -> None:
        bar.set_description_str(stage, refresh=False)
        bar.n = 100 * share
        bar.refresh()

    with bar:
        yield show


HEADERS = ("cell", "tracks", "", "|char [95 %]", "all", "5-gram", "untrained", "memory", "episodes")


def show(findings: Findings, look: Look, *, every_cell: bool = False, layer: int | None = None) -> None:
    """Writes what was found, what was not, and what could not be asked.

    every_cell: and what each cell goes with, or each of one layer.
    """
    from charrnn.display.tables import table

    terminal = look.terminal
    asked = len(findings.testable) + len(findings.not_testable)
    half = count(findings.half)
    terminal.paragraph(
        f"{look.title} · {findings.bits_per_character:.2f} bits/char on {look.text} · chosen on {half}, confirmed on "
        f"{half} characters · {len(findings.testable)} of {asked} properties testable"
    )
    terminal.write("\n")
    tracks = findings.of_kind("tracks")
    if tracks:
        table(HEADERS, [_row(evidence) for evidence, _ in tracks], terminal, right=HEADERS[3:])
        terminal.write("\n")
    for evidence, judged in findings.of_kind("related"):
        terminal.paragraph(
            f"related: {evidence.cell} {_signal(evidence)} {evidence.property_name}, {measure(evidence)} "
            f"{number(signed(evidence, evidence.rank_correlation))}: {judged.failed[0]}",
        )
    if every_cell:
        _every_cell(findings, terminal, layer)
    for line in _closing(findings):
        terminal.paragraph(line)
    if tracks:
        terminal.paragraph(f"look at one: charrnn inspect {look.run.name} --cell {tracks[0][0].cell}")


def _closing(findings: Findings) -> Iterator[str]:
    tracks, related = findings.of_kind("tracks"), findings.of_kind("related")
    controls = sum(evidence.property_name in findings.controls for evidence, _ in tracks)
    yield (
        f"named: {len(tracks) - controls} of {findings.cells:,} cells · related: {len(related)} · detectors of one "
        f"character: {len(findings.reacts)}{_detectors(findings)} · control labels named: {controls} of "
        f"{len(findings.controls)}"
    )
    found = {evidence.property_name for evidence, _ in tracks + related}
    nothing = [name for name in findings.testable if name not in found]
    if nothing:
        yield "nothing found: " + ", ".join(nothing)
    reasons: dict[str, list[str]] = {}
    for name, reason in findings.not_testable.items():
        reasons.setdefault(reason, []).append(name)
    if reasons:
        yield "not testable here: " + "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    yield (
        "|char: AUC or ρ within the same current character, on text that did not choose the cell. all: without regard "
        f"to the character. 5-gram: what the last five characters tell, learned from {findings.fitted_on}. untrained: "
        "the best cell of networks that learned nothing. memory: in characters. −c, −h: low where the property holds."
    )


def _detectors(findings: Findings) -> str:
    signs = sorted(set(findings.reacts.values()))
    shown = " ".join(signs[:DETECTORS_SHOWN]) + (" …" if len(signs) > DETECTORS_SHOWN else "")
    return f" ({shown})" if signs else ""


def _row(evidence: Evidence) -> list[str]:
    return [
        f"{evidence.cell} {_signal(evidence)}",
        evidence.property_name,
        measure(evidence),
        score_with_interval(evidence),
        number(signed(evidence, evidence.plain)),
        number(evidence.shown(evidence.kgram[4]), 2),
        number(evidence.shown(evidence.untrained), 2),
        "" if evidence.memory is None else f"{evidence.memory:,.0f}",
        f"{evidence.episodes:,}",
    ]


def measure(evidence: Evidence) -> str:
    """What a score of this evidence is: AUC or ρ."""
    return "AUC" if evidence.kind == "binary" else "ρ"


def _signal(evidence: Evidence) -> str:
    """`−c` where a cell is low when a binary property holds; of a graded one the score has the sign."""
    return f"−{evidence.signal}" if evidence.kind == "binary" and evidence.sign < 0 else evidence.signal


def signed(evidence: Evidence, rank_correlation: float) -> float:
    """A rank_correlation as it is shown: AUC, or ρ with the cell's own sign."""
    return evidence.shown(rank_correlation) if evidence.kind == "binary" else evidence.sign * rank_correlation


def score_with_interval(evidence: Evidence) -> str:
    """A score and its 95 % interval, both with the cell's own sign: `.984 [.979, .988]`, `−.963 [−.970, −.951]`."""
    bounds = evidence.interval or (evidence.rank_correlation, evidence.rank_correlation)
    low, high = sorted(signed(evidence, bound) for bound in bounds)
    return f"{number(signed(evidence, evidence.rank_correlation))} [{number(low)}, {number(high)}]"


def number(value: float, digits: int = 3) -> str:
    """`.984`, `−.963`, `1.00`."""
    return f"{value:.{digits}f}".replace("-", "−").replace("0.", ".", 1)


def _every_cell(findings: Findings, terminal: Terminal, layer: int | None) -> None:
    from charrnn.discovery.statistics import auc
    from charrnn.display.tables import table

    named = {evidence.cell: judged.kind for evidence, judged in findings.verdicts() if judged.kind != "none"}
    rows = []
    for one in findings.summaries:
        if layer is not None and not one.cell.startswith(f"{layer}:"):
            continue
        binary = one.kind == "binary"
        values = (one.selected, one.rank_correlation)
        chosen, confirmed = (auc(abs(values[0])), auc(values[1] * (1 if values[0] >= 0 else -1))) if binary else values
        rows.append(
            [
                f"{one.cell} {one.signal}",
                one.property_name,
                "AUC" if binary else "ρ",
                number(chosen),
                number(confirmed),
                named.get(one.cell, ""),
                findings.reacts.get(one.cell, ""),
            ]
        )
    headers = ("cell", "goes best with", "", "chosen", "|char", "verdict", "detects")
    table(headers, rows, terminal, right=("chosen", "|char"))
    terminal.write("\n")


def write_csv(findings: Findings) -> None:
    """The evidence for every candidate, on stdout."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
