"""docs/unit-tests.md: its scripts run beside docs/examples/kernels.py, and print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[2]
EXAMPLES: Final = PROJECT / "docs" / "examples"
PAGE: Final = (PROJECT / "docs" / "unit-tests.md").read_text(encoding="utf-8")
SCRIPTS: Final = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OUTPUTS: Final = dict(re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", PAGE, re.DOTALL))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, *words], check=False, cwd=EXAMPLES, capture_output=True, text=True, env=environment
    )


def test_the_assertion_and_the_check_raise_what_the_page_shows() -> None:
    one, check = (next(text for text in SCRIPTS if name in text) for name in ("assert_group_norm(group", "check_group"))
    failed = run("-c", one)
    assert "AssertionError: y differs from GroupNorm(num_groups=4, eps=1e-05)" in failed.stderr
    assert "what            the sum of squares is divided by n - 1" in failed.stderr
    raised = run("-c", check).stderr.partition("AssertionError: ")[2]
    assert raised.strip() == OUTPUTS["python check_kernels.py"].strip()


def test_diagnose_prints_the_lines_of_the_page_in_their_order() -> None:
    done = run("-m", "normgauge.conformance.cli.main", "diagnose", "kernels:group_norm")
    assert done.returncode == 0, done.stderr
    printed = iter(done.stdout.splitlines())
    shown = [line for line in OUTPUTS["normgauge diagnose kernels:group_norm"].splitlines() if line != "..."]
    assert len(shown) == 2
    for line in shown[1:]:
        assert any(line == one.rstrip() for one in printed), line


def test_the_example_tests_fail_at_the_mistake_alone() -> None:
    done = run("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-c", os.devnull, "test_kernels.py")
    failed = re.findall(r"^FAILED test_kernels.py::(\S.*?) - ", done.stdout, re.MULTILINE)
    assert failed == ["test_one_call", "test_requirement[GN-03 biased variance]"]
