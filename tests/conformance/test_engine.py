"""Runs end, whatever a worker does, and everything else is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty.adapter import FaultyAdapter

from normgauge.adapters.case import Implementation
from normgauge.adapters.mode import PLAIN, Mode
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted, is_named
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.results.file import ResultsWriter, read_records
from normgauge.results.records import Footer, Header, Judgement, NotRun, Profile, Record

FAULTY = "faulty.adapter:FaultyAdapter"


def run(*identifiers: str, time_limit: float = 60.0, in_process: bool = False, dtype: str = "float32") -> list[Record]:
    wanted = Wanted(dtypes=(dtype,), implementations=identifiers, in_process=in_process)
    return list(run_framework(Launch(framework=FAULTY, time_limit=time_limit), wanted))


def judged(records: list[Record], identifier: str) -> dict[str, Judgement]:
    return {r.requirement: r for r in records if isinstance(r, Judgement) and r.implementation == identifier}


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("torch.nn.GroupNorm[strided]", {"torch.nn.GroupNorm[strided]"}),
        ("keras.layers.BatchNormalization(axis=1)[jax]", {"keras.layers.BatchNormalization(axis=1)[jax]"}),
        ("torch.nn.*[strided]", {"torch.nn.GroupNorm[strided]"}),
        ("torch.nn.GroupNor?", {"torch.nn.GroupNorm"}),
        ("*[j*", {"keras.layers.BatchNormalization(axis=1)[jax]"}),
        ("torch.nn.groupnorm", set()),
        ("GroupNorm", set()),
    ],
)
def test_a_pattern_names_the_ids_in_which_it_has_all_but_its_asterisks(pattern: str, named: set[str]) -> None:
    ids = ("torch.nn.GroupNorm", "torch.nn.GroupNorm[strided]", "keras.layers.BatchNormalization(axis=1)[jax]")
    assert {one for one in ids if is_named(one, [pattern])} == named


class WithoutCompiler(FaultyAdapter):
    def missing(self, implementation: Implementation) -> str | None:
        return "it needs a compiler; there is none here" if implementation.id.startswith("group_norm.") else None


def test_what_an_implementation_lacks_here_is_told_and_the_rest_is_judged() -> None:
    wanted = Wanted(
        dtypes=("float32",), implementations=("group_norm.GroupNorm", "batch_norm.BatchNorm"), in_process=True
    )
    records = list(run_framework(Launch(framework="test_engine:WithoutCompiler"), wanted))
    (lacking,) = [r for r in records if isinstance(r, NotRun)]
    assert (lacking.implementation, lacking.dtype, lacking.failed) == ("group_norm.GroupNorm", "float32", True)
    assert lacking.reason == "it needs a compiler; there is none here"
    assert not judged(records, "group_norm.GroupNorm")
    assert judged(records, "batch_norm.BatchNorm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("identifier", "how"),
    [
        ("process.DiesInRankFive", "was ended by signal SIGSEGV"),
        ("process.ExitsInRankFive", "exited with code 7; it last said: out of memory, say"),
        ("process.HangsInRankFive", "did not answer within 2 s"),
    ],
)
def test_a_death_or_a_hang_is_one_observation_and_the_rest_is_judged(identifier: str, how: str) -> None:
    records = run(identifier, "group_norm.GroupNorm", time_limit=2.0)
    guilty = judged(records, identifier)
    assert guilty["GN-07"].verdict == "crashes"
    assert how in guilty["GN-07"].sentence
    gradients = {"GN-25", "GN-26", "GN-27"}  # at every rank, too
    assert {guilty[name].verdict for name in gradients} == {"crashes"}
    assert {r.verdict for r in guilty.values() if r.requirement not in gradients | {"GN-07"}} == {"conforms"}
    assert {r.verdict for r in judged(records, "group_norm.GroupNorm").values()} == {"conforms"}
    (profile,) = [r for r in records if isinstance(r, Profile) and r.implementation == identifier]
    assert profile.restarts == 5  # four cases, of which one was asked again
    assert profile.hazards == []
    assert isinstance(records[-1], Footer)


#: An adapter whose process ends in rank five, but only if it never did so before.
SOMETIMES = """
import os, signal
from pathlib import Path
from faulty.adapter import FaultyAdapter

class Sometimes(FaultyAdapter):
    def run(self, implementation, case):
        mark = Path(__file__).with_name("ended")
        if case.steps[0].x.ndim == 5 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(implementation, case)
"""


@pytest.mark.slow
def test_what_ends_a_process_by_chance_is_a_hazard_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sometimes.py").write_text(SOMETIMES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",))
    first, second = (list(run_framework(Launch(framework="sometimes:Sometimes"), wanted)) for _ in range(2))
    assert judged(first, "group_norm.GroupNorm") == judged(second, "group_norm.GroupNorm")
    assert {one.verdict for one in judged(first, "group_norm.GroupNorm").values()} == {"conforms"}
    told, none = ([(one.restarts, one.hazards) for one in r if isinstance(one, Profile)] for r in (first, second))
    what = "rank 5 gave a result when asked again; at first the worker was ended by signal SIGSEGV"
    assert told == [(1, [f"not every time: {what}"])]
    assert none == [(0, [])]


@pytest.mark.slow
def test_a_worker_that_dies_in_every_case_is_restarted_a_bounded_number_of_times() -> None:
    records = run("process.AlwaysDies", "group_norm.GroupNorm")
    guilty = judged(records, "process.AlwaysDies")
    assert {r.verdict for r in guilty.values()} <= {"crashes", "cannot tell"}
    assert guilty["GN-01"].verdict == "crashes"
    assert "signal SIGKILL" in guilty["GN-01"].sentence
    notes = [note for judgement in guilty.values() for note in judgement.notes]
    assert any("not run: the worker had ended 9 times" in note for note in notes)
    # The next implementation starts afresh.
    assert {r.verdict for r in judged(records, "group_norm.GroupNorm").values()} == {"conforms"}
    assert isinstance(records[-1], Footer)


def test_of_a_layer_that_raises_in_every_case_nothing_is_measured() -> None:
    records = run("process.AlwaysRaises")
    assert judged(records, "process.AlwaysRaises") == {}
    (told,) = [one for one in records if isinstance(one, NotRun)]
    assert told.implementation == "process.AlwaysRaises"
    assert told.failed
    assert re.fullmatch(
        r"nothing was measured: 0 of \d+ cases gave a result; the first did not: RuntimeError in step 1: not today",
        told.reason,
    )


def of_port(name: str, *implementations: str) -> list[Record]:
    wanted = Wanted(dtypes=("float32",), implementations=implementations, in_process=True)
    return list(run_framework(Launch(framework=f"faulty.ports:{name}"), wanted))


def test_what_an_adapter_has_not_written_is_its_own_mistake_and_no_finding() -> None:
    backward = (
        "the adapter does not support this: Unfinished.backward is not written: later; write it, or, where the layer "
        "has no such thing, let lacks return Lack(gradients=True, why=..., source=...)"
    )
    records = of_port("Unfinished")
    assert [one for one in records if isinstance(one, Judgement | Profile)] == []
    told = {one.implementation: (one.failed, one.reason) for one in records if isinstance(one, NotRun)}
    assert told["group_norm.GroupNorm"] == (True, backward)
    assert told["batch_norm.BatchNorm"] == (True, f"{backward} (and 1 more)")


def test_a_method_that_every_adapter_needs_can_only_be_written() -> None:
    (told,) = [one for one in of_port("ConstructionUnfinished", "group_norm.GroupNorm") if isinstance(one, NotRun)]
    assert told.reason == (
        "the adapter does not support this: ConstructionUnfinished.construct is not written; write it"
    )


@pytest.mark.parametrize("name", ["FrameworkWithoutBackward", "CompiledWithoutBackward"])
def test_what_the_framework_has_not_implemented_is_a_finding(name: str) -> None:
    found = judged(of_port(name, "group_norm.GroupNorm"), "group_norm.GroupNorm")
    assert found["GN-25"].verdict == "raises"
    assert found["GN-25"].measured.startswith("NotImplementedError")


def test_what_a_layer_prints_does_not_disturb_the_protocol() -> None:
    found = judged(run("process.PrintsToStandardOutput"), "process.PrintsToStandardOutput")
    assert {r.verdict for r in found.values()} == {"conforms"}


@pytest.mark.slow
def test_a_worker_process_and_this_process_give_the_same_judgements() -> None:
    identifiers = ("group_norm.Interleaved", "batch_norm.BiasedRunningVariance")
    apart = [r for r in run(*identifiers) if isinstance(r, Judgement | Profile)]
    here = [r for r in run(*identifiers, in_process=True) if isinstance(r, Judgement | Profile)]
    assert apart == here


@pytest.mark.slow
def test_two_runs_write_the_same_file_apart_from_times(tmp_path: Path) -> None:
    lines = []
    for name in ("first.jsonl", "second.jsonl"):
        with ResultsWriter(tmp_path / name) as writer:
            for record in run("group_norm.Interleaved", "batch_norm.MomentumWeighsOld"):
                writer.write(record)
        lines.append((tmp_path / name).read_bytes().splitlines())
    first, second = lines
    assert len(first) == len(second) > 40
    assert first[1:-1] == second[1:-1]  # the header has the start, the footer the seconds


def test_an_interrupted_run_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "faulty.jsonl"
    records = run_framework(
        Launch(framework=FAULTY), Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",))
    )
    with ResultsWriter(path) as writer:
        for number, record in enumerate(records):
            writer.write(record)
            if number == 5:
                break
    with path.open("ab") as file:
        file.write(b'{"record":"judgement","requirement":"GN-0')  # cut in the middle of a line
    kept = read_records(path)
    assert len(kept) == 6
    assert isinstance(kept[0], Header)
    assert not any(isinstance(record, Footer) for record in kept)


def test_a_divergence_is_shrunk_to_numbers_a_person_can_check() -> None:
    example = judged(run("group_norm.Interleaved"), "group_norm.Interleaved")["GN-02"].example
    assert example is not None
    assert example.shapes == [[1, 4]]
    assert example.observed != example.canonical
    assert [line.split()[:3] for line in example.observed] == [line.split()[:3] for line in example.canonical]


def test_an_interpreter_that_does_not_exist_is_one_clear_line() -> None:
    with pytest.raises(CannotRun, match=r"cannot start no-such-python: No such file"):
        list(run_framework(Launch(framework="torch", python="no-such-python"), Wanted(dtypes=("float32",))))


@pytest.mark.slow
def test_a_hanging_worker_ends_with_the_engine_that_was_killed() -> None:
    source = (
        "from normgauge.conformance.subjects.subject import Launch\n"
        "from normgauge.conformance.subjects.worker_process import WorkerProcess\n"
        "from normgauge.conformance.layers.experiments import probes\n"
        f"worker = WorkerProcess(Launch(framework={FAULTY!r}), 'float32')\n"
        "print(worker._talk._process.pid, flush=True)\n"
        "case = next(p.case for p in probes('group_norm', 'float32', (5,)))\n"
        "list(worker.run('process.HangsInRankFive', [case]))\n"
    )
    engine = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    worker = int(engine.stdout.readline())
    time.sleep(1)  # into the call that never returns
    engine.kill()
    engine.wait()
    engine.stdout.close()
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its engine by 10 s")


def alive(process: int) -> bool:
    """Whether the process runs; one that ended and waits for its new parent to notice does not."""
    if Path("/proc").is_dir():
        status = Path(f"/proc/{process}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


class Compiling(FaultyAdapter):
    """A framework that compiles, with half precision."""

    framework = "compiling"
    compiles = True
    implementations = tuple(one for one in FaultyAdapter.implementations if one.id == "group_norm.GroupNorm")

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "float32")


@pytest.mark.parametrize(
    ("budget", "named", "measured"),
    [
        ("quick", False, {"float32"}),
        ("quick", True, {"float16", "float32"}),
        ("none", False, {"float16", "float32"}),
    ],
)
def test_quick_leaves_out_half_precision_of_what_compiles(budget: str, named: bool, measured: set[str]) -> None:
    wanted = Wanted(dtypes=("float32", "float16"), in_process=True, budget=BUDGETS[budget], all_dtypes=not named)
    records = list(run_framework(Launch(framework="test_engine:Compiling"), wanted))
    assert {r.dtype for r in records if isinstance(r, Judgement)} == measured
    left_out = [r for r in records if isinstance(r, NotRun)]
    assert [r.dtype for r in left_out] == [dtype for dtype in ("float16",) if dtype not in measured]
    assert not any(r.failed for r in left_out)


class InModesOfItsOwn(FaultyAdapter):
    """A framework whose modes have names that nobody else knows."""

    framework = "in modes of its own"
    implementations = tuple(
        replace(one, way=way)
        for one in FaultyAdapter.implementations
        if one.id == "group_norm.GroupNorm"
        for way in (
            Mode(name="plain", about="as it is"),
            Mode(name="wide", about="with wider parameters", promotes=True),
            Mode(name="alike", about="on one sample", equal_samples=True),
        )
    )

    def layer_class(self, implementation: Implementation) -> Any:
        return super().layer_class(replace(implementation, way=PLAIN))


@pytest.mark.parametrize(("mode", "left_out"), [("plain", set()), ("wide", {"GN-20"}), ("alike", set())])
def test_what_a_mode_changes_is_what_its_record_says_not_its_name(mode: str, left_out: set[str]) -> None:
    name = f"group_norm.GroupNorm[{mode}]"
    wanted = Wanted(dtypes=("float32",), implementations=(name,), in_process=True)
    found = judged(list(run_framework(Launch(framework="test_engine:InModesOfItsOwn"), wanted)), name)
    assert {"GN-10", "GN-20"} - found.keys() == left_out
    assert found["GN-10"].verdict == ("unsupported" if mode == "alike" else "conforms")
