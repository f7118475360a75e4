"""Wrong forms in which statistics or sums are those of other elements: another set, a part of a set, other axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.backward_pass import BackwardPass, Labels, Normalized
from normgauge.oracle.moments import Float
from normgauge.oracle.wrong_form import Gradient, Of, WrongForm, normalized_by, only_dx

# --- the statistics or the sums of another set --------------------------------------------------------------------

_ANOTHER: Final = "the index of the mean, of the reciprocal deviation and of the sums in the backward pass"


def _in_group(p: BackwardPass, group: Labels) -> Labels:
    """The set of another group of the sample."""
    return np.asarray(p.set_of // p.groups * p.groups + group % p.groups)


def _in_sample(p: BackwardPass, sample: Labels) -> Labels:
    """The set of the same group of another sample."""
    return np.asarray(sample % p.samples * p.groups + p.set_of % p.groups)


def _zero(labels: Labels) -> Labels:
    return np.zeros_like(labels)


#: The set whose statistics are taken, where a set is a group of a sample.
_GROUPS: Final[Mapping[str, tuple[str, Callable[[BackwardPass], Labels]]]] = {
    "the next group": ("an index that is one too large", lambda p: _in_group(p, p.set_of + 1)),
    "the previous group": ("an index that is one too small", lambda p: _in_group(p, p.set_of - 1)),
    "the first group": (
        "https://github.com/tenstorrent/tt-metal/pull/56202 (with one channel a core)",
        lambda p: _in_group(p, _zero(p.set_of)),
    ),
    "group c mod G": (
        "https://github.com/tenstorrent/tt-metal/pull/56202 (on a single core)",
        lambda p: _in_group(p, p.channel),
    ),
    "group c // (C / G)": (
        "the counterpart of the one above, for groups of every G-th channel",
        lambda p: _in_group(p, p.channel * p.groups // p.channels),
    ),
    "the next sample": ("an index that is one too large", lambda p: _in_sample(p, p.sample + 1)),
    "the previous sample": ("an index that is one too small", lambda p: _in_sample(p, p.sample - 1)),
    "the first sample": ("a buffer that is not moved on with the sample", lambda p: _in_sample(p, _zero(p.sample))),
    "the last sample": ("a buffer that each sample overwrites", lambda p: _in_sample(p, _zero(p.sample) - 1)),
}
#: And where it is a channel of all samples.
_CHANNELS: Final[Mapping[str, tuple[str, Callable[[BackwardPass], Labels]]]] = {
    "the next channel": ("an index that is one too large", lambda p: _in_group(p, p.set_of + 1)),
    "the previous channel": ("an index that is one too small", lambda p: _in_group(p, p.set_of - 1)),
    "the first channel": ("a buffer that is not moved on with the channel", lambda p: _in_group(p, _zero(p.set_of))),
}


def _of_another_set(together: bool, which: Callable[[BackwardPass], Labels], what: str) -> Of:
    def statistics(p: BackwardPass) -> Normalized:
        other = which(p)
        return p.normalized(p.mean[other], p.var[other])

    def moved(p: BackwardPass, values: Float) -> Float:
        """Of each element, the mean of the other set."""
        means = np.bincount(p.set_of, values) / p.n
        return np.asarray(means[which(p)])

    def of(p: BackwardPass) -> Gradient:
        if p.samples_together is not together:
            return {}
        if what == "sums":
            return {"dx": p.dx(m1=moved(p, p.g), m2=moved(p, p.g * p.used.x_hat))}
        used = statistics(p)
        found = normalized_by(p, used)
        if what == "statistics":
            return found
        return found | {"dx": p.dx(used, m1=moved(p, p.g), m2=moved(p, p.g * p.used.x_hat))}

    return of


#: What is taken of another set, by the words for it.
_TAKEN: Final = {
    "the statistics of {}": "statistics",
    "the sums of {}": "sums",
    "the statistics of {}, and its sums": "both",
}


def _another_set() -> Iterator[tuple[str, WrongForm]]:
    for together, table in ((False, _GROUPS), (True, _CHANNELS)):
        for words, (source, which) in table.items():
            for name, what in _TAKEN.items():
                of = _of_another_set(together, which, what)
                yield name.format(words), WrongForm(of=of, check=_ANOTHER, source=source)


def _x_hat_of_another_set(together: bool) -> Of:
    def of(p: BackwardPass) -> Gradient:
        if p.samples_together is not together:
            return {}
        next_set = _in_group(p, p.set_of + 1)
        r, x_hat = (p.at_place_in(values, next_set) for values in (p.used.r, p.used.x_hat))
        return {"dx": p.dx(replace(p.used, r=r, x_hat=x_hat))}

    return of


_X_HAT: Final = {
    f"x_hat and the statistics of another {name}, the next one": WrongForm(
        of=_x_hat_of_another_set(together),
        check="the index of the x_hat and of the reciprocal deviation that the backward pass of dx reads",
        source="an index that is one too large, into saved x_hat and saved statistics",
    )
    for name, together in (("group", False), ("channel", True))
}

# --- sums and statistics over other elements ----------------------------------------------------------------------


def _joined(p: BackwardPass, *labels: Labels) -> Labels:
    """One number for each combination of labels."""
    found = np.zeros_like(p.set_of)
    for one in labels:
        found = found * (int(one.max()) + 1) + one
    return found


#: What is summed over, by the words for it: what elements of one sum have in common.
_OVER: Final[Mapping[str, tuple[bool, Callable[[BackwardPass], Labels], str]]] = {
    "each channel alone": (
        False,
        lambda p: _joined(p, p.sample, p.channel),
        "InstanceNorm's sums: over positions, and not over the channels of a group",
    ),
    "each position alone": (
        False,
        lambda p: _joined(p, p.set_of, p.position),
        "sums over channels, and not over positions",
    ),
    "the whole sample": (
        False,
        lambda p: p.sample,
        "LayerNorm's sums (https://github.com/uxlfoundation/oneDNN/pull/3615)",
    ),
    "the group in all samples": (False, lambda p: p.set_of % p.groups, "BatchNorm's sums: over samples, too"),
    "each sample's channel alone": (
        True,
        lambda p: _joined(p, p.sample, p.channel),
        "sums over positions, and not over samples",
    ),
    "a position's channel alone": (
        True,
        lambda p: _joined(p, p.position, p.channel),
        "sums over samples, and not over positions: https://github.com/mlpack/mlpack/pull/2474",
    ),
}


def _of_other_elements(together: bool, labels: Callable[[BackwardPass], Labels], what: str) -> Of:
    def of(p: BackwardPass) -> Gradient:
        if p.samples_together is not together:
            return {}
        own = labels(p)
        used = p.used if what == "sums" else p.normalized(*p.statistics_over(own))
        found: dict[str, Float] = {} if what == "sums" else normalized_by(p, used)
        if what != "statistics":
            found["dx"] = p.dx(used, m1=p.mean_over(p.g, own), m2=p.mean_over(p.g * used.x_hat, own))
        return found

    return of


def _other_elements() -> Iterator[tuple[str, WrongForm]]:
    named = {
        "the statistics of {}": "statistics",
        "the means of {}": "sums",
        "the statistics of {}, and its means": "both",
    }
    for words, (together, labels, source) in _OVER.items():
        for name, what in named.items():
            check = "the axes that the statistics and the two means of dx are taken over"
            yield (
                name.format(words),
                WrongForm(of=_of_other_elements(together, labels, what), check=check, source=source),
            )


_LOOPS: Final = "the loops over samples, positions and channels in the sums of the backward pass"
#: What is summed, of all elements of a set, by the words for it.
_PARTS: Final[Mapping[str, tuple[str, Callable[[BackwardPass], NDArray[np.bool_]]]]] = {
    "the first sample": ("samples", lambda p: p.sample == 0),
    "the last sample": ("samples", lambda p: p.sample == p.samples - 1),
    "the first position": ("positions", lambda p: p.position == 0),
    "the last position": ("positions", lambda p: p.position == p.positions - 1),
    "the first row": ("positions", lambda p: np.asarray(p.position < p.shape[-1])),
    "the last row": ("positions", lambda p: np.asarray(p.position >= p.positions - p.shape[-1])),
    "the first channel of a group": ("channels", lambda p: _channel_in_group(p) == 0),
    "the last channel of a group": ("channels", lambda p: _channel_in_group(p) == p.channels // p.groups - 1),
}


def _channel_in_group(p: BackwardPass) -> Labels:
    """How many channels of its set come before an element's."""
    first = np.full(len(p.mean) * p.channels, 0)
    first[p.set_of * p.channels + p.channel] = 1
    counted = np.cumsum(first.reshape(-1, p.channels), axis=1) - 1
    return np.asarray(counted[p.set_of, p.channel])


def _of_a_part(along: str, part: Callable[[BackwardPass], NDArray[np.bool_]], out: bool, counted: bool) -> Of:
    def of(p: BackwardPass) -> Gradient:
        if len(p.shape) < 3 and along == "positions":
            return {}
        mask = part(p).astype(np.float64)
        mask = 1 - mask if out else mask
        found: dict[str, Float] = {}
        if not counted and along != "channels":
            found = p.sums(mask * p.dy * p.used.x_hat, mask * p.dy)
        inside = {"positions": True, "samples": p.samples_together, "channels": not p.samples_together}[along]
        if inside:  # the sums of dx go over these, too
            share = np.maximum(p.mean_of(mask), 1 / p.n) if counted else 1.0  # of nothing, 0
            m1, m2 = p.mean_of(mask * p.g) / share, p.mean_of(mask * p.g * p.used.x_hat) / share
            found["dx"] = p.dx(m1=m1, m2=m2)
        return found

    return of


def _parts() -> Iterator[tuple[str, WrongForm]]:
    for words, (along, part) in _PARTS.items():
        for out, ending in ((False, "alone"), (True, "left out")):
            for counted in (False, True):
                yield (
                    f"{words} {ending}" + (", and means of what is summed" if counted else ""),
                    WrongForm(of=_of_a_part(along, part, out, counted), check=_LOOPS, source=_SOURCES[along]),
                )


_SOURCES: Final = {
    "samples": "a result that every sample overwrites, or a loop that begins or ends one sample off",
    "positions": "https://github.com/linkedin/Liger-Kernel/pull/1376 (dweight and dbias of one row a channel)",
    "channels": "a loop over the channels of a group that begins or ends one channel off",
}


def _of_first_values(count: Callable[[int], int]) -> Of:
    """dx with the sums of so many values of a set, in its order in memory, divided by n all the same."""

    def dx(p: BackwardPass) -> Float:
        first = (p.place < count(p.n)).astype(np.float64)
        return p.dx(m1=p.mean_of(first * p.g), m2=p.mean_of(first * p.g * p.used.x_hat))

    return only_dx(dx)


_REDUCTION: Final = "the reduction of the backward pass of dx adds up the sums of all threads, warps and blocks"
_FIRST: Final[Mapping[str, WrongForm]] = {
    "the first position alone, of the first channel or sample of a set, in the sums of dx": WrongForm(
        of=_of_first_values(lambda n: 1), check=_REDUCTION, source="one thread's share in place of the reduction"
    ),
    "a part of the set alone, its first half, in the sums of dx": WrongForm(
        of=_of_first_values(lambda n: (n + 1) // 2),
        check=_REDUCTION,
        source="one of two warps in place of the reduction",
    ),
}

#: The forms of this module by name.
SUMS: Final[Mapping[str, WrongForm]] = {
    **dict(_another_set()),
    **_X_HAT,
    **dict(_other_elements()),
    **dict(_parts()),
    **_FIRST,
}
