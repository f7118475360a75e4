"""What the installed documentation says beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from normgauge.reports.grouping import Anchors, dtypes_of, grouped, layer_titles
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.section import PageData, Section
from normgauge.results.records import Claim, Profile

#: The sign of each verdict on a claim.
SIGNS: Final = {"agrees": "✓", "contradicts": "✗", "silent": "–", "cannot tell": "?"}


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A statement of a documentation that the measurement contradicts, with the implementations that it is about.

    ``claimed`` and ``measured`` are values in words.
    """

    anchor: str
    claim: Claim
    members: list[Told]
    claimed: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class ClaimCell:
    """What is claimed on one subject, with the dtypes where these are not all; ``target`` leads to a contradiction."""

    kind: str
    text: str
    dtypes: str
    target: str


@dataclass(frozen=True, kw_only=True)
class ClaimsTable:
    """The claims of a layer kind: a row for all implementations whose documentation says the same."""

    name: str
    subjects: tuple[str, ...]
    rows: tuple[tuple[list[Told], tuple[tuple[ClaimCell, ...], ...]], ...]


def contradictions_of(profiles: Sequence[Profile], names: Names, anchors: Anchors) -> list[Contradiction]:
    told = [(claim, profile) for profile in profiles for claim in profile.claims if claim.verdict == "contradicts"]
    dtypes = {name: {p.dtype for p in own} for name, own in grouped(profiles, lambda p: p.implementation).items()}
    found = []
    for own in grouped(told, lambda pair: (pair[0].subject, pair[0].claimed, pair[0].quote, pair[0].measured)).values():
        members = []
        for name, at in grouped(own, lambda pair: pair[1].implementation).items():
            members.append((name, dtypes_of([profile.dtype for _, profile in at], dtypes[name])))
        anchor = anchors.new(f"documentation-{own[0][1].implementation}-{own[0][0].subject}")
        claim, profile = own[0]
        found.append(
            Contradiction(
                anchor=anchor,
                claim=claim,
                members=names.told(members),
                claimed=profile.worded(claim.subject, claim.claimed or ""),
                measured=profile.worded(claim.subject, claim.measured),
            )
        )
    return found


def claims_of(profiles: Sequence[Profile], contradictions: Sequence[Contradiction], names: Names) -> list[ClaimsTable]:
    targets = {(one.claim.subject, one.claim.claimed, one.claim.quote): one.anchor for one in contradictions}
    tables = []
    for kind, name in layer_titles(profiles).items():
        own = [profile for profile in profiles if profile.layer == kind and profile.claims]
        if not own:
            continue
        subjects = tuple(dict.fromkeys(claim.subject for profile in own for claim in profile.claims))
        by_implementation = grouped(own, lambda profile: profile.implementation)
        cells = [(one, _cells(at, subjects, targets)) for one, at in by_implementation.items()]
        alike = grouped(cells, lambda pair: pair[1])
        rows = ((names.told((one, "") for one, _ in same), said) for said, same in alike.items())
        tables.append(ClaimsTable(name=name, subjects=subjects, rows=tuple(rows)))
    return tables


def _cells(
    profiles: Sequence[Profile], subjects: Sequence[str], targets: dict[tuple[str, str | None, str], str]
) -> tuple[tuple[ClaimCell, ...], ...]:
    everywhere = {profile.dtype for profile in profiles}
    row = []
    for subject in subjects:
        told = [(claim, profile.dtype) for profile in profiles for claim in profile.claims if claim.subject == subject]
        cell = []
        for (kind, claimed), own in grouped(told, lambda pair: (pair[0].verdict, pair[0].claimed)).items():
            at = dtypes_of([dtype for _, dtype in own], everywhere)
            target = targets.get((subject, claimed, own[0][0].quote), "") if kind == "contradicts" else ""
            cell.append(ClaimCell(kind=kind, text=claimed or "", dtypes=at, target=target))
        row.append(tuple(cell))
    return tuple(row)


def _content(page: PageData) -> Mapping[str, Any] | None:
    claims = claims_of(page.all(Profile), page.contradictions, page.names)
    return {"claims": claims, "signs": SIGNS} if claims else None


SECTION: Final = Section(id="documentation", title="Documentation", template="documentation.html", content=_content)
