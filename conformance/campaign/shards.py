"""The shards of an environment: one implementation at one dtype with some seeds."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.campaign.environments import Environment
from normgauge.conformance.campaign.plan import Plan
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import left_out_of, tasks_of
from normgauge.conformance.run.request import OwnSize, Wanted, is_named
from normgauge.conformance.subjects.messages import Hello
from normgauge.results.records import NotRun

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A task: ``seeds`` seeds from ``seed`` on; ``key`` is the name of its result file without the suffix.

    ``sizes`` are the user's own that the implementation takes, as shape and groups.
    """

    environment: str
    implementation: str
    dtype: str
    seed: int
    seeds: int
    sizes: tuple[tuple[tuple[int, ...], int], ...]
    key: str

    @property
    def label(self) -> str:
        """Its name for a person."""
        last = self.seed + self.seeds - 1
        seeds = f"seed {self.seed}" if self.seeds == 1 else f"seeds {self.seed} to {last}"
        return f"{self.environment}: {self.implementation} {self.dtype}, {seeds}"

    def wanted(self, plan: Plan) -> Wanted:
        """What its run is asked for."""
        return Wanted(
            dtypes=(self.dtype,),
            implementations=(self.implementation,),
            budget=BUDGETS[plan.budget],
            seed=self.seed,
            seeds=self.seeds,
            sizes=tuple(OwnSize(shape=shape, groups=groups) for shape, groups in self.sizes),
        )


def wanted_of(environment: Environment, plan: Plan) -> Wanted:
    """What a run of the whole environment would be asked for."""
    dtypes = tuple(one for one in DTYPES if one in environment.dtypes) or DTYPES
    return Wanted(
        dtypes=dtypes,
        implementations=environment.implementations,
        budget=BUDGETS[plan.budget],
        seed=plan.first_seed,
        all_dtypes=not environment.dtypes,
    )


def selected(environment: Environment, greeting: Hello) -> Hello:
    """The hello with those implementations alone whose mode is wanted."""
    modes = environment.modes or ("*",)
    kept = (one for one in greeting.implementations if any(fnmatch.fnmatchcase(one.mode, pattern) for pattern in modes))
    return msgspec.structs.replace(greeting, implementations=tuple(kept))


def shards_of(
    environment: Environment, greeting: Hello, plan: Plan, sizes: tuple[OwnSize, ...]
) -> tuple[list[Shard], list[NotRun]]:
    """The shards of an environment whose worker says this hello, and rows for what is not measured.

    One dtype after the other, as in a run; the seeds of one implementation and dtype follow each other.
    """
    hello, wanted = selected(environment, greeting), wanted_of(environment, plan)
    rows = list(left_out_of(hello, wanted))
    tasks = tasks_of(hello, wanted, {one.dtype for one in rows})
    rows += _not_selected(environment, hello, wanted, bool(tasks))
    taken = {len(one.shape) for one in sizes} & {rank for task in tasks for rank in task.description.ranks}
    rows += [
        NotRun(framework=greeting.framework, reason=f"no layer takes the shape {','.join(map(str, one.shape))}")
        for one in sizes
        if len(one.shape) not in taken and tasks
    ]
    last = plan.first_seed + plan.seeds
    starts = range(plan.first_seed, last, plan.seeds_per_shard) if BUDGETS[plan.budget].cases else [plan.first_seed]
    found = []
    for task in tasks:
        own = tuple(one for one in sizes if len(one.shape) in task.description.ranks)
        for start in starts:
            shard = Shard(
                environment=environment.name,
                implementation=task.description.id,
                dtype=task.dtype,
                seed=start,
                seeds=min(plan.seeds_per_shard, last - start) if len(starts) > 1 or plan.seeds > 1 else 1,
                sizes=tuple((one.shape, one.groups) for one in own),
                key="",
            )
            found.append(msgspec.structs.replace(shard, key=_key(shard, environment, plan)))
    return found, rows


def _not_selected(environment: Environment, hello: Hello, wanted: Wanted, any_task: bool) -> Iterator[NotRun]:
    """Rows for a pattern that names no implementation, and for an environment without anything to measure."""
    for pattern in environment.implementations:
        if not any(is_named(one.id, [pattern]) for one in hello.implementations):
            yield NotRun(framework=hello.framework, reason=f"no layer of the wanted modes is called {pattern!r}")
    if not any_task and not environment.implementations:
        reason = "no layer has a mode and a dtype that the plan names"
        yield NotRun(framework=hello.framework, reason=reason)


def _key(shard: Shard, environment: Environment, plan: Plan) -> str:
    """A name that says what the shard is, and a digest of all that its records depend on."""
    made_of = (
        environment.framework,
        environment.install,
        environment.python,
        msgspec.structs.astuple(shard),
        plan.budget,
        plan.time_limit,
    )
    digest = hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:12]
    name = _NOT_IN_A_NAME.sub("-", shard.implementation).strip("-.")[:80]
    return f"{name}-{shard.dtype}-{shard.seed}-{digest}"
