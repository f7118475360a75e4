"""Entries to paste into a list of known differences, with each reason left to be written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from packaging.version import InvalidVersion, Version

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import load_adapter
from normgauge.conformance.gating.entries import TO_BE_WRITTEN
from normgauge.conformance.gating.expectations import Measured
from normgauge.conformance.gating.gate import Gated, by_dtypes
from normgauge.conformance.layers.registry import requirements
from normgauge.results.records import Header


def suggestions(gated: Gated) -> str:
    """The TOML that expects what is new, with each reason left to be written, and says what is supported."""
    return "\n".join([*expected_entries(gated.new), *_supported_entries(gated.unpinned)])


def _supported_entries(unpinned: Iterable[tuple[str, str, tuple[str, ...], Header]]) -> Iterator[str]:
    alike: dict[tuple[tuple[str, ...], str], dict[str, list[str]]] = {}
    for implementation, dtype, undecided, header in unpinned:
        about = alike.setdefault((undecided, _from_here_on(header)), {})
        about.setdefault(implementation, []).append(dtype)
    for (undecided, versions), dtypes_of in alike.items():
        for dtypes, implementations in by_dtypes(dtypes_of).items():
            lines = ["[[supported]]", f"implementations = {_list(implementations)}", f"dtypes = {_list(dtypes)}"]
            lines += [f"versions = {versions}"] if versions else []
            yield "\n".join([*lines, f"undecided = {_list(undecided)}"]) + "\n"


def expected_entries(new: Iterable[tuple[Measured, Header]]) -> Iterator[str]:
    """An entry for each group of new differences with the same value, from the measured release on."""
    alike: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for found, header in new:
        about = alike.setdefault((found.cell.requirement, found.measured, _from_here_on(header)), {})
        about.setdefault(found.cell.implementation, []).append(found.cell.dtype)
    for (requirement, measured, versions), dtypes_of in alike.items():
        for dtypes, implementations in by_dtypes(dtypes_of).items():
            yield _entry(implementations, dtypes, versions, requirement, measured)


def _from_here_on(header: Header) -> str:
    """The versions of a suggested entry: the framework's own, from the one that was measured."""
    try:
        package = load_adapter(header.framework).distribution
    except ValueError:  # no adapter here: a program of its own, say
        package = next(iter(header.versions), "")
    try:
        return f'{{ {_key(package)} = ">={Version(header.versions[package]).public}" }}'
    except (KeyError, InvalidVersion):
        return ""


def _entry(
    implementations: Sequence[str], dtypes: Sequence[str], versions: str, requirement: str, measured: str
) -> str:
    asked = requirements()[requirement].dtypes if requirement in requirements() else DTYPES
    lines = ["[[expected]]", f"implementations = {_list(implementations)}"]
    if set(dtypes) != set(asked):
        lines.append(f"dtypes = {_list(dtypes)}")
    if versions:
        lines.append(f"versions = {versions}")
    lines += [f"requirement = {_text(requirement)}", f"measured = {_text(measured)}"]
    return "\n".join([*lines, f"reason = {_text(TO_BE_WRITTEN)}"]) + "\n"


def _text(value: str) -> str:
    """A TOML string; JSON's is one too, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Sequence[str]) -> str:
    line = f"[{', '.join(map(_text, values))}]"
    if len(line) < 100:
        return line
    return "\n".join(["[", *(f"    {_text(value)}," for value in values), "]"])


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _text(name)
