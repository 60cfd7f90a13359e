"""Size and speed of the page that `charrnn inspect --html` writes, in Chromium without a window.

    python -m tests.benchmarks.pages
    python -m tests.benchmarks.pages shakespeare --rounds 9

The page describes 50 cells on 20,000 characters, and has the network inside. The time to load ends when the first cell
is shown. Without a run, the built-in model is measured.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from selenium import webdriver

from charrnn.api import load

LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
READ = (
    "const { data, recorded, LiveText } = charrnn; const ids = [...recorded.ids.slice(0, 200)];"
    "const begin = performance.now(); new LiveText().read(ids); return (performance.now() - begin) / ids.length"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="name or folder of a run")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder:
        page, file = load(arguments.run).explorer(), Path(folder) / "cells.html"
        page.save(file)
        print(f"{page!r}, {file.stat().st_size:,} bytes")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            loaded, read = [], []
            for _ in range(arguments.rounds):
                driver.get("about:blank")
                driver.get(file.as_uri())
                loaded.append(driver.execute_script(LOADED))
                read.append(driver.execute_script(READ))
        finally:
            driver.quit()
    for name, times, digits in (("load", loaded, 0), ("a character typed", read, 2)):
        low, high = min(times), max(times)
        print(f"{name}: {statistics.median(times):.{digits}f} ms ({low:.{digits}f} to {high:.{digits}f})")


if __name__ == "__main__":
    main()
