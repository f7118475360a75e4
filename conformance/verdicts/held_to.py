"""Rules ``range``, ``wide_sums`` and ``beyond_half``: ``values`` with references of their own (docs/verdicts.md)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.accuracy_class import accuracy_class
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.values import judge_answer, judge_values
from normgauge.oracle import Arithmetic, Reference, Semantics, precisions
from normgauge.oracle.formats import format_of

Predict = Callable[[Case, Semantics], Prediction]


@dataclass(frozen=True, kw_only=True)
class HeldTo(Evidence):
    """The ``general`` evidence, where a case is held to what ``predicted`` gives in place of the widest arithmetic."""

    general: Evidence
    predicted: Predict

    @classmethod
    def by(cls, general: Evidence, predicted: Predict) -> HeldTo:
        own = {field.name: getattr(general, field.name) for field in fields(general)}
        return cls(**own, general=general, predicted=predicted)

    @property
    def ordinary(self) -> Evidence:
        return self.general

    @property
    def precisions(self) -> tuple[Arithmetic, ...]:
        return self.general.precisions[-1:]

    @functools.cached_property
    def wrong_gradients(self) -> frozenset[tuple[str, str]]:
        return self.general.wrong_gradients

    def expected(self, case: Case, semantics: Semantics, arithmetic: Arithmetic | None = None) -> Prediction:
        if arithmetic is None or arithmetic in self.precisions:
            return self.predicted(case, semantics)
        return self.general.expected(case, semantics, arithmetic)


def judge_range(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by values. An infinite bound of the widest arithmetic permits nothing that the one measured excludes."""
    widest = evidence.precisions[-1]

    @functools.cache
    def measured() -> Arithmetic:
        found = accuracy_class(evidence) or widest
        if found.result.is_half:  # whose results have too few digits to tell the classes apart
            return replace(found, accuracy=widest.accuracy)
        # Welford's recursion is often as accurate as two passes, and has another range.
        return replace(found, accuracy="welford") if found.accuracy == "two_pass" else found

    def predicted(case: Case, semantics: Semantics) -> Prediction:
        wide = evidence.expected(case, semantics, widest)
        if all(one.says_something().all() for step in wide.steps for one in step.values()):
            return wide
        narrow = evidence.expected(case, semantics, measured())
        steps = tuple(
            {name: _finite(one, own[name]) for name, one in step.items()}
            for step, own in zip(wide.steps, narrow.steps, strict=True)
        )
        return replace(wide, steps=steps)

    judged = judge_values(requirement, HeldTo.by(evidence, predicted))
    note = _subnormals(evidence.of(requirement.id))
    judged = replace(judged, notes=(*judged.notes, *note))
    return replace(judged, held_to=measured()) if measured.cache_info().currsize else judged


def _subnormals(asked: Sequence[Seen]) -> Iterator[str]:
    """Whether numbers below the normal ones came out as they were or as zeros, where there were any."""
    for one in asked:
        case = one.probe.case
        x, bias = case.steps[0].x, case.parameters.get("bias")
        if bias is None or not one.observation.steps or np.max(np.abs(x)) >= format_of(case.dtype).smallest_normal:
            continue
        y = one.observation.steps[0].output
        if np.any(x) and y.shape == x.shape:
            kept = np.any(y[:, bias == 0])
            yield f"{one.probe.label}: {'kept' if kept else 'flushed to zero'}"


def _finite(wide: Reference, narrow: Reference) -> Reference:
    """``wide`` where it says something, else ``narrow``."""
    says = wide.says_something()
    return Reference(value=np.where(says, wide.value, narrow.value), bound=np.where(says, wide.bound, narrow.bound))


def judge_wide_sums(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by values, of an arithmetic that adds in float32 and rounds everything else to the half type."""
    stored = precisions(evidence.dtype)[1]
    own = HeldTo.by(evidence, lambda case, semantics: evidence.expected(case, semantics, stored))
    return replace(judge_values(requirement, own), held_to=stored)


def judge_beyond_half(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by answer: the bounds are those of the same case in range, multiplied back."""
    widest = evidence.precisions[-1]

    def predicted(case: Case, semantics: Semantics) -> Prediction:
        powers = powers_into_range(case)
        found = evidence.expected(multiplied(case, powers), semantics, widest)
        steps = tuple(
            {name: _multiplied_back(one, powers.of(name), case.dtype) for name, one in step.items()}
            for step in found.steps
        )
        return replace(found, steps=steps)

    return replace(judge_answer(requirement, HeldTo.by(evidence, predicted)), held_to=widest)


@dataclass(frozen=True, kw_only=True)
class Powers:
    """The powers of two by which x with its statistics, the weight and bias, and dy are multiplied."""

    x: int
    weight: int
    dy: int

    def of(self, quantity: str) -> int:
        """That by which a result is multiplied then: normalising is indifferent to x, and to its square in eps."""
        powers: Mapping[str, int] = {
            "output": self.weight,
            "running_mean": self.x,
            "running_var": 2 * self.x,
            "dx": self.weight + self.dy - self.x,
            "dweight": self.dy,
            "dbias": self.dy,
        }
        return powers[quantity]


def powers_into_range(case: Case) -> Powers:
    """Those that bring the running variance, or in training x, the weight and dy near 1."""
    (step,) = case.steps
    x = 0
    if "running_var" in case.dtypes:
        x = _exponent(case.parameters["running_var"]) // 2
    elif step.mode == "train":
        x = _exponent(step.x)
    weight = _exponent(case.parameters["weight"]) if "weight" in case.dtypes else 0
    return Powers(x=-x, weight=-weight, dy=0 if step.dy is None else -_exponent(step.dy))


def _exponent(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> int:
    return math.frexp(float(np.max(np.abs(values))))[1]


def multiplied(case: Case, powers: Powers) -> Case:
    """The case with everything multiplied, eps by the square of what x is."""
    of_parameters = {"weight": powers.weight, "bias": powers.weight} | {
        name: powers.of(name) for name in ("running_mean", "running_var")
    }
    (step,) = case.steps
    dy = None if step.dy is None else np.ldexp(step.dy.astype(np.float64), powers.dy)
    return replace(
        case.with_parameters(lambda name, value: np.ldexp(value.astype(np.float64), of_parameters[name])),
        steps=(replace(step, x=np.ldexp(step.x.astype(np.float64), powers.x), dy=dy),),
        settings={**case.settings, "eps": math.ldexp(case.settings["eps"], 2 * powers.x)},
    )


def _multiplied_back(one: Reference, power: int, dtype: str) -> Reference:
    """The reference, with what the type of results may lose of numbers below its normal ones."""
    lost = format_of(dtype).smallest_normal
    return Reference(value=np.ldexp(one.value, -power), bound=np.ldexp(one.bound, -power) + lost)
