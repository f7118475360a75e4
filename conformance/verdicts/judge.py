"""Verdicts: each requirement is compared with observations and diagnosis. docs/verdicts.md has the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from normgauge.conformance.requirements.requirement import Requirement, Rule
from normgauge.conformance.verdicts.axis import departs_on, judge_axis
from normgauge.conformance.verdicts.evidence import Evidence, Judged, advised, foreseen, raises
from normgauge.conformance.verdicts.gradients import departs_forward, raised_gradients, raises_in_gradients
from normgauge.conformance.verdicts.held_to import judge_beyond_half, judge_range, judge_wide_sums
from normgauge.conformance.verdicts.in_common import MAY_RAISE, with_rule_of_raising
from normgauge.conformance.verdicts.precision import (
    judge_gradient_types,
    judge_output_type,
    judge_precision,
    judge_statistics_types,
)
from normgauge.conformance.verdicts.refusal import judge_refusal
from normgauge.conformance.verdicts.setting import judge_setting
from normgauge.conformance.verdicts.side_effects import judge_unmodified
from normgauge.conformance.verdicts.sizes import judge_sizes
from normgauge.conformance.verdicts.values import judge_answer, judge_constant, judge_parameter_types, judge_values
from normgauge.results.records import DIVERGENT


def judge(requirement: Requirement, evidence: Evidence) -> Judged:
    """The verdict on one requirement. No exception is passed over, where none is asked for."""
    return advised(requirement, _judged(requirement, evidence), evidence)


def _judged(requirement: Requirement, evidence: Evidence) -> Judged:
    by_axis = requirement.axis and requirement.rule != "axis" and departs_on(requirement.axis, evidence)
    judged = judge_axis(requirement, evidence) if by_axis else JUDGES[requirement.rule](requirement, evidence)
    if judged.verdict in DIVERGENT or requirement.rule in MAY_RAISE:
        return judged
    own = [one for one in evidence.seen if one.probe.requirement == requirement.id]
    raised = [one for one in own if one.observation.raised and not foreseen(one, evidence)]
    if not raised:
        return judged
    if requirement.about == "gradients":
        told_forward = [one for one in raised if departs_forward(one, evidence)]
        if len(told_forward) == len(raised) and judged.verdict == "conforms":
            return judged
        raised = [one for one in raised if one not in told_forward] or raised
        return raised_gradients(requirement, raised, len(own), evidence)
    if judged.verdict == "conforms" and (told := raises_in_gradients(raised, evidence)):
        return replace(judged, notes=(*judged.notes, f"{len(raised)} of {len(own)} cases raise as {told} does"))
    return with_rule_of_raising(raises(raised, len(own), evidence), evidence)


#: ``kin`` is judged by related_layers.py, which needs the observations of two implementations.
JUDGES: Final[Mapping[Rule, Callable[[Requirement, Evidence], Judged]]] = {
    "axis": judge_axis,
    "values": judge_values,
    "constant": judge_constant,
    "answer": judge_answer,
    "parameter_types": judge_parameter_types,
    "setting": judge_setting,
    "refusal": judge_refusal,
    "unmodified": judge_unmodified,
    "precision": judge_precision,
    "output_type": judge_output_type,
    "gradient_types": judge_gradient_types,
    "statistics_types": judge_statistics_types,
    "range": judge_range,
    "wide_sums": judge_wide_sums,
    "beyond_half": judge_beyond_half,
    "sizes": judge_sizes,
}
