"""What changed from release to release of one framework, from a folder with a result file for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from normgauge.reports.grouping import asked_of, dtypes_of, grouped, layer_titles, of_kind
from normgauge.reports.implementation_names import Names, Told
from normgauge.results.facts import NOTHING, Key, Value, facts_of, is_change, on_axes
from normgauge.results.file import BrokenResults
from normgauge.results.folder import read_folder
from normgauge.results.records import Header, Judgement, NotRun, Profile, Record
from normgauge.results.releases import age, release_of

#: What a release may change, in the order in which it is shown.
KINDS: Final = ("semantics", "documentation", "requirement", "statistics", "default", "dtype")
_RANK: Final = {"same": 0, "none": 1, "open": 2, "other": 3, "crash": 4}


@dataclass(frozen=True, kw_only=True)
class Thread:
    """One thing that was measured, through all releases, with the implementations for which it went alike."""

    kind: str
    subject: str
    members: list[Told]
    values: tuple[Value, ...]

    @property
    def name(self) -> str:
        return {"documentation": f"documented {self.subject}"}.get(self.kind, self.subject)

    def sign(self, value: Value) -> str:
        """What stands before a value that departs."""
        choice = self.kind == "semantics" or value.differs
        return {"other": "≠ " if choice else "✗ ", "crash": "☠ "}.get(value.kind, "")

    @property
    def settled(self) -> Value:
        """The value of the last release that has one."""
        return next((value for value in reversed(self.values) if value is not NOTHING), NOTHING)

    @property
    def departs(self) -> bool:
        return any(value.departs for value in self.values)

    @property
    def changes(self) -> bool:
        there = [value for value in self.values if value is not NOTHING]
        return any(is_change(there[0], value) for value in there)

    @property
    def comes_and_goes(self) -> bool:
        """Whether a death or a hang alternates with something else: such a change may be luck, and no release's."""
        stretches = [value for _, _, value in self.bands if value is not NOTHING]
        returns = len(stretches) > len(set(stretches))
        return returns and any(value.kind == "crash" for value in stretches)

    @property
    def bands(self) -> list[tuple[int, int, Value]]:
        """The releases in stretches of one value: where each begins, how many it has."""
        found: list[tuple[int, int, Value]] = []
        for place, value in enumerate(self.values):
            if found and found[-1][2] == value:
                begin, length, _ = found[-1]
                found[-1] = begin, length + 1, value
            else:
                found.append((place, 1, value))
        return found


@dataclass(frozen=True, kw_only=True)
class Change:
    """A thread's value in a release beside that of the release before, of those that were measured."""

    thread: Thread
    before: Value
    after: Value


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The releases of a framework from old to new, what changed between them, and what did not.

    ``asked`` has the digests of what was asked of them. ``not_asked`` has the requirements that only other releases
    were asked, by the releases without them.
    """

    framework: str
    releases: tuple[str, ...]
    threads: tuple[Thread, ...]
    not_run: tuple[NotRun, ...]
    asked: str = ""
    not_asked: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    @property
    def remarks(self) -> list[str]:
        """What cannot be compared, in sentences."""
        return [
            f"Not asked of {', '.join(releases)}: {', '.join(titles)}. Nothing is said of that there; run it again."
            for releases, titles in self.not_asked.items()
        ]

    @property
    def changed(self) -> list[Thread]:
        return [thread for thread in self.threads if thread.changes]

    @property
    def unsteady(self) -> list[Thread]:
        return [thread for thread in self.changed if thread.comes_and_goes]

    def stretches(self, thread: Thread) -> list[tuple[str, Value]]:
        """A thread in words: from which release to which it has each value."""
        found = []
        for begin, length, value in thread.bands:
            first, last = self.releases[begin], self.releases[begin + length - 1]
            found.append((first if length == 1 else f"{first} to {last}", value))
        return found

    @property
    def kept(self) -> list[Thread]:
        """What is the same in every release, departures first."""
        own = [thread for thread in self.threads if not thread.changes]
        return sorted(own, key=lambda thread: -max(_RANK[value.kind] for value in thread.values))

    @property
    def transitions(self) -> list[tuple[str, str, list[Change]]]:
        """Each release that changed something, with the release before it; without what comes and goes."""
        found = []
        for place, (before, after) in enumerate(zip(self.releases, self.releases[1:], strict=False), start=1):
            changes = []
            for thread in self.changed:
                if thread.comes_and_goes:
                    continue
                earlier = [value for value in thread.values[:place] if value is not NOTHING]
                now = thread.values[place]
                if earlier and is_change(earlier[-1], now):
                    changes.append(Change(thread=thread, before=earlier[-1], after=now))
            if changes:
                found.append((before, after, changes))
        return found


def read_timeline(results: Path) -> Timeline:
    """The timeline of the result files in a folder.

    Raises:
        BrokenResults: as for a report, or results of more than one framework.
    """
    records, absent = read_folder(results)
    return timeline_of(list(records.values()), absent)


def timeline_of(runs: Iterable[Sequence[Record]], absent: Sequence[NotRun] = ()) -> Timeline:
    everything = list(runs)
    headers = [of_kind(records, Header)[0] for records in everything]
    frameworks = sorted({header.framework for header in headers})
    if len(frameworks) > 1:
        raise BrokenResults(
            f"these results are of {', '.join(frameworks)}; a timeline is of one framework: give it a folder of its own"
        )
    not_run = [*absent, *(one for records in everything for one in of_kind(records, NotRun) if one.failed)]
    started = [(header, records) for header, records in zip(headers, everything, strict=True) if header.versions]
    labels = [release_of(header, [one for one, _ in started]) or _versions(header) for header, _ in started]
    order = sorted(range(len(started)), key=lambda place: age(labels[place]))
    ordered = [started[place][1] for place in order]
    threads = _threads(ordered)
    framework = frameworks[0] if frameworks else not_run[0].framework.partition("-")[0]
    return Timeline(
        framework=framework,
        releases=tuple(labels[place] for place in order),
        threads=tuple(threads),
        not_run=tuple(not_run),
        asked=asked_of(headers, ["requirements", "axes"]),
        not_asked=_not_asked([(labels[place], started[place][1]) for place in order]),
    )


def _not_asked(releases: Sequence[tuple[str, Sequence[Record]]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The requirements that an implementation was asked in other releases alone, by the releases without them."""
    asked = [
        {
            about: {f"{one.requirement} {one.title}": None for one in own}
            for about, own in grouped(of_kind(records, Judgement), lambda one: (one.implementation, one.dtype)).items()
        }
        for _, records in releases
    ]
    without: dict[str, dict[str, None]] = {}
    for (label, _), own in zip(releases, asked, strict=True):
        for about, titles in own.items():
            elsewhere = dict.fromkeys(title for other in asked for title in other.get(about, {}))
            for title in elsewhere.keys() - titles.keys():
                without.setdefault(title, {})[label] = None
    by_releases = grouped(sorted(without), lambda title: tuple(without[title]))
    return {named: tuple(titles) for named, titles in by_releases.items()}


def _versions(header: Header) -> str:
    return ", ".join(f"{name} {version}" for name, version in header.versions.items())


# --- threads ------------------------------------------------------------------------------------


def _threads(releases: Sequence[Sequence[Record]]) -> Iterator[Thread]:
    """Everything that was measured; what went alike for several dtypes and implementations is told once."""
    profiles = [of_kind(records, Profile) for records in releases]
    judgements = [of_kind(records, Judgement) for records in releases]
    everything = [one for own in profiles for one in own]
    by_axis = on_axes(one for own in judgements for one in own)
    followed: dict[Key, list[Value]] = {}
    for place, (own, judged) in enumerate(zip(profiles, judgements, strict=True)):
        for key, value in facts_of(own, judged, by_axis):
            if key.kind in KINDS:
                followed.setdefault(key, [NOTHING] * len(profiles))[place] = value
    _fill_in_canonical(followed, releases)

    titles = list(layer_titles(everything))
    layers = {one.implementation: titles.index(one.layer) for one in everything}
    dtypes = grouped(followed, lambda key: key[:3])
    found = []
    for (name, kind, subject), keys in dtypes.items():
        for where, values in _merged([(key.dtype, followed[key]) for key in keys]):
            note = dtypes_of(where, [key.dtype for key in keys])
            found.append((kind, subject, tuple(values), (name, note)))
    found.sort(key=lambda one: (KINDS.index(one[0]), layers[one[3][0]]))
    names = Names(everything, {})
    for (kind, subject, through), alike in grouped(found, lambda one: one[:3]).items():
        yield Thread(kind=kind, subject=subject, members=names.told(member for *_, member in alike), values=through)


def _fill_in_canonical(followed: Mapping[Key, list[Value]], releases: Sequence[Sequence[Record]]) -> None:
    """Give an axis its canonical value where a known profile does not name it: it names a mistake if it is made.

    Profiles of another catalogue of axes may not have asked.
    """
    known = [{(one.implementation, one.dtype) for one in of_kind(own, Profile) if one.known} for own in releases]
    catalogues = [next((one.catalogue.get("axes") for one in of_kind(own, Header)), None) for own in releases]
    named = {
        (one.implementation, one.dtype, axis.axis): (axis, catalogue)
        for own, catalogue in zip(releases, catalogues, strict=True)
        for one in of_kind(own, Profile)
        for axis in one.axes
    }
    for key, values in followed.items():
        if key.kind != "semantics":
            continue
        axis, catalogue = named[key.implementation, key.dtype, key.subject]
        canonical = Value(text=axis.canonical, kind="same", meaning=axis.meanings.get(axis.canonical, ""))
        for place, value in enumerate(values):
            asked = catalogue is not None and catalogues[place] == catalogue
            if value == NOTHING and asked and (key.implementation, key.dtype) in known[place]:
                values[place] = canonical


def _merged(by_dtype: Sequence[tuple[str, list[Value]]]) -> list[tuple[list[str], list[Value]]]:
    """Dtypes together that agree in every release that has both."""
    found: list[tuple[list[str], list[Value]]] = []
    for dtype, values in by_dtype:
        for dtypes, own in found:
            if all(NOTHING in (one, other) or one == other for one, other in zip(own, values, strict=True)):
                dtypes.append(dtype)
                own[:] = [other if one is NOTHING else one for one, other in zip(own, values, strict=True)]
                break
        else:
            found.append(([dtype], list(values)))
    return found
