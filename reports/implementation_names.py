"""The name of each implementation on a page: releases are distinguished, modes follow their layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from packaging.version import Version

from normgauge.reports.grouping import grouped, of_kind
from normgauge.results.records import Counterexample, Explored, Header, Judgement, NotRun, Profile, Record, Series
from normgauge.results.releases import age, release_of

EAGER: Final = "eager"
#: A layer as it is written, and a note: its releases, modes and dtypes where they are not all.
Told = tuple[str, str]
#: The same with the layer in parts: as it is constructed, and what is named in brackets.
Entry = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A layer of a framework as it is constructed, on a backend, the way of running it, and the release.

    Backend and release are empty where there is only one.
    """

    framework: str = ""
    constructed: str
    backend: str = ""
    mode: str = EAGER
    release: str = ""

    @property
    def layer(self) -> str:
        return f"{self.constructed}[{self.backend}]" if self.backend else self.constructed

    @property
    def without_mode(self) -> tuple[str, str, str]:
        return self.framework, self.layer, self.release


def _identity(profile: Profile, framework: str, release: str) -> Identity:
    if not profile.class_path:  # an older file: each mode stands for itself
        return Identity(framework=framework, constructed=profile.implementation, release=release)
    options = f"({profile.options})" if profile.options else ""
    return Identity(
        framework=framework,
        constructed=profile.class_path + options,
        backend=profile.backend,
        mode=profile.mode,
        release=release,
    )


class Names:
    """Knows every implementation on a page, and says a list of them in few words."""

    def __init__(self, profiles: Iterable[Profile], releases: dict[str, tuple[str, str]]) -> None:
        """``releases`` maps a framework as it is labelled to what it is without, and the release."""
        self._releases_of = releases
        self.known = {one.implementation: _identity(one, *self._release_of(one.framework)) for one in profiles}

    def _release_of(self, labelled: str) -> tuple[str, str]:
        return self._releases_of.get(labelled, (labelled, ""))

    def framework(self, labelled: str) -> str:
        """A framework without its release."""
        return self._release_of(labelled)[0]

    def of(self, implementation: str) -> Identity:
        return self.known.get(implementation) or Identity(constructed=implementation)

    def told(self, members: Iterable[Told]) -> list[Told]:
        """Implementations, each with a note, in few words: what differs in mode, release or backend alone is one.

        ``layer`` alone stands for all its modes that are known, ``layer[a, b]`` for these.
        """
        entries: dict[Entry, dict[Identity, None]] = {}
        by_layer = grouped(
            ((self.of(name), note) for name, note in members),
            lambda one: (one[0].framework, one[0].layer, one[0].release, one[1]),
        )
        for (*_, note), own in by_layer.items():
            identities = [identity for identity, _ in own]
            for mode, more, identity in self._by_mode(identities):
                brackets = tuple(one for one in (identity.backend, mode) if one)
                noted = ", ".join(part for part in (more, note) if part)
                entries.setdefault((identity.constructed, brackets, noted), {})[identity] = None
        told = []
        for (constructed, brackets, note), alike in entries.items():
            releases = self._releases([*alike])
            told.append((constructed, brackets, ", ".join(part for part in (releases, note) if part)))
        return _brackets_joined(told)

    def _by_mode(self, alike: Sequence[Identity]) -> Iterator[tuple[str, str, Identity]]:
        """The modes of one layer and release that are named, each with what is noted beside it."""
        first = alike[0]
        everything = {one.mode for one in self.known.values() if one.without_mode == first.without_mode}
        if len(everything) > 1 and everything <= {one.mode for one in alike}:
            yield "", "", first
            return
        for one in alike:
            if one.mode == EAGER:
                yield "", EAGER if len(everything) > 1 else "", one
            else:
                yield one.mode, "", one

    def _releases(self, alike: Sequence[Identity]) -> str:
        first = alike[0]
        same = [one for one in self.known.values() if (one.framework, one.layer) == (first.framework, first.layer)]
        everything = sorted({one.release for one in same}, key=age)
        if len(everything) < 2:
            return ""
        places = sorted({everything.index(one.release) for one in alike})
        if len(places) == len(everything):
            return "every release"
        if len(places) > 2 and places[-1] - places[0] == len(places) - 1:
            return f"{everything[places[0]]} to {everything[places[-1]]}"
        return ", ".join(everything[place] for place in places)


def _brackets_joined(told: Sequence[Entry]) -> list[Told]:
    """``layer[a]`` and ``layer[b]`` as ``layer[a, b]``, where their notes are the same."""

    def without_first(one: Entry) -> tuple[str, bool, tuple[str, ...], str]:
        constructed, brackets, note = one
        return constructed, bool(brackets), brackets[1:], note

    found = []
    for (constructed, named, rest, note), alike in grouped(told, without_first).items():
        first = [", ".join(brackets[0] for _, brackets, _ in alike)] if named else []
        found.append((constructed + "".join(f"[{one}]" for one in (*first, *rest)), note))
    return found


def told_apart(runs: Sequence[Sequence[Record]]) -> tuple[list[list[Record]], dict[str, tuple[str, str]]]:
    """The runs, those of one framework next to each other, by release; and the frameworks that were labelled.

    Where several runs are of one framework, their records say of which release they are.
    """
    labelled: dict[str, tuple[str, str]] = {}
    found: list[tuple[int, tuple[bool, Version, str], list[Record]]] = []
    by_framework = grouped(runs, lambda records: _header(records).framework)
    for place, (framework, own) in enumerate(by_framework.items()):
        for records in own:
            release = release_of(_header(records), [_header(other) for other in own])
            label = f"{framework} {release}"
            if release:
                labelled[label] = framework, release
            named = [_labelled(one, label, release) if release else one for one in records]
            found.append((place, age(release), named))
    return [records for *_, records in sorted(found, key=lambda one: one[:2])], labelled


def names_on_page(runs: Sequence[Sequence[Record]]) -> Callable[[Header, str], str]:
    """The name that an implementation of a run has on the page of these runs."""
    by_framework = grouped(map(_header, runs), lambda header: header.framework)

    def named(header: Header, implementation: str) -> str:
        release = release_of(header, by_framework.get(header.framework, [header]))
        return f"{implementation} @{release}" if release else implementation

    return named


def _header(records: Sequence[Record]) -> Header:
    return of_kind(records, Header)[0]


def _labelled(record: Record, framework: str, release: str) -> Record:
    if isinstance(record, Header):
        names = [f"{name} @{release}" for name in record.implementations]
        return msgspec.structs.replace(record, framework=framework, implementations=names)
    if isinstance(record, NotRun):
        name = record.implementation and f"{record.implementation} @{release}"
        return msgspec.structs.replace(record, framework=framework, implementation=name)
    if isinstance(record, Profile | Series | Explored | Judgement | Counterexample):
        name = f"{record.implementation} @{release}"
        changes = {"framework": framework, "implementation": name}
        if isinstance(record, Profile) and not record.class_path:
            changes |= {"class_path": record.implementation, "mode": EAGER}
        return msgspec.structs.replace(record, **changes)
    return record
