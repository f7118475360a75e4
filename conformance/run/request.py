"""What a run is asked for."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from normgauge.adapters.dtypes import FULL
from normgauge.conformance.exploration.budget import BUDGETS, Budget
from normgauge.conformance.requirements.case_files import StoredCase
from normgauge.conformance.subjects.messages import Description


@dataclass(frozen=True, kw_only=True)
class OwnSize:
    """The size of an input that a user names: ``shape`` is (N, C, *spatial), ``groups`` those of GroupNorm."""

    shape: tuple[int, ...]
    groups: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a run is asked for. Empty selections mean everything; ``implementations`` are ids, or patterns of ids.

    With ``all_dtypes`` no dtype was named: then a budget may leave out half precision where the framework compiles,
    which it does for each dtype anew.

    ``budget`` and ``seed`` are the exploration's, which is repeated for ``seeds`` seeds in a row. Counterexamples are
    kept in the folder ``store`` and replayed from there. ``cases`` are committed cases beside those of this
    distribution, ``sizes`` the user's own beside those of the requirements on sizes.
    """

    dtypes: tuple[str, ...] = FULL
    implementations: tuple[str, ...] = ()
    in_process: bool = False
    diagnosis_only: bool = False
    budget: Budget = BUDGETS["none"]
    seed: int = 0
    seeds: int = 1
    store: Path | None = None
    cases: tuple[StoredCase, ...] = ()
    sizes: tuple[OwnSize, ...] = ()
    all_dtypes: bool = False

    def selects(self, description: Description) -> bool:
        """Whether an implementation is run; without being named, one that takes long only at a thorough budget."""
        if self.implementations:
            return is_named(description.id, self.implementations)
        return self.budget.thorough or not description.thorough


def is_named(identifier: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names this id: in them ``*`` stands for any text, ``?`` for one letter.

    Brackets, which many ids have, stand for themselves.
    """
    return any(fnmatch.fnmatchcase(identifier, pattern.replace("[", "[[]")) for pattern in patterns)


def is_pattern(selected: str) -> bool:
    return "*" in selected or "?" in selected
