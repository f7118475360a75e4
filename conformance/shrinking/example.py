"""From a divergence to what a person sees of it: the smallest input, the numbers, the script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from normgauge.adapters.case import Array, Case, Observation
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.script import numbers
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.diagnosis.candidates import Deviation, compare
from normgauge.conformance.diagnosis.predictions import Prediction, predict
from normgauge.conformance.shrinking.shrink import shrink
from normgauge.conformance.subjects.subject import NO_SCRIPT, Subject, Target
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.oracle import Semantics
from normgauge.results.records import Example


def shrunk_example(
    judged: Judged, evidence: Evidence, subject: Subject, ranks: Sequence[int]
) -> tuple[Example, Deviation]:
    """The smallest input found that shows what was judged, and the deviation that it shows."""
    assert judged.shows is not None
    case, observation = judged.shows.probe.case, judged.shows.observation
    arithmetic = judged.held_to or evidence.arithmetic
    followed = evidence.followed[0]
    expected = Semantics(layer=followed.layer, choices={**followed.choices, **judged.departs})

    target = Target(subject=subject, implementation=judged.of or evidence.implementation, ranks=ranks)
    quantities = judged.shows.probe.quantities
    empty = [step.x.size == 0 for step in case.steps]

    def shows(candidate: Case, seen: Observation) -> bool:
        if seen.died or seen.unsupported or seen.raised:
            return False
        if not judged.departs and [step.x.size == 0 for step in candidate.steps] != empty:
            return False
        if judged.departs and compare(seen, predict(candidate, followed, arithmetic)).ratio > 1:
            return False
        return compare(seen, predict(candidate, expected, arithmetic), quantities).ratio > 2

    def raises_alike(candidate: Case, seen: Observation) -> bool:
        alike = _said(seen) == _said(observation) and [step.x.size == 0 for step in candidate.steps] == empty
        return alike and predict(candidate, expected, arithmetic).refused is None

    still = {"diverges": shows, "raises": raises_alike}.get(judged.verdict)
    if still is not None and still(case, observation):
        case, observation = shrink(case, observation, still, target, keep_form=not judged.departs)
    wanted = predict(case, expected, arithmetic)
    other = predict(case, followed, arithmetic) if judged.departs else None
    example = example_of(case, observation, wanted, other, target, str(judged.sentence))
    return example, compare(observation, wanted, quantities)


def _said(seen: Observation) -> tuple[str, str] | None:
    """The type of an exception and its words without numbers, which are those of the case."""
    return (seen.raised.type, re.sub(r"[\d.e+-]+", "", seen.raised.message)) if seen.raised else None


def example_of(
    case: Case,
    observation: Observation,
    canonical: Prediction,
    followed: Prediction | None,
    target: Target,
    about: str,
) -> Example:
    """A case with what came out, what should have, what the followed semantics give, and its script."""
    predicted = {"canonical": canonical} | ({"followed": followed} if followed else {})
    lines = {name: _predicted_lines(one, case.dtype) for name, one in predicted.items()}
    script = target.subject.script(target.implementation, case, about)
    if script != NO_SCRIPT:
        script += "".join(f"print({f'{name}: {line}'!r})\n" for name, own in lines.items() for line in own)
    return Example(
        case=case_id(case),
        settings=dict(case.settings),
        shapes=[list(step.x.shape) for step in case.steps],
        inputs=_input_lines(case),
        observed=_observed_lines(observation, case.dtype),
        canonical=lines["canonical"],
        followed=lines.get("followed", []),
        script=script,
    )


def _input_lines(case: Case) -> list[str]:
    lines = [f"{name} {numbers(value, case.dtype)}" for name, value in case.parameters.items()]
    for number, step in enumerate(case.steps, start=1):
        for name, value in ((name, value) for action in step.before for name, value in action.parameters.items()):
            lines.append(f"step {number} sets {name} {numbers(value, case.dtype)}")
        lines.append(f"step {number} {step.mode} x {numbers(step.x, case.dtype)}")
        if step.dy is not None:
            lines.append(f"step {number} {step.mode} dy {numbers(step.dy, case.dtype)}")
    return lines


def _observed_lines(observation: Observation, dtype: str) -> list[str]:
    lines = _step_lines([step.quantities for step in observation.steps], dtype)
    if observation.raised:
        lines.append(f"raised {observation.raised.type}: {observation.raised.message}")
    if observation.died:
        lines.append(observation.died)
    return lines


def _predicted_lines(prediction: Prediction, dtype: str) -> list[str]:
    carrier = KNOWN_DTYPES[dtype].carrier
    with np.errstate(over="ignore"):
        steps = [{name: one.value.astype(carrier) for name, one in step.items()} for step in prediction.steps]
    lines = _step_lines(steps, dtype)
    if prediction.refused is not None:
        lines.append(f"refused: {prediction.refused}")
    return lines


def _step_lines(steps: Sequence[Mapping[str, Array]], dtype: str) -> list[str]:
    named = [(number, *pair) for number, step in enumerate(steps, start=1) for pair in step.items()]
    return [f"step {number} {name} {numbers(values, dtype)}" for number, name, values in named]
