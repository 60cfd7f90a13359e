"""A bar on stderr for work that is counted in bytes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


@contextlib.contextmanager
def transfer_bar(label: str = "corpus") -> Iterator[Callable[[int, int], None]]:
    """Gives a function of (bytes done, bytes in all) that draws a bar; off a terminal it draws nothing.

    The bar appears with the first call, so that work which turns out not to be needed leaves no trace, and begins anew
    where another piece of work does.
    """
    bar: tqdm | None = None

    def show(done: int, total: int) -> None:
        from tqdm import tqdm

        nonlocal bar
        if bar is None or total != bar.total or done < bar.n:
            if bar is not None:
                bar.close()
            bar = tqdm(
                desc=label,
                total=total,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
                disable=None,
            )
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
