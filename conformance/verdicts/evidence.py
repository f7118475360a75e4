"""What is known of an implementation when it is judged, and the words in which a verdict is told."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.diagnosis.candidates import Deviation, Diagnosis, Seen, allowed, as_given, compare
from normgauge.conformance.diagnosis.common_features import Rule
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.remedies.causes import Symptom
from normgauge.conformance.remedies.remedy import Advice, NotMended, Remedy, advice_for
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.digits import OF_BOUND, apart, beside, supported
from normgauge.oracle import Arithmetic, Semantics
from normgauge.results.records import Verdict, Witness

_GRADIENTS_ALONE: Final = frozenset(GRADIENTS)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything known of one implementation at one dtype when it is judged."""

    implementation: str
    identity: ImplementationId
    dtype: str
    names: Mapping[str, str]
    remedies: Mapping[str, str]
    seen: tuple[Seen, ...]
    diagnosis: Diagnosis
    followed: tuple[Semantics, ...]
    references: References = field(repr=False, compare=False)

    @functools.cached_property
    def rules(self) -> dict[str, Rule | None]:
        """What departing calls have in common, by what departs in them, as far as it was asked for (in_common.py)."""
        return {}

    @functools.cached_property
    def answers(self) -> dict[str, Any]:
        """Which calls depart, by quantity, as far as it was asked for (in_common.py)."""
        return {}

    @functools.cached_property
    def found(self) -> dict[str, str]:
        """What was found once and is asked for by many requirements, by name (held_bits.py)."""
        return {}

    @functools.cached_property
    def nearest(self) -> dict[tuple[int, int, tuple[str, ...]], tuple[Case, Observation, tuple[Deviation, Semantics]]]:
        """What :meth:`best` has found, by the identities of its arguments, which are held here and so stay theirs."""
        return {}

    @property
    def arithmetic(self) -> Arithmetic:
        """The arithmetic that the implementation was found to use."""
        return self.diagnosis.arithmetic

    @property
    def ordinary(self) -> Evidence:
        """The evidence by which ordinary cases are judged."""
        return self

    @property
    def precisions(self) -> tuple[Arithmetic, ...]:
        """What it may compute in without departing, tight to wide."""
        return allowed(self.arithmetic, self.dtype)

    def note(self, text: str) -> Sentence:
        """The text after the implementation's name and a colon."""
        return Sentence(text=text, subject=self.implementation, joins=": ")

    def does(self, text: str) -> Sentence:
        """The sentence whose subject is the implementation."""
        return Sentence(text=text, subject=self.implementation, joins=" ")

    def advice(self, cause: str) -> list[Advice]:
        """What is said of a cause to those who use this implementation."""
        return advice_for(kind_of(self.diagnosis.layer).advice, cause, self.identity, self.dtype)

    def of(self, requirement: str) -> list[Seen]:
        """The cases that a requirement is judged by."""
        unexplained = {one.probe.requirement for one in self.diagnosis.misfits}
        own = [one for one in self.seen if one.probe.requirement == requirement and one.probe.judged]
        own = [one for one in own if not one.probe.measures]
        if requirements()[requirement].about != "gradients":
            own = [held for one in own if (held := self.without_known_departures(one)) is not None]
        return [one for one in own if one.probe.needs not in unexplained]

    def waits_for(self, requirement: str) -> str:
        """A requirement that its cases need and that follows no known alternative; empty where there is none."""
        unexplained = {one.probe.requirement for one in self.diagnosis.misfits}
        needs = (one.probe.needs for one in self.seen if one.probe.requirement == requirement)
        return next((name for name in needs if name in unexplained), None) or ""

    @functools.cached_property
    def wrong_gradients(self) -> frozenset[tuple[str, str]]:
        """The gradients, each with its step's mode, that depart on ordinary inputs: told there alone (no cascade)."""
        found = set()
        for one in self.seen:
            if requirements()[one.probe.requirement].about == "gradients":
                for quantity in set(one.probe.quantities) & set(GRADIENTS):
                    if self.best(one.probe.case, one.observation, (quantity,))[0].ratio > 1:
                        found.add((one.probe.case.steps[-1].mode, quantity))
        return frozenset(found)

    def without_known_departures(self, one: Seen) -> Seen | None:
        """``one`` asked only for what is right on ordinary inputs; None where nothing is left of it."""
        mode = one.probe.case.steps[-1].mode if one.probe.case.steps else ""
        left = tuple(q for q in one.probe.quantities if (mode, q) not in self.wrong_gradients)
        if left == one.probe.quantities:
            return one
        return Seen(probe=replace(one.probe, quantities=left), observation=one.observation) if left else None

    def best(
        self, case: Case, observation: Observation, quantities: Sequence[str] = QUANTITIES
    ) -> tuple[Deviation, Semantics]:
        """The smallest deviation among the surviving semantics, and which one has it.

        It is that of the tightest precision that allows for the observation, of the widest if none does. Where outputs
        show a mistake, gradients may be those of the formula without it: one mistake is one difference.
        """
        key = (id(case), id(observation), tuple(quantities))
        if key not in self.nearest:
            self.nearest[key] = case, observation, self._best(case, observation, quantities)
        return self.nearest[key][-1]

    def _best(self, case: Case, observation: Observation, quantities: Sequence[str]) -> tuple[Deviation, Semantics]:
        followed = self.followed
        if observation.died or observation.unsupported:
            return Deviation(ratio=0.0), followed[0]  # which excludes nothing, whatever the reference is
        if self.diagnosis.mistakes and _GRADIENTS_ALONE.issuperset(quantities):
            followed = (*followed, *self._without_mistakes)
        nearest = (Deviation(ratio=math.inf), self.followed[0])
        for arithmetic in self.precisions:
            # Most semantics that it follows differ in nothing that a case reads: one prediction, compared once.
            different: dict[tuple[int, str | None], tuple[Prediction, Semantics]] = {}
            for one in followed:
                prediction = self.expected(case, one, arithmetic)
                different.setdefault((id(prediction.steps), prediction.refused), (prediction, one))
            found = [(compare(observation, prediction, quantities), one) for prediction, one in different.values()]
            nearest = min(found, key=lambda pair: pair[0].ratio)
            if nearest[0].ratio <= 1:
                break
        return nearest

    @functools.cached_property
    def _without_mistakes(self) -> tuple[Semantics, ...]:
        kind, mistakes = kind_of(self.diagnosis.layer), self.diagnosis.mistakes
        right = {axis: kind.axis(axis).canonical for axis in mistakes}
        return tuple(Semantics(layer=kind.name, choices={**one.choices, **right}) for one in self.followed)

    def expected(self, case: Case, semantics: Semantics, arithmetic: Arithmetic | None = None) -> Prediction:
        """What a semantics predicts for a case, by default in the arithmetic of the diagnosis."""
        return self.references.predict(case, semantics, arithmetic or self.arithmetic)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence, which begins with ``subject`` and what ``joins`` it where there is one."""

    text: str = ""
    subject: str = ""
    joins: str = ""

    def __str__(self) -> str:
        return f"{self.subject}{self.joins}{self.text}"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A verdict with what decided it; ``shows`` is the probe that shows a divergence best.

    ``remedy`` is what a port writes instead, ``not_mended`` why nothing makes the two agree.
    ``of`` is the layer that it was observed of, where that is not the implementation itself. ``explained`` says that
    what was ``measured`` is a cause, and no value in place of another; ``ending`` follows the numbers in the sentence.
    ``falls_with`` is the id of an earlier requirement with the same cause. ``meaning`` says what was
    ``measured`` in words, where that is no value of an axis and needs some.
    """

    verdict: Verdict
    measured: str = ""
    meaning: str = ""
    sentence: Sentence = Sentence()
    notes: tuple[str, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    remedy: str | None = None
    not_mended: str | None = None
    shows: Seen | None = None
    departs: Mapping[str, str] = field(default_factory=dict)
    held_to: Arithmetic | None = None
    of: str | None = None
    explained: bool = False
    ending: str = ""
    falls_with: str = ""


def witness(seen: Seen, deviation: Deviation, against: str, dtype: str, *, axis: str = "", value: str = "") -> Witness:
    """What decides against something; where that is a ``value`` of an ``axis``, both are named."""
    deviation, digits = as_given(deviation, seen.probe.case), KNOWN_DTYPES[dtype].printed
    return Witness(
        probe=seen.probe.label,
        case=case_id(seen.probe.case),
        against=against,
        step=deviation.step,
        quantity=deviation.quantity,
        index=list(deviation.index),
        observed=deviation.what or format(deviation.observed, digits),
        expected=expected_beside_bound(deviation),
        bound=beside(deviation.bound),
        margin=deviation.ratio if math.isfinite(deviation.ratio) else None,
        against_axis=axis,
        against_value=value,
    )


def crashed(died: Sequence[Seen]) -> Judged:
    how = died[0].observation.died or ""
    notes = tuple(f"{one.probe.label}: {one.observation.died}" for one in died)
    return Judged(
        verdict="crashes",
        measured=how,
        sentence=Sentence(text=f"{died[0].probe.label}: {how}"),
        notes=notes,
        witnesses=(),
        shows=died[0],
    )


def raises(raised: Sequence[Seen], asked: int, evidence: Evidence) -> Judged:
    """The verdict on a layer that raises on inputs that it must take, ``raised`` out of ``asked`` cases."""
    types = dict.fromkeys(one.observation.raised.type for one in raised if one.observation.raised)
    part = f" in {len(raised)} of {asked} cases" if len(raised) < asked else ""
    told_of = tuple(f"{one.probe.label}: {excuse(one.observation)}" for one in raised)
    return Judged(
        verdict="raises",
        measured=f"{', '.join(types)}{part}",
        sentence=evidence.note(told_of[0]),
        notes=told_of[1:],
        witnesses=tuple(witness(one, refused(one.observation), "a result", evidence.dtype) for one in raised),
        shows=raised[0],
    )


def excuse(observation: Observation) -> str | None:
    if observation.unsupported:
        return observation.unsupported
    if observation.raised:
        said = " ".join(observation.raised.message.split())
        return f"{observation.raised.type} in {observation.raised.where}: {said[:300]}"
    return None


def refused(observation: Observation) -> Deviation:
    """An exception as a deviation: infinitely far from any output."""
    said = excuse(observation) or ""
    return Deviation(ratio=math.inf, step=len(observation.steps) + 1, quantity="output", what=said)


def foreseen(one: Seen, evidence: Evidence) -> bool:
    """Whether an exception is the refusal that the followed semantics demand."""
    if one.observation.raised is None:
        return False
    if one.probe.measures is not None:  # a case that leaves a setting to the layer has no reference
        return False
    return any(evidence.expected(one.probe.case, s).refused is not None for s in evidence.followed)


def told(deviation: Deviation, seen: Seen) -> str:
    return told_in(seen.probe.label, as_given(deviation, seen.probe.case))


def told_in(label: str, deviation: Deviation) -> str:
    where = f"{label}, step {deviation.step} {deviation.quantity}"
    if deviation.what:
        return f"{where}: {deviation.what}"
    index = f"[{', '.join(map(str, deviation.index))}]"
    observed = apart(deviation.observed, deviation.expected, 9)
    expected, bound = expected_beside_bound(deviation), beside(deviation.bound)
    if not math.isfinite(deviation.observed) and abs(deviation.expected) < deviation.bound < math.inf:
        why = "the bound is wide: rounding may change every digit here, but the result must be finite"
        return f"{where}{index} = {observed}, expected a finite number, {expected} ± {bound} ({why})"
    return f"{where}{index} = {observed}, expected {expected} ± {bound}"


def expected_beside_bound(deviation: Deviation) -> str:
    """What was expected, to the last digit of the bound that is printed beside it."""
    return supported(deviation.expected, deviation.bound, deviation.observed, beyond=OF_BOUND - 1)


def instead(deviation: Deviation) -> str:
    if deviation.what:
        return deviation.what
    observed = apart(deviation.observed, deviation.expected, 6, 9)
    expected = supported(deviation.expected, deviation.bound, deviation.observed)
    return f"{deviation.quantity} {observed} instead of {expected}"


#: What the remedy of a mistake begins with: a step of the layer, in NumPy.
WRITE: Final = "in the layer, for x of shape (N, C, H, W), write"


def advised(requirement: Requirement, judged: Judged, evidence: Evidence) -> Judged:
    """The verdict with what a port writes instead, or with why nothing helps, where the cause is known.

    The implementation's own advice comes first: it names the cause by ``axis=value``, ``setting=eps``, ``precision`` or
    the id (docs/protocol.md). For a mistake it is the canonical step. What else a layer with a mistake departs in is
    given none: the remedies were tried on layers that are right elsewhere.
    """
    if judged.verdict not in {"diverges", "raises"}:
        return judged
    if evidence.diagnosis.mistakes:
        axis = kind_of(requirement.layer).axis(requirement.axis) if requirement.axis else None
        mistaken = axis is not None and judged.measured in {one.name for one in (*axis.mistakes, *axis.rare)}
        return replace(judged, remedy=f"{WRITE} {axis.code}") if axis and mistaken else judged
    key = cause = requirement.id
    if requirement.axis and (requirement.rule == "axis" or judged.departs):
        if judged.measured not in kind_of(requirement.layer).axis(requirement.axis).names:
            return judged
        key = cause = f"{requirement.axis}={judged.measured}"
    elif requirement.setting:
        key = f"setting={requirement.setting}"
    elif requirement.rule == "precision":
        key = "precision"
    case = judged.shows.probe.case if judged.shows else None
    symptom = Symptom(verdict=judged.verdict, measured=judged.measured, case=case)
    known = [one for one in evidence.advice(cause) if one.explains(symptom)]
    texts = [evidence.remedies.get(key), judged.remedy, *(one.sentence for one in known if isinstance(one, Remedy))]
    never = [one.sentence for one in known if isinstance(one, NotMended)]
    return replace(
        judged, remedy="; or ".join(text for text in texts if text) or None, not_mended="; ".join(never) or None
    )
