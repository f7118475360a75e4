"""What is told of accuracy: a table of the classes, and pictures of the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from normgauge.reports.grouping import grouped, layer_titles
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.curves import CurvesFigure, curves_of
from normgauge.reports.page.section import PageData, Section
from normgauge.reports.pictures import NoPictures
from normgauge.results.facts import class_name, in_two_digits
from normgauge.results.records import Profile, Series


@dataclass(frozen=True, kw_only=True)
class AccuracyCell:
    """One dtype: ``kind`` as in the pictures, the class, the type of the sums, where half of the digits are gone.

    ``half`` begins with "not up to" where no measured input lost them; it is empty where nothing was measured.
    """

    kind: str
    name: str
    inside: str
    half: str


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """Modes and releases of one layer that are alike; a cell for each dtype, None where it was not measured."""

    members: list[Told]
    cells: tuple[AccuracyCell | None, ...]


@dataclass(frozen=True, kw_only=True)
class TypicalRow:
    """Errors in units of the typical error that are alike: a text for each dtype, with a number for each n."""

    members: list[Told]
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AccuracyShown:
    """The tables of one layer kind and its pictures, one for each dtype.

    ``typical`` has the errors in units of the typical error, at the numbers of values in ``lengths``.
    """

    name: str
    dtypes: tuple[str, ...]
    frameworks: tuple[tuple[str, tuple[AccuracyRow, ...]], ...]
    lengths: tuple[int, ...]
    typical: tuple[tuple[str, tuple[TypicalRow, ...]], ...]
    figures: tuple[CurvesFigure, ...]


def accuracy_of(
    profiles: Sequence[Profile], series: Sequence[Series], names: Names, figures: Sequence[CurvesFigure]
) -> list[AccuracyShown]:
    """The tables of the layer kinds that something was measured of, each with its pictures among ``figures``."""
    half = {(one.implementation, one.dtype): one for one in series if (one.axis, one.quantity) == ("ratio", "output")}
    found = []
    for kind, name in layer_titles(profiles).items():
        own = [one for one in profiles if one.layer == kind]
        if not any((one.implementation, one.dtype) in half for one in own):
            continue
        dtypes = tuple(dict.fromkeys(one.dtype for one in own))
        frameworks = []
        for framework, alike in grouped(own, lambda one: names.framework(one.framework)).items():
            by_name = grouped(alike, lambda one: one.implementation)
            rows = [(_cells(measured, dtypes, half), implementation) for implementation, measured in by_name.items()]
            shown = (
                AccuracyRow(members=names.told((implementation, "") for _, implementation in same), cells=cells)
                for cells, same in grouped(rows, lambda row: row[0]).items()
            )
            frameworks.append((framework, tuple(shown)))
        lengths = tuple(sorted({int(n) for one in own for n in one.typical}))
        shown_kind = AccuracyShown(
            name=name,
            dtypes=dtypes,
            frameworks=tuple(frameworks),
            lengths=lengths,
            typical=_typical(own, dtypes, lengths, names),
            figures=tuple(figure for figure in figures if figure.kind == kind),
        )
        found.append(shown_kind)
    return found


def _typical(
    own: Sequence[Profile], dtypes: Sequence[str], lengths: Sequence[int], names: Names
) -> tuple[tuple[str, tuple[TypicalRow, ...]], ...]:
    """By framework, a row for the implementations whose errors are alike in units of the typical error."""

    def cells(measured: Sequence[Profile]) -> tuple[str, ...]:
        by_dtype = {one.dtype: one.typical for one in measured if one.typical}
        return tuple(_told_by_length(by_dtype[dtype], lengths) if dtype in by_dtype else "–" for dtype in dtypes)

    measured = [one for one in own if one.typical]
    found = []
    for framework, alike in grouped(measured, lambda one: names.framework(one.framework)).items():
        by_name = grouped(alike, lambda one: one.implementation)
        rows = [(cells(profiles), name) for name, profiles in by_name.items()]
        shown = (
            TypicalRow(members=names.told((name, "") for _, name in same), cells=key)
            for key, same in grouped(rows, lambda row: row[0]).items()
        )
        found.append((framework, tuple(shown)))
    return tuple(found)


def _told_by_length(typical: Mapping[str, float], lengths: Sequence[int]) -> str:
    return " · ".join(f"{typical[str(n)]:.2g}" if str(n) in typical else "–" for n in lengths)


def _cells(
    measured: Sequence[Profile], dtypes: Sequence[str], half: dict[tuple[str, str], Series]
) -> tuple[AccuracyCell | None, ...]:
    by_dtype = {one.dtype: one for one in measured}
    return tuple(_cell(by_dtype[dtype], half) if dtype in by_dtype else None for dtype in dtypes)


def _cell(profile: Profile, half: dict[tuple[str, str], Series]) -> AccuracyCell:
    curve = half.get((profile.implementation, profile.dtype))
    if not profile.known:
        return AccuracyCell(kind="outside", name="no known semantics", inside="", half="")
    inside = "" if profile.computes_in == profile.dtype else f"sums in {profile.computes_in}"
    gone = ""
    if curve:
        at = curve.half_gone_at
        gone = f"not up to {in_two_digits(curve.points[-1].at)}" if at is None else in_two_digits(at)
    return AccuracyCell(kind=profile.accuracy or "outside", name=class_name(profile.accuracy), inside=inside, half=gone)


def _content(page: PageData) -> Mapping[str, Any] | None:
    measured = page.all(Profile), page.all(Series), page.names
    figures: list[CurvesFigure] = []
    missing = ""
    try:
        figures = curves_of(*measured)
    except NoPictures as error:
        missing = str(error)
    accuracy = accuracy_of(*measured, figures)
    return {"accuracy": accuracy, "missing": missing} if accuracy else None


SECTION: Final = Section(id="accuracy", title="Accuracy", template="accuracy.html", content=_content)
