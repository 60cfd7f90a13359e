"""Progress bars on stderr. Nothing is drawn if stderr is not a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


@contextlib.contextmanager
def transfer_bar(label: str = "corpus") -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (bytes done, total bytes) that draws a bar.

    The bar appears with the first call, and again with a new total or a smaller count.
    """
    bar: tqdm[NoReturn] | None = None

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
                bar_format="{desc}: {percentage:3.0f} %|{bar}{r_bar}",
            )
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
