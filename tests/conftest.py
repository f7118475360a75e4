"""Fixtures shared by the tests of the project itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _faulty_layers_are_importable_in_workers() -> None:
    """Worker processes import ``faulty`` from this folder, as this process does."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
