"""What real workers write: our own, and the one in JavaScript where there is node."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Action, Case, Step
from normgauge.adapters.worker.protocol import dump_line, encode_case
from normgauge.conformance.subjects.subject import Launch

TESTS: Final = Path(__file__).parents[1]
WORKER: Final = TESTS / "foreign" / "worker.mjs"
#: Our own worker's framework: a correct port in NumPy.
PORT: Final = "faulty.ports:Port"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a worker wrote: its hello, one answer for each of ``cases``, and that to a request for a script."""

    launch: Launch
    dtype: str
    implementation: str
    cases: tuple[Case, ...]
    lines: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, launch: Launch, dtype: str, implementation: str, cases: tuple[Case, ...]) -> Recorded:
        own = cls(launch=launch, dtype=dtype, implementation=implementation, cases=cases)
        encoded = [{"number": number, **encode_case(case)} for number, case in enumerate(cases, start=1)]
        script = {
            "op": "script", "number": len(cases) + 1, "implementation": implementation, "case": encode_case(cases[0]),
            "about": "as it is",
        }  # fmt: skip
        requests = dump_line({"op": "run", "implementation": implementation, "cases": encoded}) + dump_line(script)
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            launch.command(dtype),
            input=requests,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        lines = tuple(done.stdout.splitlines(keepends=True))
        assert len(lines) == len(cases) + 2, done.stderr
        return replace(own, lines=lines)


def cases_of(layer: str, dtype: str, *, everything: bool) -> tuple[Case, ...]:
    """Cases of all that an answer may have; ``everything``: gradients and actions, too."""
    rng = np.random.default_rng(1)
    settings = {"num_channels": 4, "eps": 1e-5} | ({"num_groups": 2} if layer == "group_norm" else {"momentum": 0.1})

    def drawn(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    def step(mode: str, *shape: int, **more: Any) -> Step:
        return Step(mode, drawn(*shape), drawn(*shape) if everything else None, inspect=inspected, **more)

    inspected = everything and layer == "batch_norm"
    acted = {"before": (Action("momentum", 0.5), Action("freeze"))} if inspected else {}
    steps = [
        (step("train", 2, 4),),
        (step("train", 2, 4, 3), step("eval", 1, 4, 3)),
        (step("train", 3, 4, 2, 2), step("train", 3, 4, 2, 2, **acted), step("eval", 2, 4, 1, 1)),
        (step("train", 2, 5),),  # which it refuses
    ]
    return tuple(
        Case(layer=layer, dtype=dtype, settings=settings, parameters={"weight": drawn(4)}, steps=one) for one in steps
    )


def recordings() -> list[Recorded]:
    """What our own worker writes, and the one in JavaScript where there is node."""
    own = Launch(framework=PORT)
    found = [
        Recorded.of(own, dtype, f"{layer}.{name}", cases_of(layer, dtype, everything=True))
        for dtype in ("float32", "float64")
        for layer, name in (("group_norm", "GroupNorm"), ("batch_norm", "BatchNorm"))
    ]
    if shutil.which("node"):
        foreign = Launch(framework="foreign", program=("node", str(WORKER)))
        for layer, name in (("group_norm", "GroupNorm"), ("batch_norm", "BatchNorm")):
            cases = cases_of(layer, "float32", everything=False)
            found.append(Recorded.of(foreign, "float32", f"foreign.{name}", cases))
    return found
