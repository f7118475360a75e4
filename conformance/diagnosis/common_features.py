"""What departing calls have in common that the others lack: the smallest decision rule over features of calls.

One condition that separates them wholly, else two that do together, else what comes closest; of equals the first in the
order of the table (call_features.py). A rule is given only where it describes the calls and is none that chance would
give (``LIKENESS``, ``CHANCE``): then it is told with its counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.call_features import FEATURES, Call, Choice, Flag, Number, Value

#: Of the calls that depart or fulfil the rule, the part that must do both (the Jaccard index); of those that do not
#: depart or do not fulfil it, likewise.
LIKENESS: Final = 2 / 3
#: What Fisher's exact test may give, times the number of rules of that length: the chance that any of them describes
#: as many cases that were drawn as well. The calls of a case count as one.
CHANCE: Final = 0.05
#: A second condition must leave at most this part of the exceptions that the first has.
_WORTH_A_SECOND: Final = 0.5
#: How many other rules of the same calls are named.
_MOST_ALIKE: Final = 3
#: So many values of an eps or the like are told by themselves.
_MOST_VALUES: Final = 2

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A decision rule in words: of the ``calls`` that fulfil it ``departing`` depart, of the ``others`` so many.

    ``alike`` are the words of other rules that separate the same calls.
    """

    words: str
    departing: int
    calls: int
    others_departing: int
    others: int
    alike: tuple[str, ...] = ()

    @property
    def separates(self) -> bool:
        """Whether exactly the departing calls fulfil it."""
        return self.departing == self.calls and not self.others_departing

    def __str__(self) -> str:
        part = "all" if self.departing == self.calls else f"{self.departing} of the"
        return f"{part} {self.calls} calls {self.words}, {self.others_departing or 'none'} of the {self.others} others"


class _Condition(NamedTuple):
    """What may hold of a call, in words; ``gap`` says where no call lies beside a threshold."""

    mask: Mask
    words: str
    gap: str = ""


_Conditions = tuple[_Condition, ...]


def common_rule(calls: Sequence[Call], departs: Sequence[bool]) -> Rule | None:
    """The rule that separates the calls that depart from the others best; None where none is worth telling.

    Args:
        calls: every call that was asked, in any order.
        departs: for each of them, whether it departs.

    Raises:
        ValueError: not as many answers as calls.
    """
    if len(calls) != len(departs):
        raise ValueError(f"departs must have one answer for each of the {len(calls)} calls: got {len(departs)}")
    wanted = np.array(departs, dtype=bool)
    if wanted.all() or not wanted.any():
        return None
    every = list(_conditions(calls))
    first: dict[bytes, _Condition] = {}
    for one in every:
        first.setdefault(one.mask.tobytes(), one)
    distinct = list(first.values())
    if not distinct:
        return None
    alike = [(one,) for one in every if np.array_equal(one.mask, wanted)] or _separating_pairs(distinct, wanted)
    found = alike[0] if alike else _closest(distinct, wanted)
    if _likeness(_mask(found), wanted) < LIKENESS or _by_chance(found, calls, wanted, len(distinct)) > CHANCE:
        return None
    mask = _mask(found)
    return Rule(
        words=_words(found),
        departing=int((mask & wanted).sum()),
        calls=int(mask.sum()),
        others_departing=int((~mask & wanted).sum()),
        others=int((~mask).sum()),
        alike=_also(alike[1:], _words(found)),
    )


def _also(others: Sequence[_Conditions], told: str) -> tuple[str, ...]:
    """Other words for the same calls; of two conditions only without a threshold that is anywhere."""
    sharp = (own for own in others if len(own) == 1 or not any(one.gap for one in own))
    return tuple(words for words in dict.fromkeys(map(_words, sharp)) if words != told)[:_MOST_ALIKE]


def _words(conditions: _Conditions) -> str:
    """The phrases, with *and* between them where they begin alike, each with the place where no call lies."""
    alike = len({one.words.partition(" ")[0] for one in conditions}) == 1
    phrases = (f"{one.words} ({one.gap})" if one.gap else one.words for one in conditions)
    return (" and " if alike else " ").join(phrases)


def _mask(conditions: _Conditions) -> Mask:
    mask: Mask = np.logical_and.reduce([one.mask for one in conditions])
    return mask


def _separating_pairs(distinct: Sequence[_Condition], wanted: Mask) -> list[_Conditions]:
    """The pairs that exactly the departing calls fulfil: each condition leaves out those that the other lets in."""
    covering = [one for one in distinct if one.mask[wanted].all()]
    if not covering:
        return []
    let_in = np.array([one.mask[~wanted] for one in covering], dtype=np.float64)  # counts, exact; BLAS knows no int64
    apart = np.argwhere(np.triu(let_in @ let_in.T == 0, 1))
    return [(covering[first], covering[second]) for first, second in apart]


def _closest(distinct: Sequence[_Condition], wanted: Mask) -> _Conditions:
    """The condition with the fewest exceptions; two together where those are far fewer."""
    masks = np.array([one.mask for one in distinct], dtype=np.float64)
    right = masks[:, wanted] @ masks[:, wanted].T
    exceptions = (masks @ masks.T - right) + (int(wanted.sum()) - right)
    first = int(np.argmin(np.diag(exceptions)))
    pair = np.unravel_index(int(np.argmin(exceptions)), exceptions.shape)
    if exceptions[pair] <= _WORTH_A_SECOND * exceptions[first, first]:
        return tuple(distinct[int(number)] for number in pair)
    return (distinct[first],)


def _likeness(mask: Mask, wanted: Mask) -> float:
    """The Jaccard index of the departing calls and those that fulfil a rule, or of all others, if that is less."""
    exceptions = int((mask ^ wanted).sum())
    both, neither = int((mask & wanted).sum()), int((~mask & ~wanted).sum())
    return min(both, neither) / (min(both, neither) + exceptions)


def _by_chance(found: _Conditions, calls: Sequence[Call], wanted: Mask, tried: int) -> float:
    """How many rules of that length would describe as well as many cases that were drawn (Fisher's exact test)."""
    cases = {id(call.case) for call in calls}
    marked, drawn = (
        {id(call.case) for call, own in zip(calls, chosen, strict=True) if own} for chosen in (_mask(found), wanted)
    )
    ways = sum(
        math.comb(len(marked), both) * math.comb(len(cases) - len(marked), len(drawn) - both)
        for both in range(len(marked & drawn), min(len(drawn), len(marked)) + 1)
    )
    return math.comb(tried, len(found)) * (ways / math.comb(len(cases), len(drawn)))


def _conditions(calls: Sequence[Call]) -> Iterator[_Condition]:
    """What holds of some calls and not of all, in the order of the table."""
    for feature in FEATURES:
        values = [feature.of(call) for call in calls]
        for one in _of_feature(feature, values):
            if one.mask.any() and not one.mask.all():
                yield one


def _of_feature(feature: Flag | Number | Choice, values: Sequence[Value | None]) -> Iterator[_Condition]:
    if isinstance(feature, Number):
        yield from _of_number(feature, values)
    elif isinstance(feature, Choice):
        yield from _of_choice(feature, values)
    else:
        yield _Condition(np.array([value is not None and bool(value) for value in values]), feature.yes)
        if feature.no:
            yield _Condition(np.array([value is not None and not value for value in values]), feature.no)


def _of_choice(feature: Choice, values: Sequence[Value | None]) -> Iterator[_Condition]:
    """One of the values, or two or three that are not all."""
    known = sorted({value for value in values if value is not None}, key=str)
    for count in range(1, min(3, len(known) - 1) + 1):
        for some in itertools.combinations(known, count):
            mask = np.array([value in some for value in values])
            yield _Condition(mask, feature.words.format(" and ".join(map(str, some))))


def _of_number(feature: Number, values: Sequence[Value | None]) -> Iterator[_Condition]:
    """At least and at most a number, and exactly one of those that occur."""
    given = np.array([math.nan if value is None else float(value) for value in values])
    occurring = [float(value) for value in np.unique(given[~np.isnan(given)])]
    told = _beside_count if feature.counts else _beside_value
    for place in range(1, len(occurring)):
        high = given >= occurring[place]
        for mask, (words, gap) in zip((high, given < occurring[place]), told(feature, occurring, place), strict=True):
            yield _Condition(mask, words, gap)
    for value in occurring:
        yield _Condition(given == value, feature.words(feature.exactly, value))


_Words = tuple[str, str]


def _beside_value(feature: Number, occurring: Sequence[float], place: int) -> tuple[_Words, _Words]:
    """The values from ``place`` on and those before it: one or two by themselves, more by the end that was asked."""
    low, high = occurring[place - 1 : place + 1]

    def told(side: Sequence[float], template: str, end: float, beyond: float) -> _Words:
        if len(side) <= _MOST_VALUES:
            return feature.exactly.format(" or ".join(f"{value:.4g}" for value in side)), ""
        return feature.words(template, end), f"the next is {beyond:.4g}"

    return told(occurring[place:], feature.at_least, high, low), told(occurring[:place], feature.below, low, high)


def _beside_count(feature: Number, occurring: Sequence[float], place: int) -> tuple[_Words, _Words]:
    """More than a count and at most that, by a power of two where one lies between the two that occur."""
    low, high = occurring[place - 1 : place + 1]
    least = max(low, 1.0)
    first, last = (math.ceil(math.log2(end) - 1e-9) for end in (least, high))
    middle = (math.log2(least) + math.log2(high)) / 2
    gap = _gap(low, high)
    if first < last:
        low = 2.0 ** min(range(first, last), key=lambda power: abs(power - middle))
    elif 2.0**last == high:
        return (feature.words(feature.at_least, high), gap), (feature.words(feature.fewer, high), gap)
    return (feature.words(feature.above, low), gap), (feature.words(feature.below, low), gap)


def _gap(low: float, high: float) -> str:
    """Where no call lies, so that the threshold may as well lie elsewhere."""
    if high - low <= 1:
        return ""
    least, most = f"{low + 1:,.0f}", f"{high - 1:,.0f}"
    return f"no call has {least}" if least == most else f"no call has {least} to {most}"
