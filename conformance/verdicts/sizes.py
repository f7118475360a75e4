"""Rule ``sizes``: as by values, and at which sizes a layer departs, as a rule found from the cases themselves."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.probe import GRADIENTS
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.requirements.sizes import BLOCKS
from normgauge.conformance.verdicts.evidence import Evidence, Judged, foreseen, raises
from normgauge.conformance.verdicts.gradients import raises_in_gradients
from normgauge.conformance.verdicts.overflow import overflow
from normgauge.conformance.verdicts.values import judge_values

#: The part of the elements from a place on that must be wrong where the layer is said to depart from there on.
_MOST: Final = 0.5


def judge_sizes(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by values, with the rule behind the numbers.

    A case tells nothing where a requirement before this one tells it: of gradients where the output departs at the same
    size, of many elements where smaller inputs depart. Where no size begins it and ordinary inputs depart, too, it is
    not about size.
    """
    own = evidence.of(requirement.id)
    judged, told = judge_values(requirement, evidence), list[Seen]()
    if judged.verdict == "diverges":
        told = [one for one in own if _told_before(one, requirement, evidence)]
        cases = [one.probe.case for one in told]
        left = tuple(one for one in evidence.seen if not any(one.probe.case is case for case in cases))
        judged = judge_values(requirement, replace(evidence, seen=left)) if len(told) < len(own) else _nothing(evidence)
    raised = [one for one in own if one.observation.raised and not foreseen(one, evidence)]
    if judged.verdict in {"conforms", "unsupported"} and raised:
        told_of = raises_in_gradients(raised, evidence)
        sentence = evidence.note(f"its cases raise as {told_of} does")
        judged = Judged(verdict="cannot tell", sentence=sentence) if told_of else raises(raised, len(own), evidence)
    rest = [one for one in own if one not in told]
    departing = [one for one in rest if one in raised or _departs(one, evidence)]
    notes = (*judged.notes, *(f"{one.probe.label}: {_BEFORE}" for one in told))
    if judged.verdict not in {"diverges", "raises"}:
        return replace(judged, notes=(*notes, f"sizes: {_ranges(rest)}") if rest else notes)
    holding = [one for one in rest if one not in departing]
    begins = any(rule in rule_of(departing, holding) for rule in _BEGIN)
    if not begins and (others := _ordinary(departing, evidence)):
        sentence = evidence.note(f"the layer also differs at ordinary sizes, no size is the limit: {', '.join(others)}")
        return Judged(verdict="cannot tell", sentence=sentence, notes=notes)
    return _with_rule(replace(judged, notes=notes), departing, holding, evidence)


def _ordinary(departing: Sequence[Seen], evidence: Evidence) -> list[str]:
    """The requirements on ordinary inputs of which a case departs, too, in what these cases depart in."""
    raised = any(one.observation.raised for one in departing)
    gradients = all(_of_gradients(one) for one in departing)
    found = dict.fromkeys(
        one.probe.requirement
        for one in evidence.seen
        if requirements()[one.probe.requirement].rule in _ORDINARY
        and one.probe.judged
        and not one.probe.measures
        and not foreseen(one, evidence)
        and ((raised and one.observation.raised) or (_of_gradients(one) == gradients and _departs(one, evidence)))
    )
    return list(found)


#: The rules whose cases are about results at ordinary sizes.
_ORDINARY: Final = ("axis", "values", "constant", "setting")
_BEFORE: Final = "departs as at the sizes of a requirement before this one"


def _nothing(evidence: Evidence) -> Judged:
    return Judged(verdict="cannot tell", sentence=evidence.note(f"every case {_BEFORE}"))


def _told_before(one: Seen, requirement: Requirement, evidence: Evidence) -> bool:
    if not _departs(one, evidence):
        return False
    gradient = _of_gradients(one)
    output = gradient and evidence.best(one.probe.case, one.observation, ("output",))[0].ratio > 1
    before = [r.id for r in requirements().values() if r.rule == "sizes" and r.layer == requirement.layer]
    before = before[: before.index(requirement.id)]
    others = (other for name in before for other in evidence.of(name))
    return any((output or _of_gradients(other) == gradient) and _departs(other, evidence) for other in others)


def _of_gradients(one: Seen) -> bool:
    return set(one.probe.quantities) <= {*GRADIENTS}


def _departs(one: Seen, evidence: Evidence) -> bool:
    outside = evidence.best(one.probe.case, one.observation, one.probe.quantities)[0].ratio > 1
    return outside or overflow(one, evidence) is not None


def _with_rule(judged: Judged, departing: Sequence[Seen], holding: Sequence[Seen], evidence: Evidence) -> Judged:
    """The judgement with the rule in its sentence, and as what was measured."""
    rule, place = rule_of(departing, holding), _place(departing, evidence)
    count = len(departing) + len(holding)
    parts = (("departs", departing), ("holds", holding))
    told = tuple(f"{what} in {len(cases)} of {count} cases: {_ranges(cases)}" for what, cases in parts if cases)
    cause = "; ".join(filter(None, (f"departs {rule}" if rule else "", place)))
    if not cause:
        return replace(judged, notes=(*judged.notes, *told))
    sentence = replace(judged.sentence, text=f"{judged.sentence.text}: {cause}")
    measured = f"{judged.measured}: {cause}" if judged.verdict == "raises" else cause
    notes = (*judged.notes, *told)
    return replace(judged, sentence=sentence, measured=measured, notes=notes, explained=True, ending=f": {cause}")


def _sizes(case: Case) -> dict[str, int]:
    """The sizes of a case, each by its name in the plural."""
    shape, groups, kind = case.steps[0].x.shape, int(case.settings.get("num_groups", 1)), kind_of(case.layer)
    grouped = {"groups": groups, "channels a group": shape[1] // groups} if kind.grouped else {}
    sizes = {"samples": shape[0], "channels": shape[1], **grouped, "positions": math.prod(shape[2:])}
    values = f"values a {'group' if kind.grouped else 'channel'}"
    return {**sizes, values: kind.values_per_set(shape, groups), "elements": math.prod(shape)}


def rule_of(departing: Sequence[Seen], holding: Sequence[Seen]) -> str:
    """What the sizes of the departing cases have in common that those of the others lack; empty if nothing does.

    A size from a number on; beyond a number where a block does not divide it; up to a number. The rule with the fewest
    exceptions, which are cases that it covers and that hold all the same, as where a mistake is smaller than the bound;
    there may be one for :data:`_EXCEPTIONS` that depart. The first of several.
    """
    wrong = [_sizes(one.probe.case) for one in departing]
    right = [_sizes(one.probe.case) for one in holding]
    if not wrong or not right:
        return ""
    found = []
    for kind in (_from_on, _undivided, _up_to):
        for name in wrong[0]:
            for covers, text in kind(name, [one[name] for one in wrong]):
                found.append((sum(covers(one[name]) for one in right), covers, text, name))
    exceptions, covers, text, name = min(found, key=lambda one: one[0])
    if exceptions * _EXCEPTIONS > len(wrong) or exceptions == len(right):
        return ""
    held = [one[name] for one in right if not covers(one[name])]
    beside = [n for n in held if n < min(one[name] for one in wrong)]
    known = f", holds up to {max(beside):,}" if beside else ""
    but = f", but for {exceptions} of {exceptions + len(wrong)} cases" if exceptions else ""
    return f"{text}{known}{but}"


#: In the text of a rule by which a mistake begins at a size.
_BEGIN: Final = (" on, holds up to", " on where ")
#: A rule of the numbers of one size: whether it covers a number, and its text.
_Rules = Iterator[tuple[Callable[[int], bool], str]]
_EXCEPTIONS: Final = 5


def _from_on(name: str, wrong: Sequence[int]) -> _Rules:
    least = min(wrong)
    yield (lambda n: n >= least), f"from {least:,} {name} on"


def _up_to(name: str, wrong: Sequence[int]) -> _Rules:
    most = max(wrong)
    yield (lambda n: n <= most), f"up to {most:,} {name}"


def _undivided(name: str, wrong: Sequence[int]) -> _Rules:
    """As of a kernel that takes blocks and forgets or pads the last one."""
    least = min(wrong)
    for block in BLOCKS:
        if all(n % block for n in wrong):
            covers = functools.partial(_is_undivided, least, block)
            yield covers, f"from {least:,} {name} on where {block:,} does not divide them"


def _is_undivided(least: int, block: int, n: int) -> bool:
    return n >= least and n % block != 0


def _place(departing: Sequence[Seen], evidence: Evidence) -> str:
    """From which sample, channel, position or element on the outputs are wrong, where it is the same in all cases."""
    masks = [mask for one in departing if (mask := _outside(one, evidence)) is not None]
    for name, flat in _FLAT.items():
        first = {_first(flat(mask)) for mask in masks}
        if len(first) == 1 and (place := first.pop()):
            return f"the {name} from number {place:,} on are wrong (counted from 0)"
    return ""


#: An array of shape (N, C, *spatial) as (places, elements of a place).
_FLAT: Final[Mapping[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]]] = {
    "samples": lambda mask: mask.reshape(len(mask), -1),
    "channels": lambda mask: np.moveaxis(mask, 1, 0).reshape(mask.shape[1], -1),
    "positions": lambda mask: mask.reshape(mask.shape[0] * mask.shape[1], -1).T,
    "elements": lambda mask: mask.reshape(-1, 1),
}


def _first(wrong: NDArray[np.bool_]) -> int:
    """The first place with a wrong element, where most elements from there on are wrong; else 0."""
    first = int(np.argmax(wrong.any(axis=1)))
    return first if wrong[first:].mean() > _MOST else 0


def _outside(one: Seen, evidence: Evidence) -> NDArray[np.bool_] | None:
    """Which elements of the first output are outside their bound; None where none is, or another shape came out."""
    if not one.observation.steps or "output" not in one.probe.quantities:
        return None
    expected = evidence.expected(one.probe.case, evidence.followed[0]).steps[0]["output"]
    output = one.observation.steps[0].output
    if output.shape != expected.value.shape:
        return None
    outside: NDArray[np.bool_] = expected.ratio(output) > 1
    return outside if outside.any() else None


def _ranges(cases: Sequence[Seen]) -> str:
    sizes = [_sizes(one.probe.case) for one in cases]
    return ", ".join(f"{name} {_range([one[name] for one in sizes])}" for name in sizes[0]) if sizes else ""


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
