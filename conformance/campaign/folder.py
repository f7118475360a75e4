"""The folder of a campaign: what was planned, what is done, and who works there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import filelock
import msgspec
import numpy as np

import normgauge
import normgauge.adapters
import normgauge.oracle
import normgauge.results
from normgauge.conformance.campaign.environments import Environment
from normgauge.conformance.campaign.plan import Plan
from normgauge.conformance.campaign.provide import Provided
from normgauge.conformance.campaign.shards import Shard
from normgauge.conformance.subjects.messages import Hello
from normgauge.results.file import ResultsWriter, is_complete
from normgauge.results.records import NotRun, Record

#: What every worker must find in the folder.
CAMPAIGN: Final = "campaign.json"


class BrokenCampaign(ValueError):
    """A folder that a campaign cannot use; the message says why and what helps."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign is: ``campaign.json``.

    ``code`` is a digest of the code that measures, ``store`` the folder of counterexamples, of which those in
    ``replayed`` were there when the campaign began: they alone are run again.
    """

    token: str
    code: str
    suite: str
    plan: Plan
    store: str
    replayed: tuple[str, ...]
    environments: tuple[Environment, ...]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an environment: ``environments/NAME.json``.

    ``reason`` says why it cannot be had; then nothing else is known. ``rows`` are what of it is not measured, ``host``
    is Dask's name of the machine that has it.
    """

    name: str
    host: str = ""
    reason: str = ""
    greeting: Hello | None = None
    provided: Provided | None = None
    shards: tuple[Shard, ...] = ()
    rows: tuple[NotRun, ...] = ()


class Place:
    """The paths of a campaign's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results"
        self.spare = root / "made"
        self._begun = root / "begun"

    @property
    def campaign(self) -> Path:
        return self.root / CAMPAIGN

    def environment(self, name: str) -> Path:
        return self.root / "environments" / f"{name}.json"

    def shard(self, shard: Shard) -> Path:
        """The result file of a shard."""
        return self.root / "shards" / shard.environment / f"{shard.key}.jsonl"

    def is_done(self, shard: Shard) -> bool:
        path = self.shard(shard)
        return path.is_file() and is_complete(path)

    def begin(self, shard: Shard) -> int:
        """Note that a shard begins; return how often it has begun since the campaign was started or continued."""
        self._begun.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            with contextlib.suppress(FileExistsError):
                (self._begun / f"{shard.key}.{number}").touch(exist_ok=False)
                return number
            number += 1

    def beginnings(self, shard: Shard) -> int:
        """How often a shard has begun since the campaign was started or continued."""
        number = 0
        while (self._begun / f"{shard.key}.{number + 1}").exists():
            number += 1
        return number

    def forget_beginnings(self) -> None:
        """Remove the notes of earlier starts: a shard that an interruption ended has all its attempts again."""
        shutil.rmtree(self._begun, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other campaign out of the folder.

        Raises:
            BrokenCampaign: one is there already.
        """
        lock = filelock.FileLock(self.root / "campaign.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise BrokenCampaign(
                f"another campaign works in {self.root}; wait until it has ended, or give another folder with --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def is_worked_in(self) -> bool:
        """Whether a campaign works in the folder now."""
        try:
            with self.alone():
                return False
        except BrokenCampaign:
            return True

    def opened(self, plan: Plan, environments: Sequence[Environment], store: Path) -> Campaign:
        """The campaign that is to be done here, begun or continued.

        Raises:
            BrokenCampaign: the folder has other files, or other code began a campaign in it.
        """
        before = self.read() if self.campaign.exists() else None
        if before is None and any(one.name != "campaign.lock" for one in self.root.iterdir()):
            raise BrokenCampaign(f"{self.root} holds other files; give an empty or a new folder with --out")
        if before is not None and before.code != code_digest():
            raise BrokenCampaign(
                f"{self.root} was begun by normgauge {before.suite} with other code or another NumPy; continue it with "
                "that, or give another folder with --out"
            )
        known = [] if before is not None else sorted(store.rglob("*.json"))
        campaign = Campaign(
            token=before.token if before else uuid.uuid4().hex,
            code=code_digest(),
            suite=normgauge.__version__,
            plan=plan,
            store=before.store if before else str(store),
            replayed=before.replayed if before else tuple(path.relative_to(store).as_posix() for path in known),
            environments=tuple(environments),
        )
        write(self.campaign, msgspec.json.format(msgspec.json.encode(campaign)))
        return campaign

    def read(self) -> Campaign:
        """The campaign of this folder.

        Raises:
            BrokenCampaign: there is none.
        """
        try:
            return msgspec.json.decode(self.campaign.read_bytes(), type=Campaign)
        except OSError as error:
            raise BrokenCampaign(
                f"{self.campaign} cannot be read: {error.strerror}; give the folder of a campaign"
            ) from None
        except msgspec.DecodeError as error:
            raise BrokenCampaign(f"{self.campaign} is damaged: {error}; give another folder with --out") from None

    def ready(self, name: str) -> Ready | None:
        """What is known of an environment; None where nothing is yet."""
        path = self.environment(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Ready)
        except (OSError, msgspec.DecodeError):
            return None


def write(path: Path, content: bytes) -> None:
    """Write a file in one step: nobody reads a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    part.write_bytes(content)
    part.replace(path)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a result file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with ResultsWriter(part) as writer:
            for record in records:
                writer.write(record)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@functools.cache
def code_digest() -> str:
    """A digest of what decides the records of a shard on the side of the host: code, Python, NumPy."""
    digest = hashlib.sha256(repr((normgauge.__version__, platform.python_version(), np.__version__)).encode())
    packages = (normgauge.adapters, normgauge.oracle, normgauge.results)
    for folder in (*(Path(next(iter(one.__path__))) for one in packages), Path(__file__).parents[1]):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".json"} and not {"cli", "expectations"} & {*path.relative_to(folder).parts}:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]
