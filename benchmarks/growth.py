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

import numpy as np

from normgauge.adapters.cache_folder import VARIABLE
from normgauge.adapters.case import Case, Step
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.oracle import CANONICAL, Arithmetic

#: What is counted, and how often: the figure shows each beside its first.
CASES = (1_024, 4_096, 16_384, 65_536)
ELEMENTS = (2**8, 2**12, 2**16, 2**20)
IMPLEMENTATIONS = (1, 2, 4, 8, 16)
RELEASES = (1, 2, 4)
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
    """Each growth as a line, beside its first point, on logarithmic axes of the same scale."""
    left, top, unit = 60, 40, 110.0  # user units of a decade
    decades = math.ceil(max(math.log10(at / own[0][0]) for own in grown.values() for at, _ in own))
    size = decades * unit
    colours = ("#0b62a4", "#b3541e", "#2f7d32", "#7b3fa0")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size + 210:.0f}" height="{top + size + 60:.0f}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>How cost grows, beside the smallest</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="22" font-size="14">How many times the smallest costs, in processor time</text>',
    ]
    for power in range(decades + 1):
        x, y = left + power * unit, top + size - power * unit
        parts.append(f'<path d="M{x},{top}V{top + size}M{left},{y}H{left + size}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{top + size + 18}" text-anchor="middle">{10**power:,}</text>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{10**power:,}</text>')
    parts.append(f'<path d="M{left},{top + size}L{left + size},{top}" stroke="#999" stroke-dasharray="4 4"/>')
    parts.append(
        f'<text x="{left}" y="{top + size + 40}">how many times as much is asked (dashed: the same factor)</text>'
    )
    for place, (name, own) in enumerate(grown.items()):
        points = [
            (
                left + unit * math.log10(at / own[0][0]),
                top + size - unit * max(0.0, math.log10(max(cost / own[0][1], 1e-9))),
            )
            for at, cost in own
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour, y = colours[place], top + 20 + 22 * place
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{left + size + 14}" y="{y}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


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
        print(f"{name}: " + ", ".join(f"{at:,} in {cost:.4g} s" for at, cost in grown[name]), flush=True)
    if asked.figure:
        asked.figure.parent.mkdir(parents=True, exist_ok=True)
        asked.figure.write_text(figure(grown), encoding="utf-8")
    for framework in ("torch",):
        found = peaks(framework, "--dtype", "float32", "--dtype", "bfloat16")
        told = ", ".join(f"{kind} {size / 2**20:,.0f} MiB" for kind, size in found.items())
        print(f"peak memory of one process in a run of {framework}: {told}", flush=True)


if __name__ == "__main__":
    main()
