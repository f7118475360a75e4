"""What a wrong gradient is: the known form that explains all of it, or where it departs and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.diagnosis.located import SetsOf, located
from normgauge.conformance.diagnosis.predictions import known_gradient_errors
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.probe import GRADIENTS
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, excuse, raises
from normgauge.oracle import HALF, WRONG_FORMS, Reference, WrongGradients, digits_of

#: Elements of a case at most for it to be held against every known form; larger ones only against those that are left.
_SMALL: Final = 2**14
#: Names that are said of one departure at most: what more of them fit is not named.
_NAMES: Final = 2


@dataclass(frozen=True, kw_only=True)
class _Gradient:
    """A gradient of a case, its reference, and whether it lies outside."""

    one: Seen
    step: int
    quantity: str
    observed: NDArray[Any]
    expected: Reference
    departs: bool

    @property
    def case(self) -> Case:
        return self.one.probe.case

    @property
    def size(self) -> int:
        return int(self.case.steps[self.step].x.size)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The cause where it is known, what is said of the departure after its numbers, and notes."""

    cause: str = ""
    ending: str = ""
    notes: tuple[str, ...] = ()


def explained_gradients(requirement: Requirement, asked: Sequence[Seen], evidence: Evidence) -> Explained:
    """What explains the gradients that depart in these cases; where nothing does, where they depart.

    A requirement about gradients refers to an earlier one whose departure the same form explains.
    """
    found = list(_gradients(asked, evidence))
    departing = [one for one in found if one.departs]
    if not departing:
        return Explained()
    names = _names(found, evidence)
    for other in _others(requirement) if names else ():
        if common := [name for name in _names_of(other, evidence) if name in names]:
            if other.id < requirement.id:
                return Explained(cause=f"as {other.id}", ending=f": as {other.id}")
            names = tuple(common)
    if names and len(said := _plainest(names)) <= _NAMES:
        return _named(" or ".join(said), said)
    by_quantity = {
        name: _plainest(
            [one for one in _names([each for each in found if each.quantity == name], evidence) if not _joint(one)]
        )
        for name in GRADIENTS
    }
    of_each = {name: own for name, own in by_quantity.items() if 0 < len(own) <= _NAMES}
    if of_each.keys() == {one.quantity for one in departing}:
        text = ", ".join(f"{name}: {' or '.join(own)}" for name, own in of_each.items())
        return _named(text, tuple(dict.fromkeys(name for own in of_each.values() for name in own)))
    return Explained(ending=_where(departing, evidence))


def _named(text: str, said: tuple[str, ...]) -> Explained:
    forms = [(name, WRONG_FORMS[name]) for name in said if name in WRONG_FORMS]
    checks = dict.fromkeys(f"to check: {form.check}" for _, form in forms)
    sources = dict.fromkeys(f"{name}, known from: {form.source}" for name, form in forms)
    return Explained(cause=text, ending=f": {text}", notes=(*checks, *sources))


def raised_gradients(requirement: Requirement, raised: Sequence[Seen], asked: int, evidence: Evidence) -> Judged:
    """As :func:`raises`; where it is in all cases of some ranks, these are named, and once for all gradients."""
    judged, ranks = raises(raised, asked, evidence), _ranks_of(raised, requirement.id, evidence)
    if not ranks:
        return judged
    at = f"at rank {' and '.join(map(str, ranks))}"
    for earlier in (one for one in _others(requirement) if one.id < requirement.id):
        others = [one for one in evidence.seen if one.probe.requirement == earlier.id and one.observation.raised]
        if _types(others) == _types(raised) and _ranks_of(others, earlier.id, evidence) == ranks:
            return replace(
                judged, measured=f"as {earlier.id}", sentence=evidence.note(f"as {earlier.id}: gradients {at}")
            )
    sentence = evidence.note(f"gradients {at}: {excuse(raised[0].observation)}")
    return replace(judged, measured=f"{', '.join(_types(raised))} {at}", sentence=sentence)


def departs_forward(one: Seen, evidence: Evidence) -> bool:
    """Whether the same call raises without being differentiated, or its output departs, which is told there."""
    if len(one.probe.case.steps) != 1 or one.probe.case.steps[0].dy is None:
        return False
    return any(
        other.observation.raised is not None
        or evidence.best(other.probe.case, other.observation, ("output",))[0].ratio > 1
        for other in evidence.seen
        if _is_forward_of(other.probe.case, one.probe.case)
    )


def _is_forward_of(case: Case, differentiated: Case) -> bool:
    """Whether it is the same case without an upstream gradient."""
    if len(case.steps) != 1 or case.settings != differentiated.settings:
        return False
    (one,), (other,) = case.steps, differentiated.steps
    return one.dy is None and one.mode == other.mode and np.array_equal(one.x, other.x, equal_nan=True)


def raises_in_gradients(raised: Sequence[Seen], evidence: Evidence) -> str:
    """The requirement about gradients that tells of all these exceptions, of whole ranks; empty where none does."""
    about = [one for one in kind_of(evidence.diagnosis.layer).requirements if one.about == "gradients"]
    for requirement in about:
        own = [one for one in evidence.seen if one.probe.requirement == requirement.id and one.observation.raised]
        ranks = _ranks_of(own, requirement.id, evidence)
        if own and all(
            any(step.dy is not None for step in one.probe.case.steps) and one.probe.case.steps[0].x.ndim in ranks
            for one in raised
        ):
            return requirement.id if {*_types(raised)} <= {*_types(own)} else ""
    return ""


def _types(raised: Sequence[Seen]) -> list[str]:
    return list(dict.fromkeys(one.observation.raised.type for one in raised if one.observation.raised))


def _ranks_of(raised: Sequence[Seen], requirement: str, evidence: Evidence) -> list[int]:
    """The ranks of which every case raised, where these are all that raised and others did not."""
    own = [one for one in evidence.seen if one.probe.requirement == requirement]
    ranks = {one.probe.case.steps[0].x.ndim for one in raised}
    of_ranks = [one for one in own if one.probe.case.steps[0].x.ndim in ranks]
    return sorted(ranks) if len(raised) == len(of_ranks) < len(own) else []


def _others(requirement: Requirement) -> list[Requirement]:
    """The other requirements about gradients, of one that is about them itself, in the order of their ids."""
    if requirement.about != "gradients":
        return []
    own = kind_of(requirement.layer).requirements
    return [one for one in own if one.about == "gradients" and one.id != requirement.id]


def _names_of(requirement: Requirement, evidence: Evidence) -> tuple[str, ...]:
    return _names(list(_gradients(evidence.of(requirement.id), evidence)), evidence)


def _gradients(asked: Sequence[Seen], evidence: Evidence) -> Iterator[_Gradient]:
    """Every gradient of these cases that has a reference of its shape."""
    for one in asked:
        if departs_forward(one, evidence):
            continue
        steps = evidence.expected(one.probe.case, evidence.followed[0]).steps
        for number, (seen, expected) in enumerate(zip(one.observation.steps, steps, strict=False)):
            for quantity in GRADIENTS:
                observed, right = seen.gradients.get(quantity), expected.get(quantity)
                if quantity not in one.probe.quantities or observed is None or right is None:
                    continue
                if observed.shape == right.value.shape:
                    departs = (
                        right.excludes(observed)
                        and evidence.best(one.probe.case, one.observation, (quantity,))[0].ratio > 1
                    )
                    yield _Gradient(
                        one=one, step=number, quantity=quantity, observed=observed, expected=right, departs=departs
                    )


def _names(found: Sequence[_Gradient], evidence: Evidence) -> tuple[str, ...]:
    """The known forms that explain every gradient that departs; of these, those that the others allow, if any."""
    departing = sorted((one for one in found if one.departs), key=lambda one: one.size)
    if not departing or departing[0].size > _SMALL:
        return ()
    left = [*WRONG_FORMS]
    for one in departing:
        left = _fitting(one, left, evidence) if left else []
    left = [name for name in left if not _joint(name) or all(_is_in_others(one, name, evidence) for one in departing)]
    if not left:
        return _in_half(departing, evidence)
    for one in found:
        if not one.departs and len(left) > 1 and (allowed := _fitting(one, left, evidence)):
            left = allowed
    return tuple(left)


def _joint(name: str) -> bool:
    """Whether a form must be seen in every gradient that it changes."""
    return name in WRONG_FORMS and WRONG_FORMS[name].joint


def _is_in_others(one: _Gradient, name: str, evidence: Evidence) -> bool:
    """Whether a form explains the other gradients of the same call, too, as far as they were measured."""
    seen = one.one.observation.steps[one.step].gradients
    right = evidence.expected(one.case, evidence.followed[0]).steps[one.step]
    others = [
        replace(one, quantity=quantity, observed=seen[quantity], expected=expected, departs=False)
        for quantity in GRADIENTS
        if quantity != one.quantity and quantity in seen and (expected := right.get(quantity)) is not None
    ]
    return all(_fitting(other, [name], evidence) for other in others)


def _fitting(one: _Gradient, names: Sequence[str], evidence: Evidence) -> list[str]:
    """The forms that explain a gradient to half of the digits of what they get wrong."""
    errors = known_gradient_errors(one.case, one.step, evidence.followed[0])
    if errors is None:
        return []
    found, half = [], evidence.arithmetic.half_of_digits
    for name in names:
        value = errors.by(name).get(one.quantity)
        if value is None and not one.departs:
            found.append(name)
        elif value is not None and np.all(np.isfinite(value)):  # NaN explains no NaN
            apart = _largest(np.abs(value - one.expected.value), errors)
            if not Reference(value=value, bound=one.expected.bound + half * apart).excludes(one.observed):
                found.append(name)
    return found


def _largest(apart: NDArray[np.float64], errors: WrongGradients) -> NDArray[np.float64]:
    """The largest of each set, at each element; of the values of channels, of all."""
    if apart.shape != errors.sets.shape:
        return np.full_like(apart, np.max(apart, initial=0.0))
    largest = np.zeros(int(errors.sets.max()) + 1)
    np.maximum.at(largest, errors.sets, apart)
    return np.asarray(largest[errors.sets])


def _in_half(departing: Sequence[_Gradient], evidence: Evidence) -> tuple[str, ...]:
    """The type of the sums where every departing sum has no more digits than it, and lost no more than it may."""
    left = list(HALF)
    for one in departing:
        errors = known_gradient_errors(one.case, one.step, evidence.followed[0])
        if errors is None:
            return ()
        left = [dtype for dtype in left if _is_summed_in(dtype, one, errors, evidence)]
    return tuple(f"sums in half precision ({dtype})" for dtype in left[-1:])


def _is_summed_in(dtype: str, one: _Gradient, errors: WrongGradients, evidence: Evidence) -> bool:
    """Whether a gradient is what its sums give that were held in a type; of dx the two means of each set."""
    if one.quantity == "dx":
        value, lost = errors.dx_summed_in(dtype, one.observed)
        tolerance = one.expected.bound + evidence.arithmetic.half_of_digits * lost
        return not Reference(value=value, bound=tolerance).excludes(one.observed) and not Reference(
            value=one.expected.value, bound=one.expected.bound + lost
        ).excludes(one.observed)
    digits = digits_of(one.observed) <= HALF[dtype] < digits_of(one.expected.value)
    return digits and not errors.summed_in(dtype)[one.quantity].excludes(one.observed)


def _plainest(names: Sequence[str]) -> tuple[str, ...]:
    """Without the names that are a special case of another one."""
    return tuple(one for one in names if not any(one.startswith(f"{other}, ") for other in names))


def _where(departing: Sequence[_Gradient], evidence: Evidence) -> str:
    """Where the gradients depart, in the words that hold for the most cases."""
    said = Counter(f"{one.quantity} departs {_located(one, evidence)}" for one in departing)
    (text, count), *others = said.most_common()
    return f": {text}" + (f" in {count} of {said.total()} cases" if others else "")


def _located(one: _Gradient, evidence: Evidence) -> str:
    errors = known_gradient_errors(one.case, one.step, evidence.followed[0])
    layout = None
    if errors is not None and one.quantity == "dx":
        layout = SetsOf(sets=errors.sets, x_hat=errors.x_hat)
    weight = one.case.parameters.get("weight") if one.case.settings.get("weight", True) else None
    return located(one.observed, one.expected, evidence.arithmetic.half_of_digits, layout, weight)
