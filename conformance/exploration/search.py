"""Exploration: a search with Hypothesis beyond the experiments, for inputs on which an implementation departs.

Every case is held to the semantics that the experiments diagnosed and to the accuracy class that they
measured. What departs is shrunk and told; it changes no verdict.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Case, Observation
from normgauge.conformance.diagnosis.candidates import Deviation, as_given, compare
from normgauge.conformance.diagnosis.predictions import Prediction, Together, predict, predict_together
from normgauge.conformance.exploration.departure import SEED_STEP, Data, Departure, Stop, first_departure
from normgauge.conformance.exploration.plans import REGIMES, Plan, cases_of
from normgauge.conformance.exploration.strategies import Space, plans
from normgauge.conformance.layers.experiments import with_equal_samples
from normgauge.conformance.requirements.case_files import StoredCase
from normgauge.conformance.requirements.probe import GRADIENTS
from normgauge.conformance.requirements.signature import ORDINARY, Signature, no_news
from normgauge.conformance.shrinking.shrink import shrink
from normgauge.conformance.subjects.subject import Subject, Target, with_right_shapes
from normgauge.conformance.verdicts.accuracy_class import computes_in
from normgauge.conformance.verdicts.evidence import instead, refused
from normgauge.conformance.verdicts.relations import RELATIONS, Relation, held_against
from normgauge.oracle import Arithmetic, Reference, Semantics

_KIND_OF_DATA: Final[Mapping[str, str]] = {
    "large_mean": "a large mean",
    "huge": "numbers at the end of the range",
    "tiny": "numbers at the end of the range",
    "with_nan": "NaN or infinity",
    "with_infinity": "NaN or infinity",
}


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """A case that was run, with the semantics that it comes closest to; how close matters only where it departs."""

    case: Case
    observation: Observation
    prediction: Prediction
    deviation: Deviation
    followed: Semantics


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Cases that were run, beside the predictions of the first semantics, and whether all are ``within`` its bounds.

    There are fewer observations than cases where one of them ended the process.
    """

    cases: Sequence[Case]
    observations: Sequence[Observation]
    first: Together
    within: bool


@dataclass(kw_only=True)
class Tally:
    """What was tried."""

    plans: int = 0
    cases: int = 0
    refused: int = 0
    known: int = 0


@dataclass(kw_only=True)
class Explorer:
    """The search for one implementation at one dtype.

    ``followed`` are its surviving semantics, ``arithmetic`` is what was measured of it, ``wider`` has what allows for
    more, tight to wide, and ends with what allows for most. ``kin``
    maps the names of the relations' kin to the framework's own layers of that kind, with their ranks.
    ``known`` holds the signatures that are not news.
    """

    subject: Subject
    implementation: str
    ranks: tuple[int, ...]
    followed: Sequence[Semantics]
    arithmetic: Arithmetic
    wider: Sequence[Arithmetic]
    equal_samples: bool = False
    kin: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    known: set[Signature] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    def asked(self, case: Case) -> Case:
        """``case`` as the implementation's mode can be asked it."""
        return with_equal_samples(case) if self.equal_samples else case

    def search(self, space: Space, budget: int, seed: int, progress: Callable[[int], None]) -> Iterator[Departure]:
        """The departures found within ``budget`` cases, each shrunk and unlike the others."""
        self.subject.begin()  # what ended before is not held against the search
        seeds = itertools.count(seed, SEED_STEP)

        def shown(plan: Plan, last: Departure | None) -> list[Departure]:
            if self.subject.given_up:
                raise Stop
            found = self.departures(plan, Tally() if last else self.tally)
            progress(self.tally.cases)
            return found

        while self.tally.cases < budget and REGIMES.keys() - space.settled:
            most = math.ceil((budget - self.tally.cases) / space.cases)
            departure = first_departure(plans(space), most, next(seeds), shown, self.is_known)
            if departure is None:
                return
            if departure.observation.died:  # every further death would cost a worker
                cause = departure.relation.name if departure.relation else departure.regime
                space = replace(space, settled={*space.settled, cause})
                self.subject.begin()
            if not self.is_known(departure.signature):
                self.known.add(departure.signature)
                yield self.made_small(departure)

    def is_known(self, signature: Signature) -> bool:
        """Whether this is no news: told already, or of a quantity that departs among ordinary numbers anyway."""
        return no_news(signature, self.known)

    def departure(self, case: Case, plan: str, data: Data, tally: Tally) -> Departure | None:
        """The departure that one case shows, if any; ``plan`` and ``data`` say what it is and of what kind."""
        (looked,) = self._look([case], self.implementation, tally)
        return self._departed(looked, plan, data)

    def departures(self, plan: Plan, tally: Tally) -> list[Departure]:
        """Every case of the plan that departs."""
        relation = next((one for one in RELATIONS if one.name == plan.relation), None)
        cases = [self.asked(case) for case in cases_of(plan)]
        if relation is not None:
            cases = cases[: plan.cases // 2]
        seen = self._run(cases, self.implementation, tally)
        tally.plans += 1
        if relation is None and seen.within:
            return []
        looked = self._told(seen, tally)
        data = _KIND_OF_DATA.get(plan.regime, ORDINARY), ()
        found = [one for own in looked if (one := self._departed(own, str(plan), data)) is not None]
        if relation is not None:
            found += self._unrelated(relation, looked, str(plan), data, tally)
        found = [replace(one, regime=plan.regime) for one in found]
        tally.known += sum(self.is_known(one.signature) for one in found)
        return found

    def _look(self, cases: Sequence[Case], implementation: str, tally: Tally) -> list[_Looked]:
        return self._told(self._run(cases, implementation, tally), tally)

    def _run(self, cases: Sequence[Case], implementation: str, tally: Tally) -> _Seen:
        """Run cases that differ in their numbers alone, and hold all together to the first semantics."""
        observations: list[Observation] = []
        answers = self.subject.run(implementation, cases)  # under way while the oracle works
        first = predict_together(cases, self.followed[0], self.arithmetic)
        for case, seen in zip(cases, answers, strict=True):
            observations.append(with_right_shapes(case, seen))
            if seen.died:  # the others would meet new workers, and end them too
                break
        tally.cases += len(observations)
        unchanged = not any(step.modified for one in observations for step in one.steps)
        within = len(observations) == len(cases) and unchanged and first.holds(observations)
        return _Seen(cases=cases, observations=observations, first=first, within=within)

    def _told(self, seen: _Seen, tally: Tally) -> list[_Looked]:
        """Each case with the semantics that it comes closest to."""
        predicted = [(self.followed[0], seen.first.apart())]
        if not seen.within:
            others = self.followed[1:]
            predicted += [(one, predict_together(seen.cases, one, self.arithmetic).apart()) for one in others]
        looked = []
        for number, (case, own) in enumerate(zip(seen.cases, seen.observations, strict=False)):
            look = functools.partial(_Looked, case=case, observation=own)
            held = []
            for semantics, parts in predicted:
                deviation = Deviation(ratio=0.0) if seen.within else compare(own, parts[number])
                held.append(look(prediction=parts[number], deviation=deviation, followed=semantics))
            best = min(held, key=lambda one: one.deviation.ratio)
            tally.refused += bool(own.unsupported)
            looked.append(best)
        return looked

    def _departed(self, looked: _Looked, plan: str, data: Data) -> Departure | None:
        """The departure that this case shows, if any; ``data`` is the kind of numbers that it has."""
        seen, deviation, followed = looked.observation, looked.deviation, looked.followed
        if not seen.asked:
            return None
        departure = functools.partial(Departure, plan=plan, case=looked.case, observation=seen, followed=followed)
        if (failed := _failed(looked)) is not None:
            signature, told = failed
            return departure(signature=signature, deviation=told, measured=signature.raised or told.what)
        if deviation.ratio <= 1 or compare(seen, self._in_range(looked)).ratio <= 1:
            return None
        wider = self._wider_class(looked)
        if wider is not None and deviation.quantity in GRADIENTS:
            return None  # the class is that of the outputs
        if wider is not None:
            signature = Signature(kind="accuracy", accuracy=wider)
            return departure(signature=signature, deviation=deviation, measured=wider)
        return departure(signature=signature_of(deviation, data), deviation=deviation, measured=instead(deviation))

    def _in_range(self, looked: _Looked) -> Prediction:
        """The prediction where no accuracy class leaves the range of the type: elsewhere a class cannot be told."""
        widest = predict(looked.case, looked.followed, self.wider[-1])
        steps = tuple(
            {
                name: Reference(value=one.value, bound=np.where(np.isposinf(other[name].bound), np.inf, one.bound))
                for name, one in own.items()
            }
            for own, other in zip(looked.prediction.steps, widest.steps, strict=True)
        )
        return Prediction(steps=steps, refused=looked.prediction.refused)

    def _wider_class(self, looked: _Looked) -> str | None:
        """The tightest accuracy class beyond the measured one that allows for what came out, and in which type."""
        for wider in self.wider:
            if compare(looked.observation, predict(looked.case, looked.followed, wider)).ratio <= 1:
                alike = computes_in(wider) == computes_in(self.arithmetic)
                return wider.accuracy if alike else f"{wider.accuracy} in {computes_in(wider)}"
        return None

    def _unrelated(
        self, relation: Relation, looked: Sequence[_Looked], plan: str, data: Data, tally: Tally
    ) -> list[Departure]:
        """The cases on which the relation does not hold, and what departs among their transformed forms."""
        rank = looked[0].case.steps[0].x.ndim
        target = self.implementation if relation.kin is None else self.kin.get(relation.kin, {}).get(rank)
        within = [one for one in looked if one.deviation.ratio <= 1 and relation.applies(one.case)]
        if target is None or not within:
            return []
        others = self._look([relation.transformed(one.case) for one in within], target, tally)
        within = within[: len(others)]
        found = []
        for one, other in zip(within, others, strict=True):
            own = self._departed(other, plan, data) if relation.kin is None or other.observation.died else None
            deviation = self._held(relation, one, other)
            if own is not None and relation.kin is not None:
                died = Signature(kind="crash", crash="death", related_layer=target)
                found.append(replace(own, signature=died, relation=relation, kin=target))
            elif own is not None:
                found.append(own)
            elif deviation.ratio > 1:
                found.append(_breaks(relation, one if relation.kin is None else other, deviation, plan, target))
        return found

    def _held(self, relation: Relation, one: _Looked, other: _Looked) -> Deviation:
        """How far two related cases are from the relation, within the bounds of any class that may be meant."""
        if relation.kin is None:
            both = (one.observation, other.observation)
            deviation = held_against(relation, both, (one.prediction, other.prediction))
            if deviation.ratio <= 1:  # so it is within every wider bound: two more predictions saved
                return deviation
            return held_against(relation, both, (self._in_range(one), self._in_range(other)))
        # What is told is the kin's value, instead of this one's; which accuracy class it has is not known.
        both = (other.observation, one.observation)
        deviation = held_against(relation, both, (one.prediction, one.prediction))
        if deviation.ratio <= 1:
            return deviation
        widest = self.wider[-1]
        return held_against(
            relation, both, (predict(other.case, one.followed, widest), predict(one.case, one.followed, widest))
        )

    def again(self, stored: StoredCase) -> Departure | None:
        """What a stored counterexample shows now; what it shows is not news in the search that follows.

        None where it shows nothing, or is for inputs of a rank that the implementation does not take.
        """
        if not {step.x.ndim for step in stored.case.steps} <= set(self.ranks):
            return None
        tally = Tally()
        looked = self._look([self.asked(stored.case)], self.implementation, tally)
        data = stored.signature.data or ORDINARY, stored.signature.actions
        found = self._departed(looked[0], stored.plan, data)
        relation = next((one for one in RELATIONS if one.name == stored.relation), None)
        if found is None and relation is not None:
            found = next(iter(self._unrelated(relation, looked, stored.plan, data, Tally())), None)
        if found is not None:
            self.known.add(found.signature)
        return found

    def made_small(self, departure: Departure) -> Departure:
        """The departure on simpler numbers, where they show it too."""
        if departure.kind in {"crash", "raises", "relation"}:  # no numbers of one case show these
            return departure

        def deviation_of(case: Case, seen: Observation) -> Deviation:
            return compare(seen, predict(case, departure.followed, self.arithmetic))

        def shows(case: Case, seen: Observation) -> bool:
            whole = not (seen.died or seen.unsupported or seen.raised)
            return whole and deviation_of(case, seen).ratio > 1

        target = Target(subject=self.subject, implementation=self.implementation, ranks=self.ranks)
        case, seen = shrink(departure.case, departure.observation, shows, target, keep_form=False)
        small = as_given(deviation_of(case, seen), case)
        measured = departure.measured if departure.kind == "accuracy" else instead(small)
        return replace(departure, case=case, observation=seen, deviation=small, measured=measured)


def _failed(looked: _Looked) -> tuple[Signature, Deviation] | None:
    """How a case ended in something that is no result, if it did."""
    seen = looked.observation
    changed = sorted({name for step in seen.steps for name in step.modified})
    if seen.died or changed:
        what = seen.died or f"the call changed {', '.join(changed)}"
        told = Deviation(ratio=math.inf, step=len(seen.steps), quantity="output", what=what)
        return Signature(kind="crash", crash="death" if seen.died else "change"), told
    if seen.raised is not None and looked.prediction.refused is None:
        return Signature(kind="raises", raised=seen.raised.type), refused(seen)
    return None


def signature_of(deviation: Deviation, data: Data) -> Signature:
    kind, actions = data
    return Signature(kind="values", quantity=deviation.quantity, data=kind, actions=actions)


def _breaks(relation: Relation, shown: _Looked, deviation: Deviation, plan: str, target: str) -> Departure:
    return Departure(
        signature=Signature(kind="relation", relation=relation.name),
        plan=plan,
        case=shown.case,
        observation=shown.observation,
        deviation=deviation,
        measured=instead(deviation),
        followed=shown.followed,
        relation=relation,
        kin=target if relation.kin is not None else None,
    )
