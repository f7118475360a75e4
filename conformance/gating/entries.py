"""Reader of the list of known differences (docs/gating.md): entries ``[[expected]]`` and ``[[supported]]``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from normgauge.adapters.case import SETTINGS
from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.layers.registry import layer_kinds, requirements

#: What `normgauge gate --suggest` leaves to be written.
TO_BE_WRITTEN: Final = "TO BE WRITTEN: why this is expected"
#: Before the subject of a claim that contradicts what was measured.
DOCUMENTATION: Final = "documentation "


class BrokenExpectations(ValueError):
    """A wrong entry; the message names the file, the entry, the value and what is allowed."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[expected]]`` of the file. Without ``dtypes``: all; without ``versions``: every version.

    An entry for a layer without a mode applies to all modes of the layer, except ``except_modes`` and the modes that
    another entry names.
    """

    implementations: list[str]
    requirement: str
    measured: str
    reason: str
    dtypes: list[str] = []
    versions: dict[str, str] = {}
    except_modes: list[str] = []
    url: str | None = None


class SupportEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[supported]]``: every requirement has a verdict for these implementations, except ``undecided``.

    The requirements in ``undecided`` are unsupported, have the verdict ``cannot tell``, or have no verdict.
    """

    implementations: list[str]
    dtypes: list[str] = []
    versions: dict[str, str] = {}
    undecided: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An entry of either kind with its place."""

    entry: Entry | SupportEntry
    file: str
    number: int
    about: str = ""
    specifiers: Mapping[str, SpecifierSet] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"entry {self.number} of {self.file}"

    def applies(self, versions: Mapping[str, str]) -> bool:
        """Whether it holds for these versions.

        Raises:
            BrokenExpectations: it names a package that the results do not, or one whose version is none.
        """
        for package, specifier in self.specifiers.items():
            if package not in versions:
                raise self.broken(
                    f"versions names {package!r}, which the results do not have; allowed: {', '.join(sorted(versions))}"
                )
            try:
                version = Version(versions[package])
            except InvalidVersion:
                raise self.broken(
                    f"versions names {package!r}; its version in the results, {versions[package]!r}, is not a PEP 440 "
                    "version; remove it from versions"
                ) from None
            if not specifier.contains(version, prereleases=True):
                return False
        return True

    def broken(self, what: str) -> BrokenExpectations:
        return BrokenExpectations(f"{self.file}, entry {self.number} ({self.about}): {what}")


@dataclass(frozen=True, kw_only=True)
class Supported(Placed):
    """What is decided of some implementations, and must stay so."""

    entry: SupportEntry

    def is_about(self, implementation: str, dtype: str) -> bool:
        return implementation in self.entry.implementations and dtype in (self.entry.dtypes or DTYPES)


@dataclass(frozen=True, kw_only=True)
class Expectation(Placed):
    """A known difference, or something that a layer is known to raise."""

    entry: Entry

    @property
    def dtypes(self) -> Sequence[str]:
        """The dtypes it is about: those it names, or those in which the requirement is asked."""
        known = requirements().get(self.entry.requirement)
        return self.entry.dtypes or (known.dtypes if known else DTYPES)

    @property
    def why(self) -> str:
        return f"{self.entry.reason} ({self.entry.url})" if self.entry.url else self.entry.reason

    def foresees(self, measured: str) -> bool:
        """Whether this is the measured value that it names, where ``*`` stands for any text."""
        parts = map(re.escape, self.entry.measured.split("*"))
        return re.fullmatch(".*".join(parts), measured, re.DOTALL) is not None


_SECTIONS: Final[Mapping[str, type[Entry] | type[SupportEntry]]] = {"expected": Entry, "supported": SupportEntry}
_One = TypeVar("_One", bound=Placed)


def files_in(path: Path) -> list[Path]:
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise BrokenExpectations(f"{path} has no *.toml file; give a file, or a folder with such files")
    return files


def read_entries(file: Path, name: str, layers: Mapping[str, str]) -> Iterator[Expectation | Supported]:
    """The entries of a file that is called ``name`` to a person; ``layers`` has the kind of layer by implementation.

    Raises:
        BrokenExpectations: a file that cannot be read, or an entry that makes no sense.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenExpectations(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise BrokenExpectations(f"{name} is not TOML: {error}; correct the file") from None
    wrong = sorted(one for one in content if one not in _SECTIONS or not isinstance(content[one], list))
    if wrong:
        allowed = " or ".join(f"[[{one}]]" for one in _SECTIONS)
        raise BrokenExpectations(f"{name} has {', '.join(wrong)}; allowed: entries that begin with {allowed}")
    for raw in enumerate(content.get("expected", []), start=1):
        yield _expectation(*raw, name, layers)
    for raw in enumerate(content.get("supported", []), start=1):
        yield _supported(*raw, name, layers)


def _entry_of(kind: Any, raw: Any, place: str) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BrokenExpectations(f"{place}: {error}; its keys are {', '.join(kind.__struct_fields__)}") from None


def _expectation(number: int, raw: Any, file: str, layers: Mapping[str, str]) -> Expectation:
    entry = _entry_of(Entry, raw, f"{file}, entry {number}")
    one = Expectation(entry=entry, file=file, number=number, about=entry.requirement)
    _check_words(one, "implementations", "dtypes", "except_modes")
    _check_reason(one)
    known = requirements().get(entry.requirement)
    if known is None and entry.requirement not in _documented():
        raise one.broken(f"requirement {entry.requirement!r} is not known; allowed: {_allowed()}")
    _check_dtypes(one, known.dtypes if known else DTYPES)
    for implementation in entry.implementations:
        layer = layers.get(implementation)
        if known is not None and layer not in {None, known.layer}:
            raise one.broken(f"{implementation} is a {layer}, and {known.id} applies to a {known.layer} only")
    return replace(one, specifiers=dict(_specifiers(one)))


def _supported(number: int, raw: Any, file: str, layers: Mapping[str, str]) -> Supported:
    entry = _entry_of(SupportEntry, raw, f"{file}, supported {number}")
    one = Supported(entry=entry, file=file, number=number, about="supported")
    _check_words(one, "implementations", "dtypes", "undecided")
    _check_dtypes(one, DTYPES)
    asked = {layers[implementation] for implementation in entry.implementations if implementation in layers}
    for requirement in entry.undecided:
        known = requirements().get(requirement)
        if known is None:
            raise one.broken(f"undecided has {requirement!r}, which is not a requirement; allowed: {_allowed()}")
        if asked and known.layer not in asked:
            raise one.broken(f"undecided has {requirement}, which applies to a {known.layer} only")
    return replace(one, specifiers=dict(_specifiers(one)))


def _check_words(one: Placed, *fields: str) -> None:
    if not one.entry.implementations:
        raise one.broken("implementations is empty; name at least one")
    for name in fields:
        words = getattr(one.entry, name)
        twice = [word for word in words if words.count(word) > 1]
        if twice:
            raise one.broken(f"{name} names {twice[0]!r} twice")


def _check_dtypes(one: Placed, allowed: Collection[str]) -> None:
    for dtype in one.entry.dtypes:
        if dtype not in allowed:
            raise one.broken(f"dtype {dtype!r} is not checked there; allowed: {', '.join(allowed)}")


def _check_reason(one: Expectation) -> None:
    entry = one.entry
    if not entry.reason.strip():
        raise one.broken("reason is empty; write why this difference is accepted")
    if entry.reason.strip() == TO_BE_WRITTEN:
        raise one.broken(f"reason is still {TO_BE_WRITTEN!r}; write why this difference is accepted")
    if entry.url is not None and not re.match(r"https?://\S+$", entry.url):
        raise one.broken(f"url {entry.url!r} is not an address; allowed: https://..., or no url")


def _specifiers(one: Placed) -> Iterator[tuple[str, SpecifierSet]]:
    for package, text in one.entry.versions.items():
        try:
            specifier = SpecifierSet(text)
        except InvalidSpecifier:
            specifier = SpecifierSet()
        if not len(specifier):
            raise one.broken(f"versions of {package}: {text!r} is not a PEP 440 specifier; write it like '>=1.2,<2'")
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
