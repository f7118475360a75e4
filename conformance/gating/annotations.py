"""The differences that a gate found, as annotations of a CI system and as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from normgauge.conformance.gating.gate import Surprise

#: What GitHub's workflow commands need escaped: in the message, and in a property.
_IN_A_MESSAGE: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_A_PROPERTY: Final = {**_IN_A_MESSAGE, ":": "%3A", ",": "%2C"}


def github_annotation(surprise: Surprise, file: str = "") -> str:
    """A workflow command that GitHub shows as an error, at ``file`` if there is one.

    Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands.
    """
    properties = {"file": file, "title": f"normgauge: {surprise.kind}"}
    words = ",".join(f"{name}={_escaped(value, _IN_A_PROPERTY)}" for name, value in properties.items() if value)
    return f"::error {words}::{_escaped(f'{surprise.where}: {surprise.what}', _IN_A_MESSAGE)}"


#: The text of a difference for each CI system.
ANNOTATIONS: Final[Mapping[str, Callable[[Surprise, str], str]]] = {"github": github_annotation}


def data_of(surprises: Iterable[Surprise]) -> list[dict[str, Any]]:
    """Each difference as data for JSON; ``count`` is the number of judgements with the same text."""
    return [
        {"kind": one.kind, "where": one.where, "what": " ".join(one.what.split()), "count": one.judgements}
        for one in surprises
    ]


def _escaped(text: str, replaced: Mapping[str, str]) -> str:
    return " ".join(text.split()).translate({ord(character): other for character, other in replaced.items()})
