"""Workers of any origin behind the line protocol: an honest one in JavaScript, and broken ones."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from normgauge.adapters.case import Case, Observation, Step
from normgauge.adapters.worker.main import Adapters, hello
from normgauge.adapters.worker.protocol import dump_line
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.case_files import promoted_cases
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.messages import hello_of
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.records import Footer, Header, Judgement, NotRun, Profile, Record

HERE: Final = Path(__file__).parents[1]
WORKER: Final = HERE / "foreign" / "worker.mjs"
PROTOCOL_PAGE: Final = HERE.parent / "docs" / "protocol.md"
DTYPES: Final = ("float32", "float64")

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH; it runs worker.mjs")

CASE: Final = Case(
    layer="group_norm",
    dtype="float32",
    settings={"num_channels": 2, "num_groups": 1, "eps": 0.0},
    parameters={},
    steps=(Step("train", np.array([[1, 3]], np.float32)),),
)


def written_in_python(body: str, **changes: Any) -> Launch:
    """A worker of a few lines: ``hello`` is a proper hello, ``say`` writes a line, ``answer`` a proper answer."""
    source = f"""
import json, os, signal, sys, time

def say(message):
    print(json.dumps(message), flush=True)

hello = {{
    "protocol": 2, "framework": "broken", "versions": {{}}, "device": "cpu", "dtypes": ["float32"],
    "python": "", "platform": "", "numpy": "",
}}

def with_implementation(**changes):
    texts = dict.fromkeys(("layout", "documentation"), "")
    objects = {{name: {{}} for name in ("names", "remedies", "signature_defaults")}}
    described = {{"id": "broken.GroupNorm", "layer": "group_norm", "ranks": [2], **texts, **objects, **changes}}
    return hello | {{"implementations": [described]}}

hello = with_implementation()

def answer(case):
    steps = [{{"output": step["x"], "dtype": "float32", "state": {{}}, "modified": []}} for step in case["steps"]]
    return {{"number": case["number"], "steps": steps, "warnings": []}}

def cases():
    for line in sys.stdin:
        yield from json.loads(line)["cases"]

{body}
"""
    return Launch(framework="broken", program=(sys.executable, "-c", source), **changes)


@contextmanager
def started(launch: Launch) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(launch, "float32")
    try:
        yield worker
    finally:
        worker.close()


def observed(launch: Launch, count: int) -> list[Observation]:
    with started(launch) as worker:
        return list(worker.run("broken.GroupNorm", [CASE] * count))


# --- the worker in JavaScript -------------------------------------------------------------------


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(run_framework(Launch(framework="foreign", program=("node", str(WORKER))), Wanted(dtypes=DTYPES)))


def judgements(records: list[Record], implementation: str, dtype: str) -> dict[str, Judgement]:
    return {
        record.requirement: record
        for record in records
        if isinstance(record, Judgement) and (record.implementation, record.dtype) == (implementation, dtype)
    }


def required(layer: str, dtype: str) -> set[str]:
    without = {"GN-22", "GN-23"}  # this worker has no InstanceNorm and no LayerNorm
    asked = {
        one.id
        for one in requirements().values()
        if one.layer == layer and dtype in one.dtypes and not one.derivative  # it declares none
    }
    return asked - without - _unpromoted(dtype)


def _unpromoted(dtype: str) -> set[str]:
    """The requirements on committed cases for which there is none of this dtype."""
    committed = {one.case.layer for one in promoted_cases() if one.dtype == dtype}
    about = [one for one in requirements().values() if one.about == "committed"]
    return {one.id for one in about if one.layer not in committed}


@pytest.mark.slow
@needs_node
def test_the_run_is_complete_without_a_restart_and_everything_ran(records: list[Record]) -> None:
    assert isinstance(records[0], Header)
    assert records[0].framework == "foreign"
    assert isinstance(records[-1], Footer)
    assert not [record for record in records if isinstance(record, NotRun)]
    assert [profile.restarts for profile in records if isinstance(profile, Profile)] == [0, 0, 0, 0]


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_group_norm_in_javascript_conforms_on_every_requirement(records: list[Record], dtype: str) -> None:
    judged = judgements(records, "foreign.GroupNorm", dtype)
    assert judged.keys() == required("group_norm", dtype)
    others = {name: one for name, one in judged.items() if one.verdict != "conforms"}
    assert others.pop("GN-36").sentence.endswith("the worker does not know layouts")
    assert others.pop("GN-38").sentence.endswith("the worker does not know parameter_dtypes")
    assert others.pop("GN-43").verdict == "unsupported"  # nor does it tell types
    assert {name: (one.verdict, one.sentence, one.notes) for name, one in others.items()} == {}


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_batch_norm_in_javascript_diverges_in_its_running_variance_alone(records: list[Record], dtype: str) -> None:
    judged = judgements(records, "foreign.BatchNorm", dtype)
    assert judged.keys() == required("batch_norm", dtype)
    others = {name: (one.verdict, one.sentence, one.notes) for name, one in judged.items() if one.verdict != "conforms"}
    assert others.pop("BN-46")[0] == "unsupported"  # it does not know layouts
    assert others.pop("BN-49")[0] == "unsupported"  # nor parameters of another type
    assert {others.pop(name)[0] for name in ("BN-53", "BN-54")} == {"unsupported"}  # nor does it tell types
    assert set(others) == {"BN-03"}
    assert judged["BN-03"].verdict == "diverges"
    assert judged["BN-03"].measured == "biased"


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("dtype", DTYPES)
def test_its_divergence_is_shown_on_two_values_that_a_person_can_check(records: list[Record], dtype: str) -> None:
    # x = 0, 1: the mean is 1/2, the variance 1/4 with divisor 2 and 1/2 with divisor 1.
    example = judgements(records, "foreign.BatchNorm", dtype)["BN-03"].example
    assert example is not None
    assert example.shapes == [[2, 1]] or example.shapes[0][0] * example.shapes[0][1] <= 4
    observed_var = [line for line in example.observed if "running_var" in line]
    canonical_var = [line for line in example.canonical if "running_var" in line]
    assert observed_var != canonical_var
    assert example.script.startswith("# this worker writes no scripts\n")


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("dtype", DTYPES)
def test_its_arithmetic_is_found_to_be_two_pass_in_the_dtype_asked_for(records: list[Record], dtype: str) -> None:
    found = {
        profile.implementation: (profile.known, profile.computes_in, profile.accuracy)
        for profile in records
        if isinstance(profile, Profile) and profile.dtype == dtype
    }
    assert found == dict.fromkeys(("foreign.GroupNorm", "foreign.BatchNorm"), (True, dtype, "two_pass"))


@pytest.mark.slow
@needs_node
def test_its_defaults_are_measured_where_it_says_they_are(records: list[Record]) -> None:
    defaults = [
        (default.setting, float(default.signature or "nan"), default.low, default.high)
        for profile in records
        if isinstance(profile, Profile)
        for default in profile.defaults
    ]
    assert sorted({setting for setting, *_ in defaults}) == ["eps", "momentum"]
    for _, said, low, high in defaults:
        assert low is not None
        assert high is not None
        assert low <= said <= high


@needs_node
def test_a_request_that_it_does_not_know_is_answered_with_an_error() -> None:
    assert exchange(b'{"op": "dance"}\n')[1] == {"error": "op dance is not known; allowed: run"}


def exchange(requests: bytes) -> list[Any]:
    """Every line of worker.mjs, hello first; it ends when its input does."""
    ended = subprocess.run(
        ["node", str(WORKER), "float32"], input=requests, capture_output=True, timeout=30, check=True
    )
    assert ended.stderr == b""
    return [json.loads(line) for line in ended.stdout.splitlines()]


@needs_node
def test_the_exchange_in_the_documentation_is_what_the_worker_says() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PROTOCOL_PAGE.read_text(), re.DOTALL)]
    hello, *others = blocks
    requests = [block for block in others if "op" in block]
    said_hello, *said = exchange(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
    assert said == [block for block in others if "op" not in block]
    assert said_hello | {"versions": hello["versions"], "platform": hello["platform"]} == hello
    assert [one["number"] for one in said] == [
        case["number"] for request in requests for case in request.get("cases", [request])
    ]
    steps = [step for request in requests for case in request.get("cases", []) for step in case["steps"]]
    assert {"dy", "before", "inspect"} <= {name for step in steps for name in step}


# --- workers that never get to say hello --------------------------------------------------------

NEVER_STARTS: Final = {
    "prints garbage": (
        "print('Loading model...', flush=True); sys.stdin.read()",
        r"^broken: the worker answered with a line that is not JSON: b'Loading model\.\.\.\\n' before it said hello$",
    ),
    "prints bytes that are no text": (
        "sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush(); sys.stdin.read()",
        r"^broken: the worker answered with a line that is not JSON: .* before it said hello$",
    ),
    "says a list": (
        "say(['hello']); sys.stdin.read()",
        r"^broken: the worker answered with a line that is no JSON object: b'\[\"hello\"\]\\n' before it said hello$",
    ),
    "leaves out its device": (
        "del hello['device']; say(hello); sys.stdin.read()",
        r"^broken: the worker's hello cannot be used: Object missing required field `device`; docs/protocol\.md",
    ),
    "has a layer that nobody knows": (
        "say(with_implementation(layer='layer_norm')); sys.stdin.read()",
        r"is of layer 'layer_norm'; allowed: group_norm, batch_norm$",
    ),
    "speaks another protocol": (
        "say(hello | {'protocol': 99}); sys.stdin.read()",
        r"^broken: the worker speaks protocol 99, this is 2$",
    ),
    "names no protocol": (
        "del hello['protocol']; say(hello); sys.stdin.read()",
        r"^broken: the worker speaks protocol None, this is 2$",
    ),
    "exits at once": (
        "print('a licence is missing', file=sys.stderr); sys.exit(3)",
        r"^broken: the worker exited with code 3 before it said hello; it last said: a licence is missing$",
    ),
    "exits at once in silence": (
        "sys.exit(0)",
        r"^broken: the worker exited with code 0 before it said hello$",
    ),
    "is killed": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        r"^broken: the worker was ended by signal SIGKILL before it said hello$",
    ),
    "lacks its framework": (
        "say({'protocol': 2, 'cannot_import': 'no libfoo'})",
        r"^broken is not installed for .*: no libfoo; install it there, or name an interpreter",
    ),
}


@pytest.mark.parametrize(("body", "reason"), NEVER_STARTS.values(), ids=NEVER_STARTS.keys())
def test_a_worker_that_does_not_say_hello_is_refused_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(CannotRun, match=reason):
        list(run_framework(written_in_python(body), Wanted(dtypes=("float32",))))


def test_a_program_that_does_not_exist_is_refused_with_its_name() -> None:
    with pytest.raises(CannotRun, match=r"^cannot start no-such-program-here: No such file or directory$"):
        list(run_framework(Launch(framework="broken", program=("no-such-program-here",)), Wanted(dtypes=("float32",))))


def test_a_dtype_that_the_worker_does_not_have_is_noted_and_nothing_else_runs() -> None:
    launch = written_in_python("say(hello); sys.stdin.read()")
    header, note, footer = run_framework(launch, Wanted(dtypes=("float64",)))
    assert isinstance(header, Header)
    assert note == NotRun(
        framework="broken",
        reason="float64 is not in the framework's list of dtypes",
        dtype="float64",
        failed=False,
        absent=True,
    )
    assert isinstance(footer, Footer)


def test_the_dtype_is_the_last_argument() -> None:
    launch = written_in_python("say(hello | {'device': ' '.join(sys.argv[1:])}); sys.stdin.read()")
    launch = Launch(framework="broken", program=(*launch.program, "--fast"))
    with started(launch) as worker:
        assert worker.greeting.device == "--fast float32"


# --- workers that fail on a case ----------------------------------------------------------------


def test_an_exit_during_a_case_is_that_case_s_observation_and_the_next_meets_a_new_worker() -> None:
    # Every worker answers one case and ends at the second that it meets.
    body = """
say(hello)
for number, case in enumerate(cases()):
    if number == 1:
        print("out of luck", file=sys.stderr)
        sys.exit(7)
    say(answer(case))
"""
    seen = observed(written_in_python(body), 5)
    died = [None, "the worker exited with code 7; it last said: out of luck"]
    assert [one.died for one in seen] == [*died, *died, None]
    assert [len(one.steps) for one in seen] == [1, 0, 1, 0, 1]


def test_a_signal_that_ends_the_worker_is_named() -> None:
    body = "say(hello)\nfor case in cases(): os.kill(os.getpid(), signal.SIGKILL)"
    (seen,) = observed(written_in_python(body), 1)
    assert seen == Observation(died="the worker was ended by signal SIGKILL")


def test_an_answer_that_does_not_come_in_time_is_an_observation_and_the_next_meets_a_new_worker() -> None:
    body = """
say(hello)
for number, case in enumerate(cases()):
    if number == 1:
        time.sleep(60)
    say(answer(case))
"""
    seen = observed(written_in_python(body, time_limit=1.0), 3)
    assert [one.died for one in seen] == [None, "the worker did not answer within 1 s", None]


def test_a_worker_that_keeps_ending_is_given_up() -> None:
    body = "say(hello)\nfor case in cases(): sys.exit(1)"
    seen = observed(written_in_python(body, most_restarts=2), 5)
    given_up = "not run: the worker had ended 3 times"
    assert [one.died for one in seen] == ["the worker exited with code 1"] * 3 + [given_up] * 2


def test_garbage_in_place_of_an_answer_is_an_observation_and_the_next_case_meets_a_new_worker() -> None:
    body = """
say(hello)
for number, case in enumerate(cases()):
    if number == 1:
        print("epoch 1 of 10", flush=True)
    say(answer(case))
"""
    first, second, third = observed(written_in_python(body), 3)
    assert second.died == "the worker answered with a line that is not JSON: b'epoch 1 of 10\\n'"
    assert (first.died, third.died) == (None, None)


RESULT: Final = {
    "output": {"dtype": "float32", "shape": [0], "data": ""},
    "dtype": "float32",
    "state": {},
    "modified": [],
}


def with_output(**changes: Any) -> dict[str, Any]:
    return {"steps": [{**RESULT, "output": {"dtype": "float32", "shape": [1], "data": "AACAPw==", **changes}}]}


MALFORMED: Final = {
    "an error": {"error": "I would rather not", "warnings": None},
    "no warnings": {"steps": [], "warnings": None},
    "fewer results than steps": {"steps": []},
    "steps that are no list": {"steps": 3},
    "a step without its output": {"steps": [{"dtype": "float32", "state": {}, "modified": []}]},
    "a state that is no object": {"steps": [{**RESULT, "state": []}]},
    "gradients that are a list": {"steps": [{**RESULT, "gradients": []}]},
    "types that are numbers": {"steps": [{**RESULT, "dtypes": {"dx": 4}}]},
    "what is trainable as a text": {"steps": [{**RESULT, "trainable": "weight"}]},
    "an output that is no array of real numbers": with_output(dtype="S4"),
    "an output whose shape is not its data's": with_output(shape=[3]),
    "a negative length": with_output(shape=[-1]),
    "data that is no base64": with_output(data="!"),
    "data that is a list": with_output(data=[1]),
    "an exception without its type": {"steps": [], "raised": {"where": "construct", "message": "no"}},
    **{
        f"an exception in {place!r}": {"steps": [], "raised": {"where": place, "type": "ValueError", "message": "no"}}
        for place in ("", "forward", "step 0", "step one", "step 1\n")
    },
    "an exception that is a text": {"steps": [], "raised": "no"},
    "a reason that is a number": {"steps": [], "unsupported": 5},
    "warnings that are numbers": {"steps": [], "warnings": [5]},
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_answer_is_an_observation_and_the_worker_goes_on(malformed: dict[str, Any]) -> None:
    body = f"""
say(hello)
for number, case in enumerate(cases()):
    say({{"number": case["number"], "warnings": []}} | {malformed!r} if number == 0 else answer(case))
"""
    with started(written_in_python(body)) as worker:
        first, second = worker.run("broken.GroupNorm", [CASE, CASE])
        assert worker.restarts == 0
    assert (first.died or "").startswith("the worker gave a malformed answer: ")
    assert second.died is None
    assert second.steps[0].output.tolist() == [[1.0, 3.0]]


def test_what_a_worker_writes_to_standard_error_disturbs_nothing() -> None:
    body = """
say(hello)
for case in cases():
    print("x" * 100_000, file=sys.stderr)
    say(answer(case))
"""
    assert [one.died for one in observed(written_in_python(body), 40)] == [None] * 40


def test_a_worker_that_writes_no_scripts_is_quoted_as_such() -> None:
    with started(
        written_in_python("say(hello)\nfor line in sys.stdin: say({'number': json.loads(line)['number']})")
    ) as worker:
        assert worker.script("broken.GroupNorm", CASE, "about") == "# this worker writes no scripts\n"


@pytest.mark.parametrize("written", ["", None, 5, "absent"])
def test_a_script_that_is_missing_is_no_script(written: Any) -> None:
    answer = {} if written == "absent" else {"script": written}
    body = f"say(hello)\nfor line in sys.stdin: say({{'number': json.loads(line)['number'], **{answer!r}}})"
    with started(written_in_python(body)) as worker:
        assert worker.script("broken.GroupNorm", CASE, "about").startswith(("# this worker writes no", "# no script: "))
        assert worker.restarts == 0


@pytest.mark.parametrize(
    "written",
    [
        "const x = [1, 3];\nconsole.log(x);", "x = (", "x\0y", "if x:\n\ty\n        z", "(" * 10_000, "-" * 100_000,
        "print(1)\f\nlet x\r\nlet y\x85let z\u2028let w",
    ],
)  # fmt: skip
def test_a_script_in_another_language_becomes_comments_to_which_python_can_be_appended(written: str) -> None:
    body = f"say(hello)\nfor line in sys.stdin: say({{'number': json.loads(line)['number'], 'script': {written!r}}})"
    with started(written_in_python(body)) as worker:
        script = worker.script("broken.GroupNorm", CASE, "about")
    assert script.startswith("# this worker's script is not Python:\n# ")
    told: list[int] = []
    exec(f"{script}told.append(1)\n", {"told": told})
    assert told == [1]


def test_a_script_in_python_stays_as_it_is_and_ends_its_last_line() -> None:
    written = "x = [[1, 3]]\nassert x is not 5"
    body = f"say(hello)\nfor line in sys.stdin: say({{'number': json.loads(line)['number'], 'script': {written!r}}})"
    with started(written_in_python(body)) as worker:
        assert worker.script("broken.GroupNorm", CASE, "about") == f"{written}\n"


def test_an_answer_with_the_wrong_number_ends_the_worker_and_is_that_case_s_observation() -> None:
    body = """
say(hello)
for case in cases():
    if case["number"] == 2:
        say(answer(case) | {"number": 1})
    say(answer(case))
"""
    first, second, third = observed(written_in_python(body), 3)
    assert first.died is None
    assert (second.died or "").startswith("the worker answered case 1 where 2 was due")
    assert third.died is None


def test_a_worker_that_never_reads_its_input_meets_the_time_limit() -> None:
    body = "say(hello)\ntime.sleep(3600)"
    big = replace(CASE, steps=(replace(CASE.steps[0], x=np.zeros((1, 2, 50_000), dtype=np.float32)),))
    with started(written_in_python(body, time_limit=1.0, most_restarts=0)) as worker:
        (seen,) = worker.run("broken.GroupNorm", [big])
    assert (seen.died or "").startswith("the worker did not answer within 1 s")


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ("hello | {'implementations': 5}", r"Expected `array`, got `int` - at `\$\.implementations`"),
        ("hello | {'kin': [5]}", r"Expected `object`, got `int` - at `\$\.kin\[0\]`"),
        ("hello | {'versions': {'broken': 1}}", r"Expected `str`, got `int` - at `\$\.versions\[\.\.\.\]`"),
        ("hello | {'dtypes': ['float8']}", r"Invalid enum value 'float8' - at `\$\.dtypes\[0\]`"),
        ("hello | {'framework': None}", r"Expected `str`, got `null` - at `\$\.framework`"),
        ("with_implementation(ranks=[1])", r"Invalid enum value 1 - at `\$\.implementations\[0\]\.ranks\[0\]`"),
        ("with_implementation(ranks=[])", r"Expected `array` of length >= 1 - at `\$\.implementations\[0\]\.ranks`"),
        ("with_implementation(ranks='2')", r"Expected `array`, got `str` - at `\$\.implementations\[0\]\.ranks`"),
        ("with_implementation(names=['eps'])", r"Expected `object`, got `array` - at `\$\.implementations\[0\]\.names"),
        ("with_implementation(slow='no')", r"Expected `bool`, got `str` - at `\$\.implementations\[0\]\.slow`"),
        ("hello | {'implementations': []}", r"the worker's hello has no implementations; name at least one$"),
        (
            "hello | {'implementations': hello['implementations'] * 2}",
            r"hello has the id 'broken\.GroupNorm' twice; an ",
        ),
        (
            "hello | {'kin': [{'id': 'broken.GroupNorm', 'layer': 'layer_norm', 'ranks': [2]}]}",
            r"hello has the id 'broken\.GroupNorm' twice; an id is one implementation's$",
        ),
    ],
)
def test_a_hello_with_nonsense_in_it_is_refused_in_one_line(hello: str, said: str) -> None:
    with pytest.raises(CannotRun, match=said):
        list(run_framework(written_in_python(f"say({hello}); sys.stdin.read()"), Wanted(dtypes=("float32",))))


@pytest.mark.slow
def test_a_worker_that_closes_its_output_and_lives_on_does_not_hold_up_the_run() -> None:
    body = "say(hello)\nfor line in sys.stdin:\n    sys.stdout.flush(); os.close(1); time.sleep(3600)"
    (seen,) = observed(written_in_python(body, time_limit=2.0, most_restarts=0), 1)
    assert (seen.died or "").startswith("the worker closed its standard output and went on")


@pytest.mark.slow
def test_a_worker_s_child_that_keeps_the_pipe_open_does_not_hide_the_worker_s_death() -> None:
    body = (
        "import subprocess\nsay(hello)\nfor line in sys.stdin:\n"
        "    subprocess.Popen(['sleep', '60']); sys.stdout.flush(); os._exit(3)"
    )
    (seen,) = observed(written_in_python(body, most_restarts=0), 1)
    assert (seen.died or "").startswith("the worker exited with code 3")


def test_an_unknown_signal_is_told_by_its_number() -> None:
    body = "say(hello)\nfor line in sys.stdin: os.kill(os.getpid(), 40)"
    (seen,) = observed(written_in_python(body, most_restarts=0), 1)
    assert (seen.died or "").startswith("the worker was ended by signal 40")


# --- workers without bounds ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_byte_now_and_then_is_no_answer_within_the_time_limit() -> None:
    body = (
        "say(hello)\nfor line in sys.stdin:\n    while True: sys.stdout.write('1'); sys.stdout.flush(); time.sleep(0.1)"
    )
    begun = time.monotonic()
    (seen,) = observed(written_in_python(body, time_limit=2.0, most_restarts=0), 1)
    assert (seen.died or "").startswith("the worker did not answer within 2 s")
    assert time.monotonic() - begun < 10


@pytest.mark.slow
@pytest.mark.parametrize("place", ["say(hello)\nsys.stdin.readline()\n", ""], ids=["answer", "hello"])
def test_a_line_without_end_costs_no_memory(place: str) -> None:
    """It is ended long before it has sent its gigabytes; what is read of it is bounded, and so is the time."""
    launch = written_in_python(f"{place}while True: sys.stdout.write('1' * 2**20)", most_restarts=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if place:
        (seen,) = observed(launch, 1)
        assert (seen.died or "").startswith("the worker wrote a line of more than 1,0")
    else:
        with pytest.raises(CannotRun, match=r"wrote a line of more than 4,194,304 bytes before it said hello"):
            list(run_framework(launch, Wanted(dtypes=("float32",))))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 200 * 1024


def test_of_much_on_standard_error_the_end_is_quoted() -> None:
    body = "sys.stderr.write('x' * 50_000_000 + '\\nout of luck: ' + 'y' * 5_000); sys.exit(3)"
    with pytest.raises(CannotRun) as caught:
        list(run_framework(written_in_python(body), Wanted(dtypes=("float32",))))
    said = str(caught.value)
    assert said.startswith("broken: the worker exited with code 3 before it said hello; it last said: ")
    assert said.endswith("y" * 900)
    assert len(said) < 1200


def test_the_last_lines_on_standard_error_are_quoted() -> None:
    body = "sys.stderr.write(''.join(f'line {number}\\n' for number in range(50)) + '\\n \\n'); sys.exit(3)"
    quoted = r"; it last said: line 40 \| line 41 \| .* \| line 49$"
    with pytest.raises(CannotRun, match=quoted):
        list(run_framework(written_in_python(body), Wanted(dtypes=("float32",))))


def test_json_that_is_nested_too_deep_is_an_observation() -> None:
    body = "say(hello)\nfor line in sys.stdin: print('{\"x\":' + '[' * 100_000 + ']' * 100_000 + '}', flush=True)"
    (seen,) = observed(written_in_python(body, most_restarts=0), 1)
    assert (seen.died or "").startswith('the worker answered with a line that is not JSON: b\'{"x":[[[')


# --- what a hello leaves out ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "promotes", "equal_samples"),
    [
        ({}, False, False),
        ({"mode": "strided"}, False, False),
        ({"mode": "expanded"}, False, True),
        *(({"mode": mode}, True, False) for mode in ("mixed", "autocast", "mixed_compile")),
        ({"mode": "broadcast", "equal_samples": True}, False, True),
        ({"mode": "bf16", "promotes": True}, True, False),
        ({"mode": "mixed", "promotes": False}, False, False),
    ],
)
def test_a_mode_means_what_the_worker_says_or_what_its_name_means(
    told: dict[str, Any], promotes: bool, equal_samples: bool
) -> None:
    message = json.loads(dump_line(hello(Adapters("faulty.adapter:FaultyAdapter", "float32"))))
    first = message["implementations"][0]
    for name in ("mode", "promotes", "equal_samples"):
        del first[name]
    described = hello_of({**message, "implementations": [first | told]}, "float32").implementations[0]
    assert (described.mode, described.promotes, described.equal_samples) == (
        told.get("mode", "eager"), promotes, equal_samples,
    )  # fmt: skip
