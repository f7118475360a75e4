"""The templates of every page, and what they share."""

from __future__ import annotations

import re

import jinja2
from markupsafe import Markup

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_BREAK_AFTER = re.compile(r"(?<=[.(\[=_/])(?!\d)")


def environment(*, autoescape: bool = True) -> jinja2.Environment:
    """The templates, with what they share; ``autoescape`` off for what is no markup."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("normgauge.reports"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["breakable"] = _breakable
    found.tests["web_address"] = lambda text: text.startswith(("https://", "http://"))
    return found


def printable(text: str) -> str:
    """Text without the control characters that colour a terminal, and without what XML forbids."""
    return _TERMINAL.sub("", text)


def _shown(value: object) -> object:
    """What a template shows of a value."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A long dotted name that a narrow column may break."""
    return Markup("<wbr>").join(_BREAK_AFTER.split(text))
