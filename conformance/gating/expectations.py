"""The list of known differences, and its comparison with results.

There is a TOML file for each framework (``expectations/``, or the user's own). Each difference must be in the list, and
each entry of the list must be measured, with the same value. A requirement that had a verdict must keep one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from normgauge.adapters.implementation_id import EAGER, ImplementationId
from normgauge.adapters.registry import not_known, registered, registered_implementations
from normgauge.conformance.gating.entries import (
    DOCUMENTATION,
    Expectation,
    Supported,
    files_in,
    read_entries,
)
from normgauge.conformance.layers.registry import requirements
from normgauge.results.grounds import Ground, Sort, sort_of, word_for
from normgauge.results.records import DIVERGENT, Judgement, Profile

#: Those of this distribution, one file a framework.
SHIPPED: Final = Path(__file__).parents[1] / "expectations"
#: The place of the shipped files in the repository.
SHIPPED_NAME: Final = "conformance/expectations"
#: Verdicts that say nothing of what a layer computes.
UNDECIDED: Final = frozenset({"unsupported", "cannot tell"})

_One = TypeVar("_One", Expectation, Supported)
Comparison = Literal["conforms", "met", "new", "gone", "changed"]


class Cell(NamedTuple):
    """What one expectation is about, and one judgement."""

    implementation: str
    dtype: str
    requirement: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result for a cell: the verdict of a judgement, or of a claim.

    ``identity`` is that of the implementation, if its mode is known. ``ground`` is the reason for the requirement; for
    a claim it is ``documentation``. ``worded`` is ``measured`` in words.
    """

    cell: Cell
    framework: str
    title: str
    verdict: str
    measured: str
    sentence: str
    identity: ImplementationId | None = None
    ground: Ground | None = None
    worded: str = ""

    @property
    def sort(self) -> Sort:
        """What it counts as, where it is divergent."""
        return sort_of(self.verdict, self.ground)

    @property
    def divergent(self) -> bool:
        return self.verdict in DIVERGENT or self.verdict == "contradicts"

    @property
    def plain(self) -> str:
        """The id of the same layer run without a mode; of one without a mode that is its own."""
        return str(replace(self.identity, mode=EAGER)) if self.identity else self.cell.implementation


@dataclass(frozen=True, kw_only=True)
class Held:
    """A measurement beside what is expected of it. It is ``supported`` where somebody says that it is decided."""

    found: Measured
    expected: Expectation | None = None
    supported: Supported | None = None

    @property
    def comparison(self) -> Comparison:
        found, undecided = self.found, self.found.verdict in UNDECIDED
        if self.expected is not None:
            if found.divergent:
                return "met" if self.expected.foresees(found.measured) else "changed"
            return "changed" if undecided else "gone"
        if found.divergent:
            return "new"
        if self.supported is None or found.cell.requirement not in requirements():
            return "conforms"
        return "conforms" if undecided == self._listed else "changed"

    @property
    def _listed(self) -> bool:
        return self.supported is not None and self.found.cell.requirement in self.supported.entry.undecided

    def told(self, file: str) -> str:
        """One line on it: what to do about it. More would be written in ``file``."""
        found, comparison = self.found, self.comparison
        if comparison == "new":
            word = word_for(found.verdict, found.ground)
            return f"{word}, {found.worded or found.sentence}; repair the layer, or add an entry to {file}"
        if self.expected is None:
            return self._of_support() if comparison == "changed" else found.verdict
        place, measured = self.expected.place, self.expected.entry.measured
        if comparison == "met":
            return f"known, {place}: {self.expected.why}"
        if found.verdict in UNDECIDED:
            return (
                f"the known difference, {measured}, was not measured: the verdict is {found.verdict!r}: "
                f"{found.sentence}; find the reason: {place} expects a measurement"
            )
        if comparison == "gone":
            return (
                f"the known difference, {measured}, is gone: the layer {_now(found)}; remove {place}, "
                "or restrict its versions, implementations, modes or dtypes"
            )
        return (
            f"measured {found.measured!r}, expected {measured!r}; correct `measured` in "
            f"{place}, or restrict its versions, implementations or dtypes and add another entry"
        )

    def _of_support(self) -> str:
        assert self.supported is not None
        found, place = self.found, f"supported {self.supported.place}"
        if self._listed:
            return f"{found.verdict}, was undecided before; remove {found.cell.requirement} from `undecided` in {place}"
        return (
            f"{found.verdict}: {found.sentence}; it had a verdict before: find the reason, or add "
            f"{found.cell.requirement} to `undecided` in {place}"
        )


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """Everything that is expected, and where more would be written."""

    all: tuple[Expectation, ...]
    supported: tuple[Supported, ...] = ()
    places: tuple[str, ...] = (SHIPPED_NAME,)

    def hold(self, found: Measured, versions: Mapping[str, str]) -> Held:
        """A measurement beside what is expected of it at these versions.

        Raises:
            BrokenExpectations: two entries are about it, or one does not fit these versions.
        """
        cell = found.cell
        return Held(
            found=found,
            expected=self._expected(found, versions),
            supported=self.support_of(cell.implementation, cell.dtype, versions),
        )

    def _expected(self, found: Measured, versions: Mapping[str, str]) -> Expectation | None:
        cell = found.cell
        about = [one for one in self.all if one.entry.requirement == cell.requirement and cell.dtype in one.dtypes]
        own = [one for one in about if cell.implementation in one.entry.implementations and one.applies(versions)]
        mode = found.identity.mode if found.identity else EAGER
        shared = [
            one
            for one in about
            if not own
            and mode not in {EAGER, *one.entry.except_modes}
            and found.plain in one.entry.implementations
            and one.applies(versions)
        ]
        return _only(own or shared, f"{cell.implementation} {cell.dtype}")

    def support_of(self, implementation: str, dtype: str, versions: Mapping[str, str]) -> Supported | None:
        """The entry that says what is decided of an implementation.

        Raises:
            BrokenExpectations: there are two, or one does not fit these versions.
        """
        about = [one for one in self.supported if one.is_about(implementation, dtype) and one.applies(versions)]
        return _only(about, f"{implementation} {dtype}")

    def lost(self, implementation: str, dtype: str, why: str, versions: Mapping[str, str]) -> str | None:
        """What is to be said where a framework has no such dtype, for the reason ``why``; None where none was pinned.

        Raises:
            BrokenExpectations: two entries are about it, or one does not fit these versions.
        """
        support = self.support_of(implementation, dtype, versions)
        if support is None or dtype not in support.entry.dtypes:
            return None
        return f"{why}, but supported {support.place} names it; find the reason"

    def about(self, implementations: Collection[str]) -> Iterator[tuple[Cell, Expectation]]:
        """Every cell of these implementations, named themselves, that something is expected of, at any version."""
        for one in self.all:
            for implementation in one.entry.implementations:
                if implementation in implementations:
                    for dtype in one.dtypes:
                        yield Cell(implementation, dtype, one.entry.requirement), one

    def file_for(self, framework: str, option: str = "--expectations") -> str:
        """Where a person is to write an expectation of this framework, who gives files with ``option``."""
        place = self.places[0]
        if place.endswith(".toml"):
            return place
        if place == SHIPPED_NAME and not (framework in registered() and _in_the_repository()):
            return f"a file of your own ({option}=FILE)"
        return f"{place}/{framework}.toml"

    def check_implementations(self, known: Collection[str]) -> None:
        """Refuse an implementation that nobody has.

        Raises:
            BrokenExpectations: it is not among ``known``.
        """
        for one in (*self.all, *self.supported):
            for implementation in one.entry.implementations:
                if implementation not in known:
                    raise one.broken(not_known("implementation", implementation, sorted(known)))


def _only(found: Sequence[_One], what: str) -> _One | None:
    if len(found) > 1:
        raise found[1].broken(
            f"{found[0].place} applies to the same judgement: {what}; "
            "remove one of them, or restrict its implementations, dtypes or versions"
        )
    return found[0] if found else None


def _now(found: Measured) -> str:
    return found.verdict if found.verdict in {"conforms", "agrees"} else f"now {found.verdict!r}: {found.sentence}"


def _in_the_repository() -> bool:
    """Whether a person finds the shipped files by their place in the repository."""
    return Path(SHIPPED_NAME).is_dir()


def of_judgement(judgement: Judgement, identity: ImplementationId | None = None) -> Measured:
    cell = Cell(judgement.implementation, judgement.dtype, judgement.requirement)
    return Measured(
        cell=cell,
        framework=judgement.framework,
        title=judgement.title,
        verdict=judgement.verdict,
        measured=judgement.measured,
        sentence=judgement.sentence,
        identity=identity,
        ground=judgement.ground,
        worded=judgement.worded,
    )


def of_claims(profile: Profile) -> list[Measured]:
    """The claims of the documentation as cells; of several claims on a subject, the worst."""
    found: dict[Cell, Measured] = {}
    for claim in profile.claims:
        cell = Cell(profile.implementation, profile.dtype, f"{DOCUMENTATION}{claim.subject}")
        documented = profile.worded(claim.subject, claim.claimed or "None")
        said = f"documented: {documented} ({claim.where}); measured: {profile.worded(claim.subject, claim.measured)}"
        one = Measured(
            cell=cell,
            framework=profile.framework,
            title="",
            verdict=claim.verdict,
            measured=claim.measured,
            sentence=said,
            worded=said,
            identity=identity_of(profile),
            ground="documentation",
        )
        if cell not in found or (one.divergent and not found[cell].divergent):
            found[cell] = one
    return list(found.values())


def identity_of(profile: Profile) -> ImplementationId:
    return ImplementationId.parse(profile.implementation, profile.mode)


def load_expectations(paths: Sequence[Path] = ()) -> Expectations:
    """Those of these files and folders; without any, those of this distribution.

    Raises:
        BrokenExpectations: a file that cannot be read, or an entry that makes no sense.
    """
    files = [(file, str(file)) for path in paths for file in files_in(path)]
    if not paths:
        place = f"{SHIPPED_NAME}/" if _in_the_repository() else "normgauge's own "
        files = [(file, f"{place}{file.name}") for file in sorted(SHIPPED.glob("*.toml"))]
    layers = {identifier: one.layer for identifier, (_, one) in registered_implementations().items()}
    found = [one for file, name in files for one in read_entries(file, name, layers)]
    return Expectations(
        all=tuple(one for one in found if isinstance(one, Expectation)),
        supported=tuple(one for one in found if isinstance(one, Supported)),
        places=tuple(map(str, paths)) or (SHIPPED_NAME,),
    )
