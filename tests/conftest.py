"""Fixtures shared by the tests of the project itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = {
    "torch": "torch",
    "mlx": "mlx",
    "keras-jax": "keras",
    "keras-torch": "keras",
    "keras-tensorflow": "tensorflow",
    "keras-numpy": "keras",
    "flax": "flax",
}
#: Two at a time, about as long each.
TOGETHER = (("keras-jax", "keras-numpy"), ("torch", "mlx", "flax", "keras-torch", "keras-tensorflow"))


@pytest.fixture(scope="session", autouse=True)
def _faulty_layers_are_importable_in_workers() -> None:
    """Worker processes import ``faulty`` from this folder, as this process does."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def run(*words: str) -> str:
    command = [sys.executable, "-m", "normgauge.conformance.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "160"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result files of one run of every framework, without exploration, which has tests of its own."""
    missing = [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]
    if missing and os.environ.get("NORMGAUGE_REQUIRE_FRAMEWORKS") == "1":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `nox -s tests` installs them")
    folder = tmp_path_factory.mktemp("results")
    with ThreadPoolExecutor(len(TOGETHER)) as pool:
        list(pool.map(lambda names: run("run", *names, "--budget", "none", "--out", str(folder)), TOGETHER))
    return folder
