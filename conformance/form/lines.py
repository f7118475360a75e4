"""Faults as lines for a person."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from normgauge.conformance.form.session import Finding


def lines_of(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each fault; answers with the same fault at the same place share a line."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        is_answer = finding.about.startswith("answer to case")
        mistake = (
            ("", _general(finding.place), _general(finding.what)) if is_answer else (finding.about, str(finding), "")
        )
        groups.setdefault(mistake, []).append(finding)
    for first, *others in groups.values():
        same = f" (and {len(others)} more with the same fault: {_numbers(others)})" if others else ""
        yield f"{first}{same}"


def _general(text: str) -> str:
    """``text`` with ``#`` for each number, to recognise the same fault in many cases."""
    return re.sub(r"\d+", "#", text)


def _numbers(findings: Sequence[Finding]) -> str:
    cases = dict.fromkeys(re.sub(r"^answer to (.*?) \(.*$", r"\1", finding.about) for finding in findings)
    listed = ", ".join(itertools.islice(cases, 5))
    return f"{listed}, ..." if len(cases) > 5 else listed
