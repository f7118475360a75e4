"""Programs that break the worker protocol, as data: what each does, and what the host must make of it.

A program answers every case as it should but the second, where it does what its row says. Its first life may differ
from those that follow: ``first`` is true there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Final

from normgauge.conformance.subjects.subject import Launch

#: What every program begins with.
PRELUDE: Final = """
import json, os, signal, sys, time

def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()

def say(*messages):
    write("".join(json.dumps(message) + "\\n" for message in messages))

hello = {
    "protocol": 2, "framework": "hostile", "versions": {}, "device": "cpu", "dtypes": ["float32"], "platform": "",
    "implementations": [{
        "id": "hostile.GroupNorm", "layer": "group_norm", "ranks": [2], "layout": "", "documentation": "", "names": {},
        "remedies": {}, "signature_defaults": {},
    }],
}

def answer(case, **changes):
    steps = [{"output": one["x"], "dtype": "float32", "state": {}, "modified": []} for one in case["steps"]]
    return {"number": case["number"], "steps": steps, "warnings": []} | changes

def output(case, **changes):
    step = answer(case)["steps"][0]
    return answer(case, steps=[step | {"output": step["output"] | changes}])

def cases():
    for line in sys.stdin:
        yield from json.loads(line).get("cases", [])

def note(process):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{process}\\n")

def sleeper(*preparations, environment=None):
    "A child that sleeps, and what is done in it before."
    process = os.fork()
    if not process:
        for prepare in preparations:
            prepare()
        note(os.getpid())
        os.execve("/bin/sleep", ["sleep", "600"], os.environ if environment is None else environment)
    time.sleep(0.05)

def daemon(**words):
    "A process in a session of its own, whose parent has ended."
    if not os.fork():
        os.setsid()
        sleeper(**words)
        os._exit(0)
    os.wait()

first = not os.path.exists(os.environ["NOTES"])
note(os.getpid())
"""
LOOP: Final = """
say(hello)
for case in cases():
    if case["number"] == 2:
{body}
    else:
        say(answer(case))
"""

FINE: Final = ""
NOT_JSON: Final = "answered with a line that is not JSON: "
NO_OBJECT: Final = "answered with a line that is no JSON object: "
MALFORMED: Final = "gave a malformed answer: "
TOO_LONG: Final = r"wrote a line of more than 1,0\d\d,\d\d\d bytes"
TOO_LATE: Final = r"did not answer within 0\.6 s"
UNASKED: Final = "wrote what nobody had asked for: "


@dataclass(frozen=True, kw_only=True)
class Program:
    """A hostile program: ``ends`` has for each of four cases how it ended, as a pattern; where it is empty, it is fine.

    One that cannot be started is ``refused`` so. ``host`` is what the host's own standard error must have, ``named``
    the number of processes that it tells.
    """

    family: str
    name: str
    body: str
    whole: bool = False
    ends: tuple[str, ...] = (FINE, FINE, FINE, FINE)
    refused: str = ""
    named: int = 0
    seconds: float = 6.0
    limits: dict[str, Any] = field(default_factory=dict)

    def launch(self, notes: str) -> Launch:
        body = (
            self.body if self.whole else LOOP.format(body="".join(f"        {one}\n" for one in self.body.split("\n")))
        )
        limits = {"time_limit": 0.6 if TOO_LATE in self.ends else 20.0, **self.limits}
        return Launch(
            framework="hostile",
            program=(sys.executable, "-I", "-S", "-c", PRELUDE + body),
            environment={"NOTES": notes},
            **limits,
        )


def second(how: str) -> tuple[str, ...]:
    return FINE, how, FINE, FINE


def at_second(family: str, rows: dict[str, tuple[str, str]]) -> list[Program]:
    return [Program(family=family, name=name, body=body, ends=second(how)) for name, (body, how) in rows.items()]


def whole(family: str, name: str, body: str, **more: Any) -> Program:
    return Program(family=family, name=name, body=body, whole=True, **more)


ALL_FINE: Final = "\nfor case in cases(): say(answer(case))"

FRAMING: Final = [
    *at_second(
        "framing",
        {
            "a progress bar": ("print('epoch 1 of 10', flush=True)", NOT_JSON),
            "an empty line": ("write('\\n')", NOT_JSON),
            "a million empty lines": ("write('\\n' * 1_000_000)", NOT_JSON),
            "two answers on one line": ("write((json.dumps(answer(case)) * 2) + '\\n')", NOT_JSON),
            "an answer over several lines": ("write(json.dumps(answer(case), indent=1) + '\\n')", NOT_JSON),
            "half an answer and the end": ("write(json.dumps(answer(case))[:40]); os._exit(0)", NOT_JSON),
            "an answer in UTF-16": (
                "sys.stdout.buffer.write(json.dumps(answer(case)).encode('utf-16') + b'\\n'); write('')", NOT_JSON,
            ),
            "an answer behind a byte order mark": (
                "sys.stdout.buffer.write(b'\\xef\\xbb\\xbf' + json.dumps(answer(case)).encode() + b'\\n'); write('')",
                NOT_JSON,
            ),
            "an answer behind a null byte": ("write('\\0' + json.dumps(answer(case)) + '\\n')", NOT_JSON),
            "a text that is no UTF-8": (
                "text = json.dumps(answer(case, warnings=['?'])).encode().replace(b'?', b'\\xff') + b'\\n'\n"
                "sys.stdout.buffer.write(text); write('')",
                NOT_JSON,
            ),
            "half a surrogate pair": ("write(json.dumps(answer(case, warnings=['\\ud800'])) + '\\n')", NOT_JSON),
            "a number that is none": ("say(answer(case, number=float('nan')))", NOT_JSON),
            "a list": ("say([answer(case)])", NO_OBJECT),
            "a text": ("say('done')", NO_OBJECT),
            "null": ("say(None)", NO_OBJECT),
            "deep nesting": ("write('{\"x\":' + '[' * 100_000 + ']' * 100_000 + '}\\n')", NOT_JSON),
            "deep nesting in an answer": (
                "write(json.dumps(answer(case))[:-1] + ',\"x\":' + '{\"a\":' * 50_000 + '1' + '}' * 50_001 + '\\n')",
                NOT_JSON,
            ),
            "a field twice": ("write(json.dumps(answer(case))[:-1] + ',\"number\":9}\\n')", "answered case 9 where 2"),
            "line ends of another system": ("write(json.dumps(answer(case)) + '\\r\\n')", FINE),
            "fields that nobody knows": ("say(answer(case, mood={'today': [1, None]}))", FINE),
        },
    ),
    Program(
        family="framing",
        name="an answer without a line end, and the end",
        body="write(json.dumps(answer(case))); os._exit(0)",
        ends=(FINE, FINE, "exited with code 0", FINE),
    ),
    whole("framing", "a line before anything is asked",
          "say(hello)\nif first: say(answer({'number': 0, 'steps': []}))" + ALL_FINE,
          ends=(f"{UNASKED}|answered case|{MALFORMED}", FINE, FINE, FINE)),
    whole("framing", "bytes before anything is asked",
          "say(hello)\nif first: write('ready'); time.sleep(0.2)" + ALL_FINE,
          ends=(f"{UNASKED}|{NOT_JSON}", FINE, FINE, FINE)),
    whole("framing", "more than the last answer",
          "say(hello)\nfor case in cases(): say(*[answer(case)] * (1 + (case['number'] == 4)))",
          ends=(FINE, FINE, FINE, UNASKED)),
    whole("framing", "bytes behind the last answer",
          "say(hello)\nfor case in cases(): write(json.dumps(answer(case)) + '\\n' + 'bye' * (case['number'] == 4))",
          ends=(FINE, FINE, FINE, f"{UNASKED}b'bye'")),
    whole("framing", "hello twice", "say(hello, hello)" + ALL_FINE, limits={"most_restarts": 0},
          ends=(UNASKED + r"b'{\"protocol|answered case null", *["not run"] * 3)),
]  # fmt: skip

NUMBERS: Final = [
    *at_second(
        "numbers",
        {
            "an answer of before": ("say(answer(case, number=1))", "answered case 1 where 2 was due"),
            "an answer of later": ("say(answer(case, number=3))", "answered case 3 where 2 was due"),
            "the place in the request": ("say(answer(case, number=0))", "answered case 0 where 2 was due"),
            "a number as a text": ("say(answer(case, number='2'))", 'answered case "2" where 2 was due'),
            "a number with a point": (
                "write(json.dumps(answer(case)).replace('2', '2.0', 1) + '\\n')", "answered case 2.0 where 2 was due",
            ),
            "true": ("say(answer(case, number=True))", "answered case true where 2 was due"),
            "null": ("say(answer(case, number=None))", "answered case null where 2 was due"),
            "a number below zero": ("say(answer(case, number=-2))", "answered case -2 where 2 was due"),
            "a number without bounds": ("say(answer(case, number=10**4000))", "answered case 10{39} where 2 was due"),
            "a number out of range": (
                "write(json.dumps(answer(case)).replace('2', '1e999', 1) + '\\n')",
                "answered case 1e999 where 2 was due",
            ),
            "a list of lists": (
                "write('{\"number\":' + '[' * 400 + ']' * 400 + '}\\n')",
                r"answered case \[{40} where 2 was due",
            ),
            "no number": ("one = answer(case); del one['number']; say(one)", "answered case null where 2 was due"),
            "no answer": ("pass", "answered case 3 where 2 was due"),
        },
    ),
    Program(family="numbers", name="an answer twice", body="say(answer(case), answer(case))",
            ends=(FINE, FINE, "answered case 2 where 3 was due", FINE)),
    whole("numbers", "answers in another order",
          "say(hello)\nfor line in sys.stdin: say(*map(answer, json.loads(line)['cases'][::-1 if first else 1]))",
          ends=("answered case 4 where 1 was due", FINE, FINE, FINE)),
    whole("numbers", "the answers of an earlier life",
          "say(hello)\nfor case in cases():\n"
          "    if case['number'] == 1: say(answer(case)); os._exit(5)\n"
          "    say(answer(case, number=case['number'] - 4))",
          limits={"most_restarts": 1},
          ends=(FINE, "exited with code 5", "answered case 1 where 5 was due", "not run")),
]  # fmt: skip

TIME: Final = [
    *at_second(
        "time",
        {
            "nothing": ("time.sleep(9)", TOO_LATE),
            "a byte now and then": ("for _ in range(90): write('1'); time.sleep(0.1)", TOO_LATE),
            "many bytes now and then": ("for _ in range(900): write(' ' * 1000); time.sleep(0.01)", TOO_LATE),
            "half an answer": ("write(json.dumps(answer(case))[:40]); time.sleep(9)", TOO_LATE),
            "a stop": ("os.kill(os.getpid(), signal.SIGSTOP)", TOO_LATE),
            "deaf to signals": ("for one in (15, 1, 2): signal.signal(one, signal.SIG_IGN)\ntime.sleep(9)", TOO_LATE),
            "a loop that prints nothing": ("while True: pass", TOO_LATE),
        },
    ),
    whole("time", "no hello", "time.sleep(9)", refused=r"did not answer within 0\.5 s before it said hello",
          limits={"hello_limit": 0.5}),
    whole("time", "hello byte by byte", "for one in json.dumps(hello): write(one); time.sleep(0.1)",
          refused=r"did not answer within 0\.5 s before it said hello", limits={"hello_limit": 0.5}),
    whole("time", "a hello that takes longer than an answer may", "time.sleep(1)\nsay(hello)" + ALL_FINE,
          limits={"time_limit": 0.9}),
]  # fmt: skip

MEMORY: Final = [
    *at_second(
        "memory",
        {
            "an endless line": ("while True: write('1' * 2**20)", TOO_LONG),
            "an endless number of spaces": ("while True: write(' ' * 2**16)", TOO_LONG),
            "a bomb of base64": ("say(output(case, data='AAAA' * 2**22))", TOO_LONG),
            "too much data": ("say(output(case, data='AAAA' * 2**17))", f"{MALFORMED}an array of shape"),
            "too little data": ("say(output(case, shape=[10**9, 10**9]))", f"{MALFORMED}an array of shape"),
            "a shape without bounds": ("say(output(case, shape=[10**40]))", MALFORMED),
            "an empty shape without bounds": ("say(output(case, shape=[0, 10**18, 10**18], data=''))", MALFORMED),
            "a shape of many lengths": ("say(output(case, shape=[1] * 100_000))", MALFORMED),
            "lists of lists that nobody asked for": ("say(answer(case, x=[[]] * 200_000))", FINE),
            "many warnings": ("say(answer(case, warnings=['x'] * 100_000))", FINE),
            "a long exception": (
                "raised = {'where': 'construct', 'type': 'E', 'message': 'x' * 900_000}\n"
                "say(answer(case, steps=[], raised=raised))",
                FINE,
            ),
            "a wrong value as long as a book": ("say(output(case, dtype='x' * 900_000))", MALFORMED),
        },
    ),
    whole("memory", "an endless hello", "while True: write('1' * 2**20)",
          refused="wrote a line of more than 4,194,304 bytes before it said hello"),
    whole("memory", "a hello of empty lists", "say(hello | {'x': [[]] * 900_000})" + ALL_FINE),
    whole("memory", "defaults of empty lists",
          "hello['implementations'][0]['signature_defaults'] = {'x': [[]] * 900_000}; say(hello)" + ALL_FINE),
    whole("memory", "millions of lines before anything is asked",
          "say(hello)\nif first:\n    while True: write('{}\\n' * 10_000)" + ALL_FINE,
          ends=(f"{UNASKED}|answered case null", FINE, FINE, FINE)),
]  # fmt: skip

STANDARD_ERROR: Final = [
    *at_second(
        "standard error",
        {
            "the last lines": (
                "for one in ('out', 'of', 'luck'): print(one, file=sys.stderr)\nos._exit(3)",
                r"exited with code 3; it last said: out \| of \| luck$",
            ),
            "the last ten lines": (
                "for one in range(1, 5001): print('line', one, file=sys.stderr)\nsys.stderr.flush(); os._exit(3)",
                r"exited with code 3; it last said: line 4991 \| .* \| line 5000$",
            ),
            "200 MB": (
                "for _ in range(200): os.write(2, b'x' * 10**6)\nos.write(2, b'\\nout of luck\\n'); os._exit(3)",
                r"exited with code 3; it last said: x{0,1000}( \| )?out of luck$",
            ),
            "one line of 20 MB": ("os.write(2, b'x' * 20_000_000); os._exit(3)", "it last said: x{1000}$"),
            "no text": ("os.write(2, bytes(range(128, 256)) * 500); os._exit(3)", "exited with code 3; it last said: "),
            "orders to the terminal": (
                "os.write(2, b'\\x1b[2J\\x07\\0bad\\r\\n'); os._exit(3)", r"it last said: \[2J  bad$",
            ),
            "an exception": ("raise RuntimeError('no licence')", r"it last said: .*RuntimeError: no licence$"),
            "a megabyte beside the answer": ("os.write(2, b'x' * 2**20); say(answer(case))", FINE),
            "none at all": ("os.close(2); say(answer(case))", FINE),
        },
    ),
    whole("standard error", "without end beside the answers",
          "import threading\ndef flood():\n    while True: os.write(2, b'x' * 10_000)\n"
          "threading.Thread(target=flood, daemon=True).start(); say(hello)" + ALL_FINE, seconds=8.0),
    whole("standard error", "a megabyte before hello", "os.write(2, b'x' * 2**20); say(hello)" + ALL_FINE),
]  # fmt: skip

CHILDREN: Final = [
    *at_second(
        "children",
        {
            "a child": ("sleeper(); os._exit(3)", "exited with code 3"),
            "a child of a worker that hangs": ("sleeper(); time.sleep(600)", TOO_LATE),
            "a child deaf to signals": (
                "sleeper(lambda: [signal.signal(one, signal.SIG_IGN) for one in (1, 2, 15)]); os._exit(3)",
                "exited with code 3",
            ),
            "a child that is stopped": (
                "sleeper()\nos.kill(int(open(os.environ['NOTES']).read().split()[-1]), signal.SIGSTOP); os._exit(3)",
                "exited with code 3",
            ),
            "thirty children": ("for _ in range(30): sleeper()\nos._exit(3)", "exited with code 3"),
            "twenty generations": (
                "for _ in range(20):\n"
                "            if os.fork(): time.sleep(600)\n"
                "            note(os.getpid())\n"
                "time.sleep(600)",
                TOO_LATE,
            ),
            "a chain of children that each end": (
                "while True:\n"
                "            if os.fork(): os._exit(3)\n"
                "            note(os.getpid()); time.sleep(0.002)",
                "exited with code 3",
            ),
            "its own group": ("sleeper(); os.killpg(0, signal.SIGKILL)", "was ended by signal SIGKILL"),
            "a daemon that ends by itself": (
                "import threading\ndaemon_of = os.fork()\n"
                "if not daemon_of: os.setsid(); note(os.getpid()); time.sleep(0.3); os._exit(0)\n"
                "time.sleep(0.1); os._exit(3)",
                "exited with code 3",
            ),
        },
    ),
    *(
        Program(family="children", name=name, body=body, ends=second(how), named=1)
        for name, body, how in [
            ("a child in a session of its own", "sleeper(os.setsid); os._exit(3)", "exited with code 3"),
            ("a daemon", "daemon(); os._exit(3)", "exited with code 3"),
            ("a daemon without an environment", "daemon(environment={}); os._exit(3)", "exited with code 3"),
            ("a daemon of a worker that goes on", "daemon(); say(answer(case))", FINE),
            ("a daemon, and the keeper killed", "daemon(); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)",
             "was ended by signal SIGKILL"),
        ]
    ),
    Program(family="children", name="the keeper killed", body="os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)",
            ends=second("was ended by signal SIGKILL")),
    Program(family="children", name="the keeper asked to end",
            body="os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)", ends=second("was ended by signal SIGKILL")),
    Program(family="children", name="the keeper stopped", body="os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)",
            ends=second(TOO_LATE), seconds=12.0),
]  # fmt: skip

SIGNALS: Final = at_second(
    "signals",
    {
        **{
            name: (f"os.kill(os.getpid(), signal.{name})", f"was ended by signal {name}$")
            for name in ("SIGSEGV", "SIGABRT", "SIGTERM", "SIGKILL", "SIGHUP", "SIGBUS")
        },
        "a signal without a name": ("os.kill(os.getpid(), 40)", "was ended by signal 40$"),
        "an exit without a reason": ("os._exit(255)", "exited with code 255$"),
        "an exit as after a signal": ("os._exit(137)", "exited with code 137$"),
    },
)

PROGRAMS: Final = [*FRAMING, *NUMBERS, *TIME, *MEMORY, *STANDARD_ERROR, *CHILDREN, *SIGNALS]
