"""However the host ends, what it started is gone: the workers, what those started, and its own processes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from hostile import PRELUDE
from processes import alive, ended_now, heeding_interruptions

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has daemons as descendants")

#: A worker that has a child and a daemon, and never answers.
HANGS: Final = PRELUDE + "sleeper(); daemon(); say(hello)\nsys.stdin.readline(); note('asked'); time.sleep(600)\n"


def descendants(process: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {process}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def all_gone(processes: set[int]) -> set[int]:
    """Those that are still there after 4 seconds; they are ended."""
    for _ in range(200):
        if not any(map(alive, processes)):
            break
        time.sleep(0.02)
    return set(ended_now([one for one in processes if alive(one)]))


def wait_for(notes: Path, pattern: str, count: int) -> None:
    for _ in range(1000):
        if notes.exists() and len(re.findall(pattern, notes.read_text(), re.MULTILINE)) >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"not {count} notes like {pattern} within 20 s: {notes.read_text() if notes.exists() else None}")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    (tmp_path / "worker.py").write_text(HANGS)
    return tmp_path / "notes"


def command(notes: Path, *words: str) -> list[str]:
    start = "from normgauge.conformance.cli.main import main; main()"
    program = f"{sys.executable} -I -S {notes.parent / 'worker.py'}"
    out = str(notes.parent / "out")
    return [sys.executable, "-c", start, *words, "--exec", program, "--budget", "none", "--out", out]


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=lambda one: one.name if isinstance(one, signal.Signals) else "",
)
def test_two_workers_at_a_time_are_gone_after_a_signal(notes: Path, number: signal.Signals, code: int) -> None:
    words = command(notes, "run", "hostile", "--jobs", "2", "--dtype", "float32", "--dtype", "float64")
    with heeding_interruptions():
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(notes, r"^\d+$", 6)  # of each worker: itself, its child and its daemon
        wait_for(notes, "^asked$", 1)
        started = descendants(running.pid)
        assert len(started) >= 11  # the host, two of its own processes, two keepers, two times three
        running.send_signal(number)
        said, errors = running.communicate(timeout=15)
    finally:
        running.kill()
        running.communicate()
    assert all_gone(started) == set()
    assert running.returncode == code, errors
    if number is not signal.SIGKILL:
        assert "interrupted; the results so far are in" in errors
        assert "Traceback" not in said + errors
        assert (notes.parent / "out" / "hostile.jsonl").read_text().startswith('{"record":"header"')


ENDS: Final = {
    "an exception": "raise RuntimeError",
    "an exit": "sys.exit(3)",
    "an exit without cleaning up": "os._exit(3)",
    "an abort": "os.abort()",
    "its own SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "its SIGKILL while a fork of it lives": (
        "process = os.fork()\n"
        "if process: print(process, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.closerange(1, 3); time.sleep(600)"
    ),
}


@needs_proc
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_worker_and_what_it_started_are_gone_after_the_host(notes: Path, end: str) -> None:
    host = (
        "import os, signal, sys, time\n"
        "from normgauge.conformance.subjects.subject import Launch\n"
        "from normgauge.conformance.subjects.worker_process import WorkerProcess\n"
        f"program = (sys.executable, '-I', '-S', {str(notes.parent / 'worker.py')!r})\n"
        f"worker = WorkerProcess(Launch(framework='hostile', program=program), 'float32')\n{end}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", host], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    started = {int(one) for one in notes.read_text().split() if one.isdigit()}
    try:
        assert len(started) == 3
        assert all_gone(started) == set()
    finally:
        for fork in ended.stdout.split():
            subprocess.run(["kill", "-9", fork], check=True)
    assert ended.returncode != 0
