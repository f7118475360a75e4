"""The result file: one JSON record per line, each with its kind in ``record``.

A file begins with a ``header`` and ends with a ``footer``. Without a footer the run did not finish; the records before
the interruption are complete. ``results.schema.json`` beside this file is generated from these classes. Numbers that
JSON does not have (NaN, infinity) are texts, or null where noted.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec

from normgauge.results.grounds import Ground

FORMAT: Final = 1

Verdict = Literal["conforms", "diverges", "raises", "crashes", "unsupported", "cannot tell"]
#: The verdicts that are differences; the gate accepts them only from the list of known differences.
DIVERGENT: Final = frozenset({"diverges", "raises", "crashes"})


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="record", kw_only=True):
    """What ran, where and when. ``format`` is the version of this file format.

    ``budget`` and ``seed`` are those of the exploration. ``known`` has all ids in the worker's hello, and
    ``implementations`` those that were run; older files have no ``known``. ``catalogue`` has digests of the
    requirements and axes (``conformance.layers.registry.digests``); pages made from results show them.
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
    """One element of a result that excludes ``against``: the distance from its number is ``margin`` error bounds.

    ``expected`` is exact at the case's input, to the last digit of ``bound``. If a layer takes float64 and computes
    in float32, the bound includes the effect of rounding the input. ``margin`` is null if it is infinite (a NaN
    instead of a number, another shape, a missing exception). If ``against`` is another value of an axis,
    ``against_axis`` and ``against_value`` name both.
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
    """The smallest input that shows a difference, with the measured result, the results of other semantics, a script.

    Each line of ``inputs`` is ``weight 1 2`` or ``step 1 train x 0 1 10 11``, in C order, or an action before a call,
    ``step 2 before reset, momentum=0.5``; older files have the actions only in the script.

    A row is a list of lines ``step 1 output 0.5 -0.5 ...``; the last line may be ``refused: `` with the reason.
    ``observed`` is the measured result; ``script`` prints it in the framework's environment, and the other rows after
    their names. The other rows are exact values at ``inputs``, each with as many digits as its bound supports, or all
    digits if there are at most five, and an infinity if the value is outside the range of the input's type:
    ``canonical`` on every axis; ``followed``, the measured semantics, if they are not canonical; ``set_right``, the
    measured semantics with the canonical value on the judged axis, if other axes differ as well.

    ``choices`` has for each of these three rows its values on the axes where it is not canonical, ``bounds`` its error
    bounds, in lines like those of the row. Older files have no ``choices``; their ``canonical`` has the layer's own
    values on some axes, and is not exact.
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
        """The measured result and the other rows, by the names that pages show."""
        if not self.choices:
            old = {"measured": self.observed, OLD_ROW: self.canonical, ROWS["followed"]: self.followed}
            return {name: lines for name, lines in old.items() if lines}
        return {"measured": self.observed} | {ROWS[name]: getattr(self, name) for name in ROWS if name in self.choices}


#: The rows of an example beside the measured result, in the order of a page, and their names.
ROWS: Final = {
    "canonical": "canonical",
    "set_right": "canonical on this axis alone",
    "followed": "measured semantics",
}


#: The name of the row ``canonical`` of older files, which is canonical on one axis only.
OLD_ROW: Final = "compared with, in this older file"


class AxisMeasured(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one axis that no case excluded.

    ``meanings`` has the words for these values, and for the others that are in use; older files have none.
    """

    axis: str
    question: str
    canonical: str
    measured: list[str]
    meanings: dict[str, str] = {}

    def worded(self, value: str) -> str:
        """The meaning of a value, with its name in parentheses; the name alone in an older file."""
        return f"{self.meanings[value]} ({value})" if value in self.meanings else value


class DefaultMeasured(msgspec.Struct, frozen=True, kw_only=True):
    """A default: its text in the signature (or null), and the interval that the measured results allow."""

    setting: str
    signature: str | None
    low: float | None
    best: float | None
    high: float | None

    def rounded(self) -> str | None:
        """The best value with as many digits as the interval supports; None if nothing was measured."""
        if self.best is None or self.low is None or self.high is None or not self.best:
            return None
        relative = max(self.high - self.best, self.best - self.low, 1e-15 * abs(self.best)) / abs(self.best)
        return format(self.best, f".{max(1, math.floor(-math.log10(relative)))}g")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of the installed documentation about an axis or a default, compared with the measurement.

    ``claimed`` is null if the documentation says nothing about it; ``quote`` has its words, ``where`` the place. The
    verdict ``contradicts`` is a difference in the documentation, not in the behaviour.
    """

    subject: str
    claimed: str | None
    quote: str
    where: str
    measured: str
    verdict: Literal["agrees", "contradicts", "silent", "cannot tell"]


class Profile(msgspec.Struct, frozen=True, tag="implementation", tag_field="record", kw_only=True):
    """The measured properties of one implementation at one dtype.

    ``known`` is false if every candidate was excluded; ``axes`` then has the nearest candidate. ``computes_in``
    is the type whose bounds hold for the results: float32 if the layer accepts float64 and computes in float32.
    ``types`` are the framework's types of the output, the running statistics and the gradients, several joined by "or".
    ``layer_title`` is the name of the kind of layer on a page.
    ``typical`` has the largest error of an output in training, in units of the typical error of correct arithmetic, by
    the number of values that are normalised together; older files have none.
    ``class_path``, ``options``, ``backend`` and ``mode`` are the parts of ``implementation``; older files have no
    ``class_path``.
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

    def worded(self, subject: str, values: str) -> str:
        """Values of an axis, joined by commas, with their meanings; as they are if the subject is not an axis."""
        axis = next((one for one in self.axes if one.axis == subject), None)
        return " or ".join(map(axis.worded, values.split(", "))) if axis else values


class Judgement(msgspec.Struct, frozen=True, tag="judgement", tag_field="record", kw_only=True):
    """The verdict on one requirement for one implementation at one dtype, with its evidence.

    ``remedy`` is what a port must write instead, ``not_mended`` the reason why there is no remedy. ``nameless`` is the
    sentence without the name of the implementation, if the sentence begins with it. ``ground`` is the reason for
    the requirement; older files have none. ``meaning`` has the words for ``measured`` where that is a value of an axis
    or a type; older files have none. ``falls_with`` is the id of another requirement that departs from the same cause
    and falls with none itself; empty where there is none, and in older files.
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
    meaning: str = ""

    @property
    def worded(self) -> str:
        """The measured value as a person reads it: its meaning with its name, or the value itself."""
        return f"{self.meaning} ({self.measured})" if self.meaning else self.measured


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One point of an error curve.

    ``at`` is the place on the axis. ``error`` is the largest error of an element, relative to the largest exact
    value; null if a result is not a number. ``bounds`` has for each class of the series the largest bound in the
    same unit, null if it is infinite; from 1 on the value may have no correct digit. ``holds`` is the tightest class
    whose bound holds for every element, null if no bound holds. ``typical`` is the largest error of an
    element in units of its typical error: up to 1 it is rounding; above 1 only a poor order of summation explains it;
    above the bound it is not rounding. It is null if it is infinite, and in older files.
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
    """The number of inputs that exploration tried on one implementation at one dtype.

    ``accuracy`` is the class whose bounds were used. ``known`` counts the cases with the same cause as a counterexample
    in the same file, ``refused`` those that were skipped because the layer does not support them. ``sequences`` counts
    the sequences of calls and actions, such as a reset, and ``steps`` all calls and actions in them.
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
    """An input beyond the experiments on which an implementation differs from its measured properties (its profile).

    ``kind`` is ``values`` (outside the bound of the widest class), ``accuracy`` (outside the bound of the measured
    class, inside that of a wider class, which ``measured`` names), ``relation``, ``raises`` or ``crash``.
    Counterexamples of the same cause have the same ``signature``. ``found`` is ``explored``, or ``replayed`` if an
    earlier run stored it. ``stored`` is the file that has the case. It changes no verdict, until ``normgauge promote``
    makes it a committed case. ``nameless`` is as in a judgement.
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
    """A framework, layer or dtype that could not be run, with the reason.

    ``failed`` is false if it does not exist, such as a dtype that a framework does not support (then ``absent`` is
    true), or if the budget leaves it out.
    """

    framework: str
    reason: str
    implementation: str | None = None
    dtype: str | None = None
    failed: bool = True
    absent: bool = False


class Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="record", kw_only=True):
    """The last record of a complete run, with the number of judgements of each verdict, and the time.

    ``departures`` counts the differences by sort (results/grounds.py): ``error``, ``difference`` (of convention),
    ``documentation`` (of requirements and of claims) and ``hazard``; older files have none.

    ``seconds`` is the time from start to end. ``worker_seconds`` is the sum over all workers, which work at the same
    time; ``explored_seconds`` is the part of it for exploration.
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
