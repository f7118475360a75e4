"""Verdicts: a requirement held against what was observed and diagnosed. The rules stand in docs/verdicts.md."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from normgauge.adapters.base import Case, Observation
from normgauge.adapters.script import DIGITS
from normgauge.adapters.wire import case_id
from normgauge.conformance.diagnosis import (
    SHOWN_IN,
    Deviation,
    Diagnosis,
    Seen,
    compare,
    diagnose,
    measured_setting,
)
from normgauge.conformance.experiments import QUANTITIES
from normgauge.conformance.references import predict
from normgauge.conformance.requirements import REMEDIES, Requirement
from normgauge.oracle import AXES, Arithmetic, Axis, Semantics
from normgauge.reports.records import Verdict, Witness

#: How far from the setting given a used setting must be told apart, relative to it.
RESOLUTION: Final[Mapping[str, Mapping[str, float]]] = {
    "eps": {"float32": 1e-5, "float64": 1e-6},
    "momentum": {"float32": 1e-4, "float64": 1e-6},
}


@dataclass(frozen=True)
class Evidence:
    """Everything known of one implementation at one dtype when it is judged."""

    implementation: str
    dtype: str
    names: Mapping[str, str]
    remedies: Mapping[str, str]
    seen: tuple[Seen, ...]
    diagnosis: Diagnosis
    followed: tuple[Semantics, ...]

    @property
    def arithmetic(self) -> Arithmetic:
        """The arithmetic that the implementation was found to use."""
        return self.diagnosis.arithmetic

    def of(self, requirement: str) -> list[Seen]:
        return [one for one in self.seen if one.probe.requirement == requirement and not one.probe.measures]

    def best(
        self, case: Case, observation: Observation, quantities: Sequence[str] = QUANTITIES
    ) -> tuple[Deviation, Semantics]:
        """The smallest deviation among the surviving semantics, and which one has it."""
        found = [(compare(observation, predict(case, one, self.arithmetic), quantities), one) for one in self.followed]
        return min(found, key=lambda pair: pair[0].ratio)


@dataclass(frozen=True)
class Judged:
    """A verdict with what decided it; ``shows`` is the probe that shows a divergence best."""

    verdict: Verdict
    measured: str = ""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    remedy: str | None = None
    shows: Seen | None = None
    departs: Mapping[str, str] = field(default_factory=dict)
    held_to: Arithmetic | None = None


def judge(requirement: Requirement, evidence: Evidence) -> Judged:
    """The verdict on one requirement."""
    return _JUDGES[requirement.judged_by](requirement, evidence)


def witness(seen: Seen, deviation: Deviation, against: str, dtype: str) -> Witness:
    digits = DIGITS[dtype]
    return Witness(
        seen.probe.label,
        case_id(seen.probe.case),
        against,
        deviation.step,
        deviation.quantity,
        list(deviation.index),
        deviation.what or format(deviation.observed, digits),
        format(deviation.expected, ".9g"),
        format(deviation.bound, ".3g"),
        deviation.ratio if math.isfinite(deviation.ratio) else None,
    )


# --- axis ---------------------------------------------------------------------------------------


def _judge_axis(requirement: Requirement, evidence: Evidence) -> Judged:
    axis = next(a for a in AXES[requirement.layer] if a.name == requirement.axis)
    own = evidence.of(requirement.id)
    died = [one for one in own if one.observation.died]
    if died:
        return _crashed(died)
    diagnosis = evidence.diagnosis
    values = diagnosis.values[axis.name]
    if not diagnosis.known:
        return _no_survivor(requirement, axis, values, evidence)
    witnesses = (_against(axis, value, evidence) for value in axis.names if value not in values)
    shown = tuple(one for one in witnesses if one is not None)
    if values == (axis.canonical,):
        return Judged("conforms", axis.canonical, _axis_sentence(evidence, axis, values), (), shown)
    if axis.canonical not in values:
        return _departs(axis, values, evidence, shown)
    # Undecided: because the cases that decide it could not be run, or because they say too little.
    deciding = own or list(diagnosis.seen)
    if any(one.observation.died for one in deciding):
        return _crashed([one for one in deciding if one.observation.died])
    excused = [reason for one in deciding if (reason := _excuse(one.observation)) and not _foreseen(one, evidence)]
    if excused:
        return Judged("unsupported", "", f"{evidence.implementation}: {excused[0]}", tuple(excused))
    left = ", ".join(values)
    return Judged("cannot tell", left, f"{axis.question}: the cases did not tell apart {left}", (), shown)


def _departs(axis: Axis, values: tuple[str, ...], evidence: Evidence, shown: tuple[Witness, ...]) -> Judged:
    measured = ", ".join(values)
    sentence = _axis_sentence(evidence, axis, values)
    canonical = _against(axis, axis.canonical, evidence)
    loudest = evidence.diagnosis.against(axis.name, axis.canonical)
    notes: tuple[str, ...] = ()
    if values == ("refused",):
        # Not offering a choice is no divergence (rule 4); what it says is kept.
        own = loudest[0].observation if loudest else None
        notes = _raised_notes(own)
        return Judged("unsupported", measured, sentence, notes, shown)
    witnesses = ((canonical,) if canonical else ()) + tuple(w for w in shown if w is not canonical and w != canonical)
    return Judged(
        "diverges",
        measured,
        sentence,
        notes,
        witnesses,
        _remedy(f"{axis.name}={values[0]}", evidence),
        loudest[0] if loudest else None,
        {axis.name: axis.canonical},
    )


#: Where nothing fits, the axis that a departing quantity puts in doubt first.
_SHOWN_BY: Final = {"output": "eps_placement", "running_mean": "momentum_weighs", "running_var": "running_var"}


def _no_survivor(requirement: Requirement, axis: Axis, values: tuple[str, ...], evidence: Evidence) -> Judged:
    """Rule 3: no known alternative fits; the axes whose own cases depart from the nearest one diverge."""
    measured = "no known alternative"
    departing = []
    for one in evidence.diagnosis.seen:
        deviation, nearest = evidence.best(one.probe.case, one.observation)
        if deviation.ratio > 1:
            departing.append((one, deviation, nearest))
    own = [found for found in departing if _SHOWN_BY.get(found[1].quantity) == axis.name]
    nearest_text = ", ".join(f"{name}={value}" for name, value in evidence.followed[0].choices.items())
    if not own:
        sentence = f"{evidence.implementation} follows no known alternative; nearest is {nearest_text}"
        return Judged("cannot tell", f"nearest: {', '.join(values)}", sentence)
    witnesses = tuple(witness(one, deviation, "the nearest alternative", evidence.dtype) for one, deviation, _ in own)
    told = _told(own[0][1], own[0][0])
    sentence = f"{evidence.implementation} follows no known alternative: {told}; nearest is {nearest_text}"
    return Judged("diverges", measured, sentence, (), witnesses, None, own[0][0])


def _axis_sentence(evidence: Evidence, axis: Axis, values: tuple[str, ...]) -> str:
    measured = " or ".join(f"{value} ({axis.value(value).meaning})" for value in values)
    text = f"{evidence.implementation}: {axis.name} is {measured}"
    if values == (axis.canonical,):
        return text
    return f"{text}; canonical is {axis.canonical} ({axis.value(axis.canonical).meaning})"


def _against(axis: Axis, value: str, evidence: Evidence) -> Witness | None:
    """The witness that excludes ``value``, everything else as followed."""
    loudest = evidence.diagnosis.against(axis.name, value)
    if loudest is None:
        return None
    seen, _ = loudest
    other = Semantics(evidence.diagnosis.layer, {**evidence.followed[0].choices, axis.name: value})
    prediction = predict(seen.probe.case, other, evidence.arithmetic)
    deviation = compare(seen.observation, prediction)
    if seen.observation.raised is not None and prediction.refused is None:
        said = f"{seen.observation.raised.type}: {seen.observation.raised.message[:200]}"
        deviation = Deviation(math.inf, len(seen.observation.steps) + 1, "output", what=said)
    return witness(seen, deviation, f"{axis.name}={value}", evidence.dtype)


# --- values -------------------------------------------------------------------------------------


def _judge_values(requirement: Requirement, evidence: Evidence) -> Judged:
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return _crashed(died)
    outside, excused, silent, held, raised = [], [], [], [], 0
    for one in asked:
        reason = _excuse(one.observation)
        deviation, nearest = evidence.best(one.probe.case, one.observation, one.probe.quantities)
        if deviation.ratio > 1:
            outside.append((one, deviation, nearest))
        elif _foreseen(one, evidence):
            continue  # the semantics it follows refuse this; the axis says so once
        elif reason:
            excused.append(f"{one.probe.label}: {reason}")
            raised += one.observation.raised is not None
        elif _hides_state(one, nearest, evidence):
            silent.append(f"{one.probe.label}: the state is not shown")
        elif _says_nothing(one, nearest, evidence):
            silent.append(f"{one.probe.label}: out of range, the bound is infinite")
        else:
            held.append(one)
    notes = tuple(excused)
    if outside:
        one, deviation, _ = max(outside, key=lambda found: found[1].ratio)
        witnesses = tuple(witness(o, d, "the semantics it follows elsewhere", evidence.dtype) for o, d, _ in outside)
        sentence = f"{evidence.implementation}: {_told(deviation, one)}"
        measured = _follows_there(one, evidence) or deviation.what or _instead(deviation)
        if len(outside) > 1:
            notes = (*notes, f"shown by: {'; '.join(o.probe.label for o, _, _ in outside)}")
        return Judged("diverges", measured, sentence, notes, witnesses, _remedy(requirement.id, evidence), one)
    if not asked:
        return Judged("unsupported", "", f"{evidence.implementation}: no input of this kind exists for it")
    if not held and silent:
        return Judged("cannot tell", "", f"{evidence.implementation}: {silent[0]}", (*notes, *silent))
    if not held or raised:
        # What the framework has no way to ask for is a note; what it refuses to compute is not.
        part = f"{len(excused)} of {len(asked)} cases" if held else ""
        return Judged("unsupported", part, f"{evidence.implementation}: {excused[0]}", notes)
    sentence = f"{evidence.implementation}: within the bound on {len(held)} case(s)"
    return Judged("conforms", "", sentence, notes)


def _hides_state(one: Seen, semantics: Semantics, evidence: Evidence) -> bool:
    """Whether a quantity that is asked for was not shown, as by a worker that reports no state."""
    prediction = predict(one.probe.case, semantics, evidence.arithmetic)
    return any(
        quantity in one.probe.quantities and quantity != "output" and quantity not in seen.state
        for seen, expected in zip(one.observation.steps, prediction.steps, strict=False)
        for quantity in expected
    )


def _says_nothing(one: Seen, semantics: Semantics, evidence: Evidence) -> bool:
    prediction = predict(one.probe.case, semantics, evidence.arithmetic)
    references = [reference for step in prediction.steps for reference in step.values()]
    sizes = [reference.value.size for reference in references]
    return sum(sizes) > 0 and not any(reference.says_something().any() for reference in references)


def _follows_there(one: Seen, evidence: Evidence) -> str:
    """Which semantics the departing case alone would follow, where that differs."""
    alone = Seen(type(one.probe)(one.probe.requirement, one.probe.label, one.probe.case, True), one.observation)
    local = diagnose(one.probe.case.layer, [alone], evidence.dtype)
    if not local.known:
        return ""
    usual = evidence.followed[0].choices
    differing = {axis: values for axis, values in local.values.items() if usual[axis] not in values}
    return ", ".join(f"there {axis}={'/'.join(values)}" for axis, values in differing.items())


# --- setting ------------------------------------------------------------------------------------


def _judge_setting(requirement: Requirement, evidence: Evidence) -> Judged:
    setting = str(requirement.setting)
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return _crashed(died)
    step = RESOLUTION[setting][evidence.arithmetic.dtype]
    excused, witnesses = [], []
    told_apart: dict[tuple[float, float], bool] = {}
    for one in asked:
        reason = _excuse(one.observation)
        if reason:
            excused.append(f"{one.probe.label}: {reason}")
            continue
        deviation, followed = evidence.best(one.probe.case, one.observation, SHOWN_IN[setting])
        given = one.probe.case.settings[setting]
        if deviation.ratio > 1:
            return _another_setting(setting, one, deviation, followed, evidence)
        for factor in (1 - step, 1 + step):
            case = one.probe.case
            other = replace(case, settings={**case.settings, setting: given * factor})
            away = compare(one.observation, predict(other, followed, evidence.arithmetic), SHOWN_IN[setting])
            told_apart[given, factor] = told_apart.get((given, factor), False) or away.ratio > 1
            if away.ratio > 1:
                witnesses.append(witness(one, away, f"{setting} * {factor:g}", evidence.dtype))
    unclear = [
        f"{setting}={given:g} * {factor:g} is not excluded" for (given, factor), told in told_apart.items() if not told
    ]
    notes = (*excused, *unclear)
    if unclear:
        return Judged("cannot tell", "", f"steps of {step:g} in {setting} were not told apart", notes, tuple(witnesses))
    if not witnesses:
        return Judged("unsupported", "", f"{evidence.implementation}: {excused[0] if excused else 'not asked'}", notes)
    sentence = f"{evidence.implementation}: uses the {setting} given, to {step:g} of itself"
    return Judged("conforms", "", sentence, notes, tuple(witnesses))


def _another_setting(setting: str, one: Seen, deviation: Deviation, followed: Semantics, evidence: Evidence) -> Judged:
    given = one.probe.case.settings[setting]
    found = measured_setting(one, followed, setting, evidence.arithmetic)
    measured = f"{setting}={found.best:.6g}" if found else "no value fits"
    sentence = f"{evidence.implementation}: given {setting}={given:g}, it computes as with {measured}"
    shown = witness(one, deviation, f"{setting}={given:g}", evidence.dtype)
    return Judged("diverges", measured, sentence, (), (shown,), _remedy(f"setting={setting}", evidence), one)


# --- precision ----------------------------------------------------------------------------------


def _judge_precision(requirement: Requirement, evidence: Evidence) -> Judged:
    if not evidence.diagnosis.known:
        return Judged("cannot tell", "", f"{evidence.implementation} follows no known alternative in any precision")
    if evidence.arithmetic.dtype == evidence.dtype:
        sentence = f"{evidence.implementation} computes {evidence.dtype} input in {evidence.dtype}"
        return Judged("conforms", evidence.dtype, sentence)
    honoured = Arithmetic(evidence.dtype)
    found = []
    for one in evidence.diagnosis.seen:
        prediction = predict(one.probe.case, evidence.followed[0], honoured)
        found.append((compare(one.observation, prediction), one))
    deviation, loudest = max(found, key=lambda pair: pair[0].ratio)
    outputs = sorted({step.dtype for one in evidence.seen for step in one.observation.steps})
    sentence = (
        f"{evidence.implementation} takes {evidence.dtype}, returns {', '.join(outputs)}, and computes in "
        f"{evidence.arithmetic.dtype}: {_told(deviation, loudest)}"
    )
    shown = witness(loudest, deviation, f"computing in {evidence.dtype}", evidence.dtype)
    return Judged("diverges", f"computes in {evidence.arithmetic.dtype}", sentence, (), (shown,),
                  _remedy("precision", evidence), loudest, held_to=honoured)  # fmt: skip


# --- refusal and side effects -------------------------------------------------------------------


def _judge_refusal(requirement: Requirement, evidence: Evidence) -> Judged:
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return _crashed(died)
    accepted = [one for one in asked if one.observation.raised is None and not one.observation.unsupported]
    notes = []
    for one in asked:
        if one.observation.unsupported:
            notes.append(f"{one.probe.label}: {one.observation.unsupported}")
        elif one.observation.raised and not _names_the_cause(one, evidence.names):
            said = " ".join(one.observation.raised.message.split())[:160]
            notes.append(f"{one.probe.label}: the message names neither value nor rule: {said!r}")
    if accepted:
        labels = "; ".join(one.probe.label for one in accepted)
        witnesses = tuple(
            witness(
                one,
                Deviation(math.inf, 1, "output", what=f"an output of shape {one.observation.steps[0].output.shape}"),
                "a refusal",
                evidence.dtype,
            )
            for one in accepted
        )
        sentence = f"{evidence.implementation} accepts what must be refused: {labels}"
        return Judged("diverges", "accepted", sentence, tuple(notes), witnesses, _remedy(requirement.id, evidence),
                      accepted[0])  # fmt: skip
    if all(one.observation.unsupported for one in asked):
        return Judged(
            "unsupported",
            "",
            f"{evidence.implementation}: {notes[0] if notes else 'not asked'}",
            tuple(notes),
        )
    return Judged("conforms", "refused", f"{evidence.implementation} refuses all {len(asked)} case(s)", tuple(notes))


def _names_the_cause(seen: Seen, names: Mapping[str, str]) -> bool:
    """Whether a refusal's message names a value that was given or a setting by its name."""
    assert seen.observation.raised is not None
    message = seen.observation.raised.message
    settings: Mapping[str, Any] = seen.probe.case.settings
    values = {str(settings[name]) for name in ("num_channels", "num_groups") if name in settings}
    values |= {str(step.x.shape[1]) for step in seen.probe.case.steps}
    words = {names.get(name, name) for name in ("num_channels", "num_groups")} | {
        "channel",
        "channels",
        "group",
        "groups",
    }
    return bool(set(re.findall(r"\w+", message)) & (values | words))


def _judge_unmodified(requirement: Requirement, evidence: Evidence) -> Judged:
    changed = [
        (one, sorted({name for step in one.observation.steps for name in step.modified})) for one in evidence.seen
    ]
    guilty = [(one, names) for one, names in changed if names]
    if guilty:
        one, names = guilty[0]
        text = f"the call changed {', '.join(names)} ({len(guilty)} of {len(changed)} cases)"
        return Judged("crashes", text, f"{evidence.implementation}: {text}", (), (), "pass a copy", one)
    steps = sum(len(one.observation.steps) for one in evidence.seen)
    if not steps:
        return Judged("cannot tell", "", "no call returned")
    return Judged("conforms", "", f"{evidence.implementation}: {steps} calls changed nothing")


# --- shared -------------------------------------------------------------------------------------


def _crashed(died: Sequence[Seen]) -> Judged:
    how = died[0].observation.died or ""
    notes = tuple(f"{one.probe.label}: {one.observation.died}" for one in died)
    return Judged("crashes", how, f"{died[0].probe.label}: {how}", notes, (), None, died[0])


def _excuse(observation: Observation) -> str | None:
    if observation.unsupported:
        return observation.unsupported
    if observation.raised:
        said = " ".join(observation.raised.message.split())
        return f"{observation.raised.type} in {observation.raised.where}: {said[:300]}"
    return None


def _foreseen(one: Seen, evidence: Evidence) -> bool:
    """Whether an exception is the refusal that the followed semantics demand."""
    if one.observation.raised is None:
        return False
    return any(predict(one.probe.case, s, evidence.arithmetic).refused is not None for s in evidence.followed)


def _raised_notes(observation: Observation | None) -> tuple[str, ...]:
    reason = _excuse(observation) if observation else None
    return (reason,) if reason else ()


def _told(deviation: Deviation, seen: Seen) -> str:
    where = f"{seen.probe.label}, step {deviation.step} {deviation.quantity}"
    if deviation.what:
        return f"{where}: {deviation.what}"
    index = f"[{', '.join(map(str, deviation.index))}]"
    return f"{where}{index} = {deviation.observed:.9g}, expected {deviation.expected:.9g} ± {deviation.bound:.3g}"


def _instead(deviation: Deviation) -> str:
    return f"{deviation.quantity} {deviation.observed:.6g} instead of {deviation.expected:.6g}"


def _remedy(key: str, evidence: Evidence) -> str | None:
    own = evidence.remedies.get(key)
    general = REMEDIES.get(key)
    return "; or ".join(text for text in (own, general) if text) or None


_JUDGES: Final[Mapping[str, Callable[[Requirement, Evidence], Judged]]] = {
    "axis": _judge_axis,
    "values": _judge_values,
    "setting": _judge_setting,
    "refusal": _judge_refusal,
    "unmodified": _judge_unmodified,
    "precision": _judge_precision,
}
