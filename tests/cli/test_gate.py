"""The gate's first lines: how much room the disk has, and the end where it is too little."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GATE = Path(__file__).parents[2] / ".ci" / "run"


@pytest.mark.skipif(not GATE.exists() or not shutil.which("bash"), reason="needs the checkout, and bash")
def test_the_gate_stops_in_one_sentence_where_the_disk_is_too_full(tmp_path: Path) -> None:
    df = tmp_path / "df"  # a disk with 300 MB left
    df.write_text("#!/bin/sh\necho heading\necho disk 9000000 8692800 307200 97% /\n")
    df.chmod(0o755)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(temporary)}
    done = subprocess.run(["bash", GATE, "lint"], capture_output=True, text=True, env=environment, check=False)
    checkout = GATE.parents[1].resolve()
    assert done.returncode == 1
    assert done.stdout == f".ci/run: 300 MB are free in {checkout}, and 1000 MB are needed\n"
    assert (
        done.stderr == f".ci/run: {checkout} has too little room for the gate; delete 700 MB there and run it again\n"
    )
    assert list(temporary.iterdir()) == []
