"""A docstring taken apart: sentences, the parameters they describe, and formulas with what leads to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Longer texts are no docstring of one layer.
_LONGEST: Final = 100_000
_FENCE: Final = re.compile(r"^[ \t]*```.*?^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_DOCTEST: Final = re.compile(r"^[ \t]*>>>.*\n?(?:[ \t]*\S.*\n?)*", re.MULTILINE)
_DISPLAYED: Final = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_DIRECTIVE: Final = re.compile(r"\.\.\s+math::(.*)")
_OPTION: Final = re.compile(r"\s*:\w+:")
_BULLET: Final = re.compile(r"\s*[-*+]\s+\S")
_ENTRY: Final = re.compile(
    r"\s*(?:[-*+]\s+|:param\s+(?:[\w.]+\s+)?)?[`*]{0,2}(?P<name>[A-Za-z_]\w*)[`*]{0,2}"
    r"\s*(?P<kind>\((?:[^()]|\([^()]*\))*\))?(?:\s*:(?!\w+:|:)|(?<=\))\s+[-–—])(?=\s|$)(?P<rest>.*)"
)
#: What a colon follows without naming a parameter.
_NO_NAMES: Final = frozenset({"default", "defaults", "note", "example", "examples", "warning"})
_ASSIGNMENT: Final = re.compile(r"\s*[\w.]+(?:\[\w+\])?\s*=(?!=)\s*\S")
_END: Final = re.compile(r"[.!?][\"')\]`*]*\s+(?=[\"'(\[`*\\$]*[A-Z]|:\w+:`)")
_ABBREVIATION: Final = re.compile(r"(?:\be\.g|\bi\.e|\betc|\bvs|\bcf|\bal|\bEq|\bFig|\bSec)\.\Z")
#: Marks a displayed formula's line while the text is taken apart.
_MARK: Final = "\0"


@dataclass(frozen=True, kw_only=True)
class Passage:
    """``kind`` is ``sentence``, ``latex`` (displayed) or ``code`` (a line that is an assignment).

    ``entry`` names the parameter that the passage describes. ``before`` is the paragraph that leads to a
    formula that stands by itself.
    """

    kind: str
    text: str
    entry: str | None = None
    before: str = ""


def passages(docstring: str) -> list[Passage]:
    """The passages in order. Doctests and fenced code are left out: an example claims nothing."""
    text = docstring[:_LONGEST].replace(_MARK, " ").expandtabs()
    text = _DOCTEST.sub("\n", _FENCE.sub("\n", text))
    text = _DISPLAYED.sub(lambda found: _marked(found[1] or found[2]), text)
    found: list[Passage] = []
    before = ""
    for entry, lines in _blocks(_with_directives(text.splitlines())):
        if lines[0].startswith(_MARK):
            found.append(Passage(kind="latex", text=lines[0][1:], entry=entry, before=before))
            continue
        formulas = [line.strip() for line in lines if _ASSIGNMENT.match(line)]
        if len(formulas) == len(lines):
            found += [Passage(kind="code", text=formula, entry=entry, before=before) for formula in formulas]
            continue
        before = " ".join(" ".join(lines).split())
        found += [Passage(kind="sentence", text=sentence, entry=entry) for sentence in sentences(before)]
    return found


def sentences(paragraph: str) -> list[str]:
    """The sentences of a text without line breaks."""
    found, start = [], 0
    for end in _END.finditer(paragraph):
        if not _ABBREVIATION.search(paragraph, start, end.start() + 1):
            found.append(paragraph[start : end.end()].strip())
            start = end.end()
    return [*found, paragraph[start:].strip()] if paragraph[start:].strip() else found


def _marked(formula: str) -> str:
    return f"\n\n{_MARK}{' '.join(formula.split())}\n\n"


def _with_directives(lines: list[str]) -> Iterator[str]:
    """The lines; a math directive with its content becomes one marked line. Blank lines within part formulas."""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        directive = _DIRECTIVE.match(line.strip())
        if not directive:
            yield line
            continue
        content = [directive[1]]
        while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > _indent(line)):
            content.append(lines[number])
            number += 1
        kept = ["" if _OPTION.match(one) else one for one in content]
        equations = "\n".join(one.strip() for one in kept).strip().split("\n\n")
        yield from _marked(r" \\ ".join(equations)).splitlines()


def _blocks(lines: Iterator[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Paragraphs, list items and entries, each with the parameter that it describes."""
    ahead = [*lines, ""]
    block: list[str] = []
    entry: tuple[str, int] | None = None
    for number, line in enumerate(ahead):
        if line.startswith(_MARK):  # its indentation is lost: it belongs to what is around it
            if block:
                yield entry and entry[0], block
            yield entry and entry[0], [line]
            block = []
            continue
        within = entry is not None and bool(line.strip()) and _indent(line) > entry[1]
        opened = None if within and block and not _BULLET.match(line) else _opened(ahead, number)
        ended = entry is not None and bool(line.strip()) and _indent(line) <= entry[1]
        if block and (not line.strip() or opened or ended or _BULLET.match(line)):
            yield entry and entry[0], block
            block = []
        if opened:
            entry = (opened["name"], _indent(line))
            block = [part for part in ((opened["kind"] or "").strip("()"), opened["rest"]) if part.strip()]
            if len(block) == 2:  # the type says a default at times, and is no part of the sentence
                yield entry[0], block[:1]
                block = block[1:]
            continue
        if ended:
            entry = None
        if line.strip():
            block.append(line)


def _opened(lines: list[str], number: int) -> re.Match[str] | None:
    """The entry that begins in a line. What goes on at the same indentation is prose with a colon."""
    found = _ENTRY.match(lines[number])
    if not found or found["name"].lower() in _NO_NAMES:
        return None
    after = lines[number + 1] if number + 1 < len(lines) else ""
    goes_on = bool(after.strip()) and _indent(after) == _indent(lines[number]) and not _ENTRY.match(after)
    return None if goes_on else found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
