"""``pytest --normgauge``: the same judgements as the command line's, as items that behave as one expects of tests."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from frameworks import for_each
from processes import heeding_interruptions

import normgauge.conformance.pytest_plugin.items  # noqa: F401  # once for all runs in this process
from normgauge.conformance.gating.expectations import load_expectations, of_claims, of_judgement
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Header, Judgement, Profile, Record

pytest_plugins = ["pytester"]

#: Strict about everything, as this project's own tests are.
STRICT = "[pytest]\naddopts = -ra --strict-markers --strict-config\nxfail_strict = true\nfilterwarnings = error\n"
#: An adapter that notes what it is asked, and in which process.
COUNTING = """
import os
from pathlib import Path
from faulty.adapter import FaultyAdapter

class Counting(FaultyAdapter):
    def run(self, implementation, case):
        with Path(__file__).with_name("asked.txt").open("a") as file:
            file.write(f"{implementation} {self.dtype} {os.getpid()}\\n")
        return super().run(implementation, case)
"""
INTERLEAVED = """
[[expected]]
implementations = ["group_norm.Interleaved"]
requirement = "GN-02"
measured = "interleaved"
reason = "it is made so"
url = "https://example.org/thread"
"""


#: A program of its own: our worker, of which nothing is known but what it says.
PROGRAM = (
    "--normgauge",
    "foreign",
    "--normgauge-exec",
    shlex.join([sys.executable, "-m", "normgauge.adapters.worker.main", "counting:Counting"]),
)


class Project:
    """A folder with a test of its own, in which pytest is run: in this process, or alone, as a user runs it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.path, self._pytester = pytester.path, pytester
        path = self.path
        (path / "pytest.ini").write_text(STRICT)
        (path / "test_own.py").write_text("def test_of_the_user() -> None:\n    pass\n")
        (path / "counting.py").write_text(COUNTING)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pytest", *words]

    def pytest(self, *words: str, alone: bool = False) -> Run:
        """A run of pytest, in a process of its own where it is to be ``alone``."""
        if alone:
            done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, cwd=self.path)
            found = Run(done.returncode, done.stdout, done.stderr)
        else:
            within = self._pytester.runpytest_inprocess(*words)
            found = Run(int(within.ret), *("\n".join(lines) for lines in (within.outlines, within.errlines)))
        assert "INTERNALERROR" not in found.out + found.err, found.out + found.err
        return found

    def ask(self, *words: str, of: tuple[str, ...], both: bool = False, alone: bool = False) -> Run:
        """Ask these faulty layers, in float32 or in both dtypes."""
        selected = [word for one in of for word in ("--normgauge-implementation", one)]
        selected += [] if both else ["--normgauge-dtype", "float32"]
        return self.pytest("--normgauge", "counting:Counting", *selected, *words, alone=alone)

    def asked(self) -> set[tuple[str, str, str]]:
        """Implementation, dtype and process of every case that was run since the last call."""
        notes = self.path / "asked.txt"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return {(one, dtype, process) for one, dtype, process in (line.split() for line in lines)}


class Run:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def summary(self) -> str:
        return self.out.splitlines()[-1].strip("= ")

    def line(self, start: str) -> str:
        (found,) = [line for line in self.out.splitlines() if line.startswith(start)]
        return found


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Project:
    home = os.environ.get("HOME", "")
    pytester: pytest.Pytester = request.getfixturevalue("pytester")
    for name, value in {"HOME": home, "COLUMNS": "160", "CI": "", "BUILD_NUMBER": ""}.items():
        monkeypatch.setenv(name, value)  # what is kept between runs is in the home folder, which pytester changes
    pytester.syspathinsert()
    return Project(pytester)


def outcomes(report: Path) -> dict[tuple[str, str], str]:
    """By implementation and item: passed, failed, error, skipped or xfailed, as JUnit's file has them."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
        if outcome == "skipped" and any(child.get("type") == "pytest.xfail" for child in case):
            outcome = "xfailed"
        found[case.attrib["classname"], case.attrib["name"]] = outcome.replace("failure", "failed")
    return found


# --- what is collected --------------------------------------------------------------------------------


def test_without_the_option_nothing_is_imported_and_nothing_changes(project: Project) -> None:
    (project.path / "test_own.py").write_text(
        "import sys\n"
        "def test_of_the_user() -> None:\n"
        "    ours = {name for name in sys.modules if name.startswith('normgauge.conformance.')}\n"
        "    assert ours == {'normgauge.conformance.pytest_plugin', 'normgauge.conformance.pytest_plugin.plugin'}\n"
        "    assert 'numpy' not in sys.modules\n"
    )
    done = project.pytest("-p", "no:hypothesispytest", alone=True)
    assert (done.code, done.summary.partition(" in ")[0]) == (0, "1 passed"), done.out


@pytest.mark.slow
def test_with_the_option_and_no_path_only_the_requirements_are_collected(project: Project) -> None:
    done = project.ask("--collect-only", "-q", of=("group_norm.GroupNorm", "batch_norm.BatchNorm"), both=True)
    assert done.code == 0, done.out
    assert "group_norm.GroupNorm::GN-02 grouping" in done.out.splitlines()
    assert "batch_norm.BatchNorm::BN-22 digits honoured" in done.out.splitlines()
    assert "test_of_the_user" not in done.out
    assert project.asked() == set()
    tree = project.ask("--collect-only", of=("group_norm.GroupNorm",))
    assert "<Framework counting:Counting>\n  <Layer group_norm.GroupNorm>\n    <RequirementItem GN-01" in tree.out


@pytest.mark.slow
def test_with_a_path_both_are_run(project: Project) -> None:
    done = project.ask(".", "-k", "GN-01 or user", of=("group_norm.GroupNorm",))
    assert (done.code, done.summary.partition(",")[0]) == (0, "2 passed"), done.out


@pytest.mark.slow
def test_an_item_and_an_implementation_can_be_named_by_their_ids(project: Project) -> None:
    both = ("group_norm.GroupNorm", "batch_norm.BatchNorm")
    done = project.ask("group_norm.GroupNorm::GN-02 grouping", "test_own.py", "-v", of=both)
    assert (done.code, done.summary.partition(" in ")[0]) == (0, "2 passed"), done.out
    assert "group_norm.GroupNorm::GN-02 grouping PASSED" in done.out
    done = project.ask("batch_norm.BatchNorm", "--collect-only", "-q", of=both)
    assert {line.partition("::")[0] for line in done.out.splitlines() if "::" in line} == {"batch_norm.BatchNorm"}


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", "2"])
def test_with_the_option_in_addopts_both_are_run(project: Project, processes: str) -> None:
    asked = "--normgauge counting:Counting --normgauge-implementation group_norm.GroupNorm --normgauge-dtype float32"
    (project.path / "pytest.ini").write_text(f"[pytest]\naddopts = {asked}\n")
    chosen = ("-k", "GN-01 or user", "-n", processes)
    for words, count in (((), 2), (("test_own.py",), 2), (("--normgauge=counting:Counting",), 1)):
        done = project.pytest(*chosen, *words, alone=processes != "0")
        assert (done.code, done.summary.partition(" passed")[0]) == (0, str(count)), done.out


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_program_is_asked_for_what_its_hello_has(project: Project, processes: str) -> None:
    (project.path / "known.toml").write_text(INTERLEAVED)
    chosen = ("--normgauge-implementation", "group_norm.*leaved", "--normgauge-expectations=known.toml")
    done = project.pytest(
        *PROGRAM, *chosen, "-k", "GN-01 or GN-02", "--normgauge-dtype=float32", "-n", processes, alone=processes != "0"
    )
    assert done.code == 0, done.out
    assert re.match(r"1 passed, (\d+ deselected, )?1 xfailed in ", done.summary)
    assert {(one, dtype) for one, dtype, _ in project.asked()} == {("group_norm.Interleaved", "float32")}


@pytest.mark.slow
def test_one_dtype_can_be_chosen(project: Project) -> None:
    done = project.ask("-v", of=("group_norm.GroupNorm",))
    assert done.code == 0, done.out
    assert {dtype for _, dtype, _ in project.asked()} == {"float32"}
    assert "GN-17" in done.out
    assert "GN-23" in done.out
    assert "float64" not in done.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--normgauge", "mxl"), "framework 'mxl' is not known; did you mean mlx?"),
        (("--normgauge", "nowhere:Adapter"), "the adapter 'nowhere:Adapter' cannot be loaded: No module named"),
        (("--normgauge", "mlx", "--normgauge-implementation", "mlx.nn.GroupNrom"), "did you mean mlx.nn.GroupNorm"),
        (("--normgauge", "mlx", "--normgauge-dtype", "int8"), "takes float32, float64, float16 and bfloat16, got int8"),
        (("--normgauge", "mlx", "--normgauge-expectations=none.toml"), "none.toml cannot be read: No such file"),
        (
            ("--normgauge", "mlx", "--normgauge-expectations=nobody.toml"),
            "implementation 'no.Body' is not known; ",
        ),
        ((*PROGRAM, "--normgauge-expectations=nobody.toml"), "nobody.toml, entry 1 (GN-02): implementation 'no.Body'"),
        ((*PROGRAM, "--normgauge-implementation", "group_norm.GroupNrom"), "did you mean group_norm.GroupNorm"),
        ((*PROGRAM, "--normgauge", "other"), "--normgauge-exec starts one program, and 2 frameworks are named"),
        ((*PROGRAM, "--normgauge-python=python3"), "without Python, and --normgauge-python is given"),
        (("--normgauge", "x", "--normgauge-exec", "a 'b"), '--normgauge-exec "a \'b" is not a command: No closing'),
        (("--normgauge", "x", "--normgauge-exec", "none-such"), "cannot start none-such: No such file or directory"),
        (("--normgauge-exec", "cat"), "--normgauge-exec needs a framework to check; add --normgauge FRAMEWORK"),
        (("--normgauge-dtype", "float32"), "--normgauge-dtype needs a framework to check; add --normgauge FRAMEWORK"),
    ],
)
def test_a_users_mistake_is_one_line(project: Project, words: tuple[str, ...], said: str) -> None:
    (project.path / "nobody.toml").write_text(INTERLEAVED.replace("group_norm.Interleaved", "no.Body"))
    done = project.pytest(*words)
    assert done.code == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.err.splitlines() if line]
    assert line.startswith("ERROR: ")
    assert said in line


# --- what comes out -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_divergence_fails_with_what_a_person_needs_and_no_traceback(project: Project) -> None:
    done = project.ask(of=("group_norm.Interleaved",), both=True)
    assert done.code == 1
    assert done.line("FAILED").startswith("FAILED group_norm.Interleaved::GN-02 grouping - group_norm.Interleaved: cha")
    for row in (
        r"in +float32, float64",
        r"settings +eps=.*num_channels=4, num_groups=2",
        r"inputs +step 1 train x 0 1 2 3",
        r"measured +step 1 output -0.99999237\d+ -0.99999237\d+ ",
        r"canonical step 1 output -0.9999695 0.999969 -0.999969 0.999969$",
        r"measured semantics step 1 output -0.9999924 -0.999992 0.999992 0.999992$",
        r"remedy +permute the channels",
        r"ground +formula$",
        r"to do +wrong, channel c belongs .*\(interleaved\); repair the layer, or add an entry to a file of your own",
        r"entry +normgauge run counting:Counting -i group_norm\.Interleaved --budget none; normgauge gate --suggest$",
    ):
        assert re.search(rf"^  {row}", done.out, re.MULTILINE), row
    script = re.search(r"^  script +(\S+)", done.out, re.MULTILINE)
    assert script is not None
    assert (
        "group_norm.Interleaved: channel c belongs to group c mod G (grouping: interleaved)"
        in (project.path / script[1]).read_text()
    )
    assert "Traceback" not in done.out
    assert ".py:" not in done.out.partition("short test summary")[0]


@pytest.mark.slow
def test_a_crash_fails_with_how_it_ended(project: Project) -> None:
    done = project.ask("-k", "GN-07 or GN-06", of=("process.DiesInRankFive",))
    assert done.code == 1
    assert "was ended by signal SIGSEGV" in done.out
    assert done.summary.startswith("1 failed, 1 passed")


@pytest.mark.slow
def test_what_cannot_be_asked_or_told_is_skipped_with_the_reason(project: Project) -> None:
    done = project.ask("-k", "GN-11", of=("group_norm.SingleSampleRefused", "group_norm.Unbiased"))
    assert done.code == 1
    assert re.search(r"^FAILED .*GN-11 one value per group", done.out, re.MULTILINE)
    assert re.search(r"^SKIPPED .*GN-11 one value per group: cannot tell: ", done.out, re.MULTILINE)


@pytest.mark.slow
def test_a_doubt_in_one_dtype_is_no_pass(project: Project) -> None:
    done = project.ask("-k", "BN-11", of=("batch_norm.StartsFromZeroDebiased",), both=True)
    assert re.search(r"^SKIPPED .*BN-11 momentum as given: float32: cannot tell: ", done.out, re.MULTILINE), done.out


@pytest.mark.slow
def test_an_expected_divergence_is_xfailed_with_its_reason_and_thread(project: Project) -> None:
    (project.path / "known.toml").write_text(INTERLEAVED)
    expected = ("--normgauge-expectations=known.toml", "-k", "GN-02")
    done = project.ask(*expected, of=("group_norm.Interleaved",))
    assert done.code == 0, done.out
    assert done.line("XFAIL") == (
        "XFAIL group_norm.Interleaved::GN-02 grouping - it is made so (https://example.org/thread)"
    )
    done = project.ask(*expected, "--runxfail", of=("group_norm.Interleaved",))
    assert done.code == 1
    assert "to do     known, entry 1 of known.toml: it is made so" in done.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "group_norm.Interleaved",
            "group_norm.GroupNorm",
            "the known difference, interleaved, is gone: the layer confo",
        ),
        ('"interleaved"', '"reversed"', "measured 'interleaved', expected 'reversed'; correct `measured`"),
        ("requirement", 'versions = { mxl = ">=1" }\nrequirement', "versions names 'mxl', which the results do not"),
        (
            '"GN-02"',
            '"GN-02"\ndtypes = ["float64"]',
            "(interleaved); repair the layer, or add an entry to known.toml",
        ),
    ],
)
def test_an_expectation_that_is_not_met_fails_and_says_what_to_do(
    project: Project, old: str, new: str, said: str
) -> None:
    (project.path / "known.toml").write_text(INTERLEAVED.replace(old, new))
    asked = ("group_norm.Interleaved",) if old != "group_norm.Interleaved" else ("group_norm.GroupNorm",)
    done = project.ask("--normgauge-expectations=known.toml", "-k", "GN-02", of=asked)
    assert done.code == 1
    assert done.summary.startswith("1 failed")
    assert said in done.out
    assert ".py:" not in done.out.partition("short test summary")[0]


@pytest.mark.slow
def test_a_framework_that_cannot_be_started_is_one_error(project: Project) -> None:
    done = project.pytest("--normgauge", "torch", "--normgauge-python=no-such-python")
    assert done.code == 1
    assert re.fullmatch(r"\d+ skipped, 1 error in .*", done.summary)
    assert "could not be run: cannot start no-such-python: No such file or directory" in done.out
    assert "Traceback" not in done.out


@pytest.mark.slow
def test_an_implementation_that_the_installed_release_lacks_is_one_error(project: Project) -> None:
    source = (project.path / "counting.py").read_text()
    known = "FaultyAdapter.implementations"
    newer = f"implementations = (*{known}, replace({known}[0], class_path='a.Newer'))"
    source += f"\n    if sys.argv[0] != '-c':  # so a worker is started\n        {newer}\n"
    (project.path / "counting.py").write_text(f"import sys\nfrom dataclasses import replace\n{source}")
    done = project.ask("-k", "GN-0", of=("a.Newer",), alone=True)
    assert re.fullmatch(r"\d+ skipped, \d+ deselected, 1 error in .*", done.summary), done.out
    assert "could not be run: a.Newer does not exist in numpy" in done.out


@pytest.mark.slow
def test_a_dtype_that_the_framework_does_not_have_is_no_failure(project: Project) -> None:
    source = (project.path / "counting.py").read_text()
    (project.path / "counting.py").write_text(
        f"{source}\n    @classmethod\n    def dtypes(cls):\n        return ('float32',)\n"
    )
    done = project.ask("-k", "GN-01 or GN-35", of=("group_norm.GroupNorm",), both=True)
    assert done.summary.startswith("1 passed, 1 skipped"), done.out
    told = "float64 is not in the framework's list of dtypes; float16 is not in the framework's list of dtypes"
    assert f"GN-35 eps below the resolution: {told}" in done.out


# --- how it is run ------------------------------------------------------------------------------------

TWO = ("group_norm.Interleaved", "group_norm.OnePass")


@pytest.mark.parametrize(("pinned", "lost"), [("bfloat16", True), ("float32", False)])
def test_a_pinned_dtype_that_the_framework_has_lost_fails(project: Project, pinned: str, lost: bool) -> None:
    named = f'[[supported]]\nimplementations = ["group_norm.Interleaved"]\ndtypes = ["{pinned}"]\nundecided = []\n'
    (project.path / "known.toml").write_text(INTERLEAVED + named)
    asked = ("--normgauge", "counting:Counting", "--normgauge-implementation", "group_norm.Interleaved", "-k", "GN-20")
    done = project.pytest(*asked, "--normgauge-dtype", "bfloat16", "--normgauge-expectations=known.toml")
    said = (
        "could not be run: group_norm.Interleaved bfloat16: bfloat16 is not in the framework's list of dtypes, but "
        "supported entry 1 of known.toml names it; find the reason"
    )
    assert (done.code, said in done.out) == (int(lost), lost), done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.slow
def test_an_implementation_is_measured_once_and_only_when_an_item_of_it_is_run(project: Project) -> None:
    project.ask("-k", "OnePass and (GN-01 or GN-02)", of=TWO)
    assert {one for one, _, _ in project.asked()} == {"group_norm.OnePass"}
    done = project.ask("-x", of=TWO)
    assert done.summary.startswith("1 failed, 1 passed")
    assert {one for one, _, _ in project.asked()} == {"group_norm.Interleaved"}
    project.ask(of=TWO)
    cases = (project.path / "asked.txt").read_text().splitlines()
    project.asked()
    project.ask("-k", "GN-01", of=TWO)
    assert len(cases) == len((project.path / "asked.txt").read_text().splitlines())


@pytest.mark.slow
def test_the_items_that_failed_last_are_run_again(project: Project) -> None:
    project.ask(of=TWO)
    project.asked()
    done = project.ask("--lf", "-v", of=TWO)
    assert "run-last-failure: rerun previous 1 failure" in done.out
    assert done.summary.startswith("1 failed, ")
    assert "GN-02 grouping FAILED" in done.out
    assert {one for one, _, _ in project.asked()} == {"group_norm.Interleaved"}


@pytest.mark.slow
def test_with_processes_nothing_is_measured_twice_and_the_outcome_is_the_same(project: Project) -> None:
    several = (*TWO, "process.DiesInRankFive", "batch_norm.NoneRefused")
    alone = project.ask("--junitxml=alone.xml", of=several, both=True)
    project.asked()
    together = project.ask("-n", "2", "--junitxml=together.xml", ".", of=several, both=True, alone=True)
    assert alone.code == together.code == 1
    found = outcomes(project.path / "together.xml")
    assert found.pop(("test_own", "test_of_the_user")) == "passed"
    assert found == outcomes(project.path / "alone.xml")
    assert set(found.values()) == {"passed", "failed", "skipped"}
    workers: dict[tuple[str, str], set[str]] = {}
    for one, dtype, process in project.asked():
        workers.setdefault((one, dtype), set()).add(process)
    died = {key for key in workers if key[0] == "process.DiesInRankFive"}  # it needs a second worker
    assert {len(own) for key, own in workers.items() if key not in died} == {1}
    assert len(workers) == 2 * len(several)


@pytest.mark.slow
def test_the_workers_are_gone_when_the_last_item_of_their_framework_is_done(project: Project) -> None:
    (project.path / "test_own.py").write_text(
        "import os\n"
        "from pathlib import Path\n"
        "import pytest\n"
        "def test_of_the_user() -> None:\n"
        "    processes = {int(line.split()[2]) for line in Path('asked.txt').read_text().splitlines()}\n"
        "    assert len(processes) == 1\n"
        "    for process in processes:\n"
        "        with pytest.raises(ProcessLookupError):\n"
        "            os.kill(process, 0)\n"
    )
    done = project.ask("test_own.py", of=TWO, both=True)
    assert done.line("FAILED").startswith("FAILED group_norm.Interleaved::GN-02"), done.out


@pytest.mark.slow
@pytest.mark.parametrize("words", ["-x", "-n2"])
def test_the_workers_are_gone_after_the_run(project: Project, words: str) -> None:
    project.ask(words, of=TWO, alone=True)
    processes = {int(process) for _, _, process in project.asked()}
    assert processes
    assert not [process for process in processes if alive(process)]


@pytest.mark.slow
def test_an_interrupt_ends_the_run_and_the_workers(project: Project) -> None:
    words = project.command("--normgauge", "counting:Counting", "--normgauge-implementation=process.HangsInRankFive")
    with heeding_interruptions():
        running = subprocess.Popen(words, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    notes = project.path / "asked.txt"
    for _ in range(200):
        if notes.exists():
            break
        time.sleep(0.1)
    time.sleep(1)
    out = ""
    try:
        for _ in range(3):  # as one presses again
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, _ = running.communicate(timeout=20)
                break
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == pytest.ExitCode.INTERRUPTED, out
    (process,) = {int(process) for _, _, process in project.asked()}
    assert not alive(process)


def alive(process: int) -> bool:
    """Whether the process runs; it is given a moment to end."""
    for _ in range(30):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


# --- the same judgements ------------------------------------------------------------------------------


def expected_outcomes(records: list[Record]) -> dict[tuple[str, str], str]:
    """What each item must come to, from what the command line measured."""
    (header,) = [record for record in records if isinstance(record, Header)]
    expectations = load_expectations()
    kinds: dict[tuple[str, str], set[str]] = {}
    for record in records:
        found = []
        if isinstance(record, Judgement):
            found = [(f"{record.requirement} {record.title}", of_judgement(record))]
        elif isinstance(record, Profile):
            found = [("documentation", claim) for claim in of_claims(record)]
        for name, one in found:
            kind: str = expectations.hold(one, header.versions).comparison
            if kind == "conforms" and one.verdict not in {"conforms", "agrees"}:
                kind = "no claim" if name == "documentation" else "doubt"
            kinds.setdefault((one.cell.implementation, name), set()).add(kind)
    return {item: outcome_of(found) for item, found in kinds.items()}


def outcome_of(kinds: set[str]) -> str:
    if kinds & {"new", "gone", "changed"}:
        return "failed"
    if "met" in kinds:
        return "xfailed"
    return "skipped" if "doubt" in kinds or "conforms" not in kinds else "passed"


def same(found: Mapping[tuple[str, str], str], wanted: Mapping[tuple[str, str], str]) -> None:
    """Items that nothing is asked about are skipped; every other one comes out as the command line has it."""
    assert {item: outcome for item, outcome in found.items() if item in wanted} == wanted
    assert {outcome for item, outcome in found.items() if item not in wanted} <= {"skipped"}


@pytest.mark.slow
def test_the_faulty_layers_come_out_as_on_the_command_line(project: Project) -> None:
    identifiers = ("group_norm.Unbiased", "group_norm.NoSamplesRaise", "batch_norm.DoubleOut")
    dtypes = ("float32", "float64")
    records = list(
        run_framework(
            Launch(framework="faulty.adapter:FaultyAdapter"), Wanted(dtypes=dtypes, implementations=identifiers)
        )
    )
    project.ask("--junitxml=report.xml", of=identifiers, both=True)
    found = outcomes(project.path / "report.xml")
    wanted = expected_outcomes(records)
    assert {"passed", "failed", "skipped"} <= set(wanted.values())
    same(found, wanted)


#: Implementations of which an item passes and one is expected to fail, in the dtypes where that is so.
COMPARED = {
    "mlx": (("mlx.nn.GroupNorm", "mlx.nn.BatchNorm"), ("float32",)),
    "torch": (("torch.nn.BatchNorm1d",), ("float64",)),
}


@for_each(*COMPARED)
def test_the_frameworks_come_out_as_on_the_command_line(
    framework: str, project: Project, records: list[Record]
) -> None:
    identifiers, dtypes = COMPARED[framework]
    own = [
        record
        for record in records
        if getattr(record, "dtype", None) in {None, *dtypes}
        and getattr(record, "implementation", None) in {None, *identifiers}
    ]
    chosen = [f"--normgauge-dtype={dtype}" for dtype in dtypes]
    chosen += [f"--normgauge-implementation={identifier}" for identifier in identifiers]
    processes = "2" if len(identifiers) > 1 else "0"
    done = project.pytest(
        "--normgauge", framework, "-n", processes, "--junitxml=report.xml", *chosen, alone=processes != "0"
    )
    wanted = expected_outcomes(own)
    assert "failed" not in wanted.values()
    assert {"passed", "xfailed"} <= set(wanted.values())
    same(outcomes(project.path / "report.xml"), wanted)
    assert done.code == 0, done.out
