"""Numbers that README and docs give, beside what they come from: one row per number.

Numbers of findings are printed by their scripts (`nox -s findings`), those of measured pages are dated by a digest
(test_stale_pages.py), and the diagnosis in the README is run (tests/cli/test_readme.py).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from digests import PROJECT
from honest import REGIMES
from honest_backward import UPSTREAM

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.worker.protocol import PROTOCOL
from normgauge.conformance.exploration import plans, sequences
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.accuracy_curves import ACCURACY
from normgauge.conformance.requirements.requirement import Asked
from normgauge.conformance.requirements.settings import EPS_GIVEN
from normgauge.conformance.subjects import conversation, messages, worker_process
from normgauge.conformance.subjects.subject import Launch

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
LAUNCH = Launch.__dataclass_fields__
WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "nine": 9, "ten": 10}


class Claim(NamedTuple):
    """A place in a page where numbers stand, one group for each, and what they must be."""

    page: str
    pattern: str
    told: Callable[[], Any]


def lengths() -> tuple[int, int]:
    """The smallest and the largest number of values per group of the curves over n."""
    probes = list(requirements()["GN-24"].probes(Asked(dtype="float32", ranks=(2, 3, 4, 5))))
    settings = [(one.case.steps[0].x, one.case.settings["num_groups"]) for one in probes]
    counts = [x.size // len(x) // groups for x, groups in settings]
    return min(counts), max(counts)


def cases(budget: str) -> int:
    return BUDGETS[budget].cases


def pin(group: str, name: str) -> str:
    (found,) = {
        m[1] for one in PYPROJECT["dependency-groups"][group] if (m := re.match(rf"{name}(?:\[\w+\])?==([\d.]+)", one))
    }
    return found


CLAIMS = [
    Claim("README.md", r"With Python ([\d.]+) or later", lambda: PYPROJECT["project"]["requires-python"].lstrip(">=")),
    Claim("README.md", r"mlx\[cpu\]==([\d.]+)\"\n\$ normgauge", lambda: pin("mlx", "mlx")),
    Claim("README.md", r"Lucid needs Python ([\d.]+),", lambda: PYPROJECT["tool"]["normgauge"]["python"]["lucid"]),
    Claim(
        "README.md",
        r"as there are\s+processors, at most (\w+)\.",
        lambda: PYPROJECT["tool"]["pytest"]["ini_options"]["addopts"].split("--maxprocesses ")[1].split()[0],
    ),
    Claim("README.md", r"mlx\.nn\.GroupNorm  mlx ([\d.]+), float32", lambda: pin("mlx", "mlx")),
    Claim(
        "README.md",
        r"every element of outputs, gradients and running\s+statistics, in (\w+), (\w+), (\w+) and (\w+)",
        lambda: {"float64", "float32", "float16", "bfloat16"} & set(DTYPES),
    ),
    Claim("README.md", r"!\[MLX from ([\d.]+) to ([\d.]+):", lambda: (measured_releases()[0], measured_releases()[-1])),
    Claim(
        "docs/timeline.md",
        r"Measured: ([^\n]*)\.",
        lambda: ", ".join(PYPROJECT["tool"]["normgauge"]["releases"]["mlx"]["default"]),
    ),
    Claim(
        "docs/architecture.md",
        r"(\w+) folders stand at the top",
        lambda: len({place.split("/")[0] for place in PYPROJECT["tool"]["setuptools"]["package-dir"].values()}),
    ),
    *(Claim("docs/exploration.md", rf"\| `{name}` \| ([\d,]+) \|", partial(cases, name)) for name in BUDGETS),
    Claim(
        "docs/exploration.md",
        r"a plan has (\d+) cases in place of (\d+)",
        lambda: (plans.MANY_CASES_A_PLAN, plans.CASES_A_PLAN),
    ),
    Claim(
        "docs/exploration.md",
        r"from which NumPy makes (\w+) or (\d+)",
        lambda: (plans.CASES_A_PLAN, plans.MANY_CASES_A_PLAN),
    ),
    Claim("docs/exploration.md", r"Up to (\w+) calls", lambda: sequences.LONGEST),
    Claim("docs/protocol.md", r"# The worker protocol, version (\d+)", lambda: PROTOCOL),
    Claim("docs/protocol.md", r"\| `protocol` \| the number (\d+) \|", lambda: PROTOCOL),
    Claim(
        "docs/protocol.md",
        r"hello first, without a request, within (\d+) seconds",
        lambda: LAUNCH["hello_limit"].default,
    ),
    Claim("docs/protocol.md", r"\| no whole hello within (\d+) s", lambda: LAUNCH["hello_limit"].default),
    Claim("docs/protocol.md", r"within the time limit \((\d+) s", lambda: LAUNCH["time_limit"].default),
    Claim("docs/protocol.md", r"is still there after (\d+) seconds is killed", lambda: worker_process.TO_EXIT),
    Claim(
        "docs/protocol.md",
        r"at least ([\d,]+); may be absent: then ([\d,]+) \(64 MiB\)",
        lambda: (messages._SHORTEST, messages.LONGEST_LINE),
    ),
    Claim("docs/protocol.md", r"a hello of more than (\d+) MiB", lambda: worker_process.LONGEST_HELLO / 2**20),
    Claim(
        "docs/protocol.md",
        r"a line of more than (\d+) MiB and (\d+) bytes for each value",
        lambda: (worker_process._TEXTS / 2**20, worker_process._A_VALUE),
    ),
    Claim(
        "docs/protocol.md",
        r"at most (\d+) and ([\d,]+) characters of them; no more than (\d+) KiB",
        lambda: (conversation._LINES, conversation.QUOTED, conversation._KEPT / 2**10),
    ),
    Claim(
        "docs/protocol.md",
        r"of each warning ([\d,]+) characters are kept, and (\d+) warnings",
        lambda: (messages._TEXT, messages._WARNINGS),
    ),
    Claim("docs/protocol.md", r"to (\d+) cases and can be a line of 50 kB", lambda: worker_process.BATCH),
    Claim(
        "docs/verdicts.md",
        r"([\d,]+) for\s+GroupNorm, ([\d,]+) for BatchNorm",
        lambda: tuple(int(np.prod(kind_of(kind).sizes)) for kind in ("group_norm", "batch_norm")),
    ),
    Claim("docs/verdicts.md", r"for each of\s+(\w+) values of eps", lambda: len(EPS_GIVEN)),
    Claim("docs/verdicts.md", r"with (\d+) to ([\d,]+) values in a group or channel", lengths),
    Claim("docs/soak.md", r"on (\d+) regimes of data times\s+(\d+) of dy", lambda: (len(REGIMES), len(UPSTREAM))),
    Claim("docs/accuracy.md", r"the bounds of the (\w+) classes", lambda: 3),
    Claim("docs/performance.md", r"torch (2\.\d+)\)", lambda: pin("torch", "torch").rpartition(".")[0]),
]


def measured_releases() -> list[str]:
    return PYPROJECT["tool"]["normgauge"]["releases"]["mlx"]["default"]


def number(text: str) -> Any:
    """A number as a page writes it, or the text."""
    plain = text.replace(",", "")
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    return int(plain) if plain.isdigit() else text


def shown(value: Any) -> list[Any]:
    """What is told, as the numbers that a page would have."""
    values = sorted(value) if isinstance(value, set) else list(value) if isinstance(value, tuple) else [value]
    return [number(one) if isinstance(one, str) else one for one in values]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.page}: {claim.pattern[:40]}")
def test_a_number_in_a_page_is_what_it_comes_from(claim: Claim) -> None:
    text = (PROJECT / claim.page).read_text(encoding="utf-8")
    places = re.findall(claim.pattern, text)
    assert places, f"{claim.page} has no {claim.pattern!r} any more; take the row out or mend it"
    for place in places:
        written = [number(one) for one in ([place] if isinstance(place, str) else place)]
        told = shown(claim.told())
        assert (sorted(written) if isinstance(claim.told(), set) else written) == told


def test_every_id_of_a_requirement_that_a_page_names_exists() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    named = {
        (page.name, one)
        for page in pages
        for one in re.findall(r"\b(?:GN|BN)-\d\d\b", page.read_text(encoding="utf-8"))
    }
    assert {(page, one) for page, one in named if one not in requirements()} == set()


def test_the_pages_name_every_requirement_on_accuracy() -> None:
    text = (PROJECT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert [one.id for one in ACCURACY if one.id not in text] == []


def test_the_releases_of_the_accuracy_page_are_the_pinned_ones() -> None:
    text = (PROJECT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    for name, group in {"torch": "torch", "mlx": "mlx", "flax": "flax", "keras": "keras-jax", "jax": "flax"}.items():
        assert set(re.findall(rf"\b{name} (\d+\.\d+\.\d+)", text)) <= {pin(group, name)}, name
