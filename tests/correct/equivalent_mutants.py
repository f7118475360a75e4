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
EQUIVALENT: Final[Mapping[Mutant, str]] = {}


class EquivalentsAdapter(MutantsAdapter):
    """Serves the layers without a mutation, and the mutants that are argued to be equivalent."""

    mutants = numbered((*PLAIN, *EQUIVALENT))
    implementations = implementations(mutants)
