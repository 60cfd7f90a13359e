"""The folder of the fault tests."""

from tests.faults.conftest import folder

__all__ = ["folder"]
