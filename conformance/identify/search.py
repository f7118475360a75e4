"""Which semantics give what was observed: first what is shipped, then one mistake, then two.

Candidates are looked for on a part of a large input, as small as their sets allow, and those that fit it are held to
everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.candidates import Candidates, fitting, score
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.identify.parts import (
    SMALL,
    Needs,
    Place,
    needs,
    part_for,
)
from normgauge.conformance.identify.question import Question
from normgauge.conformance.layers.kind import LayerKind
from normgauge.oracle import Arithmetic, Semantics

#: Elements of a part up to which pairs of mistakes are looked for: there are more than a thousand.
_FOR_PAIRS: Final = 2**13
#: Elements from which what needs all of them is not tried.
_TOO_LARGE: Final = 2**21


@dataclass(frozen=True, kw_only=True)
class Search:
    """A question, the place of an element that departs, and references that are shared by all that is tried.

    Mistakes on the axes ``without`` are not looked for.
    """

    question: Question
    place: Place = field(default_factory=Place)
    references: References = field(default_factory=References)
    without: frozenset[str] = frozenset()
    _made: dict[tuple[Needs, bool], Question] = field(default_factory=dict)

    @property
    def is_large(self) -> bool:
        return self.question.x.size > SMALL

    @property
    def is_too_large(self) -> bool:
        """Whether what needs all channels costs too much to be tried: of BatchNorm that is everything."""
        return self.question.kind.across_samples and self.question.x.size > _TOO_LARGE

    def shipped(self, arithmetic: Arithmetic, *, expensive: bool = False) -> list[Semantics]:
        """The candidates without a mistake that fit, the fewest departures first.

        Of a large input those that need no more than their own sets, or with ``expensive`` the others.
        """
        return self._fitting([{}], len(self.question.kind.axes), arithmetic, self._tiers(expensive=expensive))

    def with_a_mistake(self, arithmetic: Arithmetic, *, most: int = 1, expensive: bool = False) -> list[Semantics]:
        """The candidates with one mistake that fit: alone or, where none does, with up to ``most`` departures.

        On a large input alone.
        """
        mistakes = [{axis: name} for axis, name in self._mistakes(arithmetic)]
        tiers = self._tiers(expensive=expensive)
        counts = range(1 if self.is_large else most + 1)
        found = (self._fitting(mistakes, count, arithmetic, tiers) for count in counts)
        return next((one for one in found if one), [])

    def _tiers(self, *, expensive: bool) -> tuple[Needs | None, ...]:
        if not self.is_large:
            return () if expensive else (None,)
        if not expensive:
            return (Needs.OWN_SET,)
        return (Needs.ALL_SAMPLES,) if self.is_too_large else (Needs.ALL_SAMPLES, Needs.ALL_CHANNELS)

    def with_two_mistakes(self, arithmetic: Arithmetic) -> list[Semantics]:
        """Those with two mistakes and nothing beside them; none where the input is large."""
        if self.question.x.size > _FOR_PAIRS:
            return []
        pairs = itertools.combinations(self._mistakes(arithmetic), 2)
        return self._fitting([dict(pair) for pair in pairs if pair[0][0] != pair[1][0]], 0, arithmetic, (None,))

    def _mistakes(self, arithmetic: Arithmetic) -> list[tuple[str, str]]:
        """Those on axes that the canonical semantics read here: others change nothing."""
        kind, read = self.question.kind, set[str]()
        part = self.question if not self.is_large else self._part(Needs.OWN_SET, False)
        self.references.predict(part.case(), replace(kind.canonical, read=read), arithmetic)
        axes = (axis for axis in kind.axes if axis.name in read and axis.name not in self.without)
        return [(axis.name, mistake.name) for axis in axes for mistake in axis.mistakes]

    def nearest(self, arithmetic: Arithmetic) -> tuple[float, Semantics]:
        """The candidate without a mistake that lies nearest, and how far away it is, in bounds.

        None of those that do in training what eval does.
        """
        kind = self.question.kind
        ratios = np.full(kind.sizes, np.inf)
        none = np.zeros(kind.sizes, dtype=bool)
        for place, axis in zip(np.indices(kind.sizes), kind.axes, strict=True):
            none |= (axis.name == kind.training_statistics) & (place > 0)
        for part, excluded in self._parts({}, none, Needs.OWN_SET if self.is_large else None):
            ratios = np.minimum(ratios, score(part.seen(), arithmetic, self.references, excluded))
        nearest = np.unravel_index(int(np.argmin(ratios)), ratios.shape)
        return float(ratios[nearest]), kind.at(tuple(int(i) for i in nearest))

    def _fitting(
        self,
        mistakes: Sequence[Mapping[str, str]],
        most: int,
        arithmetic: Arithmetic,
        tiers: tuple[Needs | None, ...],
    ) -> list[Semantics]:
        """The candidates with some of these mistakes and so many departures beside them that fit.

        Those that need more of a large input are tried where no others fit.
        """
        kind, found = self.question.kind, []
        for need in tiers:
            for own in mistakes:
                for part, excluded in self._parts(own, _beside(kind, own, most), need):
                    among = Candidates(mistakes=own, excluded=excluded, leave_out=False)
                    diagnosis = fitting(kind.name, (part.seen(),), arithmetic, self.references, among)
                    if diagnosis is not None:
                        found += _plainest(kind, diagnosis.survivors, own)
            if found:
                break
        return sorted(found, key=lambda one: len(one.departures()))

    def _parts(
        self, mistakes: Mapping[str, str], excluded: NDArray[np.bool_], need: Needs | None
    ) -> Iterator[tuple[Question, NDArray[np.bool_]]]:
        """The parts that tell what the candidates with this need give, each with those that it is not for."""
        if need is None:
            yield self.question, excluded
            return
        kind = self.question.kind
        excluded = excluded | (_for_each(kind, mistakes, needs) != need)
        if need is Needs.ALL_CHANNELS:
            parts = {False: excluded}
        else:
            interleaved = _for_each(kind, mistakes, lambda axis, value: int((axis, value) == _INTERLEAVED)) > 0
            parts = {order: excluded | (interleaved != order) for order in (False, True)}
        for order, left_out in parts.items():
            if not left_out.all():
                yield self._part(need, order), left_out

    def _part(self, need: Needs, interleaved: bool) -> Question:
        key = need, interleaved
        if key not in self._made:
            self._made[key] = part_for(self.question, self.place, need, interleaved=interleaved)
        return self._made[key]


_INTERLEAVED: Final = ("grouping", "interleaved")


def _for_each(kind: LayerKind, mistakes: Mapping[str, str], of: Callable[[str, str], int]) -> NDArray[np.int64]:
    """For each point of the product of the axes the largest of what ``of`` says of its choices and the mistakes."""
    found = np.full(kind.sizes, max((of(*one) for one in mistakes.items()), default=0))
    for position, axis in enumerate(kind.axes):
        if axis.name not in mistakes:
            own = np.array([of(axis.name, name) for name in axis.names])
            found = np.maximum(found, own.reshape(-1, *(1,) * (len(kind.axes) - position - 1)))
    return found


def _beside(kind: LayerKind, mistakes: Mapping[str, str], most: int) -> NDArray[np.bool_]:
    """Where the product departs more than ``most`` times, or on an axis that has a mistake."""
    places = np.indices(kind.sizes)
    excluded = np.count_nonzero(places, axis=0) > most
    for place, axis in zip(places, kind.axes, strict=True):
        if axis.name in mistakes:
            excluded |= place > 0
    return np.asarray(excluded)


def _plainest(kind: LayerKind, survivors: NDArray[np.bool_], mistakes: Mapping[str, str]) -> list[Semantics]:
    """The surviving candidates with the fewest departures."""
    points = np.argwhere(survivors)
    departures = np.count_nonzero(points, axis=1)
    return [kind.at(tuple(map(int, point)), mistakes) for point in points[departures == departures.min()]]
