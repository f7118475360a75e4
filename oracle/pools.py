"""Which values are normalised together, and by the statistics of which: the mistakes of reductions.

A pool is arrays of indices into the flattened input. ``destination`` (S, n) has the values that share their
statistics; ``mean`` (T, m) those that the T means are taken of, ``variance`` (T, q, k) those of the variances, each the
mean of those of q parts; ``statistics_of`` (S,) says which of the T a destination is normalised by. The index -1 is a
zero that padding puts there. Where ``about_mean`` holds, the squares are taken about the mean that normalises, which
may not be that of the same values, and ``divisor`` and ``mean_divisor`` say what divides the sums. Where ``about`` is
given, of shape (T, 1), the squares are taken about it: a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.formats import rounded
from normgauge.oracle.reference import Reference
from normgauge.oracle.semantics import Semantics

Indices = NDArray[np.intp]
PADDED: Final = 32
#: Values that are loaded together.
_BLOCK: Final = 4


@dataclass(frozen=True, kw_only=True)
class Pool:
    """As the module says."""

    destination: Indices
    mean: Indices
    variance: Indices
    statistics_of: Indices
    #: What divides the squares of a part; None for what the divisor of the variance says.
    divisor: int | None = None
    mean_divisor: int | None = None
    about_mean: bool = False
    about: Reference | None = None


def _own(sets: Indices) -> Pool:
    """Each of the sets, of shape (S, n), normalised by itself."""
    return Pool(destination=sets, mean=sets, variance=sets[:, None], statistics_of=np.arange(len(sets)))


def _by_others(sets: Indices, statistics_of: NDArray[Any]) -> Pool:
    return replace(_own(sets), statistics_of=np.asarray(statistics_of, dtype=np.intp))


def _counting(pool: Pool, counted: Indices) -> Pool:
    """Only these values count in the statistics."""
    return replace(pool, mean=counted, variance=counted[:, None])


def _divided_by_all(pool: Pool, counted: Indices) -> Pool:
    """Only these values count in the sums, which the number of all divides."""
    n = pool.destination.shape[1]
    return replace(_counting(pool, counted), divisor=n, mean_divisor=n, about_mean=True)


def _tail_dropped(pool: Pool, block: int = _BLOCK) -> Pool:
    n = pool.destination.shape[1]
    return _divided_by_all(pool, pool.destination[:, : max(n - n % block, 1)])


def _tail_twice(pool: Pool) -> Pool:
    sets, n = pool.destination, pool.destination.shape[1]
    if n % _BLOCK == 0 or n < _BLOCK:
        return pool
    return _divided_by_all(pool, np.concatenate([sets[:, : n - n % _BLOCK], sets[:, -_BLOCK:]], axis=1))


def _padded(sets: Indices, parts: int, least: int = 0) -> Pool:
    """Zeros behind each of the ``parts`` of equal length of a set, up to the next multiple of 32, above ``least``."""
    pool, length = _own(sets), sets.shape[1] // parts
    more = -length % PADDED if length > least else 0
    if not more:
        return pool
    cut = sets.reshape(len(sets), parts, length)
    longer = np.pad(cut, ((0, 0), (0, 0), (0, more)), constant_values=-1).reshape(len(sets), -1)
    return replace(pool, mean=longer, variance=longer[:, None])


def _places(shape: tuple[int, ...]) -> Indices:
    return np.arange(math.prod(shape)).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class _Grouped:
    """An input of shape (N, C, *spatial) in ``groups`` groups."""

    shape: tuple[int, ...]
    groups: int

    def cut(self, places: Indices, groups: int | None = None) -> Indices:
        """(N * G, C / G * P): the channels of a sample in parts, one after the other."""
        return places.reshape(self.shape[0] * (groups or self.groups), -1)

    def contiguous(self) -> Pool:
        return _own(self.cut(_places(self.shape)))

    def interleaved(self) -> Pool:
        order = np.arange(self.shape[1]).reshape(-1, self.groups).T.ravel()
        return _own(self.cut(_places(self.shape)[:, order]))

    def one_group_is_each_channel(self) -> Pool:
        return _own(self.cut(_places(self.shape), self.shape[1] if self.groups == 1 else None))

    def channels_last(self) -> Pool:
        return _own(self.cut(np.moveaxis(_places(self.shape), 1, -1)))

    def batch_included(self) -> Pool:
        grouped = _places(self.shape).reshape(self.shape[0], self.groups, -1)
        return _own(grouped.swapaxes(0, 1).reshape(self.groups, -1))

    def first_sample(self) -> Pool:
        sets = self.cut(_places(self.shape))
        return _by_others(sets, np.arange(len(sets)) % self.groups)

    def next_group(self) -> Pool:
        sets = self.cut(_places(self.shape))
        number = np.arange(len(sets))
        return _by_others(sets, number - number % self.groups + (number + 1) % self.groups)

    def each_channel(self) -> Pool:
        return _own(self.cut(_places(self.shape), self.shape[1]))

    def whole_sample(self) -> Pool:
        return _own(self.cut(_places(self.shape), 1))

    def first_channel(self) -> Pool:
        pool = self.contiguous()
        return _counting(pool, pool.mean[:, : math.prod(self.shape[2:])])

    def last_channel_dropped(self) -> Pool:
        pool = self.contiguous()
        return _counting(pool, pool.mean[:, : -math.prod(self.shape[2:])]) if self.groups < self.shape[1] else pool

    def every_second_value(self) -> Pool:
        pool = self.contiguous()
        return _counting(pool, pool.mean[:, ::2])

    def tail_dropped(self) -> Pool:
        return _tail_dropped(self.contiguous())

    def tail_twice(self) -> Pool:
        return _tail_twice(self.contiguous())

    def odd_value_dropped(self) -> Pool:
        return _tail_dropped(self.contiguous(), 2)

    def at_most(self, count: int) -> Pool:
        capped = self.groups > count and self.shape[1] % count == 0
        return _own(self.cut(_places(self.shape), count if capped else None))

    def first_16_of_a_channel(self) -> Pool:
        pool = self.contiguous()
        return _counting(pool, pool.mean[:, :16]) if self.groups == self.shape[1] else pool

    def groups_of_g(self) -> Pool:
        return _own(self.cut(_places(self.shape), self.shape[1] // self.groups))

    def last_axis_apart(self) -> Pool:
        if len(self.shape) == 2:
            return self.contiguous()
        grouped = _places(self.shape).reshape(self.shape[0], self.groups, -1, self.shape[-1])
        return _own(grouped.swapaxes(2, 3).reshape(self.shape[0] * self.groups * self.shape[-1], -1))

    def each_position(self) -> Pool:
        size = self.shape[1] // self.groups
        grouped = _places(self.shape).reshape(self.shape[0], self.groups, size, -1)
        return _own(grouped.swapaxes(2, 3).reshape(-1, size))

    def padded(self) -> Pool:
        return _padded(self.cut(_places(self.shape)), self.shape[1] // self.groups)

    def padded_above_32(self) -> Pool:
        return _padded(self.cut(_places(self.shape)), self.shape[1] // self.groups, PADDED)


_GROUPING: Final[Mapping[str, Callable[[_Grouped], Pool]]] = {
    "contiguous": _Grouped.contiguous,
    "interleaved": _Grouped.interleaved,
    "one_group_is_each_channel": _Grouped.one_group_is_each_channel,
    "channels_last": _Grouped.channels_last,
    "batch_included": _Grouped.batch_included,
    "first_sample": _Grouped.first_sample,
    "next_group": _Grouped.next_group,
    "each_channel": _Grouped.each_channel,
    "whole_sample": _Grouped.whole_sample,
    "first_channel": _Grouped.first_channel,
    "last_channel_dropped": _Grouped.last_channel_dropped,
    "every_second_value": _Grouped.every_second_value,
    "tail_dropped": _Grouped.tail_dropped,
    "tail_twice": _Grouped.tail_twice,
    "odd_value_dropped": _Grouped.odd_value_dropped,
    "at_most_4": lambda grouped: grouped.at_most(4),
    "at_most_32": lambda grouped: grouped.at_most(32),
    "first_16_of_a_channel": _Grouped.first_16_of_a_channel,
    "groups_of_g": _Grouped.groups_of_g,
    "last_axis_apart": _Grouped.last_axis_apart,
    "each_position": _Grouped.each_position,
    "padded": _Grouped.padded,
    "padded_above_32": _Grouped.padded_above_32,
}


_DIVISORS: Final[Mapping[str, Callable[[int, int], int]]] = {
    "n_plus_one": lambda n, channels: n + 1,
    "n_minus_channels": lambda n, channels: max(n - channels, 1),
    "n_rounded_up_to_4": lambda n, channels: n + -n % _BLOCK,
}
_PARTS: Final = {"of_halves": 2, "of_quarters": 4}
_LARGE_BLOCK: Final = 1024


def _in_half(n: int) -> int:
    """A number of values held in float16; beyond its range, the largest number of it."""
    return int(rounded(min(n, 65504), "float16"))


#: For values of the axis ``centre``, what divides the sum of n values, and the sum of their squares.
_COUNTS: Final[Mapping[str, Callable[[int], tuple[int, int]]]] = {
    "over_rounded_n": lambda n: (n + -n % _BLOCK, n),
    "over_n_in_half": lambda n: (_in_half(n), _in_half(n)),
    "over_n_in_16_bits": lambda n: (n % 65536 or 65536, n),
}


def _by_variance(pool: Pool, channels: int, semantics: Semantics) -> Pool:
    """The pool by the axis ``variance``, but for its parts that are channels or samples."""
    variance, n = semantics.choice("variance"), pool.mean.shape[1]
    if count := _COUNTS.get(semantics.choice("centre")):
        of_mean, of_variance = count(n)
        pool = replace(pool, divisor=of_variance, mean_divisor=of_mean, about_mean=True)
    if variance == "zeros_to_a_power_of_two":
        more = (1 << (n - 1).bit_length()) - n
        longer = np.pad(pool.mean, ((0, 0), (0, more)), constant_values=-1)
        return replace(pool, variance=longer[:, None], divisor=n, mean_divisor=n, about_mean=True)
    if variance in _DIVISORS:
        return replace(pool, divisor=_DIVISORS[variance](n, channels))
    parts = _PARTS.get(variance, 1)
    if variance == "of_blocks_of_1024" and n >= 2 * _LARGE_BLOCK:
        parts = n // _LARGE_BLOCK if n % _LARGE_BLOCK == 0 else 1
    return replace(pool, variance=pool.mean.reshape(len(pool.mean), parts, -1)) if n % parts == 0 < n else pool


def group_norm_pool(shape: tuple[int, ...], groups: int, semantics: Semantics) -> Pool:
    """The pool of GroupNorm, by the axes ``grouping`` and, for parts of a group, ``variance``."""
    pool = _GROUPING[semantics.choice("grouping")](_Grouped(shape=shape, groups=groups))
    pool = _by_variance(pool, shape[1], semantics)
    if semantics.choice("variance") == "of_parts":
        size = math.prod(shape[2:])
        if pool.mean.shape[1] % size == 0:
            return replace(pool, variance=pool.mean.reshape(len(pool.mean), -1, size))
    return pool


@dataclass(frozen=True, kw_only=True)
class _Batched:
    """An input of shape (N, C, *spatial) whose channels are normalised."""

    shape: tuple[int, ...]

    def by_channel(self) -> Indices:
        """(C, N, P)."""
        samples, channels = self.shape[:2]
        return _places(self.shape).reshape(samples, channels, -1).swapaxes(0, 1)

    def channel(self) -> Pool:
        return _own(self.by_channel().reshape(self.shape[1], -1))

    def each_sample(self) -> Pool:
        sets = self.by_channel()
        return _own(sets.reshape(-1, sets.shape[2]))

    def each_position(self) -> Pool:
        sets = self.by_channel()
        return _own(sets.swapaxes(1, 2).reshape(-1, sets.shape[1]))

    def last_axis_apart(self) -> Pool:
        if len(self.shape) == 2:
            return self.channel()
        sets = self.by_channel().reshape(self.shape[1], -1, self.shape[-1])
        return _own(sets.swapaxes(1, 2).reshape(self.shape[1] * self.shape[-1], -1))

    def all_channels(self) -> Pool:
        return _own(self.by_channel().reshape(1, -1))

    def first_sample(self) -> Pool:
        sets = self.by_channel()
        return _counting(self.channel(), sets[:, 0]) if sets.shape[2] > 1 else self.channel()

    def next_channel(self) -> Pool:
        pool = self.channel()
        return replace(pool, statistics_of=np.roll(pool.statistics_of, -1))

    def every_second_value(self) -> Pool:
        pool = self.channel()
        return _counting(pool, pool.mean[:, ::2])

    def tail_dropped(self) -> Pool:
        return _tail_dropped(self.channel())

    def odd_value_dropped(self) -> Pool:
        return _tail_dropped(self.channel(), 2)

    def channels_last(self) -> Pool:
        return _own(_places(self.shape).reshape(-1, self.shape[1]).T)

    def tail_twice(self) -> Pool:
        return _tail_twice(self.channel())

    def half_batches(self) -> Pool:
        sets = self.by_channel()
        if sets.shape[1] % 2 or sets[0].size <= 2:
            return self.channel()
        return _own(sets.reshape(2 * len(sets), -1))

    def padded(self) -> Pool:
        return _padded(self.channel().destination, self.shape[0])

    def padded_above_32(self) -> Pool:
        return _padded(self.channel().destination, self.shape[0], PADDED)


_TOGETHER: Final[Mapping[str, Callable[[_Batched], Pool]]] = {
    "channel": _Batched.channel,
    "each_sample": _Batched.each_sample,
    "each_position": _Batched.each_position,
    "last_axis_apart": _Batched.last_axis_apart,
    "all_channels": _Batched.all_channels,
    "first_sample": _Batched.first_sample,
    "next_channel": _Batched.next_channel,
    "every_second_value": _Batched.every_second_value,
    "tail_dropped": _Batched.tail_dropped,
    "tail_twice": _Batched.tail_twice,
    "odd_value_dropped": _Batched.odd_value_dropped,
    "channels_last": _Batched.channels_last,
    "half_batches": _Batched.half_batches,
    "padded": _Batched.padded,
    "padded_above_32": _Batched.padded_above_32,
}


def batch_norm_pool(shape: tuple[int, ...], semantics: Semantics) -> Pool:
    """The pool of BatchNorm on its batch, by the axes ``normalized_together`` and, for parts, ``variance``."""
    batched = _Batched(shape=shape)
    pool = _by_variance(_TOGETHER[semantics.choice("normalized_together")](batched), shape[1], semantics)
    if semantics.choice("variance") == "of_parts" and pool.mean.shape == (shape[1], math.prod(shape) // shape[1]):
        return replace(pool, variance=batched.by_channel())
    return pool


def given_pool(shape: tuple[int, ...]) -> Pool:
    """The pool of BatchNorm with a given mean and variance for each channel."""
    return _Batched(shape=shape).channel()
