"""normgauge check on correct workers in three languages, and on broken ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from normgauge.conformance.cli.main import main
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Judgement, NotRun

FOREIGN: Final = Path(__file__).parents[1] / "foreign"
WORKER: Final = FOREIGN / "worker.mjs"
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "c" / "worker.c"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH; it runs worker.mjs")
pytestmark = pytest.mark.slow


def check(*words: str) -> Result:
    return CliRunner().invoke(main, ("check", *words))


@pytest.fixture(scope="module")
def worker_in_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker in C, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not on PATH; it compiles worker.c")
    program = tmp_path_factory.mktemp("c") / "worker"
    headers = subprocess.run(
        ["gcc", "-E", "-x", "c", "-"], input=b"#include <jansson.h>", capture_output=True, check=False
    )
    if headers.returncode:
        pytest.skip("jansson.h is not here (on Debian: libjansson-dev); worker.c reads JSON with it")
    options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *options, "-o", str(program), str(EXAMPLE), "-ljansson", "-lm"], check=True)
    return program


# --- correct workers ------------------------------------------------------------------------------


@needs_node
def test_nothing_is_wrong_with_the_worker_in_javascript() -> None:
    done = check("--exec", f"node {WORKER}")
    assert done.exit_code == 0, done.output
    (line,) = done.output.splitlines()
    assert re.fullmatch(
        r"no fault; sent: hello, \d\d cases for 2 layers in float32, float64, a script and an unknown op\. "
        r"To check the numbers: normgauge run NAME --exec 'node .*worker\.mjs'",
        line,
    )


def test_nothing_is_wrong_with_the_worker_in_c(worker_in_c: Path) -> None:
    done = check("--exec", str(worker_in_c))
    assert done.exit_code == 0, done.output
    assert "1 layer in float32, float64" in done.output


def test_the_worker_in_c_conforms_where_it_has_declared_nothing(worker_in_c: Path) -> None:
    launch = Launch(framework="foreign-c", program=(str(worker_in_c),))
    records = list(run_framework(launch, Wanted(dtypes=("float32", "float64"))))
    judged = [one for one in records if isinstance(one, Judgement)]
    assert [one for one in records if isinstance(one, NotRun)] == []
    assert Counter(one.verdict for one in judged).keys() == {"conforms", "unsupported"}
    unsupported = {
        (one.requirement, one.sentence.rpartition(": ")[2]) for one in judged if one.verdict == "unsupported"
    }
    lacks = {(number, "no automatic differentiation") for number in ("GN-25", "GN-26", "GN-27", "GN-31", "GN-40")}
    assert unsupported == lacks | {
        ("GN-36", "the worker does not know layouts"),
        ("GN-37", "the worker does not know set_parameters"),
        ("GN-38", "the worker does not know parameter_dtypes"),
        ("GN-43", "no call showed any"),
    }


def test_nothing_is_wrong_with_an_adapter() -> None:
    done = check("faulty.ports:Port")
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith("normgauge run faulty.ports:Port")


# --- broken ones ----------------------------------------------------------------------------------


#: What is changed in worker.mjs, and the lines that check then prints, in their order.
BROKEN: Final = {
    "a hello with four mistakes, and answers in another shape": (
        [
            ('layout: "N, C, *",', ""),
            ("ranks: [2, 3, 4, 5]", "ranks: [2, 3, 6]"),
            ('device: "cpu"', 'device: 0, ations: ["inspect"]'),
            ("    actions: [...Object.keys(ACTIONS), \"inspect\"],\n", ""),
            ("encodeArray({ dtype, shape, values: y })", "encodeArray({ dtype, shape: [y.length], values: y })"),
        ],
        [
            r"hello\.device: 0 is no text",
            r"hello\.ations: no field of the protocol; actions is one",
            r"hello\.implementations\[1\]\.ranks\[2\]: 6 is none of 2, 3, 4, 5",
            r"hello\.implementations\[0\]\.layout: missing",
            r"answer to case 1 \(foreign\.GroupNorm, float32, rank 2\): steps\[0\]\.output\.shape: "
            r"\[8\] where \[2, 4\] is due \(and \d+ more with the same fault: .*\)",
            r"answer to case 2 .*: steps\[0\]\.output\.shape: \[24\] where \[2, 4, 3\] is due .*",
        ],
    ),
    "noise on standard output, numbers of its own, gradients that nobody declared to be missing": (
        [
            ("say(hello());", 'console.log("worker ready"); say(hello());'),
            ("say({ number: one.number, ", "say({ number: one.number + 100, "),
            ("...(dy && { gradients: { dx: { ...dx, shape }, ...ofParameters } }),", ""),
            ("warnings: [] };", 'warnings: ["slow", "slow"] };'),
        ],
        [
            r"standard output: a line that is no JSON object: worker ready",
            r"answer to case 1 \(foreign\.GroupNorm, float32, rank 2\): number: 101 where 1 is due .*",
            r"answer to case 1 .*: warnings: has a text twice \(and \d+ more with the same fault: .*\)",
            r"answer to case \d+ \(.*, gradients\): steps\[0\]\.gradients\.dx: "
            r"missing; give it, or declare it in the hello's lacks .*",
            r"answer to case \d+ \(.*, gradients\): steps\[0\]\.gradients\.dweight: missing; .*",
            r"answer to case \d+ \(.*, gradients\): steps\[0\]\.gradients\.dbias: missing; .*",
        ],
    ),
    "it answers a case twice, ends at another, names nonsense and never stops": (
        [
            ("for (const one of request.cases) say(", "for (const one of request.cases.flatMap(twice)) say("),
            ("say(hello());", "const twice = (one) => (one.number === 3 ? [one, one] : [one]); say(hello());"),
            ("say({ number: one.number, ", "say(one.number === 5 ? process.exit(3) : { number: one.number, "),
            ('modified: ["x", "weight", "bias"].filter((_, i) => !same(before[i], after[i]))', 'modified: ["y"]'),
            ("trainable: layer.trainable()", "trainable: [...layer.trainable(), 1]"),
            ("error: `op ${request.op} is not known; allowed: run`", "message: 'what?'"),
            ("\nfor await", "\nif (process.argv[2] === 'float64') setInterval(() => {}, 1000);\nfor await"),
        ],
        [
            r"answer to case 3: is written again, after others",
            r"answer to case 5 \(foreign\.GroupNorm, float32, eval\): the worker exited with code 3",
            r"answer to case 1 .*: steps\[0\]\.modified\[0\]: \"y\" is none of x, weight, bias, memory beside x, .*",
            r"answer to case \d+ \(foreign\.BatchNorm, float32, inspect\): steps\[0\]\.trainable\[2\]: 1 is no text .*",
            r"answer to request \d+ \(an unknown op\): error: missing",
            r"end: the worker still runs 5 s after the end of its standard input; it is to exit then",
        ],
    ),
}  # fmt: skip


@needs_node
@pytest.mark.parametrize(("edits", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_every_fault_of_a_broken_worker_is_told_at_once(
    edits: list[tuple[str, str]], said: list[str], tmp_path: Path
) -> None:
    source = WORKER.read_text("utf-8")
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    (tmp_path / "broken.mjs").write_text(source, "utf-8")
    done = check("--exec", f"node {tmp_path / 'broken.mjs'}", "--time-limit", "10")
    assert done.exit_code == 1, done.output
    *lines, closing = done.output.splitlines()
    missing = [one for one in said if not any(re.fullmatch(one, line) for line in lines)]
    assert missing == [], done.output
    assert re.match(r"\d+ faults; sent: \d+ cases for 2 layers in float32", closing)


def test_a_part_that_raises_is_told_and_is_no_success() -> None:
    done = check("faulty.ports:BackwardRaises")
    assert done.exit_code == 1
    assert "raised: results are due, got TypeError: unsupported operand" in done.output


HOSTILE: Final = {
    "a line without end": (
        "while True: sys.stdout.write('1' * 2**20)",
        "the worker wrote a line of more than 16,777,216",
    ),
    "no answer": ("time.sleep(600)", "the worker did not answer within 1 s"),
    "no JSON": ("while True: print('epoch 1', flush=True)", "the worker wrote 20 such lines"),
    "nested JSON": (
        "print('{\"x\":' + '[' * 100_000 + ']' * 100_000 + '}', flush=True)\nfor _ in sys.stdin: pass",
        "the worker did not answer within 1 s",
    ),
    "a shape beyond any memory": (
        "array = {'dtype': 'float32', 'shape': [10**30] * 30, 'data': ''}\n"
        "step = {'output': array, 'dtype': 'float32', 'state': {}, 'modified': []}\n"
        "for number in range(1, 99):\n"
        "    print(json.dumps({'number': number, 'steps': [step], 'warnings': []}), flush=True)\n"
        "for _ in sys.stdin: pass",
        "steps[0].output.data: 0 bytes; [1000000",
    ),
}


@pytest.mark.parametrize(("body", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_worker_is_told_of_in_lines_of_bounded_length(body: str, said: str, tmp_path: Path) -> None:
    described = {"id": "h.G", "layer": "group_norm", "ranks": [2], "layout": "", "names": {}, "documentation": "",
                 "remedies": {}, "signature_defaults": {}}  # fmt: skip
    hello = {"protocol": 2, "framework": "h", "versions": {}, "platform": "", "device": "cpu", "dtypes": ["float32"],
             "implementations": [described]}  # fmt: skip
    (tmp_path / "worker.py").write_text(
        f"import json, sys, time\nprint(json.dumps({hello!r}), flush=True)\nsys.stdin.readline()\n{body}\n"
    )
    done = check("--exec", f"{sys.executable} {tmp_path / 'worker.py'}", "--time-limit", "1")
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert said in done.output
    assert max(map(len, done.output.splitlines())) < 1500


# --- mistakes in the command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ((), "give --exec 'node worker.mjs', module:Class of an adapter, or a framework", 2),
        (
            ("mlx", "--in-process"),
            "--in-process starts no worker process, and normgauge check reads its messages; leave it out",
            2,
        ),
        (("--exec", ""), "--exec needs a command", 2),
        (("no_such_module:Port",), "no_such_module", 2),
        (("--exec", "no-such-program-here"), "cannot start no-such-program-here: No such file or directory", 3),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(words: tuple[str, ...], said: str, code: int) -> None:
    done = check(*words)
    assert done.exit_code == code, done.output
    assert said in done.output.splitlines()[-1]


def test_a_worker_without_its_framework_could_not_be_checked(tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_text("""echo '{"protocol": 2, "cannot_import": "no libfoo"}'\n""")
    done = check("--exec", f"sh {tmp_path / 'worker.sh'}")
    assert done.exit_code == 3
    assert "the worker cannot load its framework: no libfoo" in done.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"protocol": 99}', "hello.protocol: 99, this is 2; nothing else is read"),
        ('{"protocol": 2, "cannot_import": 5}', "hello.cannot_import: 5 is no text"),
        ("[]", "hello: the worker exited with code 0 before it said hello"),
        ("{}", "hello.implementations: missing"),
    ],
)
def test_a_worker_without_a_hello_is_told_so(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_text(f"echo '{line}'\n")
    done = check("--exec", f"sh {tmp_path / 'worker.sh'}")
    assert done.exit_code == 1, done.output
    assert said in done.output.splitlines()
