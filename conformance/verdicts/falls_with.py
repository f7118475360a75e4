"""Which departures have one cause: a requirement that falls with an earlier one is told with it (docs/verdicts.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from normgauge.conformance.diagnosis.candidates import Deviation, Seen
from normgauge.conformance.diagnosis.common_features import CHANCE, Rule
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.held_bits import FORWARD, rounded_step
from normgauge.conformance.verdicts.in_common import departing_calls, ordinary_cases, rule_of, rule_of_raising
from normgauge.results.records import DIVERGENT

#: The rules that compare values within the bound of what is followed.
_OF_VALUES: Final = frozenset({"values", "constant", "answer", "parameter_types", "sizes"})
_ROUNDED: Final = "a rounded step"
_RAISED: Final = "an exception"


def falls_with(judged: Mapping[str, Judged], evidence: Evidence) -> dict[str, str]:
    """For each requirement that falls with another one, the id of that, which falls with none.

    Two fall together where the same known wrong gradient explains both, where the same rounded step explains both,
    where one rule separates the departing calls of both from all others, where what departs in one follows from what
    departs in the other, or where both are judged by the nearest semantics because none fits. A requirement in which
    anything else departs, too, falls alone.

    Args:
        judged: the verdicts on all requirements of an implementation by their ids, in the order of the catalogue.
        evidence: by which they were judged.
    """
    divergent = {name: one for name, one in judged.items() if one.verdict in DIVERGENT}
    causes = _Causes(evidence)
    found: dict[str, str] = {}
    told: dict[str, str] = {}
    step = rounded_step(evidence) if divergent else ""
    for name in sorted(divergent, key=lambda name: not step or divergent[name].measured != step):
        one = divergent[name]
        first = one.measured.removeprefix("as ")
        if first != one.measured and first in divergent:
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

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._ordinary = {one.probe.case.digest for one in ordinary_cases(evidence)}
        self._of_quantity: dict[str, str] = {}

    def of(self, name: str, judged: Judged) -> frozenset[str]:
        rule = requirements()[name].rule
        if judged.verdict == "raises":
            return self._of_raising(name)
        if judged.verdict != "diverges":
            return frozenset()
        if not self.evidence.diagnosis.known:
            return self._of_unknown(name, judged)
        step = rounded_step(self.evidence)
        if step and (judged.measured == step or rule == "setting"):
            return frozenset({_ROUNDED})
        if rule in _OF_VALUES or (rule == "setting" and judged.measured == "no value fits"):
            quantities = self._departing(name)
            causes = {_ROUNDED} if step and quantities <= {*FORWARD} else {*map(self.of_quantity, quantities)}
            return frozenset() if "" in causes else frozenset(causes)
        return frozenset()

    def _of_unknown(self, name: str, judged: Judged) -> frozenset[str]:
        """Where no semantics fits, what departs follows none: the output with its gradients, each running statistic.

        A NaN beside a number, or another shape, is no matter of the semantics.
        """
        rule = requirements()[name].rule
        if rule == "axis" and judged.measured == "no known alternative":
            quantities = {one.quantity for one in judged.witnesses}
        elif rule in _OF_VALUES or (rule == "setting" and judged.measured == "no value fits"):
            quantities = self._departing(name)
        else:
            return frozenset()
        causes = {"output" if quantity in GRADIENTS else quantity for quantity in quantities}
        return frozenset(causes) if causes <= {*FORWARD} else frozenset()

    def _of_raising(self, name: str) -> frozenset[str]:
        """The rule of all calls that raise, with the types of the exceptions."""
        rule = rule_of_raising(self.evidence)
        raised = [one.observation.raised for one in self.evidence.of(name) if one.observation.raised]
        types = ", ".join(sorted({one.type for one in raised}))
        return frozenset({f"{_RAISED} {types}"}) if rule is not None and rule.separates and types else frozenset()

    def _departing(self, name: str) -> set[str]:
        """The quantities that depart in the cases of a requirement; "" for those of a case that no rule is about."""
        found = set()
        for one in self.evidence.of(name):
            deviations = [self._deviation(one, quantity) for quantity in one.probe.quantities]
            departing = [deviation for deviation in deviations if deviation.ratio > 1]
            told = one.probe.case.digest in self._ordinary
            told &= self.evidence.diagnosis.known or all(math.isfinite(each.ratio) for each in departing)
            found |= {each.quantity if told else "" for each in departing}
        return found

    def _deviation(self, one: Seen, quantity: str) -> Deviation:
        return self.evidence.best(one.probe.case, one.observation, (quantity,))[0]

    def of_quantity(self, quantity: str) -> str:
        """The cause of all departures of a quantity."""
        if quantity and quantity not in self._of_quantity:
            follows = quantity != "output" and _follows_output(quantity, self.evidence)
            self._of_quantity[quantity] = self.of_quantity("output") if follows else ""
            self._of_quantity[quantity] = self._of_quantity[quantity] or self._by_rule(quantity)
        return self._of_quantity.get(quantity, "")

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
