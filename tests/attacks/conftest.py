"""A folder in memory, as the tests of faults have."""

from tests.faults.conftest import folder

__all__ = ["folder"]
