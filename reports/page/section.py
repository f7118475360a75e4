"""What the page consists of: sections, and the data that each of them is made from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from normgauge.reports.grouping import Anchors, of_kind
from normgauge.reports.implementation_names import Names
from normgauge.results.answers import Answers, KnownDifference
from normgauge.results.records import Footer, Header, Judgement, NotRun, Profile, Record

if TYPE_CHECKING:
    from normgauge.reports.page.ask import PortsShown
    from normgauge.reports.page.divergences import Finding
    from normgauge.reports.page.documentation import Contradiction
    from normgauge.reports.page.explored import Found

R = TypeVar("R", bound=Record)
#: The framework from which and to which most ports go; without its results, the first on the page.
USUAL: Final = "torch"
#: The rank of a batch of pictures.
_PICTURES: Final = 4
#: The sign of each word for a verdict and what it means, in the order of the legend.
LEGEND: Final = {
    "conforms": ("✓", "inside every error bound; for an axis, every other value was excluded"),
    "wrong": ("✗", "outside the error bound; the formulas, robustness or the documentation require another result"),
    "differs": ("≠", "another choice than this convention, in its results or by an exception; not an error"),
    "diverges": ("✗", "outside the error bound, in an older file that has no ground"),
    "raises": ("!", "raised an exception for an input that it must accept"),
    "crashes": ("☠", "crashed, hung, returned the wrong shape or changed its input"),
    "unsupported": ("–", "the framework does not support this, as its adapter declares"),
    "cannot tell": ("?", "the error bounds do not distinguish the alternatives"),
}


@dataclass(frozen=True, kw_only=True)
class RunShown:
    """One result file. Without its footer it was interrupted; ``missing`` has no result in it."""

    header: Header
    footer: Footer | None
    missing: tuple[str, ...]

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.header.versions.items())


@dataclass(frozen=True, kw_only=True)
class PageData:
    """The records of all runs, and what more than one section shows.

    ``sheets`` has the anchor of its layer's section for each implementation, ``broken`` the reason
    for each file that is not shown.
    """

    runs: Sequence[RunShown]
    records: Sequence[Record]
    not_run: Sequence[NotRun]
    names: Names
    findings: Sequence[Finding]
    contradictions: Sequence[Contradiction]
    found: Sequence[Found]
    anchors: Anchors
    answers: Answers
    sheets: Mapping[str, str]
    broken: Mapping[str, str]
    ports: Sequence[PortsShown] = ()

    @property
    def measured(self) -> bool:
        """Whether any requirement was judged."""
        return bool(self.all(Judgement))

    @functools.cached_property
    def standing(self) -> dict[str, dict[str, str]]:
        """By framework and kind of layer: the one that is constructed without options and called plainly.

        Where there are several, the one for pictures.
        """
        found: dict[str, dict[str, Profile]] = {}
        for one in self.all(Profile):
            if one.mode == "eager" and not one.options:
                own = found.setdefault(one.framework, {})
                if one.layer not in own or _PICTURES not in own[one.layer].ranks:
                    own[one.layer] = one
        return {name: {layer: one.implementation for layer, one in own.items()} for name, own in found.items()}

    @property
    def newest(self) -> dict[str, str]:
        """Each framework with its newest release on the page, as ``standing`` has it."""
        return {self.names.framework(one): one for one in self.standing}

    @property
    def usual(self) -> str:
        """The newest release of the usual framework, else of the first one; empty where nothing was measured."""
        return self.newest.get(USUAL) or next(iter(self.newest.values()), "")

    @functools.cached_property
    def evidence(self) -> dict[str, dict[str, str]]:
        """By requirement and implementation: the anchor of the difference."""
        found: dict[str, dict[str, str]] = {}
        for finding in self.findings:
            for member in (member for one in finding.evidence for member in one.members):
                own = found.setdefault(finding.judgement.requirement, {})
                own.setdefault(member.judgement.implementation, member.anchor)
        return found

    @functools.cached_property
    def known(self) -> dict[tuple[str, str, str], KnownDifference]:
        """What is known of a difference, by implementation, requirement and measured value."""
        return {(one.implementation, one.requirement, one.measured): one for one in self.answers.known}

    @functools.cached_property
    def scripts(self) -> dict[str, str]:
        """By the anchor of an implementation's difference: the script that shows it."""
        members = (member for finding in self.findings for one in finding.evidence for member in one.members)
        return {one.anchor: one.judgement.example.script for one in members if one.judgement.example}

    @functools.cached_property
    def entries(self) -> dict[str, str]:
        """By the anchor of the first implementation with a difference: what a list of known differences says of it."""
        shown = ((one.members[0], one.judgement) for finding in self.findings for one in finding.evidence)
        keys = {member.anchor: (one.implementation, one.requirement, one.measured) for member, one in shown}
        return {anchor: self.known[key].entry for anchor, key in keys.items() if key in self.known}

    def all(self, kind: type[R]) -> list[R]:
        """Every record of this kind."""
        return of_kind(self.records, kind)


def nothing_more(page: PageData) -> Mapping[str, Any]:
    """For a template that needs nothing else."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under the heading ``title``, to which the contents lead by its ``id``.

    ``content`` gives what the template needs beside the ``section``, the page's data (``page``) and the ``legend``;
    None leaves the section out. A section that is not ``listed`` has no entry in the contents.
    """

    id: str
    title: str
    template: str
    content: Callable[[PageData], Mapping[str, Any] | None] = nothing_more
    listed: bool = True
