"""Verdicts: a requirement held against what was observed and diagnosed. The rules stand in docs/verdicts.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from normgauge.conformance.requirements.requirement import Requirement, Rule
from normgauge.conformance.verdicts.axis import judge_axis
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.precision import judge_output_type, judge_precision
from normgauge.conformance.verdicts.refusal import judge_refusal
from normgauge.conformance.verdicts.setting import judge_setting
from normgauge.conformance.verdicts.side_effects import judge_unmodified
from normgauge.conformance.verdicts.values import judge_answer, judge_constant, judge_values


def judge(requirement: Requirement, evidence: Evidence) -> Judged:
    """The verdict on one requirement."""
    return JUDGES[requirement.rule](requirement, evidence)


#: ``kin`` is judged by related_layers.py, which needs the observations of two implementations.
JUDGES: Final[Mapping[Rule, Callable[[Requirement, Evidence], Judged]]] = {
    "axis": judge_axis,
    "values": judge_values,
    "constant": judge_constant,
    "answer": judge_answer,
    "setting": judge_setting,
    "refusal": judge_refusal,
    "unmodified": judge_unmodified,
    "precision": judge_precision,
    "output_type": judge_output_type,
}
