"""The report of `charrnn sample --novelty`, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.options import corpus_option
from charrnn.cli.stderr import note
from charrnn.errors import UsageError
from charrnn.progress import progress_bar
from charrnn.units import amount, percent, shortened

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.sampling.novelty import Novelty, TrainingIndex

NoveltyOption = Annotated[
    bool,
    typer.Option(
        "--novelty",
        help="Report the longest run that each text copies from the training text, and the share of its 10-, 20- and "
        "40-grams that do not occur there. The prime does not count.",
        rich_help_panel="Novelty",
    ),
]
CorpusOption = Annotated[str | None, corpus_option("The corpus that the run was trained on.", "Novelty")]


def training_index(model: Model, corpus: str | None, *, needed: bool, by: str) -> TrainingIndex | None:
    """Return the index of the training text, with a progress bar while it is built; None where it is not needed.

    by: the options that need it. Raises UsageError for a corpus without one of them.
    """
    if needed:
        with progress_bar() as progress:
            return model.training_index(corpus, progress=progress)
    if corpus is not None:
        raise UsageError(f"--corpus is for {by}", "leave it out")
    return None


def print_novelty(result: Novelty) -> None:
    """Print what of a text is new, on standard error."""
    copied = result.longest_copy
    longest = "longest copy: none"
    if copied is not None:
        size = amount(copied.characters, "character")
        longest = f"longest copy: {size}, {copied.file}:{copied.line}, {shortened(copied.quotation)}"
    shares = [f"{percent(share, 1)} of {n}-grams" for n, share in result.new_ngrams.items() if share is not None]
    note(longest)
    note(f"new: {', '.join(shares) or 'the text is too short to tell'}")
