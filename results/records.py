"""The result file: one JSON record a line, each with its kind in ``record``.

A file begins with a ``header`` and ends with a ``footer``; without a footer the run was interrupted,
and everything before the interruption is there. ``results.schema.json`` beside this file is generated
from these classes. Numbers that JSON lacks (NaN, infinity) travel as text, or as null where noted.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec

from normgauge.results.grounds import Ground

FORMAT: Final = 1

Verdict = Literal["conforms", "diverges", "raises", "crashes", "unsupported", "cannot tell"]
#: A judgement with one of these must be expected.
DIVERGENT: Final = frozenset({"diverges", "raises", "crashes"})


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="record", kw_only=True):
    """What ran, where and when. ``format`` is the version of this file format.

    ``budget`` and ``seed`` are those of the exploration. ``known`` are all the ids that the worker told, of which
    ``implementations`` were run; older files have none. ``catalogue`` has digests of what could be asked
    (``conformance.layers.registry.digests``); pages that are made of results carry them.
    """

    format: int
    suite: str
    framework: str
    versions: dict[str, str]
    python: str
    platform: str
    numpy: str
    device: str
    dtypes: list[str]
    implementations: list[str]
    started: str
    budget: str = ""
    seed: int = 0
    known: list[str] = []
    catalogue: dict[str, str] = {}


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """One element that decides: it lies ``margin`` bounds away from what ``against`` would give.

    ``expected`` is exact at the case's input, to the last digit of ``bound``. Where a layer takes float64 and computes
    in float32, the bound contains what the rounding of the input moves. ``margin`` is null where it is infinite (a NaN
    against a number, another shape, a missing refusal). Where ``against`` is another value of an axis, ``against_axis``
    and ``against_value`` name them.
    """

    probe: str
    case: str
    against: str
    step: int
    quantity: str
    index: list[int]
    observed: str
    expected: str
    bound: str
    margin: float | None
    against_axis: str = ""
    against_value: str = ""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest input that shows a divergence: what came out, what other semantics give there, and a script.

    Each line of ``inputs`` is ``weight 1 2`` or ``step 1 train x 0 1 10 11``, in C order, or ``step 2 before reset,
    momentum=0.5``, what is done to the layer before a call; older files have that in the script alone.

    The rows are lists of lines ``step 1 output 0.5 -0.5 ...``, the last of which may be ``refused: `` with the reason.
    ``observed`` came out; running ``script`` in the framework's environment prints it, and the other rows behind their
    names. These are exact values at ``inputs``, each with as many digits as its bound supports, or whole where it has
    at most five, and an infinity where the type of the input has no number so large: ``canonical`` on every axis;
    ``followed``, as diagnosed, where that is something else; and, where one axis is judged and others differ as well,
    ``set_right``, as diagnosed but for that axis.

    ``choices`` has for each of these three rows that there is its choices on the axes on which it is not canonical,
    ``bounds`` its bounds, in lines like those of the row. Files without ``choices`` are older: their ``canonical`` is
    what the layer was held to, which may be its own on some axes, and is no exact value.
    """

    case: str
    settings: dict[str, Any]
    shapes: list[list[int]]
    inputs: list[str]
    observed: list[str]
    canonical: list[str]
    followed: list[str]
    script: str
    set_right: list[str] = []
    choices: dict[str, dict[str, str]] = {}
    bounds: dict[str, list[str]] = {}

    @property
    def rows(self) -> dict[str, list[str]]:
        """What came out and what is beside it, by the names that are shown."""
        if not self.choices:
            old = {"came out": self.observed, OLD_ROW: self.canonical, ROWS["followed"]: self.followed}
            return {name: lines for name, lines in old.items() if lines}
        return {"came out": self.observed} | {ROWS[name]: getattr(self, name) for name in ROWS if name in self.choices}


#: The rows of an example beside what came out, in the order in which they are shown, and their names.
ROWS: Final = {
    "canonical": "canonical",
    "set_right": "with this one thing set right",
    "followed": "as diagnosed",
}


#: The name of the row ``canonical`` of older files, which is canonical on one axis alone.
OLD_ROW: Final = "compared with, in this older file"


class AxisMeasured(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one axis that survived."""

    axis: str
    question: str
    canonical: str
    measured: list[str]


class DefaultMeasured(msgspec.Struct, frozen=True, kw_only=True):
    """A default: as the signature has it (text, or null), and the interval that behaviour allows."""

    setting: str
    signature: str | None
    low: float | None
    best: float | None
    high: float | None

    def rounded(self) -> str | None:
        """The best value with as many digits as the interval supports; None when nothing was measured."""
        if self.best is None or self.low is None or self.high is None or not self.best:
            return None
        relative = max(self.high - self.best, self.best - self.low, 1e-15 * abs(self.best)) / abs(self.best)
        return format(self.best, f".{max(1, math.floor(-math.log10(relative)))}g")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the installed documentation says of an axis or a default, beside what was measured.

    ``claimed`` is null where it is silent; ``quote`` holds its own words, ``where`` the place. A verdict
    of ``contradicts`` is a documentation divergence, apart from behaviour.
    """

    subject: str
    claimed: str | None
    quote: str
    where: str
    measured: str
    verdict: Literal["agrees", "contradicts", "silent", "cannot tell"]


class Profile(msgspec.Struct, frozen=True, tag="implementation", tag_field="record", kw_only=True):
    """What was measured of one implementation at one dtype.

    ``known`` is false when no candidate survived: then ``axes`` names the nearest one. ``computes_in``
    is the type whose bounds the results satisfy: float32 where float64 is taken but not honoured. ``types`` are the
    framework's own types of the output, the running statistics and the gradients, several joined by "or".
    ``layer_title`` is what a page calls the kind of layer.
    ``typical`` has the largest error of an output in training, in units of the typical error of honest arithmetic, by
    the number of values that are normalised together; older files have none.
    ``class_path``, ``options``, ``backend`` and ``mode`` are what ``implementation`` is made of; files that have no
    ``class_path`` are older than these fields.
    """

    implementation: str
    framework: str
    layer: str
    dtype: str
    device: str
    known: bool
    axes: list[AxisMeasured]
    defaults: list[DefaultMeasured]
    computes_in: str
    accuracy: str | None
    hazards: list[str]
    layout: str
    names: dict[str, str]
    ranks: list[int]
    documentation: str
    restarts: int
    cases: int
    mode: str = "eager"
    claims: list[Claim] = []
    types: dict[str, str] = {}
    layer_title: str = ""
    class_path: str = ""
    options: str = ""
    backend: str = ""
    typical: dict[str, float] = {}


class Judgement(msgspec.Struct, frozen=True, tag="judgement", tag_field="record", kw_only=True):
    """requirement x implementation x dtype -> verdict, with what decided it.

    ``remedy`` is what a port writes instead, ``not_mended`` why nothing makes the two agree. ``nameless`` is the
    sentence without the name of the implementation, where it begins with that. ``ground`` is what
    the requirement rests on; older files have none. ``falls_with`` is the id of another requirement that departs by the
    same cause and falls with none itself; empty where there is none, and in older files.
    """

    requirement: str
    title: str
    statement: str
    source: str
    implementation: str
    framework: str
    dtype: str
    verdict: Verdict
    measured: str
    sentence: str
    notes: list[str]
    witnesses: list[Witness]
    remedy: str | None = None
    not_mended: str | None = None
    example: Example | None = None
    nameless: str = ""
    ground: Ground | None = None
    falls_with: str = ""


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One point of an error curve.

    ``at`` is the place on the axis. ``error`` is the largest error of an element, relative to the largest exact
    value; null where a result is no number. ``bounds`` has for each class of the series the largest bound in the
    same unit, null where it is infinite; from 1 on nothing need be left of the value. ``holds`` is the tightest class
    whose bound holds for every element, null where not even the widest does. ``typical`` is the largest error of an
    element in units of its typical error: up to 1 it is rounding, above only a poor order of summation explains it,
    and above the bound it is not rounding; null where it is infinite, and in older files.
    """

    at: float
    error: float | None
    bounds: list[float | None]
    holds: str | None
    typical: float | None = None


class Series(msgspec.Struct, frozen=True, tag="series", tag_field="record", kw_only=True):
    """The error of one quantity of one implementation along an axis.

    ``axis`` is ``ratio``, |mean| / deviation of the values that are normalised together, or ``n``, how many they
    are. ``classes`` are the accuracy classes, tightest first, in the type ``computes_in``. ``half`` is the error at
    which half of the digits are gone, ``half_gone_at`` the first place with that error, null where there is none.
    """

    implementation: str
    framework: str
    dtype: str
    computes_in: str
    quantity: str
    axis: Literal["ratio", "n"]
    classes: list[str]
    half: float
    half_gone_at: float | None
    points: list[SeriesPoint]


class Explored(msgspec.Struct, frozen=True, tag="explored", tag_field="record", kw_only=True):
    """What exploration tried on one implementation at one dtype, under its semantics and accuracy class.

    ``known`` counts the cases that departed in the way of a counterexample told already; ``refused``
    those that it was not asked, because it does not have that. ``sequences`` counts the sequences of calls
    with what is done between them, such as a reset, and ``steps`` the calls and what is between them in all of these.
    """

    implementation: str
    framework: str
    dtype: str
    accuracy: str
    plans: int
    cases: int
    refused: int
    known: int
    sequences: int = 0
    steps: int = 0


class Counterexample(msgspec.Struct, frozen=True, tag="counterexample", tag_field="record", kw_only=True):
    """An input beyond the experiments on which an implementation departs from its own profile.

    ``kind`` is ``values`` (outside the widest class's bound), ``accuracy`` (outside the bound of the class
    measured, within a wider one, named in ``measured``), ``relation``, ``raises`` or ``crash``. ``signature`` is what
    it has in common with others of the same cause. ``found`` is ``explored``, or ``replayed`` when it was
    stored by an earlier run. ``stored`` is the file that holds the case. It changes no verdict; promoted
    to a committed case (``normgauge promote``), it does. ``nameless`` is as in a judgement.
    """

    implementation: str
    framework: str
    dtype: str
    kind: Literal["values", "accuracy", "relation", "raises", "crash"]
    signature: str
    plan: str
    measured: str
    sentence: str
    found: Literal["explored", "replayed"]
    example: Example
    stored: str | None = None
    nameless: str = ""


class NotRun(msgspec.Struct, frozen=True, tag="not_run", tag_field="record", kw_only=True):
    """Something that was asked for and could not be run, with the reason.

    ``failed`` is false for what does not exist, such as a dtype that a framework does not have, and for what the budget
    leaves out; the first is ``absent``.
    """

    framework: str
    reason: str
    implementation: str | None = None
    dtype: str | None = None
    failed: bool = True
    absent: bool = False


class Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="record", kw_only=True):
    """The proof that a run is complete, with the number of judgements of each verdict, and the time it took.

    ``departures`` counts by what they are (results/grounds.py): ``error``, ``difference`` (of convention),
    ``documentation`` (of requirements and of claims) and ``hazard``; older files have none.

    ``seconds`` are those of the run, from its begin to its end. Of several jobs, that work at a time, the seconds are
    added: ``worker_seconds`` are those in which they measured, ``explored_seconds`` the part of these that explored.
    """

    counts: dict[str, int]
    seconds: float
    departures: dict[str, int] = {}
    explored_cases: int = 0
    explored_seconds: float = 0.0
    worker_seconds: float = 0.0


Record = Header | Profile | Series | Judgement | Explored | Counterexample | NotRun | Footer


def schema() -> dict[str, Any]:
    """The JSON Schema of one line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"normgauge result record, format {FORMAT}",
        **msgspec.json.schema(Record),
    }
