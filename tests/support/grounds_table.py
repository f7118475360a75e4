"""The table of requirements by ground in docs/verdicts.md: ``python tests/support/grounds_table.py`` prints it.

Who has a convention is taken from the expectations, which the gate compares with fresh results.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, get_args

from packaging.requirements import Requirement as Pin

from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import registered_implementations
from normgauge.conformance.gating.expectations import Expectations, load_expectations
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.catalogue import RETIRED
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.results.grounds import Ground

ROOT: Final = Path(__file__).parents[2]


def holders(requirement: Requirement, expectations: Expectations) -> tuple[list[str], list[str]]:
    """The frameworks whose plain layers all meet a requirement at the pinned releases, and those of which one does not.

    A framework that lacks what is asked is in neither.
    """
    found: dict[str, set[bool]] = {}
    for identifier, (framework, one) in sorted(registered_implementations().items()):
        if one.layer == requirement.layer and one.mode == EAGER:
            found.setdefault(framework, set()).update(_meets(identifier, framework, requirement, expectations))
    return [name for name in found if found[name] == {True}], [name for name in found if False in found[name]]


def _meets(identifier: str, framework: str, requirement: Requirement, expectations: Expectations) -> Iterator[bool]:
    """For each dtype in which that is decided, whether an implementation meets a requirement."""
    versions = pins()[framework]
    about = [one for one in expectations.all if one.entry.requirement == requirement.id]
    for dtype in requirement.dtypes:
        support = expectations.support_of(identifier, dtype, versions)
        if support is not None and requirement.id not in support.entry.undecided:
            own = (one for one in about if identifier in one.entry.implementations and dtype in one.dtypes)
            yield not any(one.applies(versions) for one in own)


@functools.cache
def pins() -> Mapping[str, Mapping[str, str]]:
    """By framework, the versions that pyproject.toml pins on Linux."""
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    pinned = {name: [Pin(text) for text in texts] for name, texts in groups.items()}
    here = {name: [pin for pin in own if not pin.marker or pin.marker.evaluate(linux)] for name, own in pinned.items()}
    return {name: {pin.name: next(iter(pin.specifier)).version for pin in own} for name, own in here.items()}


def lines() -> Iterator[str]:
    """The Markdown that stands between the two marks of the page."""
    expectations, everything = load_expectations(), requirements().values()
    own = {ground: [one for one in everything if one.ground == ground] for ground in get_args(Ground)}
    yield ", ".join(f"{ground} {len(its)}" for ground, its in own.items()) + f": {len(everything)} requirements."
    for ground, its in own.items():
        if ground in {"formula", "robustness"}:
            yield f"\n**{ground.capitalize()}**: {'; '.join(f'{one.id} {one.title}' for one in its)}."
    yield "\n**Documentation**, with the quoted frameworks; for all others each is a convention:\n"
    yield "| quoted | requirements |"
    yield "|---|---|"
    quoted = {", ".join(sorted(one.quoted)): None for one in own["documentation"]}
    for names in quoted:
        alike = (f"{one.id} {one.title}" for one in own["documentation"] if ", ".join(sorted(one.quoted)) == names)
        yield f"| {names} | {'; '.join(alike)} |"
    yield "\n**Convention**, with the frameworks that follow it and those that differ:\n"
    yield "| requirement | the convention | follow it | differ |"
    yield "|---|---|---|---|"
    for one in own["convention"]:
        meet, differ = (", ".join(names) or "–" for names in holders(one, expectations))
        yield f"| {one.id} {one.title} | {one.statement} | {meet} | {differ} |"
    retired = ", ".join(f"{name} ({why})" for name, why in RETIRED.items())
    yield f"\nRetired ids, which no new requirement gets: {retired or 'none'}."


if __name__ == "__main__":
    print("\n".join(lines()))
