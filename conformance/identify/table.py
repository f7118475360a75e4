"""Rows of a name and a text: as lines for a terminal, and as a table for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from typing import Final

Rows = Iterable[tuple[str, str]]
#: Characters of a name, and of a line.
_NAME: Final = 16
_LINE: Final = 110


def as_text(headline: str, rows: Rows) -> str:
    """The headline and a line for each row; a long text goes on under itself."""
    lines = textwrap.wrap(headline, _LINE)
    for name, text in rows:
        indent = " " * (_NAME + (len(text) - len(text.lstrip())))
        lines += textwrap.wrap(
            f"{name:<{_NAME}}{text}",
            _LINE,
            subsequent_indent=indent,
            drop_whitespace=True,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def as_html(headline: str, rows: Rows) -> str:
    """The same as HTML, every text escaped."""
    cells = (
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<p><b>{html.escape(headline)}</b></p><table>{''.join(cells)}</table>"
