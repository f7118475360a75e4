"""What made a page: a digest that changes when what the page measures does, and not with every commit.

A page carries its digest in a comment, `<!-- asked: ... -->`. Result files have that of the catalogue
(`conformance.layers.registry.digests`), from which `normgauge timeline` and `normgauge accuracy` take theirs. The pages
that are no reports have theirs from here: `python tests/support/digests.py` prints them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import soak

from normgauge.conformance.layers.registry import digests

PROJECT: Final = Path(__file__).parents[2]
#: What a page says of itself that lacks what is measured by now.
STALE: Final = "**Stale**"


def of_catalogue(*parts: str, budget: str) -> str:
    """What a page carries that is made of result files of this budget."""
    current = digests()
    return " ".join([*(f"{part} {current[part]}" for part in parts), f"budget {budget}"])


def of_code(*patterns: str) -> str:
    """A digest of modules of the project, without their comments and docstrings."""
    trees = [_without_docstrings(path) for pattern in patterns for path in sorted(PROJECT.glob(pattern))]
    return "code " + hashlib.sha256("\n".join(trees).encode()).hexdigest()[:8]


def _without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


#: By page: the digest that it carries if it was made of what is there now.
CURRENT: Final[Mapping[str, Callable[[], str]]] = {
    "docs/timeline.md": lambda: of_catalogue("requirements", "axes", budget="none"),
    "docs/accuracy.md": lambda: of_catalogue("curves", budget="default"),
    "docs/soak.md": soak.digest,
    "docs/performance.md": lambda: of_code(
        "benchmarks/exploration_speed.py", "benchmarks/growth.py", "benchmarks/oracle_cost.py"
    ),
    "docs/mutants.md": lambda: of_code(
        "tests/faulty/faults/*.py", "tests/faulty/pipeline.py", "tests/support/peers.py"
    ),
    "docs/automatic-mutants.md": lambda: of_code("tests/correct/plain_*.py", "tests/correct/*mutants.py"),
}


def carried(page: str) -> str:
    """The digest that a page carries; empty where it has none."""
    found = re.search(r"<!-- asked: (.*?) -->", page)
    return found[1] if found else ""


if __name__ == "__main__":
    for name, current in CURRENT.items():
        print(f"{name}: <!-- asked: {current()} -->")
