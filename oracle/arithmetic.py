"""The arithmetic a subject is allowed: accuracy classes, and the precisions of each type."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from normgauge.oracle.formats import INTERMEDIATES, Format, RoundedStep, format_of
from normgauge.oracle.moments import U64, Float, gamma

#: Accuracy classes, tightest first. Each holds whatever its predecessors hold.
ACCURACY_CLASSES: Final = ("two_pass", "welford", "one_pass")
WIDEST: Final = ACCURACY_CLASSES[-1]

#: 4 units of the last place are 2^3 unit roundoffs.
_LOST_TO_SHADING: Final = 3

#: The types of inputs and outputs that each computing type may have besides itself.
_NARROWER: Final = {"float64": ("float32", "float16", "bfloat16"), "float32": ("float16", "bfloat16")}


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic a subject is allowed: the types it computes in and its accuracy class.

    ``dtype`` is the type of sums and, unless ``stored``, of everything else on the way; ``storage`` that of
    inputs, outputs, gradients and running statistics, ``dtype`` by default. With ``stored`` the mean, the
    variance and every elementwise intermediate are rounded to the storage type as well. ``shading`` allows what the
    languages of GPUs promise in place of IEEE 754 (docs/bounds.md): each operation within 4 units of the last place,
    rounded in any direction, and a root as the reciprocal of a reciprocal root. With ``intermediates`` what lies
    between float32 input and output is rounded to that format, as no honest layer does. With ``typical`` the
    ``bound`` of a reference is the typical error of honest arithmetic, which excludes nothing: k roundings count as
    sqrt(k). With ``rounded_step`` one step is rounded to fewer digits than the others, as no honest layer does;
    what follows from that is in the value of a reference, and not in its bound.

    Raises:
        ValueError: a dtype, class or format of intermediates that is not known, a storage type that is not narrower, or
            ``shading`` or ``intermediates`` in another type than float32.

    >>> Arithmetic("float32", storage="bfloat16", stored=True).held.name
    'bfloat16'
    """

    dtype: str = "float32"
    accuracy: str = WIDEST
    _: KW_ONLY
    storage: str | None = None
    stored: bool = False
    shading: bool = False
    typical: bool = False
    intermediates: str | None = None
    rounded_step: RoundedStep | None = None

    def __post_init__(self) -> None:
        format_of(self.dtype)
        format_of(self.storage or self.dtype)
        if self.accuracy not in ACCURACY_CLASSES:
            raise ValueError(f"accuracy class {self.accuracy!r} is not known; allowed: {', '.join(ACCURACY_CLASSES)}")
        allowed = (self.dtype, *_NARROWER.get(self.dtype, ()))
        if (self.storage or self.dtype) not in allowed:
            raise ValueError(f"storage {self.storage!r} with dtype {self.dtype!r}; allowed: {', '.join(allowed)}")
        if self.shading and self.dtype != "float32":
            raise ValueError(f"shading with dtype {self.dtype!r}; allowed: float32")
        if self.intermediates is not None and (self.dtype != "float32" or self.intermediates not in INTERMEDIATES):
            of = ", ".join(INTERMEDIATES)
            raise ValueError(
                f"intermediates {self.intermediates!r} with dtype {self.dtype!r}; allowed: {of} with float32"
            )

    @cached_property
    def computing(self) -> Format:
        """The type of sums, with as many digits as an operation leaves."""
        form = format_of(self.dtype)
        return replace(form, digits=form.digits - _LOST_TO_SHADING) if self.shading else form

    @property
    def root_roundings(self) -> int:
        """The operations that a root consists of."""
        return 2 if self.shading else 1

    @cached_property
    def result(self) -> Format:
        """The type of inputs, outputs, gradients and running statistics."""
        return format_of(self.storage or self.dtype)

    @cached_property
    def held(self) -> Format:
        """The type of the mean, the variance and elementwise intermediates."""
        if self.intermediates is not None:
            return INTERMEDIATES[self.intermediates]
        return self.result if self.stored else self.computing

    @cached_property
    def rounds_sums(self) -> int:
        """1 where a finished sum may be rounded once more, to the narrow type of what is made of it; else 0.

        Also for sums in half precision, so that their bounds contain those of sums in a wider type.
        """
        return int(self.stored or self.computing.is_half or self.intermediates is not None)

    def gamma(self, additions: float, others: float) -> float:
        """The error constant of ``additions`` in a sum and ``others``, roundings to the type of intermediates.

        The typical one is that of a sum of one sign: sqrt(additions u^2 + others u_h^2).
        """
        held = self.held.u
        if self.typical:
            return math.sqrt(additions * self.u**2 + others * held**2)
        return gamma((additions * self.u + others * held) / held, held)

    def of_sum(self, additions: float, others: float, total: Float, sizes: Float) -> Float:
        """The error of a sum, or mean, with the absolute value ``total``, of summands with the absolute sum ``sizes``.

        gamma * sizes, in any order of any summands. The typical one is that of summands in no order, whose partial
        sums grow with their number to the total and wander about that:
        sqrt(additions u^2 total^2 + (u^2 / 2 + others u_h^2) sizes^2).
        """
        if not self.typical:
            return self.gamma(additions, others) * sizes
        growing, wandering = additions * self.u**2, min(additions, 1) / 2 * self.u**2
        return np.sqrt(growing * total**2 + (wandering + others * self.held.u**2) * sizes**2)

    def read(self, number: float) -> tuple[float, float]:
        """The least and the largest value that ``number`` may have in the type of intermediates, rounded or flushed."""
        u, eta = self.held.u + 3 * U64, self.held.smallest_normal  # U64: the evaluation of the two
        if 0 < abs(number) < eta:
            return (0.0, eta) if number > 0 else (-eta, 0.0)
        return number - u * abs(number), number + u * abs(number)

    @cached_property
    def u(self) -> float:
        """The unit roundoff of the type of sums."""
        return self.computing.u

    @cached_property
    def half_of_digits(self) -> float:
        """The relative error at which half of a result's digits are gone: sqrt(u) of the storage type."""
        return float(self.u_out**0.5)

    @cached_property
    def one_pass_limit(self) -> float:
        """|mean| / deviation from which one-pass statistics lose half of the digits.

        Their error is u * mean^2 relative to the variance (docs/bounds.md), u that of the type they are held in.
        """
        return float((self.half_of_digits / self.held.u) ** 0.5)

    @cached_property
    def smallest_normal(self) -> float:
        """The smallest normal number of the type of sums."""
        return self.computing.smallest_normal

    @cached_property
    def largest(self) -> float:
        """The largest finite number of the type of sums."""
        return self.computing.largest

    @cached_property
    def u_out(self) -> float:
        """The unit roundoff of the storage type."""
        return self.result.u


def precisions(dtype: str, accuracy: str = WIDEST) -> tuple[Arithmetic, ...]:
    """What a subject of type ``dtype`` may compute in, tight to wide; each bound contains its predecessor's.

    Half precision: sums and intermediates in float32; sums in float32, the rest in ``dtype``; all in ``dtype``.
    float64: honoured, or computed in float32.

    Raises:
        ValueError: a dtype that is not known.
    """
    if dtype == "float64":
        return Arithmetic(dtype=dtype, accuracy=accuracy), Arithmetic(dtype="float32", accuracy=accuracy)
    own = Arithmetic(dtype=dtype, accuracy=accuracy)
    if not own.computing.is_half:
        return (own,)
    wide = (Arithmetic(dtype="float32", accuracy=accuracy, storage=dtype, stored=stored) for stored in (False, True))
    return (*wide, own)


def fewer_digits(dtype: str) -> tuple[Arithmetic, ...]:
    """What a layer may be found to compute in, tight to wide, that has fewer digits than ``dtype`` promises."""
    return tuple(Arithmetic(dtype, intermediates=name) for name in INTERMEDIATES) if dtype == "float32" else ()
