"""Profiles made of result files, and read as the records that they stand for; those of this distribution."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from normgauge.conformance.gating.expectations import Cell
from normgauge.conformance.layers.registry import digests, layer_kinds, requirements
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.results.file import BrokenResults, read_records
from normgauge.results.profiles import FORMAT, FrameworkProfile, Identity, Sheet, read_profile
from normgauge.results.records import FORMAT as RECORDS
from normgauge.results.records import (
    AxisMeasured,
    DefaultMeasured,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Verdict,
)

#: Those of this distribution, one file for each release of a framework.
SHIPPED: Final = Path(__file__).parents[1] / "profiles"


# --- from result files --------------------------------------------------------------------------


def profile_of(paths: Sequence[Path]) -> FrameworkProfile:
    """The profile of one release of a framework, from one result file or several with different parts of it.

    Raises:
        BrokenResults: a file is no complete result file, or the files are of different releases.
    """
    runs = {path: read_records(path) for path in paths}
    headers = [_header(path, records) for path, records in runs.items()]
    for path, header in zip(runs, headers, strict=True):
        if (header.framework, header.versions) != (headers[0].framework, headers[0].versions):
            raise BrokenResults(
                f"{path} has {_named(header)}, the first file {_named(headers[0])}; "
                "a profile is of one release: write one for each"
            )
        if not any(isinstance(one, Footer) for one in runs[path]):
            raise BrokenResults(f"{path} is not complete: the run did not finish; run it again")
    records = [one for own in runs.values() for one in own]
    profiles = [one for one in records if isinstance(one, Profile)]
    if not profiles:
        raise BrokenResults(f"{paths[0]} has no measured implementation; run the framework again")
    first = headers[0]
    return FrameworkProfile(
        format=FORMAT,
        framework=first.framework,
        versions=first.versions,
        suite=first.suite,
        python=first.python,
        platform=first.platform,
        numpy=first.numpy,
        device=first.device,
        started=first.started,
        budget=first.budget,
        catalogue=first.catalogue,
        results={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        absent={one.dtype: one.reason for one in records if isinstance(one, NotRun) and one.absent and one.dtype},
        implementations={one.implementation: _identity(one) for one in profiles},
        sheets=list(_sheets(profiles, [one for one in records if isinstance(one, Judgement)])),
    )


def _header(path: Path, records: Sequence[Record]) -> Header:
    header = records[0]
    assert isinstance(header, Header)  # the reader refuses anything else
    if not header.versions:
        raise BrokenResults(f"{path}: {header.framework} could not be run; run it again where it is installed")
    return header


def _named(header: Header) -> str:
    return ", ".join([header.framework, *(f"{name} {version}" for name, version in header.versions.items())])


def _identity(one: Profile) -> Identity:
    return Identity(
        layer=one.layer,
        class_path=one.class_path or one.implementation,
        layout=one.layout,
        ranks=one.ranks,
        options=one.options,
        backend=one.backend,
        mode=one.mode,
    )


def _sheets(profiles: Iterable[Profile], judgements: Iterable[Judgement]) -> Iterator[Sheet]:
    """One sheet for all implementations and dtypes that were measured alike."""
    judged: dict[tuple[str, str], list[Judgement]] = {}
    for one in judgements:
        judged.setdefault((one.implementation, one.dtype), []).append(one)
    alike: dict[bytes, tuple[Sheet, dict[str, list[str]]]] = {}
    for own in profiles:
        sheet = _sheet(own, judged.get((own.implementation, own.dtype), []))
        _, members = alike.setdefault(msgspec.json.encode(sheet, order="deterministic"), (sheet, {}))
        members.setdefault(own.implementation, []).append(own.dtype)
    for sheet, members in alike.values():
        yield msgspec.structs.replace(sheet, members=members)


def _sheet(own: Profile, judged: Sequence[Judgement]) -> Sheet:
    by_verdict: dict[Verdict, list[str]] = {}
    for one in judged:
        by_verdict.setdefault(one.verdict, []).append(one.requirement)
    return Sheet(
        members={},
        known=own.known,
        axes={axis.axis: axis.measured for axis in own.axes},
        defaults={one.setting: [one.signature, one.rounded()] for one in own.defaults},
        computes_in=own.computes_in,
        accuracy=own.accuracy,
        types=own.types,
        verdicts=by_verdict,
        measured={one.requirement: one.measured for one in judged if one.measured and not one.meaning},
    )


# --- as records ---------------------------------------------------------------------------------


def records_of(profile: FrameworkProfile) -> list[Record]:
    """The records that a profile stands for; what this version does not know any more is left out."""
    whole = Header(
        format=RECORDS,
        suite=profile.suite,
        framework=profile.framework,
        versions=profile.versions,
        python=profile.python,
        platform=profile.platform,
        numpy=profile.numpy,
        device=profile.device,
        dtypes=list(dict.fromkeys(d for sheet in profile.sheets for own in sheet.members.values() for d in own)),
        implementations=list(profile.implementations),
        started=profile.started,
        budget=profile.budget,
        known=list(profile.implementations),
        catalogue=profile.catalogue,
    )
    absent = [
        NotRun(framework=profile.framework, reason=reason, dtype=dtype, failed=False, absent=True)
        for dtype, reason in profile.absent.items()
    ]
    measured = (
        record
        for name, identity in profile.implementations.items()
        for sheet in profile.sheets
        for dtype in sheet.members.get(name, [])
        if identity.layer in layer_kinds()
        for record in _of_sheet(profile, sheet, name, dtype)
    )
    return [whole, *absent, *measured]


def _of_sheet(profile: FrameworkProfile, sheet: Sheet, name: str, dtype: str) -> Iterator[Record]:
    identity = profile.implementations[name]
    axes = [
        AxisMeasured(
            axis=axis.name,
            question=axis.question,
            canonical=axis.canonical,
            measured=sheet.axes[axis.name],
            meanings={value.name: value.meaning for value in axis.every},
        )
        for axis in layer_kinds()[identity.layer].axes
        if axis.name in sheet.axes
    ]
    yield Profile(
        implementation=name,
        framework=profile.framework,
        layer=identity.layer,
        dtype=dtype,
        device=profile.device,
        known=sheet.known,
        axes=axes,
        defaults=[_default(setting, *texts) for setting, texts in sheet.defaults.items()],
        computes_in=sheet.computes_in,
        accuracy=sheet.accuracy,
        hazards=[],
        layout=identity.layout,
        names={},
        ranks=identity.ranks,
        documentation="",
        restarts=0,
        cases=0,
        mode=identity.mode,
        types=sheet.types,
        layer_title=layer_kinds()[identity.layer].title,
        class_path=identity.class_path,
        options=identity.options,
        backend=identity.backend,
    )
    values = {axis.axis: axis for axis in axes}
    for verdict, asked in sheet.verdicts.items():
        for one in asked:
            if one in requirements():
                yield _judgement(requirements()[one], profile, sheet, values, Cell(name, dtype, one), verdict)


def _default(setting: str, signature: str | None, measured: str | None) -> DefaultMeasured:
    value = None if measured is None else float(measured)
    return DefaultMeasured(setting=setting, signature=signature, low=value, best=value, high=value)


def _judgement(
    requirement: Requirement,
    profile: FrameworkProfile,
    sheet: Sheet,
    axes: Mapping[str, AxisMeasured],
    cell: Cell,
    verdict: Verdict,
) -> Judgement:
    axis = axes.get(requirement.axis or "") if requirement.rule == "axis" else None
    measured = sheet.measured.get(requirement.id, "")
    meaning = ""
    if axis is not None and not measured:
        measured = ", ".join(axis.measured)
        meaning = " or ".join(axis.meanings.get(one, one) for one in axis.measured)
    package = profile.implementations[cell.implementation].class_path.partition(".")[0]
    return Judgement(
        requirement=requirement.id,
        title=requirement.title,
        statement=requirement.statement,
        source=requirement.cited,
        ground=requirement.ground_for(package),
        implementation=cell.implementation,
        framework=profile.framework,
        dtype=cell.dtype,
        verdict=verdict,
        measured=measured,
        sentence=measured or verdict,
        notes=[],
        witnesses=[],
        meaning=meaning,
    )


# --- those of this distribution -----------------------------------------------------------------


@functools.cache
def shipped() -> Mapping[str, FrameworkProfile]:
    """Every profile of this distribution by the name of its file, without the suffix."""
    return {path.stem: read_profile(path) for path in sorted(SHIPPED.glob("*.json"))}


def staleness(profile: FrameworkProfile) -> str:
    """Why a profile is not what would be measured now, as far as the catalogue tells; empty where it is."""
    now = digests()
    changed = [name for name in ("requirements", "axes") if profile.catalogue.get(name) != now[name]]
    return f"its {' and '.join(changed)} are not those of this version" if changed else ""
