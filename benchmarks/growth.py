"""How cost grows: with explored cases, elements of a case, implementations and releases; and what memory a run takes.

Processor seconds of all processes together, so that other load on the machine changes them little. Run with
``nox -s benchmarks``; with ``--figure FILE`` the growth is drawn, too.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from normgauge.adapters.cache_folder import VARIABLE
from normgauge.adapters.case import Case, Step
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.oracle import CANONICAL, Arithmetic
from normgauge.reports import pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is counted, and how often: the figure shows each beside its first.
CASES = (1_024, 4_096, 16_384, 65_536)
ELEMENTS = (2**8, 2**12, 2**16, 2**20)
IMPLEMENTATIONS = (1, 2, 4, 8, 16)
RELEASES = (1, 2, 4)
COLOURS = (pictures.BLUE, pictures.ORANGE, pictures.GREEN, pictures.VIOLET)
Growth = list[tuple[int, float]]


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of this process and of those that it waited for."""
    begun = _used()
    call()
    return _used() - begun


def _used() -> float:
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def run(*words: str, cache: Path) -> float:
    """The cost of a run of the command line, whose results nobody keeps."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "normgauge.conformance.cli.main", "run", *words, "--out", out, "--jobs", "1"]
        environment = {**os.environ, VARIABLE: str(cache)}
        return seconds(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))


def by_cases() -> Iterator[tuple[int, float]]:
    from exploration_speed import explored  # this folder is no package

    worker = WorkerProcess(Launch(framework="torch"), "float32")
    for count in CASES:
        begun = time.process_time(), _of_process(worker)
        explored(worker, "torch.nn.GroupNorm", count)
        yield count, time.process_time() - begun[0] + _of_process(worker) - begun[1]
    worker.close()


def _of_process(worker: WorkerProcess) -> float:
    """Processor seconds of a worker that still runs, in Linux's own count."""
    fields = Path(f"/proc/{worker._talk._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def by_elements() -> Iterator[tuple[int, float]]:
    worker = WorkerProcess(Launch(framework="torch"), "float32")
    settings = {"num_channels": 8, "num_groups": 4, "eps": 1e-5, "weight": False, "bias": False}
    for count in ELEMENTS:
        x = np.random.default_rng(0).standard_normal((2, 8, count // 16)).astype(np.float32)
        case = Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("train", x),))
        rounds = max(1, 2**16 // count)
        begun = time.process_time(), _of_process(worker)
        for _ in range(rounds):
            (seen,) = worker.run("torch.nn.GroupNorm", [case])
            compare(seen, predict(case, CANONICAL["group_norm"], Arithmetic("float32")))
        yield count, (time.process_time() - begun[0] + _of_process(worker) - begun[1]) / rounds
    worker.close()


def by_implementations() -> Iterator[tuple[int, float]]:
    from normgauge.adapters.torch.adapter import TorchAdapter

    known = [
        one.id
        for one in TorchAdapter.implementations
        if not one.way.thorough and "float32" in (one.made_for or ("float32",))
    ]
    for count in IMPLEMENTATIONS:
        chosen = [word for identifier in known[:count] for word in ("-i", identifier)]
        with tempfile.TemporaryDirectory() as empty:
            yield count, run("torch", *chosen, "--budget", "none", "--dtype", "float32", cache=Path(empty))


def by_releases() -> Iterator[tuple[int, float]]:
    """The pinned release again and again: what the oracle knows of one it knows of the next."""
    for count in RELEASES:
        with tempfile.TemporaryDirectory() as empty:
            words = ("torch", "-i", "torch.nn.BatchNorm2d", "--budget", "none")
            yield count, sum(run(*words, cache=Path(empty)) for _ in range(count))


def peaks(*words: str) -> dict[str, int]:
    """The largest engine process and the largest worker of a run, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "normgauge.conformance.cli.main", "run", *words, "--out", folder]
        process = subprocess.Popen(
            command, env={**os.environ, VARIABLE: folder}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        found = {"engine": 0, "worker": 0}
        watching = threading.Thread(target=_watch, args=(process, found))
        watching.start()
        process.wait()
        watching.join()
    return found


def _watch(process: subprocess.Popen[bytes], found: dict[str, int]) -> None:
    while process.poll() is None:
        for pid in _descendants(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                words = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:  # it has just ended
                continue
            (peak,) = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")] or [0]
            kind = "worker" if "adapters.worker" in words else "engine"
            found[kind] = max(found[kind], peak)
        time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _descendants(int(child)))]


def figure(grown: dict[str, Growth]) -> str:
    """The SVG of each growth as a line, beside its first point, on logarithmic axes of the same scale.

    Raises:
        NoPictures: matplotlib is missing.
    """
    furthest = max(at / own[0][0] for own in grown.values() for at, _ in own)
    end = 10.0 ** math.ceil(math.log10(furthest))

    def paint(drawn: Figure) -> None:
        area = drawn.add_axes((0.1, 0.1, 0.63, 0.82))
        area.set(xscale="log", yscale="log", xlim=(1, end), ylim=(1, end))
        area.set_title("How many times the smallest costs, in processor time", size=14)
        area.set_xlabel("how many times as much is asked (dashed: the same factor)", loc="left")
        area.plot((1, end), (1, end), color=pictures.QUIET, linestyle="--", linewidth=1)
        for axis in (area.xaxis, area.yaxis):
            axis.set_major_formatter("{x:,.0f}")
        for colour, (name, own) in zip(COLOURS, grown.items(), strict=True):
            factors = [(at / own[0][0], max(cost / own[0][1], 1.0)) for at, cost in own]
            area.plot(*zip(*factors, strict=True), "o-", color=colour, linewidth=2, zorder=3, label=name)
        area.legend(loc="upper left", bbox_to_anchor=(1, 1), labelcolor="linecolor")

    described = "; ".join(f"{name}: {told(own)}" for name, own in grown.items())
    return pictures.picture(paint, (710, 540), "How cost grows, beside the smallest", described)


def told(own: Growth) -> str:
    return ", ".join(f"{at:,} in {cost:.4g} s" for at, cost in own)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="SVG file to write")
    asked = parser.parse_args(words)
    kinds = {
        "explored cases": by_cases,
        "elements of a case": by_elements,
        "implementations": by_implementations,
        "releases": by_releases,
    }
    grown: dict[str, Growth] = {}
    for name, measure in kinds.items():
        grown[name] = list(measure())
        print(f"{name}: {told(grown[name])}", flush=True)
    if asked.figure:
        asked.figure.parent.mkdir(parents=True, exist_ok=True)
        asked.figure.write_text(f"{figure(grown)}\n", encoding="utf-8")
    for framework in ("torch",):
        found = peaks(framework, "--dtype", "float32", "--dtype", "bfloat16")
        sizes = ", ".join(f"{kind} {size / 2**20:,.0f} MiB" for kind, size in found.items())
        print(f"peak memory of one process in a run of {framework}: {sizes}", flush=True)


if __name__ == "__main__":
    main()
