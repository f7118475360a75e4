"""Which departures have one cause: a requirement that falls with an earlier one is told with it (docs/verdicts.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from normgauge.conformance.diagnosis.candidates import Deviation, Seen
from normgauge.conformance.diagnosis.common_features import CHANCE, Rule
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.explained_values import CAUSES
from normgauge.conformance.verdicts.gradients import departs_forward
from normgauge.conformance.verdicts.held_bits import FORWARD, rounded_step
from normgauge.conformance.verdicts.in_common import (
    departing_calls,
    departs_in_most,
    ordinary_cases,
    raising_calls,
    rule_of,
    rule_of_raising,
)
from normgauge.results.records import DIVERGENT

#: The rules that compare values within the bound of what is followed.
_OF_VALUES: Final = frozenset({"values", "constant", "answer", "parameter_types", "sizes"})
_ROUNDED: Final = "a rounded step"
_RAISED: Final = "an exception"
_UNKNOWN: Final = "no known alternative of"


def falls_with(judged: Mapping[str, Judged], evidence: Evidence) -> dict[str, str]:
    """For each requirement that falls with another one, the id of that, which falls with none.

    Two fall together where the same known wrong gradient explains both, where the same rounded step explains both,
    where the same earlier values, unused parameters or negative variance explain all that departs in both,
    where one rule separates the departing calls of both from all others, where what departs in one follows from what
    departs in the other, or where no semantics fits and the same quantity departs in most calls. A requirement in which
    anything else departs, too, falls alone.

    Args:
        judged: the verdicts on all requirements of an implementation by their ids, in the order of the catalogue.
        evidence: by which they were judged.
    """
    divergent = {name: one for name, one in judged.items() if one.verdict in DIVERGENT}
    causes = _Causes(evidence, step=rounded_step(evidence) if divergent else "")
    found: dict[str, str] = {}
    told: dict[str, str] = {}
    for name in sorted(divergent, key=lambda name: not causes.step or divergent[name].measured != causes.step):
        one = divergent[name]
        first = one.measured.removeprefix("as ")
        if first != one.measured and first in divergent and causes.gradients_alone(name, one):
            found[name] = found.get(first, first)
            continue
        own = causes.of(name, one)
        if own and own <= told.keys():
            found[name] = min((told[cause] for cause in own), key=[*judged].index)
            continue
        for cause in own:
            told.setdefault(cause, name)
    return {name: found[name] for name in divergent if name in found}


class _Causes:
    """What makes a requirement fall, as text that is the same for the same cause; empty where anything is not known."""

    def __init__(self, evidence: Evidence, *, step: str) -> None:
        self.evidence = evidence
        self.step = step
        self._known = evidence.diagnosis.known
        self._ordinary = {one.probe.case.digest for one in ordinary_cases(evidence)}
        self._cause_of: dict[str, str] = {}
        self._departs_in: dict[str, set[bytes]] = {}

    def of(self, name: str, judged: Judged) -> frozenset[str]:
        """The causes of all that departs in a requirement."""
        rule = requirements()[name].rule
        if judged.measured in CAUSES:
            return frozenset({CAUSES[judged.measured]})
        if judged.verdict == "raises":
            return self._of_raising(name)
        if judged.verdict != "diverges":
            return frozenset()
        if rule in _OF_VALUES or judged.measured == "no value fits":
            quantities = self._departing(name, judged)
        elif rule == "axis" and not self._known and judged.measured == "no known alternative":
            quantities = {one.quantity for one in judged.witnesses}
        elif self.step and (judged.measured == self.step or rule == "setting"):
            return frozenset({_ROUNDED} if self._all_ordinary(self.evidence.of(name)) else ())
        else:
            return frozenset()
        causes = {self.of_quantity(quantity) for quantity in quantities}
        return frozenset() if "" in causes else frozenset(causes)

    def gradients_alone(self, name: str, judged: Judged) -> bool:
        """Whether gradients and nothing else depart in a requirement, or raise."""
        return judged.verdict == "raises" or self._departing(name, judged) <= {*GRADIENTS}

    def _of_raising(self, name: str) -> frozenset[str]:
        """The rule of all calls that raise, with the types of the exceptions, where it is about all of these."""
        rule = rule_of_raising(self.evidence)
        if rule is None or not rule.separates:
            return frozenset()
        calls, raised = raising_calls(self.evidence)
        about = {call.case.digest for call, raises in zip(calls, raised, strict=True) if raises}
        raising = [one for one in self.evidence.of(name) if one.observation.raised]
        types = ", ".join(sorted({one.observation.raised.type for one in raising if one.observation.raised}))
        told = types and all(one.probe.case.digest in about for one in raising)
        return frozenset({f"{_RAISED} {types}"} if told else ())

    def _all_ordinary(self, asked: Sequence[Seen]) -> bool:
        """Whether the rules and the rounded step are about all of these cases."""
        return all(one.probe.case.digest in self._ordinary for one in asked)

    def _departing(self, name: str, judged: Judged) -> set[str]:
        """The quantities that depart in the cases of a requirement; "" for what no rule is about.

        That is a case that is not ordinary, and one that departs from a narrower bound or by an overflow alone.
        """
        found, shown = set[str](), set[str]()
        for one in self.evidence.of(name):
            departing = [
                each for quantity in one.probe.quantities if (each := self._deviation(one, quantity)).ratio > 1
            ]
            if not departing:
                continue
            shown.add(one.probe.label)
            if not self._all_ordinary([one]):
                found.add("")
            elif self._known:
                gradients = GRADIENTS if departs_forward(one, self.evidence) else ()  # which are told there
                found |= {each.quantity for each in departing} - {*gradients}
            else:
                found |= self._departing_from_unknown(one, departing)
        return found if {one.probe for one in judged.witnesses} <= shown else {*found, ""}

    def _departing_from_unknown(self, one: Seen, departing: Sequence[Deviation]) -> set[str]:
        """Where no semantics fits, what departs from the one that calls are told by; "" for a NaN or a wrong shape.

        A gradient is told with the output of its case where that departs, too.
        """
        if not all(math.isfinite(each.ratio) for each in departing):
            return {""}
        found = {each.quantity for each in departing if self._departs(each.quantity, one)}
        with_output = GRADIENTS if self._departs("output", one) else ()
        return {"output" if quantity in with_output else quantity for quantity in found}

    def _departs(self, quantity: str, one: Seen) -> bool:
        if quantity not in self._departs_in:
            answers = zip(*departing_calls(self.evidence, quantity), strict=True)
            self._departs_in[quantity] = {call.case.digest for call, departs in answers if departs}
        return one.probe.case.digest in self._departs_in[quantity]

    def _deviation(self, one: Seen, quantity: str) -> Deviation:
        return self.evidence.best(one.probe.case, one.observation, (quantity,))[0]

    def of_quantity(self, quantity: str) -> str:
        """The cause of all departures of a quantity."""
        if quantity and quantity not in self._cause_of:
            self._cause_of[quantity] = self._found_for(quantity)
        return self._cause_of.get(quantity, "")

    def _found_for(self, quantity: str) -> str:
        if self.step and quantity in FORWARD:
            return _ROUNDED
        if quantity != "output" and _follows_output(quantity, self.evidence) and (cause := self.of_quantity("output")):
            return cause
        if cause := self._by_rule(quantity):
            return cause
        everywhere = not self._known and quantity in FORWARD and departs_in_most(self.evidence, quantity)
        return f"{_UNKNOWN} {quantity}" if everywhere else ""

    def _by_rule(self, quantity: str) -> str:
        """The rule that separates the departing calls, in the words of the first quantity that it separates, too."""
        rule = rule_of(self.evidence, quantity)
        if rule is None or not rule.separates:
            return ""
        for other in QUANTITIES:
            earlier = rule_of(self.evidence, other)
            if earlier is not None and earlier.separates and _words(earlier) & _words(rule):
                return earlier.words
        return rule.words


def _follows_output(quantity: str, evidence: Evidence) -> bool:
    """Whether a quantity departs in calls whose output departs alone, which chance would not give.

    Chance is that as many cases drawn from all lie among those whose output departs.
    """
    output = {
        (id(call.case), call.number): departs
        for call, departs in zip(*departing_calls(evidence, "output"), strict=True)
    }
    shown = [
        (call, departs, output[id(call.case), call.number])
        for call, departs in zip(*departing_calls(evidence, quantity), strict=True)
        if (id(call.case), call.number) in output
    ]
    departing = [beside for _, departs, beside in shown if departs]
    if not departing or not all(departing):
        return False
    cases = {id(call.case) for call, _, _ in shown}
    drawn = {id(call.case) for call, departs, _ in shown if departs}
    among = {id(call.case) for call, _, beside in shown if beside}
    return math.comb(len(among), len(drawn)) <= CHANCE * math.comb(len(cases), len(drawn))


def _words(rule: Rule) -> set[str]:
    return {rule.words, *rule.alike}
