"""Mutants of the plain layers whose results are those of the layer, each with the reason why none differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from correct.mutants import Mutant, MutantsAdapter, implementations, numbered

#: The layers themselves, as a line that stays as it is.
PLAIN: Final = tuple(
    Mutant(kind=kind, method="across", line="shape = [1] * x.ndim", becomes="shape = [1] * x.ndim")
    for kind in ("group_norm", "batch_norm")
)
#: Of a division that is exact.
_EXACT: Final = (
    "`check` has refused every x whose size is no multiple of C, so both quotients are the same number, and NumPy "
    "divides by an int and by a float of the same value alike."
)
EQUIVALENT: Final[Mapping[Mutant, str]] = {
    Mutant(kind="batch_norm", method=method, line=line, becomes=line.replace("//", "/")): _EXACT
    for method, line in (
        ("statistics", "axes, n = (0, *range(2, x.ndim)), x.size // self.channels"),
        ("__call__", "self.update(mean, var, x.size // self.channels)"),
        ("gradients", "shape, axes, n = self.across(x), (0, *range(2, x.ndim)), x.size // self.channels"),
    )
}


class EquivalentsAdapter(MutantsAdapter):
    """Serves the layers without a mutation, and the mutants that are argued to be equivalent."""

    mutants = numbered((*PLAIN, *EQUIVALENT))
    implementations = implementations(mutants)
