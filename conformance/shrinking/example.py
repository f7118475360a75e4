"""From a divergence to what a person sees of it: the smallest input, the numbers, the script."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from normgauge.adapters.case import Array, Case, Element, Observation
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.functions import FIRST, LARGE, shown_in_part
from normgauge.adapters.script import held_by, numbers
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.diagnosis.candidates import Deviation, as_given, compare
from normgauge.conformance.diagnosis.predictions import Prediction, exact, predict
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.shrinking.shrink import shrink
from normgauge.conformance.subjects.subject import NO_SCRIPT, Subject, Target
from normgauge.conformance.verdicts.digits import supported
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.oracle import Semantics, rounded
from normgauge.results.records import ROWS, Example


def shrunk_example(
    judged: Judged, evidence: Evidence, subject: Subject, ranks: Sequence[int], retold: Callable[[Deviation], Judged]
) -> tuple[Example, Judged]:
    """The smallest input found that shows what was judged, and the judgement as ``retold`` of what that shows."""
    assert judged.shows is not None
    case, observation = judged.shows.probe.case, judged.shows.observation
    arithmetic = judged.held_to or evidence.arithmetic
    followed = evidence.followed[0]
    expected = Semantics(layer=followed.layer, choices={**followed.choices, **judged.departs})
    canonical = kind_of(followed.layer).canonical

    target = Target(subject=subject, implementation=judged.of or evidence.implementation, ranks=ranks)
    quantities = judged.shows.probe.quantities
    whole = case

    def deviation_of(candidate: Case, seen: Observation) -> Deviation:
        return as_given(compare(seen, predict(candidate, expected, arithmetic), quantities), candidate)

    def shows(candidate: Case, seen: Observation) -> bool:
        if seen.died or seen.unsupported or seen.raised:
            return False
        if not judged.departs and not _as_empty(candidate, whole):
            return False
        if judged.departs and compare(seen, predict(candidate, followed, arithmetic)).ratio > 1:
            return False
        found = deviation_of(candidate, seen)
        return found.of_rounded is None and found.ratio > 2

    undefined = _is_undefined(predict(case, expected, arithmetic))

    def raises_alike(candidate: Case, seen: Observation) -> bool:
        alike = _said(seen) == _said(observation) and _as_empty(candidate, whole)
        right = predict(candidate, expected, arithmetic)
        return alike and right.refused is None and (undefined or not _is_undefined(right))

    def is_not_canonical(candidate: Case, seen: Observation) -> bool:
        right = predict(candidate, canonical, arithmetic)
        return right.refused is None if seen.raised else compare(seen, right, quantities).ratio > 1

    still = {"diverges": shows, "raises": raises_alike}.get(judged.verdict)
    if still is not None and still(case, observation):
        needed = [still]
        if expected.choices != canonical.choices and is_not_canonical(case, observation):
            needed.append(is_not_canonical)
        case, observation = shrink(case, observation, _all(needed), target, keep_form=not judged.departs)
    rows = rows_of(followed, judged.departs)
    furthest = deviation_of(case, observation)
    told = retold(furthest)
    return example_of(case, observation, rows, target, str(told.sentence), element_of(furthest, observation)), told


def _as_empty(case: Case, whole: Case) -> bool:
    """Whether the same steps are without values as in the whole case; of one with fewer steps, whether none is."""
    own, others = ([step.x.size == 0 for step in one.steps] for one in (case, whole))
    return own == others or (len(own) < len(others) and not any(own) and not any(others))


Shows = Callable[[Case, Observation], bool]


def _all(needed: Sequence[Shows]) -> Shows:
    return lambda case, seen: all(one(case, seen) for one in needed)


def rows_of(followed: Semantics, departs: Mapping[str, str]) -> dict[str, Semantics]:
    """The semantics of each row of an example of a layer that follows ``followed``, by the names in its record.

    ``departs`` has the right choice on the axis that is judged, where it is one.
    """
    canonical = kind_of(followed.layer).canonical
    right = Semantics(layer=followed.layer, choices={**followed.choices, **departs})
    rows = {"canonical": canonical}
    if departs and right.choices != canonical.choices:
        rows["set_right"] = right
    if followed.choices != canonical.choices:
        rows["followed"] = followed
    return rows


def _is_undefined(prediction: Prediction) -> bool:
    """Whether some result is no number, so that refusing would be as good an answer."""
    return any(np.isnan(one.value).any() for step in prediction.steps for one in step.values())


def _said(seen: Observation) -> tuple[str, str] | None:
    """The type of an exception and its words without numbers, which are those of the case."""
    return (seen.raised.type, re.sub(r"[\d.e+-]+", "", seen.raised.message)) if seen.raised else None


def element_of(deviation: Deviation, observation: Observation) -> Element | None:
    """The element that lies furthest off, where its array is so large that it is shown in part; None elsewhere."""
    if deviation.what or not 0 < deviation.step <= len(observation.steps):
        return None
    value = observation.steps[deviation.step - 1].quantities.get(deviation.quantity)
    if value is None or value.size <= LARGE:
        return None
    return Element(step=deviation.step, quantity=deviation.quantity, index=tuple(map(int, deviation.index)))


def example_of(
    case: Case,
    observation: Observation,
    rows: Mapping[str, Semantics],
    target: Target,
    about: str,
    element: Element | None = None,
) -> Example:
    """A case with what came out, what each semantics in ``rows`` gives there exactly, and its script.

    Of a large array the first values are shown, and the ``element``.
    """
    canonical = kind_of(case.layer).canonical.choices
    predicted = {name: exact(case, semantics) for name, semantics in rows.items()}
    lines = {name: _predicted_lines(one, observation, case.dtype, element) for name, one in predicted.items()}
    script = target.subject.script(target.implementation, case, about, element)
    if script != NO_SCRIPT:
        script += "".join(f"print({f'{ROWS[name]}: {line}'!r})\n" for name, own in lines.items() for line in own)
    return Example(
        case=case_id(case),
        settings=dict(case.settings),
        shapes=[list(step.x.shape) for step in case.steps],
        inputs=_input_lines(case),
        observed=_observed_lines(observation, case.dtype, element),
        canonical=lines["canonical"],
        followed=lines.get("followed", []),
        set_right=lines.get("set_right", []),
        choices={
            name: {axis: choice for axis, choice in semantics.choices.items() if choice != canonical[axis]}
            for name, semantics in rows.items()
        },
        bounds={name: _bound_lines(one, element) for name, one in predicted.items()},
        script=script,
    )


def _input_lines(case: Case) -> list[str]:
    lines = [f"{name} {numbers(value, held_by(value, case.dtype))}" for name, value in case.parameters.items()]
    for number, step in enumerate(case.steps, start=1):
        if step.before:
            lines.append(f"step {number} before {', '.join(map(str, step.before))}")
        for name, value in ((name, value) for action in step.before for name, value in action.parameters.items()):
            lines.append(f"step {number} sets {name} {numbers(value, case.dtype)}")
        given = [("x", step.x, step.layout)]
        given += [] if step.dy is None else [("dy", step.dy, step.dy_layout)]
        for name, array, layout in given:
            placed = f" ({layout.replace('_', ' ')})" if layout else ""
            lines.append(f"step {number} {step.mode} {name}{placed} {numbers(array, case.dtype)}")
    return lines


def _observed_lines(observation: Observation, dtype: str, element: Element | None) -> list[str]:
    named = [
        (number, *pair) for number, step in enumerate(observation.steps, start=1) for pair in step.quantities.items()
    ]
    lines = [
        line
        for number, name, values in named
        for line in _lines(number, name, values, element, partial(numbers, dtype=dtype))
    ]
    if observation.raised:
        lines.append(f"raised {observation.raised.type}: {observation.raised.message}")
    if observation.died:
        lines.append(observation.died)
    return lines


def _lines(
    number: int, name: str, values: Array, element: Element | None, shown: Callable[[Array], str]
) -> Iterator[str]:
    """The line of a result, and that of its element where it has one."""
    yield f"step {number} {name} {shown(values)}"
    if element is not None and (element.step, element.quantity) == (number, name):
        yield f"{element} {shown(values[element.index])}"


def _predicted_lines(
    prediction: Prediction, observation: Observation, dtype: str, element: Element | None
) -> list[str]:
    seen = [step.quantities for step in observation.steps]
    lines: list[str] = []
    for number, step in enumerate(prediction.steps):
        beside = seen[number] if number < len(seen) else {}
        for name, reference in step.items():
            came_out = np.asarray(beside.get(name, np.nan), np.float64)
            if came_out.shape != reference.value.shape:
                came_out = np.full_like(reference.value, np.nan)
            value = _held(reference.value, came_out, dtype) if name in _OF_THE_INPUTS_TYPE else reference.value
            triples = np.stack(np.broadcast_arrays(value, reference.bound, came_out), axis=-1)
            lines += _lines(number + 1, name, triples, element, partial(_texts, dtype=dtype))
    return lines + ([] if prediction.refused is None else [f"refused: {prediction.refused}"])


#: What a layer gives in the type of its input, but for one whose output is of a wider type.
_OF_THE_INPUTS_TYPE: Final = frozenset({"output", "dx"})


def _held(values: Array, came_out: Array, dtype: str) -> Array:
    """``values`` with an infinity where ``dtype`` has no number so large, unless what came out is a finite number."""
    beyond = np.isinf(rounded(values, dtype)) & ~np.isfinite(came_out)
    return np.where(beyond, np.copysign(np.inf, values), values)


def _text(value: float, bound: float, observed: float, dtype: str) -> str:
    most = int(KNOWN_DTYPES[dtype].printed.strip(".g"))
    error = bound * _ROUNDED.get(dtype, _ROUNDED_OF_FEW) if math.isfinite(bound) else 0.0
    return supported(value, bound, observed, error=error, most=most)


#: The part of a bound within which the oracle, which computes in float64, lies itself.
_ROUNDED: Final = {"float64": 0.25}
_ROUNDED_OF_FEW: Final = 2.0**-20


def _texts(triples: Array, dtype: str) -> str:
    """As ``shown_in_part`` shows numbers: values with their bounds and with what came out, along the last axis."""
    flat = triples.reshape(-1, 3)
    texts = (_text(float(value), float(bound), float(observed), dtype) for value, bound, observed in flat)
    size = len(flat)
    if size <= LARGE:
        return " ".join(texts) or "(empty)"
    return f"{' '.join(itertools.islice(texts, FIRST))} ... ({size} values)"


def _bound_lines(prediction: Prediction, element: Element | None) -> list[str]:
    named = [(number, *pair) for number, step in enumerate(prediction.steps, start=1) for pair in step.items()]
    shown = partial(shown_in_part, digits=".2g")
    return [line for number, name, one in named for line in _lines(number, name, one.bound, element, shown)]
