"""The texts that people meet follow the rules of tests/support/plain_words.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from plain_words import faults

from normgauge.conformance.cli.main import main

PROJECT: Final = Path(__file__).parents[2]
#: Pages that follow the rules; add each page that is rewritten.
PAGES: Final = (
    "README.md", "docs/glossary.md", "docs/gating.md", "docs/exploration.md", "docs/claims.md", "docs/findings.md",
    "docs/soak.md", "docs/architecture.md", "docs/bounds.md", "docs/performance.md", "docs/identify.md",
    "docs/compare.md", "docs/recipes.md", "docs/vectors.md", "docs/unit-tests.md", "docs/verdicts.md",
    "docs/protocol.md", "docs/campaign.md",
    "CONTRIBUTING.md", "SECURITY.md", ".github/pull_request_template.md", "docs/index.md", "docs/tutorial.md",
    "docs/remedies.md", "docs/how-to.md", "docs/ci.md", "docs/own-adapter.md", "docs/own-port.md", "docs/reference.md",
    "docs/explanation.md",
    "docs/sample-report.md", "docs/commands.md",
    "docs/api.md", "docs/api/normgauge.md", "docs/api/testing.md", "docs/api/oracle.md", "docs/api/adapters.md",
    "docs/api/results.md",
    *(str(path.relative_to(PROJECT)) for path in sorted(PROJECT.glob("docs/findings/*.md"))),
    *(str(path.relative_to(PROJECT)) for path in sorted(PROJECT.glob("docs/upstream/*.md"))),
)  # fmt: skip
SOURCES: Final = ("face", "oracle", "adapters", "conformance", "results", "reports")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_follows_the_rules(page: str) -> None:
    assert faults((PROJECT / page).read_text(encoding="utf-8")) == []


def texts_of(command: click.Command) -> Iterator[str]:
    """The help of a command without its example, of its options, and of the commands below it."""
    yield re.sub(r"Examples?: normgauge .*", "", command.help or "")
    yield from (one.help for one in command.params if isinstance(one, click.Option) and one.help)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from texts_of(below)


def test_help_follows_the_rules() -> None:
    assert [fault for text in texts_of(main) for fault in faults(text)] == []


def messages() -> Iterator[tuple[str, str]]:
    """Where and what each exception says that is raised with a text; values stand for one word."""
    for path in (path for top in SOURCES for path in sorted((PROJECT / top).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in node.exc.args:
                    yield f"{path.relative_to(PROJECT)}:{node.lineno}", _written(text)


def _written(text: ast.expr) -> str:
    if isinstance(text, ast.JoinedStr):
        return "".join(map(_written, text.values))
    if isinstance(text, ast.Constant):
        return text.value if isinstance(text.value, str) else ""
    return "VALUE" if isinstance(text, ast.FormattedValue) else ""


def test_messages_follow_the_rules() -> None:
    found = {place: faults(text, longest=None) for place, text in messages()}
    assert {place: broken for place, broken in found.items() if broken} == {}


def test_messages_are_found() -> None:
    assert any("is not known; allowed" in text for _, text in messages())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Of a dtype nothing is left.", "starts with 'Of'"),
        ("It runs. What did not run is listed.", "starts with 'What'"),
        ("- So it is.", "starts with 'So'"),
        ("| a | One that differs is shown. |", "starts with 'One that'"),
        ("Results are held, element by element, against a bound.", "'held, element by element, against'"),
        ("The gate *tells* [what differs](x.md).", "'tells'"),
        ("It is a departure of its own.", "'departure of its own'"),
        ("word " * 25 + "word.", "26 words"),
    ],
)
def test_a_fault_is_found(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "text",
    [
        "What does this layer compute?",
        "Some cases. Offsets. Sofas.",
        "`ask` and `told`",
        "```console\n$ told\n```\n\nDone.",
        "# What to know",
        "word " * 24 + "word.",
        "One. Two.\n\n" + "word " * 20 + "\n\n" + "word " * 20,
    ],
)
def test_what_is_no_fault(text: str) -> None:
    assert faults(text) == []
