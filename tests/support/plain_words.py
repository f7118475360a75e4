"""The rules of the language that a program can check: how a sentence starts, which words it avoids, how long it is.

`python tests/support/plain_words.py README.md docs/gating.md` prints what a page breaks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: How no sentence starts. A question may start with "What".
STARTS: Final = ("Of", "What", "One that", "So")
#: Words that are not used, as regular expressions, and what to write instead.
AVOIDED: Final = {
    r"asks?|asked|asking": "check, run, request",
    r"(?:holds?|held|holding)\b[^.;:]*\bagainst": "compare with",
    r"tells?|told|telling": "report, say, distinguish",
    r"judges?|judged|judging": "check, give a verdict",
    r"foresees?|foreseen|foreseeing": "support, expect",
    r"kin": "related layer",
    r"departures? of (?:\w+ )?own": "difference",
}
#: How many words a sentence has at most, or a part of it between semicolons.
LONGEST: Final = 25

_AVOIDED: Final = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): instead for words, instead in AVOIDED.items()}
_START: Final = re.compile(rf"(?:{'|'.join(STARTS)})\b")
#: Code stands for one word, a link for its text; headings, comments, pictures and fences are left out.
_MARKUP: Final = (
    (r"(?ms)^ *(```|~~~|\+\+\+).*?^ *\1 *$", "\n\n"),
    (r"(?s)<!--.*?-->", ""),
    (r"(?m)^#+ .*$", "\n"),
    (r"!\[[^\]]*\]\([^)]*\)", ""),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"\{[\w:]+\}`[^`]*`", "CODE"),
    (r"`[^`]*`", "CODE"),
    (r"\*\*|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)", ""),
)
#: Where a part of a page ends: an empty line, an item of a list, a row or a cell of a table.
_PART: Final = re.compile(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) |^\s*(?:[-*]|\d+\.) |\|")
_END: Final = re.compile(r"(?<=[.!?])[)\"']?\s+(?=[A-Z(`\"'])")


def sentences(text: str) -> Iterator[str]:
    """Each sentence of a page in Markdown, or of plain text, without its markup."""
    for pattern, instead in _MARKUP:
        text = re.sub(pattern, instead, text)
    for part in _PART.split(text):
        yield from (" ".join(one.split()) for one in _END.split(part) if one.strip())


def faults(text: str, *, longest: int | None = LONGEST) -> list[str]:
    """What a text breaks, each with its sentence; ``longest`` is None where the length is free."""
    found = []
    for one in sentences(text):
        start = _START.match(one)
        if start and not (start[0] == "What" and one.endswith("?")):
            found.append(f"starts with {start[0]!r}: {one}")
        found += [
            f"{match[0]!r}, write {instead}: {one}"
            for word, instead in _AVOIDED.items()
            for match in word.finditer(one)
        ]
        words = max(len(part.split()) for part in one.split(";"))
        if longest is not None and words > longest:
            found.append(f"{words} words: {one}")
    return found


if __name__ == "__main__":
    broken = [f"{page}: {fault}" for page in sys.argv[1:] for fault in faults(Path(page).read_text(encoding="utf-8"))]
    sys.exit("\n".join(broken) or 0)
