"""What a user names as a side of a comparison: a file, a folder, a framework, an implementation, or a release of them.

A text is ``WHAT[@RELEASE][::ID]``. ``WHAT`` is a path, the name of a framework, ``module:Class`` of an adapter, or the
id of an implementation; ``RELEASE`` is a version, ``now`` or ``shipped``; ``ID`` selects one implementation.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from packaging.version import InvalidVersion, Version

from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import load_adapter, not_known, registered, registered_implementations
from normgauge.conformance.comparison.profiles import records_of, shipped, staleness
from normgauge.conformance.comparison.sides import NotComparable, Side, side_of
from normgauge.results.file import is_complete, read_records
from normgauge.results.folder import read_folder
from normgauge.results.profiles import FrameworkProfile, read_profile
from normgauge.results.records import Header, Record
from normgauge.results.releases import age

#: In place of a version: measured in this environment; the newest profile of this distribution.
NOW: Final = "now"
SHIPPED: Final = "shipped"

#: Measures a framework, or the implementation of it with an id; the records of a run.
Measure = Callable[[str, str], Sequence[Record]]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where to look: ``folders`` have result files of releases; ``measure`` runs what is installed.

    ``prefer`` is what the name of a framework alone means: :data:`NOW` where it is installed, or :data:`SHIPPED`.
    ``dtypes`` are those that are read of a shipped profile; empty means all.
    """

    folders: Sequence[Path]
    measure: Measure
    prefer: str = NOW
    dtypes: tuple[str, ...] = ()

    def side(self, text: str) -> Side:
        """The side that a text names.

        Raises:
            NotComparable: nothing has this name or release, or several could be meant.
            BrokenResults: a file that is no result file.
            NoAdapter: a module:Class that is no adapter.
        """
        what, _, selected = text.partition("::")
        if _is_path(what):
            return _of_path(text, Path(what), selected)
        name, _, release = what.rpartition("@") if "@" in what else (what, "", "")
        framework, identifier = _named(name)
        return self._of_framework(text, framework, release, selected or identifier)

    def _of_framework(self, text: str, framework: str, release: str, selected: str) -> Side:
        here = ":" in framework or _is_installed(framework)
        if release == NOW or (not release and here and (self.prefer == NOW or ":" in framework)):
            return self._measured(text, framework, selected)
        if release and release != SHIPPED:
            found = list(self._files_of(framework, release))
            if len(found) > 1:
                files = " and ".join(map(str, found))
                raise NotComparable(f"{text}: {files} both have this release; name the file")
            if found:
                return _of_path(text, found[0], selected)
        return self._of_shipped(text, framework, release, selected)

    def _of_shipped(self, text: str, framework: str, release: str, selected: str) -> Side:
        own = [one for one in shipped().values() if one.framework == framework]
        found = [one for one in own if release in {"", SHIPPED} or _has(framework, one.versions, release)]
        if found:
            newest = max(found, key=lambda one: age(_version(framework, one.versions)))
            return _of_profile(text, newest, selected, "shipped profile", self.dtypes)
        if own:
            releases = " or ".join(f"{framework}@{_version(framework, one.versions)}" for one in own)
            looked = " and ".join(map(str, self.folders))
            raise NotComparable(
                f"{text}: no profile and no result file in {looked} has this release; shipped: {releases}; "
                "or measure it: normgauge run, with --python and --name"
            )
        raise NotComparable(
            f"{text}: {framework} is not installed, and no profile of it is shipped; "
            f"measure it elsewhere and give the result file: normgauge run {framework} --python PATH"
        )

    def _measured(self, text: str, framework: str, selected: str) -> Side:
        records = self.measure(framework, selected)
        header = next(one for one in records if isinstance(one, Header))
        return side_of(text, f"{_versions(header)}, measured now", records, selected)

    def _files_of(self, framework: str, release: str) -> Iterator[Path]:
        for folder in self.folders:
            for path in sorted(folder.glob("*.jsonl")):
                header = _header_of(path)
                if header and header.framework == framework and _has(framework, header.versions, release):
                    yield path


def _is_path(what: str) -> bool:
    if what in registered() or ":" in what:
        return False
    return Path(what).suffix in {".jsonl", ".json"} or "/" in what or Path(what).is_dir()


def _of_path(text: str, path: Path, selected: str) -> Side:
    if path.is_dir():
        runs, absent = read_folder(path)
        records = [*absent, *(one for own in runs.values() for one in own)]
        return side_of(text, f"{len(runs)} result files", records, selected, _interrupted(list(runs)))
    if path.suffix == ".json":
        profile = read_profile(path)
        return _of_profile(text, profile, selected, f"profile {path}")
    records = read_records(path)
    header = records[0]
    assert isinstance(header, Header)  # the reader refuses anything else
    origin = ", ".join([_versions(header), _day(header.started), *([] if text == str(path) else [str(path)])])
    return side_of(text, origin, records, selected, _interrupted([path]))


def _interrupted(paths: Sequence[Path]) -> list[str]:
    return [f"{path} is not complete: the run did not finish" for path in paths if not is_complete(path)]


def _of_profile(text: str, profile: FrameworkProfile, selected: str, where: str, dtypes: Collection[str] = ()) -> Side:
    versions = ", ".join(f"{name} {version}" for name, version in profile.versions.items())
    stale = profile.stale or staleness(profile)
    remarks = [f"{where} is stale: {stale}"] if stale else []
    records = records_of(profile)
    if dtypes:
        records = [one for one in records if getattr(one, "dtype", None) in {None, "", *dtypes}]
    return side_of(text, f"{versions}, {_day(profile.started)}, {where}", records, selected, remarks)


# --- names --------------------------------------------------------------------------------------


def _named(name: str) -> tuple[str, str]:
    """The framework of a name, and the id if it is that of an implementation."""
    if name in registered() or ":" in name:
        load_adapter(name)
        return name, ""
    first, bracket, backend = name.partition("[")
    if bracket and f"{first}-{backend.removesuffix(']')}" in registered():
        return f"{first}-{backend.removesuffix(']')}", ""
    implementations = registered_implementations()
    if name in implementations:
        return implementations[name][0], name
    backends = [one.removeprefix(f"{name}-") for one in registered() if one.startswith(f"{name}-")]
    if backends:
        choices = " or ".join(f"{name}[{one}]" for one in backends)
        raise NotComparable(f"{name} has several backends: name one of {choices}")
    of_class = [one for one, (_, own) in implementations.items() if own.class_path == name and own.mode == EAGER]
    if of_class:
        raise NotComparable(f"{name} is several implementations: name one of {' or '.join(of_class)}")
    raise NotComparable(
        f"{not_known('framework or implementation', name, sorted({*registered(), *implementations}))}; "
        "a file has the suffix .jsonl, a folder a slash"
    )


def _is_installed(framework: str) -> bool:
    """Whether this environment has the framework, and the backend that it is named for."""
    needed = [load_adapter(framework).distribution, *framework.split("-")[1:]]
    found = 0
    for name in needed:
        for distribution in (name, f"{name}-cpu"):
            try:
                importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            found += 1
            break
    return found == len(needed)


def _version(framework: str, versions: dict[str, str]) -> str:
    """The release of the framework itself, of those that a header names."""
    distribution = load_adapter(framework).distribution
    return versions.get(distribution) or next(iter(versions.values()), "")


def _has(framework: str, versions: dict[str, str], release: str) -> bool:
    found = _version(framework, versions)
    try:
        return Version(found).public == Version(release).public or found == release
    except InvalidVersion:
        return found == release


def _header_of(path: Path) -> Header | None:
    with path.open("rb") as file:
        try:
            return msgspec.json.decode(file.readline(), type=Header)
        except msgspec.DecodeError:
            return None


def _versions(header: Header) -> str:
    named = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    return named or header.framework


def _day(started: str) -> str:
    return f"measured on {started[:10]}" if started else "measured"
