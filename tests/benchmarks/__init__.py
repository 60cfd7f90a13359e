"""Benchmarks. Threads wait as in the program `charrnn`; the variable has to be set before torch is loaded."""

from __future__ import annotations

import os

from charrnn.__main__ import limit_spinning

limit_spinning(os.environ)
