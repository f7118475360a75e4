"""Parts of a large input that say as much as all of it: sets are independent of each other.

Most semantics make a group of one sample (GroupNorm) or a channel of all samples (BatchNorm) from its own values. Those
that need more are tried on whole samples, or on everything.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.identify.question import LIKE_X, RUNNING, SUMMED, Question
from normgauge.oracle import Semantics

#: Elements up to which a part is everything.
SMALL: Final = 2**15
#: Sets that a part has at least, so that one is beside another, and the elements from which it has no more samples.
_SETS: Final = 2
_LARGE: Final = 2**18

#: The values of these axes with which a set needs no other one; None for all values.
_OWN: Final[dict[str, frozenset[str] | None]] = {
    "grouping": frozenset(
        {
            "contiguous", "interleaved", "each_channel", "first_channel", "last_channel_dropped", "every_second_value",
            "tail_dropped", "tail_twice", "last_axis_apart", "each_position", "padded", "padded_above_32",
        }
    ),
    "normalized_together": frozenset(
        {
            "channel", "each_sample", "each_position", "last_axis_apart", "first_sample", "every_second_value",
            "tail_dropped", "tail_twice", "half_batches", "padded", "padded_above_32",
        }
    ),
    "affine_shape": frozenset({"per_channel"}),
    "affine": frozenset(
        {
            "scale_then_shift", "ignored", "weight_ignored", "bias_ignored", "bias_first", "weight_plus_one",
            "weight_absolute", "swapped", "weight_twice",
        }
    ),
    "eps_placement": None,
    "centre": None,
    "eps_value": None,
    "followed_by": None,
    "running_var": None,
    "momentum_weighs": None,
    "momentum_value": None,
    "momentum_none": None,
    "single_value": None,
    "training_normalizes_with": None,
    "untracked_eval_uses": None,
    "bootstrap": None,
}  # fmt: skip
#: Those of these axes with which it needs others; of every other value it is its own.
_OTHERS: Final = {
    "variance": frozenset({"n_minus_channels"}),
    "updates": frozenset({"overwrites"}),
    "eval_reads": frozenset[str](),
}


#: Those that need the same group or, in eval, the same channel of the other samples.
_OTHER_SAMPLES: Final = {
    ("grouping", "batch_included"), ("grouping", "first_sample"), ("eval_reads", "batch"),
    ("eval_reads", "as_in_training"), ("eval_reads", "running_then_updated"),
}  # fmt: skip


class Needs(enum.IntEnum):
    """What the values of a set are made from: of several steps the most."""

    OWN_SET = 0
    ALL_SAMPLES = 1
    ALL_CHANNELS = 2


def needs(axis: str, value: str) -> Needs:
    """What a set is made from with this value of an axis; all channels where the axis is not known here."""
    if (axis, value) in _OTHER_SAMPLES:
        return Needs.ALL_SAMPLES
    if axis in _OTHERS:
        return Needs.ALL_CHANNELS if value in _OTHERS[axis] else Needs.OWN_SET
    own = _OWN.get(axis, frozenset())
    return Needs.OWN_SET if own is None or value in own else Needs.ALL_CHANNELS


def needs_of(semantics: Semantics) -> Needs:
    """What a set is made from under these semantics."""
    return max((needs(axis, value) for axis, value in semantics.departures().items()), default=Needs.OWN_SET)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A sample and a channel that a part has to hold."""

    sample: int = 0
    channel: int = 0


def part_for(
    question: Question, place: Place, need: Needs, *, interleaved: bool = False, small: int = SMALL
) -> Question:
    """A part that holds ``place`` and whatever its set is made from, and another set beside it.

    Everything, where that has at most ``small`` elements.
    """
    if question.x.size <= small:
        return question
    if question.kind.across_samples:
        return question if need is Needs.ALL_CHANNELS else _own_channels(question, place, need)
    if need is Needs.ALL_CHANNELS:
        first = 0 if question.x[: place.sample + 1].size <= _LARGE else place.sample
        return question.restricted(slice(first, place.sample + 1), np.arange(question.channels), question.groups)
    groups = question.groups
    group = place.channel % groups if interleaved else place.channel // (question.channels // groups)
    chosen = np.unique((group + np.arange(min(_SETS, groups))) % groups)
    channels = _channels_of_groups(question, chosen, interleaved=interleaved)
    if need is Needs.ALL_SAMPLES:
        return question.restricted(slice(None), channels, len(chosen))
    more = int(2 * question.x[0, channels].size <= SMALL and place.sample + 1 < len(question.x))
    return question.restricted(slice(place.sample, place.sample + 1 + more), channels, len(chosen))


def _own_channels(question: Question, place: Place, need: Needs) -> Question:
    """The channel at ``place`` and the next one: in eval of one sample, where that is enough."""
    one = need is Needs.OWN_SET and not question.training and not {*RUNNING, *SUMMED} & {*question.observed}
    samples = slice(place.sample, place.sample + 1) if one else slice(None)
    channels = np.unique((place.channel + np.arange(min(_SETS, question.channels))) % question.channels)
    return question.restricted(samples, channels)


def _channels_of_groups(question: Question, groups: NDArray[np.intp], *, interleaved: bool) -> NDArray[np.intp]:
    """The channels of these groups, in order."""
    number = np.arange(question.channels)
    own = number % question.groups if interleaved else number // (question.channels // question.groups)
    return np.flatnonzero(np.isin(own, groups))


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A part of a call with the number of its first sample, and those of its channels, in the whole call."""

    question: Question
    sample: int
    channels: NDArray[np.intp]

    def place_of(self, quantity: str, index: tuple[int, ...]) -> tuple[int, ...]:
        """Where an element of the part stands in the whole."""
        if quantity not in LIKE_X:
            return (int(self.channels[index[0]]),)
        return (index[0] + self.sample, int(self.channels[index[1]]), *index[2:])


def in_chunks(question: Question, semantics: Semantics, elements: int) -> Iterator[Chunk]:
    """The whole call in parts of about so many elements; in one part where sets need each other."""
    every, need = np.arange(question.channels), needs_of(semantics)
    if question.x.size <= elements or (need is Needs.ALL_CHANNELS and question.kind.across_samples):
        yield Chunk(question=question, sample=0, channels=every)
    elif need is Needs.ALL_CHANNELS and not {*SUMMED} & {*question.observed}:
        for sample in range(len(question.x)):
            part = question.restricted(slice(sample, sample + 1), every, question.groups)
            yield Chunk(question=part, sample=sample, channels=every)
    elif need is Needs.ALL_CHANNELS:
        yield Chunk(question=question, sample=0, channels=every)
    else:
        yield from _groups_in_chunks(question, semantics, elements)


def _groups_in_chunks(question: Question, semantics: Semantics, elements: int) -> Iterator[Chunk]:
    """Some groups of all samples at a time; of BatchNorm some channels."""
    groups = question.channels if question.kind.across_samples else question.groups
    several = max(1, elements * groups // question.x.size)
    interleaved = semantics.choices.get("grouping") == "interleaved"
    for start in range(0, groups, several):
        number = np.arange(start, min(start + several, groups))
        channels = (
            number if question.kind.across_samples else _channels_of_groups(question, number, interleaved=interleaved)
        )
        part = question.restricted(slice(None), channels, len(number))
        yield Chunk(question=part, sample=0, channels=channels)
