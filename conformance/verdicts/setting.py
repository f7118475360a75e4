"""Rule ``setting``: the value given is the value used."""

from __future__ import annotations

from dataclasses import replace

from normgauge.conformance.diagnosis.candidates import SHOWN_IN, Deviation, Seen, compare
from normgauge.conformance.diagnosis.measured_setting import Interval, measured_setting
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.digits import apart
from normgauge.conformance.verdicts.evidence import Evidence, Judged, Sentence, crashed, excuse, witness
from normgauge.oracle import Arithmetic


def judge_setting(requirement: Requirement, evidence: Evidence) -> Judged:
    setting = str(requirement.setting)
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return crashed(died)
    step = MAGNITUDES[evidence.arithmetic.dtype].resolution[setting]
    excused, rounded, witnesses = [], [], []
    told_apart: dict[tuple[float, float], bool] = {}
    for one in asked:
        if reason := excuse(one.observation):
            excused.append(f"{one.probe.label}: {reason}")
            continue
        deviation, followed = evidence.best(one.probe.case, one.observation, SHOWN_IN[setting])
        given = one.probe.case.settings[setting]
        if evidence.arithmetic.intermediates is not None:  # wide bounds would hide another value
            honoured = Arithmetic(evidence.dtype)
            found = measured_setting(one, followed, setting, honoured, evidence.references)
            if found is not None and abs(found.best - given) > step * given:
                expected = evidence.expected(one.probe.case, followed, honoured)
                away = compare(one.observation, expected, SHOWN_IN[setting])
                return _another_setting(requirement, one, away, found, evidence)
        if deviation.ratio > 1:
            found = measured_setting(one, followed, setting, evidence.arithmetic, evidence.references)
            if found is None or abs(found.best - given) > step * given:
                return _another_setting(requirement, one, deviation, found, evidence)
            rounded.append(f"{setting}={given:g} is used as {apart(found.best, given, 12)}")
        for factor in (1 - step, 1 + step):
            case = one.probe.case
            other = replace(case, settings={**case.settings, setting: given * factor})
            away = compare(one.observation, evidence.expected(other, followed), SHOWN_IN[setting])
            told_apart[given, factor] = told_apart.get((given, factor), False) or away.ratio > 1
            if away.ratio > 1:
                witnesses.append(witness(one, away, f"{setting} * {factor:g}", evidence.dtype))
    unclear = [
        f"{setting}={given:g} * {factor:g} is not excluded" for (given, factor), told in told_apart.items() if not told
    ]
    notes = (*excused, *rounded, *unclear)
    if unclear:
        sentence = Sentence(text=f"the cases do not distinguish steps of {step:g} in {setting}")
        return Judged(verdict="cannot tell", measured="", sentence=sentence, notes=notes, witnesses=tuple(witnesses))
    if not witnesses:
        reason = excused[0] if excused else "no case of it was asked"
        return Judged(verdict="unsupported", sentence=evidence.note(reason), notes=notes)
    sentence = evidence.note(f"uses the given {setting}, to a relative {step:g}")
    return Judged(verdict="conforms", measured="", sentence=sentence, notes=notes, witnesses=tuple(witnesses))


def _another_setting(
    requirement: Requirement, one: Seen, deviation: Deviation, found: Interval | None, evidence: Evidence
) -> Judged:
    setting = str(requirement.setting)
    given = one.probe.case.settings[setting]
    measured = f"{setting}={apart(found.best, given, 6, 9)}" if found else "no value fits"
    sentence = evidence.note(f"with {setting}={given:g} given, the layer computes as with {measured}")
    shown = witness(one, deviation, f"{setting}={given:g}", evidence.dtype)
    return Judged(
        verdict="diverges",
        measured=measured,
        sentence=sentence,
        notes=(),
        witnesses=(shown,),
        shows=one,
    )
