"""What a normalization layer must compute: the reference oracle, for a unit test of one's own layer::

    import normgauge
    reference = normgauge.group_norm(x, num_groups=4, weight=weight, bias=bias)
    assert not reference.excludes(my_group_norm(x))

``normgauge.identify(x, y)`` says which semantics made ``y``. ``import normgauge`` is fast: NumPy is imported with the
first name that is used.
"""

# This folder is not called normgauge: in a checkout, that would hide the installed package.
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from normgauge.conformance.identify.answer import Identified
    from normgauge.conformance.identify.arrays import CannotIdentify
    from normgauge.conformance.identify.fold import identify_fold
    from normgauge.conformance.identify.identify import identify
    from normgauge.oracle import (
        Arithmetic,
        BatchNormReference,
        Folded,
        Gradients,
        Reference,
        Refusal,
        RunningStatistics,
        Semantics,
        batch_norm,
        batch_norm_backward,
        fold_batch_norm,
        group_norm,
        group_norm_backward,
        initial_statistics,
        semantics,
    )

__version__ = "0.1.0"

__all__ = [
    "Arithmetic",
    "BatchNormReference",
    "CannotIdentify",
    "Folded",
    "Gradients",
    "Identified",
    "Reference",
    "Refusal",
    "RunningStatistics",
    "Semantics",
    "__version__",
    "batch_norm",
    "batch_norm_backward",
    "fold_batch_norm",
    "group_norm",
    "group_norm_backward",
    "identify",
    "identify_fold",
    "initial_statistics",
    "semantics",
]


#: Where the names are that are not of the oracle.
_ELSEWHERE: Final = {
    "CannotIdentify": "normgauge.conformance.identify.arrays",
    "Identified": "normgauge.conformance.identify.answer",
    "identify": "normgauge.conformance.identify.identify",
    "identify_fold": "normgauge.conformance.identify.fold",
}


def __getattr__(name: str) -> object:
    """A name of the oracle or of ``identify``, which pytest and the command line can do without."""
    if name not in __all__:
        raise AttributeError(f"module 'normgauge' has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "normgauge.oracle")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
