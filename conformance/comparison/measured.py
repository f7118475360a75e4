"""A framework measured now, for a comparison: its layers as they are called plainly, or the named one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import load_adapter
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Record


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How to measure: at these dtypes; ``everything`` runs all checks, otherwise only those of a diagnosis.

    ``layers`` are the kinds of layer that are wanted; empty means all.
    """

    dtypes: tuple[str, ...]
    everything: bool = False
    time_limit: float = 60.0
    layers: frozenset[str] = frozenset()
    progress: Callable[[str, int, int], None] = lambda *_: None

    def __call__(self, framework: str, selected: str) -> Sequence[Record]:
        """The records of a run.

        Raises:
            CannotRun: the framework cannot be started.
        """
        own = [
            one.id
            for one in load_adapter(framework).implementations
            if one.mode == EAGER and (not self.layers or one.layer in self.layers)
        ]
        wanted = Wanted(
            dtypes=self.dtypes,
            implementations=(selected,) if selected else tuple(own),
            diagnosis_only=not self.everything,
        )
        launch = Launch(framework=framework, time_limit=self.time_limit)
        return list(run_framework(launch, wanted, self.progress))
