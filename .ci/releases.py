"""What is installed for a release of a framework: its pins, what replaces them, and the names of its result files."""

import pathlib
import re

import nox
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = nox.project.load_toml(pathlib.Path(__file__).parents[1] / "pyproject.toml")
#: By framework: the releases of a timeline, and what an old release needs.
RELEASES: dict[str, dict] = PROJECT["tool"]["normgauge"]["releases"]
#: A framework without a list has in its timeline the last patch of each of this many minor releases.
MINOR_RELEASES = 8


class Mistake(Exception):
    """The user's: one line that names the value, what is allowed, and the remedy."""


def pins(*groups: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *groups))


def pinned(framework: str) -> list[Requirement]:
    """A framework's pins, as far as they are for this platform; the first is the framework's own."""
    everywhere = map(Requirement, pins(framework))
    return [pin for pin in everywhere if pin.marker is None or pin.marker.evaluate()]


def taken(option: str, words: list[str]) -> tuple[list[str], list[str]]:
    """The values of a repeatable option (`--with X`, `--with=X`), and the words without it."""
    values, others = [], []
    left = iter(words)
    for word in left:
        if word == option:
            values.append(next(left, ""))
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            others.append(word)
    return values, others


def asked(framework: str, named: list[str]) -> tuple[list[str], str]:
    """What a worker has installed, with ``named`` in place of its pins, and the name of its result file."""
    own = pinned(framework)
    wanted = [requirement(framework, text) for text in named]
    name = "-".join([framework, *(part_of_name(one, own[0]) for one in wanted)])
    for more in (needed(framework, wanted), own, [Requirement("numpy")]):  # what comes first is kept
        wanted += [one for one in more if not among(one, wanted)]
    return [str(one) for one in wanted], name


def requirement(framework: str, text: str) -> Requirement:
    """One that a user names to replace a pin of a framework."""
    own = pinned(framework)
    try:
        one = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        like = str(own[0]).partition(";")[0]
        raise Mistake(f"--with {text!r} is no requirement: {reason}; write it like {like!r}") from None
    if not among(one, [*own, Requirement("numpy")]):
        known = ", ".join(dict.fromkeys([*(pin.name for pin in own), "numpy"]))
        raise Mistake(f"--with {text!r}: {framework} is not made of {one.name}; allowed: {known}")
    return one


def made_of(framework: str, text: str) -> bool:
    """Whether what a requirement names is among the pins of a framework."""
    try:
        return among(Requirement(text), pinned(framework))
    except InvalidRequirement:
        return True  # the framework's own check says what is wrong


def among(one: Requirement, others: list[Requirement]) -> bool:
    """Whether the distribution that a requirement is about is one of the others'."""
    return canonicalize_name(one.name) in {canonicalize_name(other.name) for other in others}


def release_of(one: Requirement) -> str | None:
    """The only release that a requirement allows, if there is one."""
    exact = [clause.version for clause in one.specifier if clause.operator == "==" and "*" not in clause.version]
    return exact[0] if exact and len(one.specifier) == 1 else None


def needed(framework: str, wanted: list[Requirement]) -> list[Requirement]:
    """What the table of releases adds for the release of the framework that is wanted."""
    at = next((release_of(one) for one in wanted if among(one, pinned(framework)[:1])), None)
    table = RELEASES.get(framework, {}).get("needs", {})
    texts = [text for where, more in table.items() if at and Version(at) in SpecifierSet(where) for text in more]
    return [Requirement(text.format(release=at)) for text in texts]


def requirement_of(framework: str, release: str) -> str:
    """What installs this release of a framework: its pin's name and extras, unless the table knows better."""
    own = pinned(framework)[0]
    extras = f"[{','.join(sorted(own.extras))}]" if own.extras else ""
    usual = f"{own.name}{extras}=={release}"
    return next((str(one) for one in needed(framework, [Requirement(usual)]) if among(one, [own])), usual)


def part_of_name(one: Requirement, main: Requirement) -> str:
    """A requirement as a part of a file's name: its release alone where it is the framework's own."""
    said = re.sub(r"[^A-Za-z0-9.+]+", "-", release_of(one) or one.url or str(one.specifier)).strip("-") or "newest"
    return said if among(one, [main]) else f"{one.name}-{said}"


def selection(framework: str) -> list[str]:
    """The releases of a timeline, as the table has them; empty where it has none."""
    return RELEASES.get(framework, {}).get("default", [])


def last_patches(releases: list[str]) -> list[str]:
    """The last release of each minor one, of the newest few."""
    minors = {Version(release).release[:2]: release for release in releases}
    return list(minors.values())[-MINOR_RELEASES:]
