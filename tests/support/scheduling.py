"""Which tests run in one process when pytest runs in several: those that share what is slow to make."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadScopeScheduling

from normgauge.adapters.registry import BUILT_IN

#: Files whose tests share a fixture that measures or explores.
SHARED: Final = (
    "cli/test_action.py",
    "cli/test_vectors.py",
    "conformance/test_accuracy.py",
    "conformance/test_counterexamples.py",
    "conformance/test_foreign_worker.py",
    "conformance/test_recipes.py",
    "conformance/test_sequences.py",
    "cli/test_vectors.py",
    "oracle/test_soak.py",
)


class Together(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """All tests of a framework in one process, and those of a file that shares something; of the rest each by itself.

    By itself means with all its parameters. xdist begins with what has the most tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        return framework_in(nodeid) or shared_file_of(nodeid) or nodeid.partition("[")[0]


def framework_in(nodeid: str) -> str | None:
    """The framework that a test has as its last parameter."""
    longest_first = sorted(BUILT_IN, key=len, reverse=True)
    return next((name for name in longest_first if nodeid.endswith((f"[{name}]", f"-{name}]"))), None)


def shared_file_of(nodeid: str) -> str | None:
    file = nodeid.partition("::")[0]
    return file if file.endswith(SHARED) else None
