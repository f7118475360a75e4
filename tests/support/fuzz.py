"""Mutated hellos and answers against the host: each is told in one short line, or measured on; nothing else happens.

``python tests/support/fuzz.py --seconds 60 --seed 1`` takes what real workers wrote (our own, and the one in JavaScript
where there is node), edits it (``mutants.py``), and gives it to the host in three ways:

* ``replayed``: the stream lies in a file and no process is started, for speed; all else is the host's own code;
* ``process``: a program writes the stream, behind the host's own pipes;
* ``engine``: our worker's answers are edited such that they stay well formed, and a whole run is judged and written.

``--only 123`` repeats one number of a seed. A finding is printed with both, and its stream is kept with ``--keep``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from unittest.mock import patch

import numpy as np
from memory import forget_peak, peak_memory
from mutants import TREE, edited, mutant
from recorded import PORT, TESTS, Recorded, recordings
from replay import replay

from normgauge.adapters.case import Observation
from normgauge.adapters.worker.main import Adapters, serve
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects import conversation
from normgauge.conformance.subjects.messages import Answer, Nonsense, answer_of
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.file import ResultsWriter, read_records

#: Letters of a line that says why a worker cannot be run, where the reason is the worker's own; and of any other.
LONGEST_REASON: Final = 11_000
_LONGEST_LINE: Final = 1_500
#: MiB by which the host may grow at one stream, and seconds that it may take.
MOST_MEMORY: Final = 96.0
MOST_SECONDS: Final = 20.0
#: One stream in so many is written by a real process, and one in so many streams is a whole run.
_PROCESS: Final = 200
_ENGINE: Final = 500


# --- the host, on a stream --------------------------------------------------------------------------


class Replayed:
    """In place of a process that is kept: a thread does what the program would do."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        requests, stdin = os.pipe()
        stdout, answers = os.pipe()
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb", buffering=0)
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb", buffering=0)
        self.stderr: IO[bytes] = os.fdopen(os.open(os.devnull, os.O_RDONLY), "rb", buffering=0)
        self._thread = threading.Thread(target=self._write, args=(command[0], requests, answers), daemon=True)
        self._thread.start()

    @staticmethod
    def _write(path: str, requests: int, answers: int) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):
                replay(path, requests, answers)
        finally:
            os.close(requests)
            os.close(answers)

    def poll(self) -> int | None:
        return None

    def wait(self, timeout: float) -> int:
        return 0

    def end(self) -> int:
        return 0


@dataclass(kw_only=True)
class Tally:
    """What came of how many streams."""

    streams: collections.Counter[str] = field(default_factory=collections.Counter)  # by way
    edits: collections.Counter[str] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: dict[str, str] = field(default_factory=dict)  # the first of each kind
    repeated: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")

    def shown(self) -> str:
        told = [
            "streams: " + ", ".join(f"{count:,} {way}" for way, count in self.streams.most_common()),
            "observations: " + ", ".join(f"{count:,} {what}" for what, count in self.outcomes.most_common()),
            "edits: " + ", ".join(f"{count:,} {what}" for what, count in self.edits.most_common()),
            f"slowest {self.slowest[0]:.2f} s ({self.slowest[1]}), most memory {self.largest[0]:.1f} MiB "
            f"({self.largest[1]}), {len(self.findings)} kinds of findings",
            *(f"{count:,} times: {kind}" for kind, count in self.repeated.most_common()),
        ]
        return "\n".join(told)


class Unlike(Exception):
    """Something that the host must not do; the message says what."""


def told_well(text: str, longest: int) -> None:
    """That ``text`` is one short line.

    Raises:
        Unlike: it is not.
    """
    if len(text) > longest:
        raise Unlike(f"a message of {len(text):,} letters: {text[:100]!r}...")
    if not text.replace("\t", " ").isprintable():
        raise Unlike(f"a message with what cannot be printed: {text[:300]!r}")


def sort_of(seen: Observation) -> str:
    """A word for what was observed.

    Raises:
        Unlike: it is told badly, or it is no observation of arrays.
    """
    if seen.died is not None:
        told_well(seen.died, _LONGEST_LINE)
        return next((one for one in ("malformed", "not run", "unasked", "not JSON") if one in seen.died), "ended")
    for step in seen.steps:
        for name, value in step.quantities.items():
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                raise Unlike(f"{name} is {value!r}")
    if seen.unsupported is not None:
        return "unsupported"
    return "raised" if seen.raised is not None else "measured"


def host_on(stream: Path, recorded: Recorded, way: str) -> Iterator[str]:
    """What the host makes of a stream, a word for every case."""
    program: tuple[str, ...] = (str(stream),)
    if way == "process":
        program = (sys.executable, "-I", "-S", str(TESTS / "support" / "replay.py"), str(stream))
    launch = Launch(framework="fuzz", program=program, most_restarts=1, time_limit=5.0, hello_limit=5.0)
    with contextlib.ExitStack() as stack:
        if way == "replayed":
            stack.enter_context(patch.object(conversation, "KeptProcess", Replayed))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            worker = WorkerProcess(launch, recorded.dtype)
        except CannotRun as refusal:
            told_well(str(refusal), LONGEST_REASON)
            yield "refused"
            return
        try:
            seen = list(worker.run(recorded.implementation, recorded.cases))
            if len(seen) != len(recorded.cases):
                raise Unlike(f"{len(seen)} observations of {len(recorded.cases)} cases")
            yield from map(sort_of, seen)
            yield "script" if worker.script(recorded.implementation, recorded.cases[0], "").strip() else "no script"
        except CannotRun as refusal:
            told_well(str(refusal), LONGEST_REASON)
            yield "refused"
        finally:
            worker.close()


# --- a whole run on edited answers -----------------------------------------------------------------


class Edited(io.RawIOBase):
    """Where a worker writes to: some of its answers become others that are as well formed."""

    def __init__(self, to: IO[bytes], seed: str) -> None:
        self._to, self._rng = to, random.Random(seed)

    def write(self, line: Any) -> int:
        self._to.write(self._other(bytes(line)) if self._rng.random() < 0.15 else line)
        return len(line)

    def flush(self) -> None:
        self._to.flush()

    def _other(self, line: bytes) -> bytes:
        for _ in range(20):
            other = edited(self._rng, line, self._rng.choice(list(TREE)))
            with contextlib.suppress(ValueError, Nonsense, KeyError):
                number = answer_of(line, Answer, _number(line)).number
                answer_of(other, Answer, number).observation()
                return other
        return line


def _number(line: bytes) -> int:
    return int(line.partition(b'"number":')[2].partition(b",")[0] or 0)


def edited_worker(seed: str, dtype: str) -> None:
    """The program that a whole run is made with."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Adapters(PORT, dtype), sys.stdin.buffer, Edited(answers, seed))  # type: ignore[arg-type]


def run_on(seed: str, folder: Path, implementation: str) -> Iterator[str]:
    """A whole run, written and read again; the verdicts."""
    program = (sys.executable, __file__, "--worker", seed)
    launch = Launch(framework="fuzz", program=program, environment={"PYTHONPATH": os.pathsep.join(map(str, _PATH))})
    path = folder / "fuzz.jsonl"
    with contextlib.redirect_stderr(io.StringIO()), ResultsWriter(path) as writer:
        try:
            for record in run_framework(launch, Wanted(dtypes=("float32",), implementations=(implementation,))):
                writer.write(record)
        except CannotRun as refusal:
            told_well(str(refusal), LONGEST_REASON)
    for record in read_records(path):
        if verdict := getattr(record, "verdict", None):
            yield str(verdict)


_PATH: Final = (TESTS, TESTS / "support")


# --- the loop ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fuzz:
    """Streams by their numbers: each is made of the seed and its number alone."""

    seed: int
    recorded: Sequence[Recorded]
    folder: Path
    engine: bool = True
    keep: Path | None = None

    def once(self, number: int, tally: Tally) -> None:
        rng = random.Random(f"{self.seed} {number}")
        way = "engine" if self.engine and number % _ENGINE == _ENGINE - 1 else "replayed"
        way = "process" if number % _PROCESS == _PROCESS - 1 and way == "replayed" else way
        recorded, stream = rng.choice(self.recorded), self.folder / "stream"
        name, written = mutant(rng, list(recorded.lines))
        forget_peak()
        begun, before = time.monotonic(), peak_memory()
        try:
            if way == "engine":
                layer = rng.choice(("group_norm.GroupNorm", "batch_norm.BatchNorm"))
                tally.outcomes.update(run_on(f"{self.seed} {number}", self.folder, layer))
            else:
                stream.write_bytes(written)
                tally.outcomes.update(host_on(stream, recorded, way))
                tally.edits[name] += 1
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {Path(last.filename).name}, {last.name}"
            kind += f": {str(error)[:21]}" if isinstance(error, Unlike) else ""
            self._found(tally, number, kind, f"{way}, {name}: {traceback.format_exc(limit=-6)}")
        tally.streams[way] += 1
        seconds, grown = time.monotonic() - begun, (peak_memory() - before) / 1024
        where = f"{way}, {name}, number {number}"
        tally.slowest, tally.largest = max(tally.slowest, (seconds, where)), max(tally.largest, (grown, where))
        if way != "engine" and (seconds > MOST_SECONDS or grown > MOST_MEMORY):
            kind = "too long" if seconds > MOST_SECONDS else "too much memory"
            self._found(tally, number, kind, f"{where}: {seconds:.1f} s, {grown:.0f} MiB")

    def _found(self, tally: Tally, number: int, kind: str, what: str) -> None:
        tally.repeated[kind] += 1
        if kind not in tally.findings:
            tally.findings[kind] = f"seed {self.seed}, number {number}, {what}"
            if self.keep is not None and (self.folder / "stream").exists():
                shutil.copy(self.folder / "stream", self.keep / f"{self.seed}-{number}")

    def during(self, seconds: float, tally: Tally, every: float = 300.0) -> Iterator[int]:
        """Numbers one after the other until ``seconds`` have passed; told every so often."""
        begun = told = time.monotonic()
        number = 0
        while time.monotonic() - begun < seconds:
            known = len(tally.findings)
            self.once(number, tally)
            for finding in list(tally.findings.values())[known:]:
                print(finding, flush=True)
            if time.monotonic() - told > every:
                told = time.monotonic()
                print(f"--- after {told - begun:.0f} s\n{tally.shown()}", flush=True)
            number += 1
            yield number


def main() -> int:
    parser = argparse.ArgumentParser(description="Give edited hellos and answers to the host.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one stream of the seed")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the streams of findings")
    parser.add_argument("--worker", nargs=2, metavar=("SEED", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        edited_worker(*options.worker)
        return 0
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(seed=options.seed, recorded=recordings(), folder=Path(folder), keep=options.keep)
        if options.only is not None:
            fuzz.once(options.only, tally)
            print(*tally.findings.values(), sep="\n")
        else:
            collections.deque(fuzz.during(options.seconds, tally), maxlen=0)
    print(tally.shown())
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
