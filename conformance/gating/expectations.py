"""Expectations: the divergences that are known, and what a measurement says beside them.

A TOML file for each framework (``expectations/``, or the user's own), strict both ways: what diverges must be
expected, and what is expected must diverge, in the way that is expected. docs/gating.md describes the format.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from normgauge.adapters.case import SETTINGS
from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import not_known, registered_implementations
from normgauge.conformance.layers.registry import layer_kinds, requirements
from normgauge.results.records import DIVERGENT, Judgement, Profile

#: Those of this distribution, one file a framework.
SHIPPED: Final = Path(__file__).parents[1] / "expectations"
#: How the shipped files are called to a person: by their place in the repository.
SHIPPED_NAME: Final = "conformance/expectations"
#: What `normgauge gate --suggest` leaves to be written.
TO_BE_WRITTEN: Final = "TO BE WRITTEN: why this is expected"
#: Before the subject of a claim that contradicts what was measured.
DOCUMENTATION: Final = "documentation "

Comparison = Literal["conforms", "met", "new", "gone", "changed"]


class BrokenExpectations(ValueError):
    """An expectation that makes no sense; the message names the file, the entry, the value and what is allowed."""


class Cell(NamedTuple):
    """What one expectation is about, and one judgement."""

    implementation: str
    dtype: str
    requirement: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out for a cell: a judgement's verdict, or that of a claim beside its measurement."""

    cell: Cell
    framework: str
    title: str
    verdict: str
    measured: str
    sentence: str

    @property
    def divergent(self) -> bool:
        return self.verdict in DIVERGENT or self.verdict == "contradicts"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[expected]]`` as it is written. No ``dtypes``: all; no ``versions``: every version."""

    implementations: list[str]
    requirement: str
    measured: str
    reason: str
    dtypes: list[str] = []
    versions: dict[str, str] = {}
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """An entry with its place."""

    entry: Entry
    file: str
    number: int
    specifiers: Mapping[str, SpecifierSet] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"entry {self.number} of {self.file}"

    @property
    def dtypes(self) -> Sequence[str]:
        """The dtypes it is about: those it names, or those in which the requirement is asked."""
        known = requirements().get(self.entry.requirement)
        return self.entry.dtypes or (known.dtypes if known else DTYPES)

    @property
    def why(self) -> str:
        return f"{self.entry.reason} ({self.entry.url})" if self.entry.url else self.entry.reason

    def is_about(self, cell: Cell) -> bool:
        return (
            cell.requirement == self.entry.requirement
            and cell.implementation in self.entry.implementations
            and cell.dtype in self.dtypes
        )

    def applies(self, versions: Mapping[str, str]) -> bool:
        """Whether it holds for these versions.

        Raises:
            BrokenExpectations: it names a package that the results do not, or one whose version is none.
        """
        for package, specifier in self.specifiers.items():
            if package not in versions:
                raise self.broken(
                    f"versions names {package!r}, which the results do not; allowed: {', '.join(sorted(versions))}"
                )
            try:
                version = Version(versions[package])
            except InvalidVersion:
                raise self.broken(
                    f"versions names {package!r}, whose version in the results, {versions[package]!r}, is none by "
                    "PEP 440; leave it out of versions"
                ) from None
            if not specifier.contains(version, prereleases=True):
                return False
        return True

    def foresees(self, measured: str) -> bool:
        """Whether this is the measured value that it names, where ``*`` stands for any text."""
        parts = map(re.escape, self.entry.measured.split("*"))
        return re.fullmatch(".*".join(parts), measured, re.DOTALL) is not None

    def broken(self, what: str) -> BrokenExpectations:
        return BrokenExpectations(f"{self.file}, entry {self.number} ({self.entry.requirement}): {what}")


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """Everything that is expected, and where more would be written."""

    all: tuple[Expectation, ...]
    places: tuple[str, ...] = (SHIPPED_NAME,)

    def of(self, cell: Cell, versions: Mapping[str, str]) -> Expectation | None:
        """The one that applies to a cell at these versions.

        Raises:
            BrokenExpectations: two do, or one cannot be held against these versions.
        """
        found = [one for one in self.all if one.is_about(cell) and one.applies(versions)]
        if len(found) > 1:
            raise found[1].broken(
                f"it is about the same judgement as {found[0].place}: {cell.implementation} {cell.dtype}; "
                "remove one of them, or narrow its implementations, dtypes or versions"
            )
        return found[0] if found else None

    def about(self, implementations: Collection[str]) -> Iterator[tuple[Cell, Expectation]]:
        """Every cell of these implementations that something is expected of, at whatever version."""
        for one in self.all:
            for implementation in one.entry.implementations:
                if implementation in implementations:
                    for dtype in one.dtypes:
                        yield Cell(implementation, dtype, one.entry.requirement), one

    def file_for(self, framework: str) -> str:
        """Where an expectation of this framework is to be written."""
        place = self.places[0]
        return place if place.endswith(".toml") else f"{place}/{framework}.toml"

    def check_implementations(self, known: Collection[str]) -> None:
        """Refuse an implementation that nobody has.

        Raises:
            BrokenExpectations: it is not among ``known``.
        """
        for one in self.all:
            for implementation in one.entry.implementations:
                if implementation not in known:
                    raise one.broken(not_known("implementation", implementation, sorted(known)))


def compare(found: Measured, expected: Expectation | None) -> Comparison:
    """What a measurement is beside what was expected of it."""
    if expected is None:
        return "new" if found.divergent else "conforms"
    if not found.divergent:
        return "gone"
    return "met" if expected.foresees(found.measured) else "changed"


def told(found: Measured, expected: Expectation | None, expectations: Expectations) -> str:
    """One line on what was found beside the expectations: what to do about it, in which file."""
    comparison = compare(found, expected)
    if comparison == "new":
        return (
            f"{found.verdict}, {found.measured or found.sentence}; repair it, or expect it in "
            f"{expectations.file_for(found.framework)} (`normgauge gate --suggest` writes the entry)"
        )
    if expected is None:
        return found.verdict
    if comparison == "met":
        return f"expected by {expected.place}: {expected.why}"
    if comparison == "gone":
        return (
            f"the expected divergence, {expected.entry.measured}, is gone: it {_now(found)}; remove {expected.place}, "
            "or narrow its versions, implementations or dtypes"
        )
    return (
        f"measured {found.measured!r} where {expected.entry.measured!r} is expected; correct `measured` in "
        f"{expected.place}, or narrow its versions, implementations or dtypes and add another entry"
    )


def _now(found: Measured) -> str:
    return found.verdict if found.verdict in {"conforms", "agrees"} else f"is now {found.verdict!r}: {found.sentence}"


def of_judgement(judgement: Judgement) -> Measured:
    cell = Cell(judgement.implementation, judgement.dtype, judgement.requirement)
    return Measured(
        cell=cell,
        framework=judgement.framework,
        title=judgement.title,
        verdict=judgement.verdict,
        measured=judgement.measured,
        sentence=judgement.sentence,
    )


def of_claims(profile: Profile) -> list[Measured]:
    """The claims of the documentation, as cells beside the requirements; of several on a subject, the worst."""
    found: dict[Cell, Measured] = {}
    for claim in profile.claims:
        cell = Cell(profile.implementation, profile.dtype, f"{DOCUMENTATION}{claim.subject}")
        said = f"documented as {claim.claimed} ({claim.where}), measured {claim.measured}"
        one = Measured(
            cell=cell,
            framework=profile.framework,
            title="",
            verdict=claim.verdict,
            measured=claim.measured,
            sentence=said,
        )
        if cell not in found or (one.divergent and not found[cell].divergent):
            found[cell] = one
    return list(found.values())


def load_expectations(paths: Sequence[Path] = ()) -> Expectations:
    """Those of these files and folders; without any, those of this distribution.

    Raises:
        BrokenExpectations: a file that cannot be read, or an entry that makes no sense.
    """
    files = [(file, str(file)) for path in paths for file in _files(path)]
    if not paths:
        files = [(file, f"{SHIPPED_NAME}/{file.name}") for file in sorted(SHIPPED.glob("*.toml"))]
    layers = {identifier: one.layer for identifier, (_, one) in registered_implementations().items()}
    found = tuple(one for file, name in files for one in _read(file, name, layers))
    return Expectations(all=found, places=tuple(map(str, paths)) or (SHIPPED_NAME,))


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise BrokenExpectations(f"{path} holds no expectations (*.toml); give a file, or a folder that holds some")
    return files


def _read(file: Path, name: str, layers: Mapping[str, str]) -> list[Expectation]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenExpectations(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise BrokenExpectations(f"{name} is no TOML: {error}") from None
    entries = content.get("expected", [])
    if set(content) - {"expected"} or not isinstance(entries, list):
        wrong = ", ".join(sorted(set(content) - {"expected"})) or "expected"
        raise BrokenExpectations(f"{name} has {wrong}; allowed: entries that begin with [[expected]]")
    return [_checked(raw, name, number, layers) for number, raw in enumerate(entries, start=1)]


def _checked(raw: Any, file: str, number: int, layers: Mapping[str, str]) -> Expectation:
    try:
        entry = msgspec.convert(raw, Entry)
    except msgspec.ValidationError as error:
        keys = ", ".join(Entry.__struct_fields__)
        raise BrokenExpectations(f"{file}, entry {number}: {error}; its keys are {keys}") from None
    one = Expectation(entry=entry, file=file, number=number)
    _check_words(one)
    known = requirements().get(entry.requirement)
    if known is None and entry.requirement not in _documented():
        raise one.broken(f"requirement {entry.requirement!r} is not known; allowed: {_allowed()}")
    allowed = known.dtypes if known else DTYPES
    for dtype in entry.dtypes:
        if dtype not in allowed:
            raise one.broken(f"dtype {dtype!r} is not asked there; allowed: {', '.join(allowed)}")
    for implementation in entry.implementations:
        layer = layers.get(implementation)
        if known is not None and layer not in {None, known.layer}:
            raise one.broken(f"{implementation} is a {layer}, and {known.id} is asked of a {known.layer} only")
    return Expectation(entry=entry, file=file, number=number, specifiers=dict(_specifiers(one)))


def _check_words(one: Expectation) -> None:
    entry = one.entry
    if not entry.implementations:
        raise one.broken("implementations is empty; name at least one")
    for name in ("implementations", "dtypes"):
        words = getattr(entry, name)
        twice = [word for word in words if words.count(word) > 1]
        if twice:
            raise one.broken(f"{name} names {twice[0]!r} twice")
    if not entry.reason.strip():
        raise one.broken("reason is empty; say why this divergence is expected")
    if entry.reason.strip() == TO_BE_WRITTEN:
        raise one.broken(f"reason is still {TO_BE_WRITTEN!r}; say why this divergence is expected")
    if entry.url is not None and not re.match(r"https?://\S+$", entry.url):
        raise one.broken(f"url {entry.url!r} is none; allowed: https://..., or no url")


def _specifiers(one: Expectation) -> Iterator[tuple[str, SpecifierSet]]:
    for package, text in one.entry.versions.items():
        try:
            specifier = SpecifierSet(text)
        except InvalidSpecifier:
            specifier = SpecifierSet()
        if not len(specifier):
            raise one.broken(f"versions of {package}: {text!r} is no PEP 440 specifier; write it like '>=1.2,<2'")
        yield package, specifier


def _documented() -> list[str]:
    axes = dict.fromkeys(axis.name for kind in layer_kinds().values() for axis in kind.axes)
    return [f"{DOCUMENTATION}{subject}" for subject in [*axes, *(f"default {setting}" for setting in SETTINGS)]]


def _allowed() -> str:
    """The requirements, as ranges, and what a claim can be about."""
    ranges = []
    for prefix in dict.fromkeys(one.partition("-")[0] for one in requirements()):
        own = [one for one in requirements() if one.startswith(f"{prefix}-")]
        ranges.append(f"{own[0]} to {own[-1]}")
    return ", ".join([*ranges, *_documented()])
