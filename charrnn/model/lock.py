"""The lock of a run, which the process that trains it holds."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import warnings
from io import FileIO
from pathlib import Path

from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.files import open_regular

LOCK_FILE = "lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
ATTEMPTS, PAUSE = 10, 0.02  # seconds; `is_locked` holds a lock for microseconds


def lock_run(path: Path) -> FileIO:
    """Lock a run until the file is closed. Where the file system has no locks, warn instead.

    Raises CharrnnError where another process trains the run.
    """
    file = open_regular(path / LOCK_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                message = f"{path} is on a file system without locks: do not train it in two processes at once"
                warnings.warn(message, CharrnnWarning, stacklevel=2)
                return file
            file.close()
            raise
    file.close()
    raise CharrnnError(f"another process is training {path.name}", "wait for it, or stop it")


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a run."""
    try:
        with open_regular(path / LOCK_FILE) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, CharrnnError):
        return False
    return False
