"""A page as a real browser has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pages import Element, parsed


def opened(path: Path, *flags: str, query: str = "") -> Element:
    """The page as Chromium holds it after loading it; ``query`` follows the path in the address."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on PATH; install it (Debian: apt-get install chromium) to load the page in a browser")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={path.parent / 'user'}",
    ]
    done = subprocess.run(
        [browser, *quiet, *flags, "--dump-dom", path.as_uri() + query], capture_output=True, timeout=120, check=True
    )
    return parsed(done.stdout.decode())
