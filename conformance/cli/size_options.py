"""The options for additional sizes: input shapes, and the groups of GroupNorm."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.run.request import OwnSize

#: The number of float64 values in x and dy that fit into one line of the worker protocol.
MOST_ELEMENTS: Final = 3_000_000
_GROUPS: Final = 32
_OPTIONS: Final = (
    click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="N,C,...",
        help="Also check inputs of this shape: samples, channels, positions, such as 2,320,64,64 (repeatable).",
    ),
    click.option("--groups", type=int, help=f"Number of groups of GroupNorm at each --shape.  [default: {_GROUPS}]"),
)


def with_size_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options, which it gets as ``sizes``, a tuple of :class:`OwnSize`."""

    @functools.wraps(command)
    def collected(*, shapes: tuple[str, ...], groups: int | None, **given: Any) -> None:
        command(sizes=sizes_of(shapes, groups), **given)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected


def sizes_of(shapes: tuple[str, ...], groups: int | None) -> tuple[OwnSize, ...]:
    """The sizes that the options name.

    Raises:
        Mistake: a text is not a shape, a shape is too large, the groups do not divide the channels, or there is no
            shape for the groups.
    """
    if groups is not None and not shapes:
        raise Mistake(f"--groups {groups} needs a --shape; add one, such as --shape 2,320,64,64")
    return tuple(_size(text, groups) for text in shapes)


def _size(text: str, groups: int | None) -> OwnSize:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or not 2 <= len(parts) <= 5:
        raise Mistake(
            f"--shape {text!r} is not a shape; give 2 to 5 whole numbers: samples,channels,positions, as 2,320,64,64"
        )
    shape = tuple(int(part[:10]) for part in parts)
    if 0 in shape:
        raise Mistake(f"--shape {text} has no elements; give numbers of at least 1")
    if math.prod(shape) > MOST_ELEMENTS:
        raise Mistake(
            f"--shape {text} has {math.prod(shape):,} elements; at most {MOST_ELEMENTS:,} can be sent to a worker: "
            "give fewer samples or positions"
        )
    if math.prod(shape) == shape[1]:
        raise Mistake(
            f"--shape {text} has one value per channel, and one value has no variance; give more samples or positions"
        )
    channels, count = shape[1], _GROUPS if groups is None else groups
    if count < 1 or channels % count:
        if groups is None:
            raise Mistake(
                f"--shape {text} has {channels} channels, not a multiple of {count} groups; {_advice(channels)}"
            )
        raise Mistake(
            f"--groups {groups} does not divide the {channels} channels of --shape {text}; {_advice(channels)}"
        )
    return OwnSize(shape=shape, groups=count)


def _advice(channels: int) -> str:
    divisors = [str(n) for n in range(1, min(channels, 512) + 1) if channels % n == 0]
    return f"give --groups one of {', '.join(divisors[:12])}"
