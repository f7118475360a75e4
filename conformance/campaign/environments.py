"""The environments of a plan: their names, and what is installed in each."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from normgauge.conformance.campaign.plan import BrokenPlan, Installed, Plan

#: What a release of a framework is installed with; pyproject.toml has the same distributions in its pins.
REQUIREMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "torch": ("torch=={release}",),
    "mlx": ("mlx[cpu]=={release}; sys_platform == 'linux'", "mlx=={release}; sys_platform == 'darwin'"),
    "keras-jax": ("keras=={release}", "jax"),
    "keras-torch": ("keras=={release}", "torch"),
    "keras-tensorflow": (
        "keras=={release}",
        "tensorflow-cpu; sys_platform == 'linux'",
        "tensorflow; sys_platform == 'darwin'",
    ),
    "keras-numpy": ("keras=={release}", "jax"),
    "flax": ("flax=={release}", "jax"),
    "lucid": ("lucid-dl=={release}", "mlx[cpu]; sys_platform == 'linux'"),
}
#: For some releases, what replaces that or is added, as in the table of releases of pyproject.toml.
NEEDS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "mlx": {"<0.26.5": ("mlx=={release}",)},
    "torch": {"<2.3": ("numpy<2",)},
}
#: The version of Python that a framework needs, where that is another than usual.
PYTHON: Final[Mapping[str, str]] = {"lucid": "3.14"}
_VERSION: Final = re.compile(r"\d+\.\d+")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard runs in, and what is measured there.

    Without ``install``, ``python`` is the path of an interpreter, or empty for the worker's own. Otherwise an
    environment with these requirements is made, with the Python of this version; empty is the worker's version.
    """

    name: str
    framework: str
    install: tuple[str, ...]
    python: str
    implementations: tuple[str, ...]
    modes: tuple[str, ...]
    dtypes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of its folder: a digest of what is installed, the Python, and the machine's kind."""
        made_of = (sorted(self.install), self.python, sys.version_info[:3], platform.machine(), platform.libc_ver())
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:20]


def stem_of(framework: str) -> str:
    """The name of a framework as that of a file."""
    return _NOT_IN_A_NAME.sub("-", framework)


def environments_of(plan: Plan, named: str) -> list[Environment]:
    """Every environment of a plan; ``named`` is its file in messages.

    Raises:
        BrokenPlan: a requirement is none, a framework's releases are of an unknown distribution, or two environments
            have one name.
    """
    found = [one for own in plan.environments for one in _environments(own, plan, named)]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise BrokenPlan(f"{named}: two environments are called {name!r}; give one of them a name")
    return found


def _environments(own: Installed, plan: Plan, named: str) -> Iterable[Environment]:
    made = bool(own.releases or own.install)
    if own.releases and own.framework not in REQUIREMENTS and not any("{release}" in text for text in own.install):
        raise BrokenPlan(
            f"{named}: nothing says how a release of {own.framework!r} is installed; "
            'add a requirement with its distribution, such as install = ["mine=={release}"]'
        )
    if own.name is not None and len(own.releases) > 1:
        raise BrokenPlan(
            f"{named}: the name {own.name!r} is given to {len(own.releases)} releases; leave out the name, "
            "or name one release"
        )
    python = own.python or (PYTHON.get(own.framework, "") if made else "")
    if made and python and not _VERSION.fullmatch(python):
        raise BrokenPlan(
            f"{named}: python = {python!r} is no version, and {own.framework} is to be installed; "
            'give a version such as "3.14", or leave out releases and install'
        )
    if not made and python and os.sep not in python:
        raise BrokenPlan(
            f"{named}: python = {python!r} is no path, and nothing is to be installed for {own.framework}; "
            "give the path of an interpreter, or add releases"
        )
    stem = stem_of(own.framework)
    for release in own.releases or [""]:
        yield Environment(
            name=own.name or (f"{stem}-{release}" if release else stem),
            framework=own.framework,
            install=tuple(_requirements(own, release, named)) if made else (),
            python=python,
            implementations=tuple(plan.implementations if own.implementations is None else own.implementations),
            modes=tuple(plan.modes if own.modes is None else own.modes),
            dtypes=tuple(plan.dtypes if own.dtypes is None else own.dtypes),
        )


def _requirements(own: Installed, release: str, named: str) -> list[str]:
    """What is installed, as the plan, the release and the framework say it; what comes first is kept."""
    given = [_requirement(text.replace("{release}", release), named) for text in own.install]
    usual: list[Requirement] = []
    if release:
        try:
            version = Version(release)
        except InvalidVersion:
            raise BrokenPlan(f"{named}: {release!r} is no release; give a version, such as 0.32.4") from None
        needs = NEEDS.get(own.framework, {})
        texts = [text for where, more in needs.items() if version in SpecifierSet(where) for text in more]
        usual = [_requirement(text.replace("{release}", release), named) for text in texts]
        main = [_requirement(text.replace("{release}", release), named) for text in REQUIREMENTS.get(own.framework, ())]
        usual += _others(main, usual)
    found = [*given, *_others(usual, given)]
    return [str(one) for one in (*found, *_others([Requirement("numpy")], found))]


def _others(some: Sequence[Requirement], known: Sequence[Requirement]) -> list[Requirement]:
    """Those of ``some`` that are of no distribution among ``known``."""
    names = {canonicalize_name(one.name) for one in known}
    return [one for one in some if canonicalize_name(one.name) not in names]


def _requirement(text: str, named: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise BrokenPlan(f'{named}: {text!r} is no requirement: {reason}; write it like "mlx==0.32.4"') from None
